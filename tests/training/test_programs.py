"""Programs: one compile for a structure, no hold on the data, batches that are the order's."""

import dataclasses
import gc
import itertools
import weakref

import jax
import numpy as np
import pytest
from small_runs import bits

from lmhp import config as config_lib
from lmhp.data import dataset as datasets
from lmhp.data.stream import TrainStream
from lmhp.training.chunks import ChunkSteps
from lmhp.training.programs import STREAMED_BYTES, Programs


@pytest.fixture
def make(small):
  """`make(**values)`: programs, their stream and the config of a small run."""

  def programs(shared=True, **values):
    cfg = config_lib.resolve(small(**values))
    dataset = datasets.load(cfg.data)
    cfg = config_lib.complete(
      cfg, vocab_size=dataset.vocab_size, tokens_per_epoch=5000, dtype='float32'
    )
    stream = TrainStream(dataset, cfg.train.seq_len, cfg.data)
    return Programs(cfg, stream, dataset.sha256 if shared else None), stream, cfg

  return programs


def run(programs, lengths, step=0, state=None):
  """The state and the losses after chunks of these lengths."""
  state, losses = programs.init(programs.hypers) if state is None else state, []
  for n, data in programs.feed(step, iter(lengths)):
    state, metrics = programs.chunk(state, programs.hypers, data, ChunkSteps(n, step))
    step += n
    losses += np.asarray(metrics['loss_nats'])[:n].tolist()
    assert not np.asarray(metrics['loss_nats'])[n:].any()
  return state, losses


@pytest.mark.parametrize('placement', ['device', 'host'])
def test_chunks_of_any_length_make_the_same_updates(make, placement):
  programs, _, _ = make(**{'data.placement': placement})
  whole, losses = run(programs, [12])
  assert int(whole.step) == 12 and len(losses) == 12
  for lengths in ([1] * 12, [5, 7], [3, 1, 8]):
    state, again = run(programs, lengths)
    assert bits(state) == bits(whole) and again == losses
  half, first = run(programs, [5])
  state, second = run(programs, [7], step=5, state=half)
  assert bits(state) == bits(whole) and first + second == losses


def test_each_step_has_the_sequences_of_its_numbers(make):
  programs, stream, cfg = make(**{'data.placement': 'host'})
  taken = [
    jax.tree.map(lambda x: x[:n], data) for n, data in programs.feed(4, iter([3, 2]))
  ]
  expected = stream.host_batches(
    programs.hypers['data'], 4 * cfg.train.batch_size, cfg.train.batch_size, 5
  )
  for i, name in itertools.product(range(2), ('tokens', 'targets', 'weights')):
    assert (
      getattr(taken[i], name) == getattr(expected, name)[3 * i : 3 * i + 3 - i]
    ).all()


def test_streamed_chunks_are_bounded(make):
  programs, _, _ = make(
    **{'data.placement': 'host', 'train.batch_size': 2**18, 'train.steps': 2}
  )
  assert programs.capacity == STREAMED_BYTES // (12 * 2**18 * 8) == 2


def test_another_run_of_the_structure_finds_it_compiled(make):
  first, _, _ = make(**{'model.d_ff': 28})
  run(first, [2])
  second, _, _ = make(
    **{
      'model.d_ff': 28,
      'optimizer.learning_rate': 1.0,
      'train.seed': 2,
      'data.seed': 5,
    }
  )
  run(second, [2])
  assert first.compile_seconds > 0 == second.compile_seconds
  for other in (
    {'model.d_ff': 29},
    {'optimizer.name': 'lion'},
    {'train.batch_size': 4},
    {'train.steps': 25},
    {'data.placement': 'host'},
    {'data.fraction': 0.5},
    {'model.residual_dropout': 0.1},
  ):
    programs, _, _ = make(**{'model.d_ff': 28} | other)
    assert 'chunk' not in programs.programs, other
  alone, _, _ = make(shared=False, **{'model.d_ff': 28})
  assert 'chunk' not in alone.programs


def test_what_isprograms_holds_no_tokens(make):
  programs, stream, _ = make(**{'model.d_ff': 30})
  run(programs, [2])
  tokens, gone = weakref.ref(stream.arrays['tokens']), weakref.ref(stream)
  del programs, stream
  gc.collect()
  assert gone() is None and tokens() is None


def test_the_state_before_it_exists(make):
  programs, _, _ = make()
  state = programs.init(programs.hypers)
  shapes = programs.abstract_state(programs.hypers)
  assert jax.tree.structure(state) == jax.tree.structure(shapes)
  assert all(
    (x.shape, x.dtype) == (s.shape, s.dtype)
    for x, s in zip(jax.tree.leaves(state), jax.tree.leaves(shapes))
  )
  assert dataclasses.asdict(state)['step'] == 0


def test_a_streamed_run_reads_one_chunk_ahead_at_most(make):
  programs, _, _ = make(**{'data.placement': 'host'})
  asked = []

  def lengths():
    for i in range(5):
      asked.append(i)
      yield 2

  chunks = programs.feed(0, lengths())
  next(chunks)
  assert len(asked) == 2
  chunks.close()
  assert len(asked) == 2
