"""The training loop: a run that is stopped at any moment resumes with the same bits."""

import json
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
from lmhp.training.loop import TrainingLoop
from lmhp.training.run import Run

DIFFERS_IN_EACH_PROCESS = ('seconds', 'compile_seconds', 'started_utc', 'command')


@pytest.fixture
def train(small, tmp_path, monkeypatch):
  """`train(name, **values)`: a run of 24 steps, one step a chunk.

  It evaluates every 6 steps and saves every 8.
  """
  monkeypatch.setattr(chunks, 'CHUNK_SECONDS', 1e-9)

  def run(name, **values):
    intervals = {
      'evaluate.every_steps': 6,
      'checkpoint.every_steps': 8,
      'checkpoint.keep_last': 3,
    }
    config = small(**intervals | values)
    return lmhp.train(config, workdir=tmp_path / name, display='none')

  return run


def before_call(monkeypatch, name, step, action):
  """Runs an action before the first call of a method at or after a step."""
  owner = TrainingLoop if hasattr(TrainingLoop, name) else Run
  method = getattr(owner, name)
  is_done = []

  def step_of(arguments):
    if name in ('evaluate', 'save', '_evaluate_and_save'):
      return arguments[1]
    return arguments[0].first_step if name == '_record_chunk' else arguments[0]

  def wrapped(self, *arguments, **options):
    if not is_done and step_of(arguments) >= step:
      is_done.append(True)
      action()
    return method(self, *arguments, **options)

  monkeypatch.setattr(owner, name, wrapped)


def terminate():
  os.kill(os.getpid(), signal.SIGTERM)


def die():
  raise RuntimeError('killed')


def result_of(run):
  """The result without what differs in each process."""
  return {k: v for k, v in run.result.items() if k not in DIFFERS_IN_EACH_PROCESS}


def assert_same(run, other):
  assert rows(run.workdir) == rows(other.workdir)
  assert bits(run.params) == bits(other.params)
  assert result_of(run) == result_of(other)


# --- interruptions --------------------------------------------------------------------


@pytest.mark.parametrize(
  'method, step',
  [
    ('evaluate', 0),
    ('_record_chunk', 0),
    ('_record_chunk', 5),
    ('_must_sync', 6),
    ('_evaluate_and_save', 6),
    ('evaluate', 6),
    ('_must_sync', 8),
    ('save', 8),
    ('_record_chunk', 13),
    ('_must_sync', 22),
    ('_record_chunk', 20),
  ],
)
def test_a_signal_at_any_moment_saves_and_resumes(train, monkeypatch, method, step):
  whole = train('whole')
  with monkeypatch.context() as patch:
    before_call(patch, method, step, terminate)
    stopped = train('stopped')
  assert stopped.signal == signal.SIGTERM
  assert not stopped.complete
  assert stopped.result == {}
  with Checkpoints(pathlib.Path(stopped.workdir) / 'checkpoints') as checkpoints:
    saved = checkpoints.latest()
  if (method, step) == ('evaluate', 0):
    assert saved is None
  else:
    assert step <= saved <= step + 4
  assert_same(train('stopped'), whole)


@pytest.mark.parametrize(
  'method, step',
  [
    ('evaluate', 0),
    ('_record_chunk', 5),
    ('evaluate', 6),
    ('save', 8),
    ('_record_chunk', 9),
    ('evaluate', 12),
    ('save', 16),
    ('evaluate', 24),
    ('save', 24),
    ('_result', 24),
  ],
)
def test_a_death_at_any_moment_resumes(train, monkeypatch, method, step):
  whole = train('whole')
  with monkeypatch.context() as patch:
    before_call(patch, method, step, die)
    with pytest.raises(RuntimeError, match='killed'):
      train('dead')
  assert_same(train('dead'), whole)


def test_a_run_that_is_stopped_many_times_resumes(train, monkeypatch):
  whole = train('whole')
  n_stops = 0
  for step in range(1, 24, 2):
    with monkeypatch.context() as patch:
      before_call(patch, '_record_chunk', step, terminate)
      if train('stopped').complete:
        break
    n_stops += 1
  assert n_stops > 3
  assert_same(train('stopped'), whole)


@pytest.mark.slow
def test_a_streamed_run_resumes(train, monkeypatch):
  five_steps = 12 * 24 * 5
  monkeypatch.setattr('lmhp.training.programs.STREAMED_BYTES', five_steps)
  values = {'data.placement': 'host'}
  whole = train('whole', **values)
  with monkeypatch.context() as patch:
    before_call(patch, '_record_chunk', 10, terminate)
    assert not train('stopped', **values).complete
  assert_same(train('stopped', **values), whole)


def test_without_checkpoints_a_stopped_run_starts_again(train, monkeypatch):
  values = {'checkpoint.enabled': False}
  whole = train('whole', **values)
  with monkeypatch.context() as patch:
    before_call(patch, '_record_chunk', 5, terminate)
    assert not train('stopped', **values).complete
  assert_same(train('stopped', **values), whole)


def test_a_resumed_run_keeps_the_manifest_of_its_first_process(train, monkeypatch):
  with monkeypatch.context() as patch:
    before_call(patch, '_record_chunk', 5, terminate)
    manifest = pathlib.Path(train('stopped').workdir) / 'config.json'
  content = manifest.read_bytes()
  assert train('stopped').complete
  assert manifest.read_bytes() == content
  assert json.loads(content)['data_sha256']


# --- losses that are not finite -------------------------------------------------------


def test_a_run_ends_at_its_first_nonfinite_loss_with_any_chunks(train, monkeypatch):
  values = {
    'optimizer.learning_rate': 200.0,
    'train.steps': 60,
    'evaluate.every_steps': 60,
  }
  slow = train('slow', **values)
  monkeypatch.setattr(chunks, 'CHUNK_SECONDS', 10.0)
  fast = train('fast', **values)

  # The step is not in the first chunk, whose metrics are read at once. So another chunk
  # runs when the loss is read.
  last_step = slow.result['steps']
  assert 6 < last_step < 60
  assert slow.result['diverged_at'] == last_step
  assert rows(slow.workdir)[-1]['step'] == last_step
  assert fast.result['steps'] == last_step
  assert rows(fast.workdir) == rows(slow.workdir)


def test_a_run_that_was_killed_after_its_last_save_only_writes_its_result(train):
  values = {
    'optimizer.learning_rate': 200.0,
    'train.steps': 60,
    'evaluate.every_steps': 60,
  }
  run = train('run', **values)
  first_rows = rows(run.workdir)
  (pathlib.Path(run.workdir) / 'result.json').unlink()
  again = train('run', **values)
  assert rows(again.workdir) == first_rows
  assert again.result['steps'] == run.result['steps']


# --- checkpoints ----------------------------------------------------------------------


def test_only_an_evaluated_state_is_kept_as_the_best(train):
  run = train(
    'run',
    **{
      'checkpoint.every_steps': 4,
      'checkpoint.keep_last': 1,
      'evaluate.every_steps': 6,
      'optimizer.learning_rate': 1e-2,
    },
  )
  directory = pathlib.Path(run.workdir) / 'checkpoints'
  steps = {int(path.name) for path in directory.iterdir()}
  # Of the saved steps 4, 8, 12, ..., 24, only 12 and 24 are evaluated.
  assert 24 in steps
  assert steps <= {12, 24}


# --- mistakes and special data --------------------------------------------------------


@pytest.mark.parametrize(
  'values, path',
  [
    ({'train.steps': 2**31 - 1, 'train.batch_size': 16}, 'train.steps: '),
    ({'optimizer.freeze': ('**',)}, 'optimizer.freeze: '),
    ({'data.validation_fraction': 1e-3}, 'data.validation_fraction: '),
    ({'model.max_seq_len': 5000}, 'data.path: '),
  ],
)
def test_a_config_that_cannot_be_trained_is_refused_before_compilation(
  small, tmp_path, monkeypatch, values, path
):
  monkeypatch.setattr('lmhp.training.programs.Programs.chunk', None)
  monkeypatch.setattr('lmhp.training.run.Run.run', None)
  with pytest.raises(ConfigError, match=f'^{path}'):
    lmhp.train(small(**values), workdir=tmp_path / 'run', display='none')


def test_tokens_without_their_text_have_no_bits_per_byte(small, tmp_path):
  tokens = np.arange(4000) % 17
  tokens.astype(np.uint16).tofile(tmp_path / 'ids.bin')
  config = small(
    **{'data.path': (str(tmp_path / 'ids.bin'),), 'data.tokenizer': 'byte'}
  )
  run = lmhp.train(config, display='none')
  assert run.model.cfg.vocab_size == 17
  assert 'final_eval_bits_per_byte' not in run.result
  assert 'final_eval_perplexity' in run.result
