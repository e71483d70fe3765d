"""Atomic writes, and values as JSON can hold them."""

import ast
import collections
import json
import math
import os
import signal
import types

from etils import epath
import numpy as np
import pytest

from lmhp import files
from lmhp.errors import ConfigError
from lmhp.files import as_path, from_jsonable, to_jsonable, write_json


def parse_strictly(text):
  """Parses JSON without the words NaN and Infinity, which Python would accept."""

  def refuse(word):
    raise ValueError(word)

  return json.loads(text, parse_constant=refuse)


def test_write_json_makes_directories_and_leaves_one_file(tmp_path):
  path = tmp_path / 'new' / 'result.json'
  write_json(path, {'x': 1})
  assert parse_strictly(path.read_text()) == {'x': 1}
  assert os.listdir(path.parent) == ['result.json']


def test_a_value_that_json_cannot_hold_leaves_the_old_file(tmp_path):
  path = tmp_path / 'result.json'
  write_json(path, {'x': 1})
  with pytest.raises(TypeError):
    write_json(path, {'x': object()})
  assert parse_strictly(path.read_text()) == {'x': 1}
  assert os.listdir(tmp_path) == ['result.json']


def test_an_object_store_gets_the_file_in_one_write(tmp_path, monkeypatch):
  monkeypatch.setattr(files, 'is_remote', lambda path: True)
  monkeypatch.setattr(files, 'as_path', epath.Path)
  write_json(tmp_path / 'result.json', {'x': 1})
  assert parse_strictly((tmp_path / 'result.json').read_text()) == {'x': 1}


def test_numpy_values_and_paths_become_json(tmp_path):
  value = {
    'loss': np.float32(0.1),
    'nan': math.nan,
    'counts': (1, np.int32(2)),
    'path': tmp_path,
    'matrix': np.eye(2),
  }
  assert to_jsonable(value) == {
    'loss': 0.1,
    'nan': 'nan',
    'counts': [1, 2],
    'path': str(tmp_path),
    'matrix': [[1.0, 0.0], [0.0, 1.0]],
  }


def test_subclasses_of_json_types_become_these_types(tmp_path):
  class Words(str):
    pass

  pair = collections.namedtuple('Pair', 'low high')(1, math.inf)
  mapping = types.MappingProxyType({1: (np.int8(2),)})
  ordered = collections.OrderedDict(b=np.float64('nan'), a=mapping)
  value = {
    'pair': pair,
    'ordered': ordered,
    'words': Words('w'),
    'signal': signal.SIGKILL,
  }
  write_json(tmp_path / 'x', value)
  assert parse_strictly((tmp_path / 'x').read_text()) == {
    'pair': [1, 'inf'],
    'ordered': {'b': 'nan', 'a': {'1': [2]}},
    'words': 'w',
    'signal': 9,
  }


def test_words_for_nan_and_infinity_become_numbers_again():
  value = from_jsonable({'a': ['inf', '-inf'], 'b': 'nan', 'c': 'information'})
  assert value['a'] == [math.inf, -math.inf]
  assert math.isnan(value['b'])
  assert value['c'] == 'information'


# --- bounded reads ------------------------------------------------------------------


def test_devices_pipes_and_directories_are_refused(tmp_path):
  os.mkfifo(tmp_path / 'pipe')
  os.symlink('/dev/zero', tmp_path / 'zero')
  (tmp_path / 'directory').mkdir()
  for name in ('pipe', 'zero', 'directory'):
    with pytest.raises((ConfigError, IsADirectoryError), match=name):
      files.read_bytes(tmp_path / name)


def test_a_file_above_the_limit_is_refused(tmp_path):
  (tmp_path / 'large').write_bytes(bytes(11))
  assert files.read_bytes(tmp_path / 'large', max_bytes=11) == bytes(11)
  with pytest.raises(ConfigError, match='larger than 10 bytes'):
    files.read_bytes(tmp_path / 'large', max_bytes=10)


@pytest.mark.parametrize(
  'text', ['', 'x', '{} {}', '\xff', '[' * 3000 + ']' * 3000, '[' * 200 + ']' * 200]
)
def test_a_text_that_is_no_json_is_one_line(tmp_path, text):
  (tmp_path / 'x.json').write_text(text, 'latin-1')
  with pytest.raises(ConfigError) as error:
    files.read_json(tmp_path / 'x.json')
  assert '\n' not in str(error.value)
  assert str(error.value).startswith(str(tmp_path / 'x.json'))


def test_each_change_of_a_json_file_with_a_checksum_is_found(tmp_path):
  path = tmp_path / 'x.json'
  value = {'loss': 1.5, 'steps': [1, 20], 'word': 'nan', 'bad': math.nan}
  write_json(path, value, checksum=True)
  assert files.read_json(path) == to_jsonable(value)
  text = path.read_text()
  for position, character in enumerate(text):
    if character.isdigit():
      other = str((int(character) + 1) % 10)
      path.write_text(text[:position] + other + text[position + 1 :])
      with pytest.raises(ConfigError, match='x.json'):
        files.read_json(path)


def test_a_full_disk_names_the_file_and_leaves_no_temporary_one(tmp_path, monkeypatch):
  write_json(tmp_path / 'x.json', {'x': 1})

  def refuse(descriptor):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', refuse)
  with pytest.raises(OSError, match='No space left') as error:
    write_json(tmp_path / 'x.json', {'x': 2})
  assert error.value.filename == str(tmp_path / 'x.json')
  assert os.listdir(tmp_path) == ['x.json']
  assert parse_strictly((tmp_path / 'x.json').read_text()) == {'x': 1}


# --- Python files -------------------------------------------------------------------


@pytest.mark.parametrize(
  'text',
  [
    'x"""+__import__("os").system("touch EXECUTED")+"""',
    'C:\\Users\\Nov\\x\\u\\N{DIGIT ONE}',
    'ends in a backslash\\',
    'ends in a quote"',
    '"""',
    'line\nline\r\x00\x0c\u2028\ud800 é 漢',
  ],
)
def test_a_docstring_holds_whatever_a_text_contains(text):
  source = files.python_docstring(text) + '\nx = 1\n'
  tree = ast.parse(source.encode())
  assert ast.get_docstring(tree, clean=False) == text
  assert len(tree.body) == 2


@pytest.mark.parametrize(
  'path', ['https://a.org/x.txt', 'hf://a/b', 'hdfs://a/x', 'file:///tmp/x']
)
def test_url_of_no_object_store_is_one_line(path):
  with pytest.raises(ConfigError, match=f'^{path}: got a URL .*gs://, s3://'):
    as_path(path)


def test_password_of_a_url_is_hidden():
  with pytest.raises(ConfigError, match='got a URL') as caught:
    as_path('https://me:secret@a.org/x')
  assert 'secret' not in str(caught.value)


@pytest.mark.parametrize('scheme, library', files.STORE_LIBRARIES.items())
def test_missing_library_of_an_object_store_is_named(monkeypatch, scheme, library):
  monkeypatch.setattr(files.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ConfigError, match=f'^{scheme}://b/x: .*pip install {library}'):
    as_path(f'{scheme}://b/x')
