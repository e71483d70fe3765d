"""`metrics.jsonl`: strict JSON, complete after any kill, the same after a resume."""

import json
import math
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

import lmhp
from lmhp.errors import ConfigError
from lmhp.training import history as history_module
from lmhp.training.history import METRICS_FILE, History, read_history

ROOT = str(pathlib.Path(lmhp.__file__).parents[1])


def parse_strictly(text):
  """Parses JSON without the words NaN and Infinity, which Python would accept."""

  def refuse(word):
    raise ValueError(word)

  return json.loads(text, parse_constant=refuse)


def lines_of(directory):
  return (directory / METRICS_FILE).read_text().splitlines()


# --- columns --------------------------------------------------------------------------


def test_rows_come_back_as_columns(tmp_path):
  directory = tmp_path / 'deep' / 'run'
  with History(directory) as history:
    first = {'step': 0, 'loss_nats': np.float32(3.3154), 'tokens': np.int64(7)}
    history.append([first, {'step': 10, 'loss_nats': 2.5, 'tokens': 8}])
    history.append([{'step': 10, 'eval_loss_nats': 2.25}])
    history.append([])
  columns = read_history(directory)
  np.testing.assert_array_equal(columns['step'], [0, 10, 10])
  assert columns['step'].dtype == np.int64
  np.testing.assert_array_equal(columns['eval_loss_nats'], [np.nan, np.nan, 2.25])


def test_a_key_selects_rows(tmp_path):
  with History(tmp_path) as history:
    history.append([{'step': 0, 'loss_nats': 3.5, 'tokens': 7}])
    history.append([{'step': 10, 'eval_loss_nats': 2.25}])
  columns = read_history(tmp_path / METRICS_FILE, having='loss_nats')
  assert columns['tokens'].tolist() == [7]
  assert columns['tokens'].dtype == np.int64
  assert 'eval_loss_nats' not in columns


def test_float32_keeps_its_bits_in_its_shortest_digits(tmp_path):
  values = np.random.default_rng(0).standard_normal(200).astype(np.float32)
  with History(tmp_path) as history:
    history.append([{'step': i, 'x': x} for i, x in enumerate(values)])
  np.testing.assert_array_equal(read_history(tmp_path)['x'].astype(np.float32), values)
  assert max(len(line) for line in lines_of(tmp_path)) < 40


def test_numbers_that_are_not_finite_are_words_that_a_strict_parser_reads(tmp_path):
  row = {
    'step': 1,
    'a': math.nan,
    'b': np.float32('inf'),
    'c': -np.inf,
    'd': None,
    'e': np.bool_(True),
  }
  with History(tmp_path) as history:
    history.append([row])
  words = {'a': 'nan', 'b': 'inf', 'c': '-inf', 'd': None, 'e': True}
  assert parse_strictly(lines_of(tmp_path)[0]) == {'step': 1, **words}
  columns = read_history(tmp_path)
  values = [columns[name][0] for name in 'abcd']
  np.testing.assert_array_equal(values, [np.nan, np.inf, -np.inf, np.nan])


def test_words_and_lists_are_objects(tmp_path):
  with History(tmp_path) as history:
    history.append([{'step': 1, 'word': 'x', 'list': [1, 2]}, {'step': 2}])
  columns = read_history(tmp_path)
  assert columns['word'].dtype == object
  assert columns['word'][0] == 'x'
  assert columns['list'][0] == [1, 2]


# --- torn and damaged files -----------------------------------------------------------


@pytest.mark.parametrize('torn', ['{"step": 3, "loss', '\x00\x00\x00', '{"step": 3}'])
def test_a_torn_last_line_is_removed(tmp_path, torn):
  complete = '{"step": 1}\n{"step": 2}\n'
  (tmp_path / METRICS_FILE).write_text(complete + torn)
  assert read_history(tmp_path)['step'].tolist() == [1, 2]
  with History(tmp_path) as history:
    assert (tmp_path / METRICS_FILE).read_text() == complete
    history.append([{'step': 3}])
  assert read_history(tmp_path)['step'].tolist() == [1, 2, 3]


def test_a_resumed_file_is_the_uninterrupted_one(tmp_path):
  rows = []
  for step in range(0, 60, 10):
    rows.append({'step': step, 'loss_nats': step / 7})
    rows.append({'step': step, 'eval_loss_nats': step / 3})
  with History(tmp_path / 'a') as history:
    history.append(rows)
  with History(tmp_path / 'b') as history:
    history.append(rows[:6])
    mark = history.mark(20)
    history.append(rows[6:9])
  with open(tmp_path / 'b' / METRICS_FILE, 'a') as file:
    file.write('{"step": 4')
  with History(tmp_path / 'b') as history:
    history.restart(mark)
    history.append(row for row in rows if row['step'] > 20)
  content = (tmp_path / 'a' / METRICS_FILE).read_bytes()
  assert (tmp_path / 'b' / METRICS_FILE).read_bytes() == content


@pytest.mark.parametrize('bad', ['nonsense', '[1]', '{"loss": 1}', '{"step": "x"}'])
def test_a_damaged_line_is_named(tmp_path, bad):
  (tmp_path / METRICS_FILE).write_text('{"step": 1}\n' + bad + '\n{"step": 2}\n')
  with pytest.raises(ConfigError, match=f'{METRICS_FILE}: line 2 '):
    read_history(tmp_path)


def test_a_file_that_does_not_exist_is_named(tmp_path):
  with pytest.raises(ConfigError, match='elsewhere'):
    read_history(tmp_path / 'elsewhere')


def write_rows(directory):
  """Writes rows to step 30. Returns the mark of step 20."""
  with History(directory) as history:
    history.append([{'step': step, 'loss_nats': 3.25} for step in (0, 10, 20)])
    mark = history.mark(20)
    history.append([{'step': 30, 'loss_nats': 3.25}])
  return mark


@pytest.mark.parametrize(
  'damage',
  [
    lambda text: b'',
    lambda text: text[:40],
    lambda text: text.replace(b'"step": 10', b'"step": 11'),
    lambda text: text.replace(b'3.25', b'3.26', 1),
    lambda text: text.split(b'\n', 1)[1] * 2,
  ],
)
def test_rows_that_a_checkpoint_promises_must_be_there(tmp_path, damage):
  mark = write_rows(tmp_path)
  path = tmp_path / METRICS_FILE
  path.write_bytes(damage(path.read_bytes()))
  with (
    History(tmp_path) as history,
    pytest.raises(ConfigError, match='step 20') as error,
  ):
    history.restart(mark)
  assert str(error.value).startswith(f'{path}: ')
  assert '\n' not in str(error.value)


def test_rows_of_the_step_of_a_checkpoint_are_written_once(tmp_path):
  """A run may score the state of a checkpoint after it was saved, and be killed then."""
  with History(tmp_path) as history:
    history.append([{'step': 10, 'loss_nats': 3.25}])
    mark = history.mark(10)
    history.append([{'step': 10, 'eval_loss_nats': 3.5}])
  for _ in range(2):
    with History(tmp_path) as history:
      history.restart(mark)
      history.append([{'step': 10, 'eval_loss_nats': 3.5}])
  assert len(lines_of(tmp_path)) == 2


def test_a_renamed_directory_is_noticed_before_a_checkpoint(tmp_path):
  with History(tmp_path / 'run') as history:
    history.append([{'step': 1}])
    history.sync()
    os.rename(tmp_path / 'run', tmp_path / 'moved')
    with pytest.raises(ConfigError, match='renamed or deleted'):
      history.sync()
  assert not (tmp_path / 'run').exists()
  assert lines_of(tmp_path / 'moved') == ['{"step": 1}']


# --- writers --------------------------------------------------------------------------


def test_only_one_process_writes_at_a_time(tmp_path):
  with History(tmp_path) as history:
    history.append([{'step': 1}])
    with pytest.raises(ConfigError, match=f'^{tmp_path}: '):
      History(tmp_path)
    assert read_history(tmp_path)['step'].tolist() == [1]
  History(tmp_path).close()


def test_an_object_store_gets_the_whole_file(tmp_path, monkeypatch):
  monkeypatch.setattr(history_module, 'is_remote', lambda path: True)
  with History(tmp_path) as history:
    history.append([{'step': 1}])
    mark = history.mark(1)
  with History(tmp_path) as history:
    history.append([{'step': 3}])
    assert read_history(tmp_path)['step'].tolist() == [1, 3]
    history.restart(mark)
    history.append([{'step': 2}])
    history.sync()
  assert read_history(tmp_path)['step'].tolist() == [1, 2]


KILLED = """
import sys
from lmhp.files import write_json
from lmhp.training.history import History
with History(sys.argv[1]) as history:
  for step in range(10**9):
    history.append([{'step': step, 'loss_nats': 1 / (step + 1)}] * 3)
    write_json(sys.argv[1] + '/result.json', {'step': step, 'more': 'x' * 3000})
    if step == 20: print('ready', flush=True)
"""


def test_a_kill_loses_no_appended_row(tmp_path):
  process = subprocess.Popen(
    [sys.executable, '-c', KILLED, str(tmp_path)],
    env={**os.environ, 'PYTHONPATH': ROOT},
    stdout=subprocess.PIPE,
  )
  assert process.stdout.readline() == b'ready\n'
  process.send_signal(signal.SIGKILL)
  process.wait()
  process.stdout.close()
  written_step = json.loads((tmp_path / 'result.json').read_text())['step']
  with History(tmp_path) as history:
    steps = read_history(tmp_path)['step']
    np.testing.assert_array_equal(steps, np.arange(len(steps)) // 3)
    assert steps[-1] >= written_step >= 19
    history.append([{'step': 10**9}])
