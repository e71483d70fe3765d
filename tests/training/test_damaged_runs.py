"""Damaged files of a run: found, healed, or refused in one line. Never a silent other result."""

import functools
import json
import math
import os
import re
import shutil

import pytest
from small_runs import bits, rows

import lmhp
from lmhp.errors import ConfigError
from lmhp.training import chunks
from lmhp.training.checkpoint import Checkpoints, ocp
from lmhp.training.loop import TrainingLoop
from lmhp.training.progress.formats import format_summary

TIMES = ('seconds', 'compile_seconds', 'started_utc', 'command')


class Killed(BaseException):
  """Stands for a killed process."""


@pytest.fixture
def half_run(small, tmp_path, monkeypatch):
  """`half_run(name)`: a run that was killed at step 20, after a checkpoint at step 16."""
  monkeypatch.setattr(chunks, 'CHUNK_SECONDS', 1e-9)
  values = {'evaluate.every_steps': 6, 'checkpoint.every_steps': 8}
  config = small(**values)

  def make(name='run'):
    with monkeypatch.context() as patch:
      record = TrainingLoop._record_chunk

      def die(self, chunk):
        if chunk.first_step >= 20:
          raise Killed
        record(self, chunk)

      patch.setattr(TrainingLoop, '_record_chunk', die)
      with pytest.raises(Killed):
        lmhp.train(config, workdir=tmp_path / name, display='none')
    return tmp_path / name

  def train(workdir):
    return lmhp.train(config, workdir=workdir, display='none')

  make.train = train
  return make


def result_of(workdir):
  result = json.loads((workdir / 'result.json').read_text())
  return {k: v for k, v in result.items() if k not in (*TIMES, 'checksum')}


def flip_digit(text, index):
  """Returns a JSON text with another digit in the number at an index."""
  numbers = list(re.finditer(rb'(?<=[:\[ ])-?\d+(?:\.(\d))?', text))
  match = numbers[index % len(numbers)]
  position = match.start(1) if match[1] else match.end() - 1
  digit = b'%d' % ((int(text[position : position + 1]) + 3) % 9 + 1)
  return text[:position] + digit[:1] + text[position + 1 :]


def one_line(call):
  """Returns the message of the ConfigError that a call raises."""
  with pytest.raises(ConfigError) as error:
    call()
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize('damage', ['delete', 'empty', 'half', 'digit', 'garbage'])
def test_a_run_does_not_go_on_with_lost_or_changed_rows(half_run, damage):
  workdir = half_run()
  path = workdir / 'metrics.jsonl'
  text = path.read_bytes()
  if damage == 'delete':
    path.unlink()
  else:
    damaged = {
      'empty': b'',
      'half': text[: len(text) // 2],
      'digit': flip_digit(text, 5),
      'garbage': bytes(range(256)),
    }
    path.write_bytes(damaged[damage])
  assert one_line(lambda: half_run.train(workdir)).startswith(f'{path}: ')
  # With the file again, the run goes on.
  path.write_bytes(text)
  whole = half_run.train(half_run('whole'))
  run = half_run.train(workdir)
  assert bits(run.params) == bits(whole.params)
  assert rows(workdir) == rows(whole.workdir)


def test_a_digit_of_a_result_is_found_and_the_result_is_written_again(half_run):
  workdir = half_run()
  half_run.train(workdir)
  before = result_of(workdir)
  path = workdir / 'result.json'
  text = path.read_bytes()
  for index in range(0, 60, 4):
    path.write_bytes(flip_digit(text, index))
    assert str(path) in one_line(lambda: half_run.train(workdir))
    assert str(path) in one_line(lambda: lmhp.report(workdir))
  path.unlink()
  half_run.train(workdir)
  assert result_of(workdir) == before


def test_a_digit_of_a_manifest_is_found(half_run):
  workdir = half_run()
  path = workdir / 'config.json'
  text = path.read_bytes()
  for index in range(0, 60, 7):
    path.write_bytes(flip_digit(text, index))
    assert str(path) in one_line(lambda: half_run.train(workdir))


def test_rows_of_a_complete_run_are_compared_with_its_result(half_run):
  workdir = half_run()
  half_run.train(workdir)
  path = workdir / 'metrics.jsonl'
  path.write_bytes(flip_digit(path.read_bytes(), 1))
  for call in (half_run.train, lmhp.report):
    assert str(path) in one_line(functools.partial(call, workdir))


def test_a_complete_run_whose_checkpoints_lost_their_markers_says_so(half_run):
  workdir = half_run()
  half_run.train(workdir)
  for marker in (workdir / 'checkpoints').glob('*/commit_success.txt'):
    marker.unlink()
  assert 'commit_success.txt' in one_line(lambda: half_run.train(workdir))

  # A user may delete all checkpoints, for the space.
  shutil.rmtree(workdir / 'checkpoints')
  assert half_run.train(workdir).params is None


def test_a_checkpoint_with_a_changed_name_is_skipped(half_run, caplog):
  """A bit of the metadata changes the name of a leaf. The step before it is whole."""
  whole = half_run.train(half_run('whole'))
  workdir = half_run()
  step = max((workdir / 'checkpoints').iterdir(), key=lambda path: int(path.name))
  (path,) = step.glob('*_CHECKPOINT_METADATA')
  text = path.read_bytes()
  assert b'embedding' in text
  path.write_bytes(text.replace(b'embedding', b'emaedding'))
  run = half_run.train(workdir)
  assert bits(run.params) == bits(whole.params)
  assert str(step) in caplog.text


def test_a_directory_renamed_under_a_run_stops_it_at_the_next_save(
  half_run, tmp_path, monkeypatch
):
  whole = half_run.train(half_run('whole'))
  workdir = half_run()
  save = TrainingLoop.save

  def rename_and_save(self, *arguments, **options):
    if workdir.exists():
      os.rename(workdir, tmp_path / 'moved')
    save(self, *arguments, **options)

  with monkeypatch.context() as patch:
    patch.setattr(TrainingLoop, 'save', rename_and_save)
    assert 'renamed or deleted' in one_line(lambda: half_run.train(workdir))
  assert not workdir.exists()
  run = half_run.train(tmp_path / 'moved')
  assert bits(run.params) == bits(whole.params)


def test_a_directory_deleted_under_a_run_is_one_line(half_run, monkeypatch):
  workdir = half_run()
  save = TrainingLoop.save

  def delete_and_save(self, *arguments, **options):
    shutil.rmtree(workdir, ignore_errors=True)
    save(self, *arguments, **options)

  monkeypatch.setattr(TrainingLoop, 'save', delete_and_save)
  assert 'renamed or deleted' in one_line(lambda: half_run.train(workdir))
  assert not workdir.exists()


def test_a_save_that_cannot_start_is_one_line(half_run, monkeypatch):
  def refuse(*arguments, **options):
    raise RuntimeError("can't start new thread")

  workdir = half_run()
  monkeypatch.setattr(ocp, 'save_checkpointables_async', refuse)
  message = one_line(lambda: half_run.train(workdir))
  assert "step 24 could not be saved: can't start new thread" in message
  monkeypatch.undo()
  half_run.train(workdir)


def test_a_checkpoint_without_marks_is_of_another_version(half_run, monkeypatch):
  workdir = half_run()
  restore = Checkpoints.restore

  def restore_old(self, *arguments):
    state, extra = restore(self, *arguments)
    del extra['history']
    return state, extra

  monkeypatch.setattr(Checkpoints, 'restore', restore_old)
  assert 'another version of lmhp' in one_line(lambda: half_run.train(workdir))


# --- trouble is said ------------------------------------------------------------------


@pytest.mark.parametrize(
  ('values', 'word'),
  [
    ({'train.z_loss': 1e30}, 'gradient'),
    (
      {
        'model.architecture': 'encoder',
        'data.objective': 'masked',
        'data.mask_fraction': 1e-30,
      },
      'target',
    ),
  ],
)
def test_a_run_that_trains_nothing_says_so(small, tmp_path, values, word):
  run = lmhp.train(small(**values), workdir=tmp_path / 'run', display='none')
  assert word in run.result['untrained']
  text = format_summary(run.result, run.result['parameters_by_kind'], tmp_path)
  assert run.result['untrained'] in text
  page = lmhp.report(tmp_path / 'run')
  assert run.result['untrained'] in page.text('md')
  assert 'trained nothing' in page.answer[-1]


def test_a_short_run_that_ends_far_above_its_start_diverged(small, tmp_path):
  values = {'train.steps': 12, 'optimizer.learning_rate': 30.0}
  run = lmhp.train(small(**values), workdir=tmp_path / 'run', display='none')
  assert 20 < run.result['final_eval_loss_nats'] < math.inf
  assert run.result['diverged_at'] is not None
