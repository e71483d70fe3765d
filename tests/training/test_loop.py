"""The loop: wherever a run is stopped, going on gives the uninterrupted run's bits and rows."""

import os
import pathlib
import signal

import numpy as np
import pytest
from small_runs import bits, rows

import lmhp
from lmhp.errors import ConfigError
from lmhp.training import chunks
from lmhp.training.checkpoint import Checkpoints
from lmhp.training.loop import Run


@pytest.fixture
def train(small, tmp_path, monkeypatch):
  """`train(name, **values)`: a run of 24 steps in chunks of a few, evaluated every 6 and saved every 8."""
  monkeypatch.setattr(
    chunks, 'CHUNK_SECONDS', 1e-9
  )  # one step a chunk: every moment is a step

  def run(name, **values):
    values = {
      'evaluate.every_steps': 6,
      'checkpoint.every_steps': 8,
      'checkpoint.keep_last': 3,
    } | values
    return lmhp.train(small(**values), workdir=tmp_path / name, display='none')

  return run


def at(monkeypatch, method, step, do):
  """Does something the first time that a method of `Run` is called at or after a step."""
  real, done = getattr(Run, method), []

  def wrapped(self, *arguments, **options):
    now = arguments[1] if method in ('_evaluate', '_save', '_between') else arguments[0]
    if not done and now >= step:
      done.append(True)
      do()
    return real(self, *arguments, **options)

  monkeypatch.setattr(Run, method, wrapped)


def same(run, other):
  assert rows(run.workdir) == rows(other.workdir)
  assert bits(run.params) == bits(other.params)
  unlike = ('seconds', 'compile_seconds', 'started_utc', 'command')
  assert {k: v for k, v in run.result.items() if k not in unlike} == {
    k: v for k, v in other.result.items() if k not in unlike
  }


def terminate():
  os.kill(os.getpid(), signal.SIGTERM)


def die():
  raise RuntimeError('killed')


@pytest.mark.parametrize(
  'method, step',
  [
    ('_evaluate', 0),
    ('_record', 0),
    ('_record', 5),
    ('_must_look', 6),
    ('_between', 6),
    ('_evaluate', 6),
    ('_must_look', 8),
    ('_save', 8),
    ('_record', 13),
    ('_must_look', 22),
    ('_record', 20),
  ],
)
def test_a_signal_at_any_moment(train, monkeypatch, method, step):
  whole = train('whole')
  with monkeypatch.context() as patch:
    at(patch, method, step, terminate)
    stopped = train('stopped')
  assert (
    stopped.signal == signal.SIGTERM and not stopped.complete and stopped.result == {}
  )
  with Checkpoints(pathlib.Path(stopped.workdir) / 'checkpoints') as checkpoints:
    saved = checkpoints.latest()
  assert (
    saved is None if method == '_evaluate' and step == 0 else step <= saved <= step + 4
  )
  same(train('stopped'), whole)


@pytest.mark.parametrize(
  'method, step',
  [
    ('_evaluate', 0),
    ('_record', 5),
    ('_evaluate', 6),
    ('_save', 8),
    ('_record', 9),
    ('_evaluate', 12),
    ('_save', 16),
    ('_evaluate', 24),
    ('_save', 24),
    ('_result', 24),
  ],
)
def test_a_death_at_any_moment(train, monkeypatch, method, step):
  whole = train('whole')
  with monkeypatch.context() as patch:
    at(patch, method, step, die)
    with pytest.raises(RuntimeError, match='killed'):
      train('dead')
  same(train('dead'), whole)


def test_stopped_again_and_again(train, monkeypatch):
  whole = train('whole')
  for step in range(1, 24, 2):
    with monkeypatch.context() as patch:
      at(patch, '_record', step, terminate)
      if train('stopped').complete:
        break
  same(train('stopped'), whole)


def test_a_streamed_run_is_gone_on_with(train, monkeypatch):
  monkeypatch.setattr(
    'lmhp.training.programs.STREAMED_BYTES', 12 * 24 * 5
  )  # five steps a chunk
  whole = train('whole', **{'data.placement': 'host'})
  with monkeypatch.context() as patch:
    at(patch, '_record', 10, terminate)
    train('stopped', **{'data.placement': 'host'})
  same(train('stopped', **{'data.placement': 'host'}), whole)


def test_a_broken_run_says_the_same_whatever_the_chunks(train, monkeypatch):
  values = {
    'optimizer.learning_rate': 200.0,
    'train.steps': 60,
    'evaluate.every_steps': 60,
  }
  slow = train('slow', **values)
  monkeypatch.setattr(chunks, 'CHUNK_SECONDS', 10.0)
  fast = train('fast', **values)
  # Not within the first chunk, which is waited for: here another one runs when the loss is read.
  assert (
    6
    < rows(slow.workdir)[-1]['step']
    == slow.result['steps']
    == slow.result['diverged_at']
    < 60
  )
  assert slow.result['steps'] == fast.result['steps'] and rows(slow.workdir) == rows(
    fast.workdir
  )
  (pathlib.Path(fast.workdir) / 'result.json').unlink()  # as a kill after the last save
  again = train('fast', **values)
  assert (
    rows(again.workdir) == rows(slow.workdir)
    and again.result['steps'] == slow.result['steps']
  )


def test_only_a_measured_state_is_the_best(train):
  run = train(
    'run',
    **{
      'checkpoint.every_steps': 4,
      'checkpoint.keep_last': 1,
      'evaluate.every_steps': 6,
      'optimizer.learning_rate': 1e-2,
    },
  )
  steps = sorted(
    int(p.name) for p in (pathlib.Path(run.workdir) / 'checkpoints').iterdir()
  )
  assert steps[-1] == 24 and set(steps) <= {
    12,
    24,
  }  # 4, 8, 16 and 20 were saved between evaluations


def test_without_checkpoints_a_stopped_run_starts_anew(train, monkeypatch):
  values = {'checkpoint.enabled': False}
  whole = train('whole', **values)
  with monkeypatch.context() as patch:
    at(patch, '_record', 5, terminate)
    assert not train('stopped', **values).complete
  same(train('stopped', **values), whole)


def test_what_cannot_be_trained_is_refused_before_anything_is_compiled(
  small, tmp_path, monkeypatch
):
  monkeypatch.setattr('lmhp.training.programs.Programs.chunk', None)
  monkeypatch.setattr('lmhp.training.loop.Run.run', None)
  for values, said in (
    ({'train.steps': 2**31 - 1, 'train.batch_size': 16}, 'train.steps: '),
    ({'optimizer.freeze': ('**',)}, 'optimizer.freeze: '),
    ({'data.validation_fraction': 1e-3}, 'data.validation_fraction: '),
    ({'model.max_seq_len': 5000}, 'data.path: '),
  ):
    with pytest.raises(ConfigError, match=said):
      lmhp.train(small(**values), workdir=tmp_path / 'run', display='none')


def test_tokens_without_their_text(small, tmp_path):
  np.arange(4000, dtype=np.uint16).__mod__(17).astype(np.uint16).tofile(
    tmp_path / 'ids.bin'
  )
  run = lmhp.train(
    small(**{'data.path': (str(tmp_path / 'ids.bin'),), 'data.tokenizer': 'byte'}),
    display='none',
  )
  assert run.model.cfg.vocab_size == 17
  assert (
    'final_eval_bits_per_byte' not in run.result
    and 'final_eval_perplexity' in run.result
  )
