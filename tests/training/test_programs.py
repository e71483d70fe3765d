"""Programs: one compilation for a structure, no hold on the data, the batches of each step."""

import gc
import weakref

import jax
import numpy as np
import pytest
from small_runs import bits

from lmhp import config as config_lib
from lmhp.data import dataset as datasets
from lmhp.data.stream import TrainStream
from lmhp.training.chunks import ChunkSteps
from lmhp.training.programs import BYTES_PER_TOKEN, STREAMED_BYTES, Programs


@pytest.fixture
def make(small):
  """`make(**values)`: the programs of a small run."""

  def make_programs(shared=True, **values):
    cfg = config_lib.resolve(small(**values))
    dataset = datasets.load(cfg.data)
    cfg = config_lib.complete(
      cfg, vocab_size=dataset.vocab_size, tokens_per_epoch=5000, dtype='float32'
    )
    stream = TrainStream(dataset, cfg.train.seq_len, cfg.data)
    return Programs(cfg, stream, dataset.sha256 if shared else None)

  return make_programs


def run(programs, lengths, step=0, state=None):
  """The state and the losses after chunks of these lengths."""
  if state is None:
    state = programs.init(programs.hypers)
  losses = []
  for n_steps, data in programs.feed(step, iter(lengths)):
    steps = ChunkSteps(n_steps, step)
    state, metrics = programs.chunk(state, programs.hypers, data, steps)
    step += n_steps
    losses += np.asarray(metrics['loss_nats'])[:n_steps].tolist()
    assert not np.asarray(metrics['loss_nats'])[n_steps:].any()
  return state, losses


# --- chunks ---------------------------------------------------------------------------


@pytest.mark.parametrize('placement', ['device', 'host'])
@pytest.mark.parametrize('lengths', [[1] * 12, [5, 7], [3, 1, 8]], ids=str)
def test_chunks_of_any_length_make_the_same_updates(make, placement, lengths):
  programs = make(**{'data.placement': placement})
  expected_state, expected_losses = run(programs, [12])
  assert int(expected_state.step) == len(expected_losses) == 12
  state, losses = run(programs, lengths)
  assert bits(state) == bits(expected_state)
  assert losses == expected_losses


@pytest.mark.parametrize('placement', ['device', 'host'])
def test_a_run_in_two_parts_makes_the_same_updates(make, placement):
  programs = make(**{'data.placement': placement})
  expected_state, expected_losses = run(programs, [12])
  state, first_losses = run(programs, [5])
  state, second_losses = run(programs, [7], step=5, state=state)
  assert bits(state) == bits(expected_state)
  assert first_losses + second_losses == expected_losses


def test_the_abstract_state_has_the_shapes_of_the_state(make):
  programs = make()
  state = programs.init(programs.hypers)
  shapes = programs.abstract_state(programs.hypers)
  assert jax.tree.structure(state) == jax.tree.structure(shapes)
  for x, shape in zip(jax.tree.leaves(state), jax.tree.leaves(shapes)):
    assert (x.shape, x.dtype) == (shape.shape, shape.dtype)
  assert int(state.step) == 0


# --- data -----------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['tokens', 'targets', 'weights'])
def test_each_step_has_the_sequences_of_its_numbers(make, name):
  programs = make(**{'data.placement': 'host'})
  batch_size = 3
  first_sequence = 4 * batch_size
  expected = programs.stream.host_batches(
    programs.hypers['data'], first_sequence, batch_size, 5
  )
  chunks = [getattr(data, name)[:n] for n, data in programs.feed(4, iter([3, 2]))]
  np.testing.assert_array_equal(np.concatenate(chunks), getattr(expected, name))


def test_the_size_of_a_streamed_chunk_is_bounded(make):
  values = {'data.placement': 'host', 'train.batch_size': 2**18, 'train.steps': 2}
  programs = make(**values)
  bytes_per_step = BYTES_PER_TOKEN * 2**18 * 8
  assert programs.max_chunk_steps == STREAMED_BYTES // bytes_per_step == 2


def test_a_streamed_run_reads_at_most_one_chunk_ahead(make):
  programs = make(**{'data.placement': 'host'})
  taken = []

  def lengths():
    for i in range(5):
      taken.append(i)
      yield 2

  chunks = programs.feed(0, lengths())
  next(chunks)
  assert len(taken) == 2
  chunks.close()
  assert len(taken) == 2


# --- the cache of programs ------------------------------------------------------------


def test_another_run_of_the_structure_compiles_nothing(make):
  first = make(**{'model.d_ff': 28})
  run(first, [2])
  numbers = {'optimizer.learning_rate': 1.0, 'train.seed': 2, 'data.seed': 5}
  second = make(**{'model.d_ff': 28}, **numbers)
  run(second, [2])
  assert first.compile_seconds > 0
  assert second.compile_seconds == 0


@pytest.mark.parametrize(
  'other',
  [
    {'model.d_ff': 29},
    {'optimizer.name': 'lion'},
    {'train.batch_size': 4},
    {'train.steps': 25},
    {'data.placement': 'host'},
    {'data.fraction': 0.5},
    {'model.residual_dropout': 0.1},
  ],
  ids=str,
)
def test_another_structure_has_programs_of_its_own(make, other):
  run(make(**{'model.d_ff': 28}), [2])
  assert 'chunk' not in make(**{'model.d_ff': 28} | other).program_cache


def test_without_a_digest_programs_are_not_shared(make):
  run(make(**{'model.d_ff': 28}), [2])
  assert 'chunk' not in make(shared=False, **{'model.d_ff': 28}).program_cache


def test_the_cache_keeps_no_tokens_alive(make):
  programs = make(**{'model.d_ff': 30})
  run(programs, [2])
  tokens = weakref.ref(programs.stream.arrays['tokens'])
  stream = weakref.ref(programs.stream)
  del programs
  gc.collect()
  assert stream() is None
  assert tokens() is None
