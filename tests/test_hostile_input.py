"""Plain and hostile input: one line each, bounded in time and memory, and no traceback."""

import gzip
import json
import os
import struct
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lmhp
from lmhp.data import readers
from lmhp.data.tokenizer import load_tokenizer
from lmhp.errors import ConfigError
from lmhp.hub.tensor_file import read_tensors
from lmhp.sweeping.config import SweepConfig


def one_line(call, *arguments, **options):
  with pytest.raises(ConfigError) as error:
    call(*arguments, **options)
  assert '\n' not in str(error.value)
  return str(error.value)


def page_or_line(path):
  """A report is a page or one line."""
  try:
    lmhp.report(path).text('html')
  except ConfigError as error:
    assert '\n' not in str(error)


# --- experiment files -------------------------------------------------------------------

HEAD = 'import lmhp\ndef get_config(): return lmhp.default_config()\n'


@pytest.mark.parametrize(
  'text',
  [
    'raise GeneratorExit',
    'class E(BaseException): pass\nraise E("x")',
    'class E(Exception):\n  def __str__(self): raise RuntimeError\nraise E()',
    'raise SystemExit(3)',
    'def get_config(): return get_config()',
    'def get_config():\n  d = {}\n  d["model"] = d\n  return d',
    'def get_config(): return {1: {}}',
    'def get_config(): return {("a",): 1}',
  ],
)
def test_an_experiment_file_that_fails_is_one_line(tmp_path, text):
  (tmp_path / 'x.py').write_text(text)
  one_line(lmhp.count, tmp_path / 'x.py')


@pytest.mark.parametrize('value', ['{}', 'None', '[1]', '5', 'lmhp'])
def test_a_sweep_of_another_type_is_one_line(tmp_path, value):
  (tmp_path / 'x.py').write_text(f'{HEAD}def get_sweep(): return {value}\n')
  assert one_line(lmhp.plan_sweep, tmp_path / 'x.py').startswith('sweep: got ')


def test_the_number_of_trials_is_bounded():
  space = {'optimizer.learning_rate': lmhp.Float(1e-4, 1)}
  assert 'trials' in one_line(SweepConfig, space=space, trials=10**9)


# --- tables -----------------------------------------------------------------------------

TABLES = {
  'objects.jsonl': ''.join(
    f'{{"layers": [{{"n": {i}}}], "loss": {i}}}\n' for i in range(1, 5)
  ),
  'seed.csv': 'a,seed,loss\n1,inf,2\n3,1,4\n',
  'integers.csv': 'a,loss\n' + ''.join(f'{10**400 + i},{i}\n' for i in range(5)),
  'integers.jsonl': f'{{"a": 1, "loss": {"9" * 400}}}\n{{"a": 2, "loss": 1}}\n',
  'digits.jsonl': f'{{"a": 1, "loss": {"9" * 5000}}}\n',
  'deep.jsonl': '{"a":' * 5000 + '1' + '}' * 5000 + '\n',
  'lists.json': '[' * 100000 + ']' * 100000,
  'empty_key.jsonl': '{"": 1, "loss": 1}\n{"": 2, "loss": 2}\n{"": 3, "loss": 1}\n',
  'empty.csv': '',
  'nul.csv': 'a,loss\n1\0,2\n3,4\n',
  'wide.csv': ','.join(f'c{i}' for i in range(20000)) + '\n' + ','.join('1' * 20000),
}


@pytest.mark.parametrize('name', TABLES)
def test_an_odd_table_is_a_page_or_one_line(tmp_path, name):
  (tmp_path / name).write_text(TABLES[name])
  page_or_line(tmp_path / name)


def test_a_pipe_a_device_and_a_link_to_itself_are_refused(tmp_path):
  os.mkfifo(tmp_path / 'pipe.csv')
  os.symlink('/dev/zero', tmp_path / 'zero.csv')
  os.symlink('loop.csv', tmp_path / 'loop.csv')
  (tmp_path / 'directory.csv').mkdir()
  for path in sorted(tmp_path.iterdir()):
    assert path.name in one_line(lmhp.report, path)
  assert one_line(lmhp.report, '/dev/zero')


def test_a_small_file_that_decompresses_to_a_large_one_is_refused(
  tmp_path, monkeypatch
):
  monkeypatch.setattr('lmhp.analysis.runs.formats.MAX_BYTES', 1000)
  (tmp_path / 'x.csv.gz').write_bytes(gzip.compress(b'a,loss\n' + b'1,2\n' * 1000))
  assert 'larger than 1,000 bytes' in one_line(lmhp.report, tmp_path / 'x.csv.gz')


def test_a_parquet_file_of_many_types_is_a_page_or_one_line(tmp_path):
  columns = {
    'a': [[1, 2]] * 5,
    'loss': [1.0, 2, 3, 4, 5],
    'b': [b'\xff'] * 5,
    'c': pa.array([1, 2, 3, 4, 5], pa.timestamp('ns')),
    'd': pa.array([{'x': 1}] * 5),
  }
  pq.write_table(pa.table(columns), tmp_path / 'x.parquet')
  page_or_line(tmp_path / 'x.parquet')
  (tmp_path / 'noise.parquet').write_bytes(np.random.default_rng(0).bytes(5000))
  assert 'noise.parquet' in one_line(lmhp.report, tmp_path / 'noise.parquet')


# --- runs -------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def run_directory(tmp_path_factory):
  """Files of a run that a stranger could send, without checksums."""
  directory = tmp_path_factory.mktemp('stranger') / 'run'
  directory.mkdir()
  (directory / 'config.json').write_text('{"config": {"model": {"d_model": 8}}}')
  (directory / 'metrics.jsonl').write_text('{"step": 1, "loss_nats": 1}\n' * 3)
  (directory / 'result.json').write_text('{"steps": 3, "final_eval_loss_nats": 1.0}')
  return directory


HUGE = '9' * 400
FILES = [
  ('config.json', '{"config": [1]}'),
  ('config.json', '{"config": "x"}'),
  ('config.json', '{"config": {"model": "x"}}'),
  ('config.json', '{"config": {"model": {"d_model": ' + HUGE + '}}}'),
  ('config.json', '{"config": ' + '{"a":' * 3000 + '1' + '}' * 3001),
  ('config.json', '[]'),
  ('metrics.jsonl', '{"step": 1e400, "loss_nats": 1}\n'),
  ('metrics.jsonl', '{"step": "1", "loss_nats": 1}\n'),
  ('metrics.jsonl', '{"step": true, "loss_nats": 1}\n'),
  ('metrics.jsonl', '{"step": ' + HUGE + ', "loss_nats": 1}\n'),
  ('metrics.jsonl', '{"step": 1, "loss_nats": ' + HUGE + '}\n'),
  ('metrics.jsonl', '{"step": 1, "loss_nats": [1]}\n'),
  ('metrics.jsonl', '{"step": 1, "loss_nats": {"a": 1}}\n'),
  ('metrics.jsonl', '{"step": 1, "x": ' + '[' * 3000 + ']' * 3000 + '}\n'),
  ('metrics.jsonl', '{"step": -5, "loss_nats": "x"}\n{"step": -6, "loss_nats": 1}\n'),
  ('result.json', '{"final_eval_loss_nats": "x"}'),
  ('result.json', '{"final_eval_loss_nats": null}'),
  ('result.json', '{"final_eval_loss_nats": [1]}'),
  ('result.json', '{"final_eval_loss_nats": ' + HUGE + '}'),
  ('result.json', '{"parameters_by_kind": [1]}'),
  ('result.json', '{"parameters_by_kind": {"a": "x"}, "tokens": ' + HUGE + '}'),
  ('result.json', '{"history": {"step": "x"}}'),
  ('result.json', '{"history": {"step": 1, "n_rows": "x", "crc32": []}}'),
  ('result.json', '{"diverged_at": "x", "seconds": "<b>"}'),
]


@pytest.mark.parametrize(('name', 'text'), FILES)
def test_odd_files_of_a_run_are_a_page_or_one_line(run_directory, name, text):
  path = run_directory / name
  before = path.read_text()
  try:
    path.write_text(text)
    page_or_line(run_directory)
  finally:
    path.write_text(before)


# --- models, tokenizers and data --------------------------------------------------------


@pytest.mark.parametrize('dtype', [['F32'], {'x': 1}, 5, None])
def test_a_dtype_that_is_no_text_is_one_line(tmp_path, dtype):
  entry = {'dtype': dtype, 'shape': [1], 'data_offsets': [0, 4]}
  header = json.dumps({'a': entry}).encode()
  path = tmp_path / 'model.safetensors'
  path.write_bytes(struct.pack('<Q', len(header)) + header + b'1234')
  assert str(path) in one_line(read_tensors, path)


def test_weights_in_a_pipe_are_refused(tmp_path):
  os.mkfifo(tmp_path / 'model.safetensors')
  assert 'model.safetensors' in one_line(read_tensors, tmp_path / 'model.safetensors')


def test_an_id_of_billions_needs_no_memory(tmp_path):
  content = {
    'version': '1.0',
    'truncation': None,
    'padding': None,
    'added_tokens': [],
    'normalizer': None,
    'pre_tokenizer': None,
    'post_processor': None,
    'decoder': None,
    'model': {
      'type': 'WordLevel',
      'vocab': {'a': 4_000_000_000, '[UNK]': 0},
      'unk_token': '[UNK]',
    },
  }
  (tmp_path / 'tokenizer.json').write_text(json.dumps(content))
  assert '4000000000' in one_line(load_tokenizer, tmp_path / 'tokenizer.json')


def test_a_directory_that_links_to_itself_is_read_once(tmp_path, caplog):
  (tmp_path / 'a.txt').write_text('text')
  (tmp_path / 'inner').mkdir()
  (tmp_path / 'inner/b.txt').write_text('more')
  os.symlink(tmp_path, tmp_path / 'again')
  os.symlink(tmp_path / 'a.txt', tmp_path / 'inner/copy.txt')
  text = readers.open_text(str(tmp_path), 'text', tmp_path)
  assert list(text.documents()) == ['text', 'more']
  assert 'again' in caplog.text


def test_a_pipe_or_a_device_is_no_data(tmp_path):
  os.mkfifo(tmp_path / 'pipe.txt')
  os.symlink('/dev/zero', tmp_path / 'zero.txt')
  for name in ('pipe.txt', 'zero.txt'):
    assert name in one_line(readers.open_text, str(tmp_path / name), 'text', tmp_path)


@pytest.mark.parametrize('value', ['[' * 50000 + ']' * 50000, '9' * 5000])
def test_an_odd_line_of_data_is_one_line(tmp_path, value):
  (tmp_path / 'x.jsonl').write_text(f'{{"text":{value}}}\n')
  text = readers.open_text(str(tmp_path / 'x.jsonl'), 'text', tmp_path)
  assert 'x.jsonl:1' in one_line(lambda: list(text.documents()))


# --- streams ----------------------------------------------------------------------------


@pytest.mark.parametrize('closed', ['>&-', '2>&-', '<&- >&- 2>&-'])
def test_closed_streams_do_not_matter(closed):
  command = f'"{sys.executable}" -m lmhp --version {closed}'
  process = subprocess.run(['sh', '-c', command], capture_output=True, text=True)
  assert process.returncode == 0
  assert 'Traceback' not in process.stderr
