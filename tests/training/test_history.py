"""`metrics.jsonl`: strict JSON, whole after any kill, the same after a resume as without one."""

import collections
import json
import os
import pathlib
import signal
import subprocess
import sys
import types

import numpy as np
import pytest

import lmhp
from lmhp.errors import ConfigError
from lmhp.files import write_json
from lmhp.training import history as history_file
from lmhp.training.history import FILE, History, read

ROOT = str(pathlib.Path(lmhp.__file__).parents[1])


def strict(text):
  """Parses as a parser without Python's extensions does."""

  def refuse(word):
    raise ValueError(word)

  return json.loads(text, parse_constant=refuse)


def lines(directory):
  return (directory / FILE).read_text().splitlines()


def test_rows_come_back_as_columns(tmp_path):
  with History(tmp_path / 'deep' / 'run') as history:
    first = {'step': 0, 'loss_nats': np.float32(3.3154), 'tokens': np.int64(7)}
    history.append([first, {'step': 10, 'loss_nats': 2.5, 'tokens': 8}])
    history.append([{'step': 10, 'eval_loss_nats': 2.25}])
    history.append([])
  columns = read(tmp_path / 'deep' / 'run')
  np.testing.assert_array_equal(columns['step'], [0, 10, 10])
  assert columns['step'].dtype == np.int64
  np.testing.assert_array_equal(columns['eval_loss_nats'], [np.nan, np.nan, 2.25])
  training = read(tmp_path / 'deep' / 'run' / FILE, having='loss_nats')
  assert training['tokens'].tolist() == [7, 8] and training['tokens'].dtype == np.int64
  assert training['loss_nats'].astype(np.float32).tolist() == [
    np.float32(3.3154),
    np.float32(2.5),
  ]
  assert 'eval_loss_nats' not in training


def test_float32_keeps_its_bits_in_its_shortest_digits(tmp_path):
  values = np.random.default_rng(0).standard_normal(200).astype(np.float32)
  with History(tmp_path) as history:
    history.append([{'step': i, 'x': v} for i, v in enumerate(values)])
  np.testing.assert_array_equal(read(tmp_path)['x'].astype(np.float32), values)
  assert max(len(line) for line in lines(tmp_path)) < 40


def test_not_finite_numbers_are_words_a_strict_parser_reads(tmp_path):
  with History(tmp_path) as history:
    row = {
      'step': 1,
      'a': float('nan'),
      'b': np.float32('inf'),
      'c': -np.inf,
      'd': None,
      'e': np.bool_(True),
    }
    history.append([row])
  assert strict(lines(tmp_path)[0]) == {
    'step': 1,
    'a': 'nan',
    'b': 'inf',
    'c': '-inf',
    'd': None,
    'e': True,
  }
  columns = read(tmp_path)
  np.testing.assert_array_equal(
    [columns[k][0] for k in 'abcd'], [np.nan, np.inf, -np.inf, np.nan]
  )


@pytest.mark.parametrize('torn', ['{"step": 3, "loss', '\x00\x00\x00', '{"step": 3}'])
def test_a_torn_last_line_is_dropped(tmp_path, torn):
  whole = '{"step": 1}\n{"step": 2}\n'
  (tmp_path / FILE).write_text(whole + torn)
  assert read(tmp_path)['step'].tolist() == [1, 2]  # while it is being written
  with History(tmp_path) as history:
    assert (tmp_path / FILE).read_text() == whole
    history.append([{'step': 3}])
  assert read(tmp_path)['step'].tolist() == [1, 2, 3]


def test_resumed_equals_uninterrupted(tmp_path):
  pair = lambda s: (
    {'step': s, 'loss_nats': s / 7},
    {'step': s, 'eval_loss_nats': s / 3},
  )
  rows = [row for s in range(0, 60, 10) for row in pair(s)]
  with History(tmp_path / 'a') as history:
    history.append(rows)
  with History(tmp_path / 'b') as history:
    history.append(rows[:9])
  with open(tmp_path / 'b' / FILE, 'a') as file:
    file.write('{"step": 4')
  with History(tmp_path / 'b') as history:
    history.truncate_after(20)
    history.append(row for row in rows if row['step'] > 20)
  assert (tmp_path / 'a' / FILE).read_bytes() == (tmp_path / 'b' / FILE).read_bytes()


@pytest.mark.parametrize('bad', ['nonsense', '[1]', '{"loss": 1}', '{"step": "x"}'])
def test_a_damaged_file_is_one_clear_line(tmp_path, bad):
  (tmp_path / FILE).write_text('{"step": 1}\n' + bad + '\n{"step": 2}\n')
  message = r'metrics.jsonl: line 2 is not a JSON object with a step: [^\n]*$'
  with pytest.raises(ConfigError, match=message):
    read(tmp_path)
  with History(tmp_path) as history, pytest.raises(ConfigError, match=message):
    history.truncate_after(1)
  with pytest.raises(ConfigError, match='no such file'):
    read(tmp_path / 'elsewhere')


def test_one_writer_at_a_time(tmp_path):
  with History(tmp_path) as history:
    history.append([{'step': 1}])
    with pytest.raises(ConfigError, match='another run is writing there'):
      History(tmp_path)
    assert read(tmp_path)['step'].tolist() == [1]
  History(tmp_path).close()


def test_on_an_object_store_the_file_is_written_whole(tmp_path, monkeypatch):
  monkeypatch.setattr(history_file, 'is_remote', lambda path: True)
  (tmp_path / FILE).write_text('{"step": 1}\n{"step": 2}\n')
  with History(tmp_path) as history:
    history.append([{'step': 3}])
    assert read(tmp_path)['step'].tolist() == [1, 2, 3]
    history.truncate_after(1)
    history.append([{'step': 2}])
    history.sync()
  assert read(tmp_path)['step'].tolist() == [1, 2]
  write_json(tmp_path / 'result.json', {'x': 1})
  assert strict((tmp_path / 'result.json').read_text()) == {'x': 1}


def test_write_json_replaces_whole_files(tmp_path):
  path = tmp_path / 'new' / 'result.json'
  value = {
    'loss': np.float32(0.1),
    'nan': float('nan'),
    'counts': (1, np.int32(2)),
    'at': tmp_path,
    'v': np.eye(2),
  }
  write_json(path, value)
  assert strict(path.read_text()) == {
    'loss': 0.1,
    'nan': 'nan',
    'counts': [1, 2],
    'at': str(tmp_path),
    'v': [[1.0, 0.0], [0.0, 1.0]],
  }
  with pytest.raises(TypeError):
    write_json(path, {'x': object()})
  assert strict(path.read_text())['counts'] == [1, 2]
  assert os.listdir(path.parent) == ['result.json']


def test_what_extends_a_type_is_written_as_that_type(tmp_path):
  class Words(str):
    pass

  pair = collections.namedtuple('Pair', 'low high')(1, float('inf'))
  ordered = collections.OrderedDict(
    b=np.float64('nan'), a=types.MappingProxyType({1: (np.int8(2),)})
  )
  write_json(
    tmp_path / 'x',
    {'pair': pair, 'ordered': ordered, 'words': Words('w'), 'signal': signal.SIGKILL},
  )
  assert strict((tmp_path / 'x').read_text()) == {
    'pair': [1, 'inf'],
    'ordered': {'b': 'nan', 'a': {'1': [2]}},
    'words': 'w',
    'signal': 9,
  }


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


def test_kill_loses_nothing_that_was_appended(tmp_path):
  process = subprocess.Popen(
    [sys.executable, '-c', KILLED, str(tmp_path)],
    env={**os.environ, 'PYTHONPATH': ROOT},
    stdout=subprocess.PIPE,
  )
  assert process.stdout.readline() == b'ready\n'
  process.send_signal(signal.SIGKILL)
  process.wait()
  process.stdout.close()
  result = strict((tmp_path / 'result.json').read_text())
  with History(tmp_path) as history:
    steps = read(tmp_path)['step']
    np.testing.assert_array_equal(steps, np.arange(len(steps)) // 3)
    assert steps[-1] >= result['step'] >= 19
    history.append([{'step': 10**9}])


def test_these_rooms_load_no_jax():
  code = (
    'import sys; from lmhp.training import history, provenance, writers; from lmhp.training.progress import display; '
    'print([m for m in ("jax", "orbax", "rich", "tensorboardX", "IPython", "wandb") if m in sys.modules])'
  )
  environment = {**os.environ, 'PYTHONPATH': ROOT}
  done = subprocess.run(
    [sys.executable, '-c', code], env=environment, capture_output=True, text=True
  )
  assert done.stdout == '[]\n', done.stdout + done.stderr
