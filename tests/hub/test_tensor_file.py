"""Safetensors files: mapped without a copy, written exactly, and refused if they are wrong."""

import json
import os

from etils.epath import testing
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from lmhp import files
from lmhp.errors import ConfigError
from lmhp.hub.tensor_file import DTYPES, read_tensors, write_tensors

NAME = 'model.norm.weight'
LAST = 'model.zeros'


@pytest.fixture
def file(tmp_path):
  """A file with a vector of 6 float32 numbers and a matrix of 2 by 3."""
  path = tmp_path / 'model.safetensors'
  tensors = {
    NAME: np.arange(6, dtype=np.float32),
    LAST: np.zeros((2, 3), np.float32),
  }
  safetensors.numpy.save_file(tensors, path)
  return path


# --- round trips --------------------------------------------------------------------


@pytest.mark.parametrize('name', DTYPES)
def test_every_dtype_is_written_and_read_back(tmp_path, name):
  array = np.arange(6).reshape(2, 3).astype(DTYPES[name])
  write_tensors(tmp_path / 'f', {'a': array})
  read = read_tensors(tmp_path / 'f')['a']
  assert read.dtype == array.dtype
  np.testing.assert_array_equal(read, array)


def test_the_package_reads_what_lmhp_writes(tmp_path):
  tensors = {
    'transposed': np.arange(6, dtype=np.float32).reshape(2, 3).T,
    'half': np.ones(3, ml_dtypes.bfloat16),
    'scalar': np.array(2.0, np.float32),
    'empty': np.zeros((0, 3), np.float32),
  }
  write_tensors(tmp_path / 'f', tensors)
  read = safetensors.numpy.load_file(tmp_path / 'f')
  assert read.keys() == tensors.keys()
  for name, array in tensors.items():
    assert read[name].dtype == array.dtype
    assert read[name].shape == array.shape
    np.testing.assert_array_equal(read[name], array)


def test_tensors_are_mapped_and_read_only(tmp_path):
  write_tensors(tmp_path / 'f', {'a': np.ones((3, 5), ml_dtypes.bfloat16)})
  read = read_tensors(tmp_path / 'f')['a']
  assert isinstance(read, np.memmap)
  assert read.dtype == ml_dtypes.bfloat16
  assert not read.flags.writeable


def test_a_file_in_an_object_store_is_read(file, monkeypatch):
  # An installed library stands for that of the object store.
  monkeypatch.setitem(files.STORE_LIBRARIES, 'gs', 'numpy')
  local = file.read_bytes()
  opened = []

  def open_remote(original, path, mode):
    opened.append((str(path), mode))
    return original(file, mode)

  with testing.mock_epath(open=open_remote):
    read = read_tensors('gs://bucket/model.safetensors')
  assert opened == [('gs://bucket/model.safetensors', 'rb')]
  np.testing.assert_array_equal(read[NAME], np.arange(6, dtype=np.float32))
  assert file.read_bytes() == local


def test_a_remote_file_that_cannot_be_read_is_an_error(monkeypatch):
  monkeypatch.setitem(files.STORE_LIBRARIES, 'gs', 'numpy')

  def fail(original, path, mode):
    raise OSError(5, 'Input/output error')

  with testing.mock_epath(open=fail):
    with pytest.raises(ConfigError, match='^gs://bucket/f: '):
      read_tensors('gs://bucket/f')


# --- wrong files --------------------------------------------------------------------


def write_raw(path, header, content=b'12345678'):
  """Writes a file with any header. `header` is JSON text, or a value."""
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, 'little') + text + content)


def entry(**changes):
  return {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]} | changes


ENTRY_TEXT = b'{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'

WRONG_HEADERS = {
  'not JSON': b'\x80 nothing',
  'a list': [1],
  'nested too deeply': b'{"a":' + b'[' * 100_000 + b']' * 100_000 + b'}',
  'the same name twice': b'{"a": ' + ENTRY_TEXT + b', "a": ' + ENTRY_TEXT + b'}',
  'the same key twice': b'{"a": {"dtype": "F32", ' + ENTRY_TEXT[1:] + b'}',
  'a further key': {'a': entry(extra=1)},
  'no offsets': {'a': {'dtype': 'F32', 'shape': [2]}},
  'a number for an entry': {'a': 1},
  'nine dimensions': {'a': entry(shape=[2] + [1] * 8)},
  'a negative size': {'a': entry(shape=[-1, -2])},
  'a fraction for a size': {'a': entry(shape=[2.0])},
  'a bool for a size': {'a': entry(shape=[True, 2])},
  'a word for offsets': {'a': entry(data_offsets='all')},
  'three offsets': {'a': entry(data_offsets=[0, 4, 8])},
  'backward offsets': {'a': entry(data_offsets=[8, 0])},
  'another size': {'a': entry(dtype='F16')},
  'a huge size': {'a': entry(shape=[2**62])},
  'a size beyond 64 bits': {'a': entry(shape=[10**23])},
  'an empty tensor of huge size': {
    'a': entry(shape=[0, 2**52, 2**52], data_offsets=[0, 0]),
    'b': entry(),
  },
  'an unknown dtype': {'a': entry(dtype='X')},
  'a dtype that numpy lacks': {'a': entry(dtype='F8_E4M3', shape=[8])},
  'complex numbers': {'a': entry(dtype='C64', shape=[1])},
  'a gap': {'a': entry(shape=[1], data_offsets=[4, 8])},
  'an overlap': {'a': entry(), 'b': entry()},
  'a line break in a name': {'a\nb': entry(data_offsets=[1, 9])},
  'a long name': {'a' * 100_000: entry(data_offsets=[1, 9])},
  'infinity': b'{"a": {"dtype": "F32", "shape": [Infinity], "data_offsets": [0, 8]}}',
}


@pytest.mark.parametrize('case', WRONG_HEADERS)
def test_a_wrong_header_is_an_error_of_one_line(tmp_path, case):
  path = tmp_path / 'f'
  write_raw(path, WRONG_HEADERS[case])
  with pytest.raises(ConfigError) as caught:
    read_tensors(path)
  message = str(caught.value)
  assert message.startswith(f'{path}: ')
  assert '\n' not in message
  assert len(message) < 700


def test_the_error_names_the_tensor_and_the_dtype(tmp_path):
  write_raw(tmp_path / 'f', {'a': entry(dtype='F8_E4M3', shape=[8])})
  with pytest.raises(ConfigError, match="'a': .*'F8_E4M3'.*BF16"):
    read_tensors(tmp_path / 'f')


WRONG_CONTENTS = {
  'empty': lambda content: b'',
  'seven bytes': lambda content: content[:7],
  'a cut header': lambda content: content[:50],
  'cut numbers': lambda content: content[:-4],
  'added bytes': lambda content: content + b'1234',
  'a huge header': lambda content: (2**62).to_bytes(8, 'little') + content[8:],
  'a pickle': lambda content: b'\x80\x04\x95' + content,
  'a pointer of Git LFS': lambda content: b'version https://git-lfs.github.com/spec/v1',
}


@pytest.mark.parametrize('case', WRONG_CONTENTS)
def test_wrong_bytes_are_an_error_of_one_line(file, case):
  file.write_bytes(WRONG_CONTENTS[case](file.read_bytes()))
  with pytest.raises(ConfigError) as caught:
    read_tensors(file)
  assert str(caught.value).startswith(f'{file}: ')
  assert '\n' not in str(caught.value)
  assert ('git lfs pull' in str(caught.value)) == (case == 'a pointer of Git LFS')


@pytest.mark.parametrize('name', ['missing', '.'])
def test_a_path_without_a_file_is_an_error(tmp_path, name):
  with pytest.raises(ConfigError) as caught:
    read_tensors(tmp_path / name)
  assert str(caught.value).startswith(f'{tmp_path / name}: ')


def test_any_changed_byte_of_a_header_gives_arrays_or_an_error(file):
  content = file.read_bytes()
  header_end = 8 + int.from_bytes(content[:8], 'little')
  rng = np.random.default_rng(0)
  n_errors = 0
  for _ in range(400):
    changed = bytearray(content)
    changed[rng.integers(0, header_end)] = rng.integers(0, 256)
    file.write_bytes(changed)
    try:
      arrays = read_tensors(file)
    except ConfigError as error:
      n_errors += 1
      assert '\n' not in str(error)
    else:
      assert sum(array.nbytes for array in arrays.values()) == 48
  assert n_errors > 200


def test_a_failed_write_is_raised(tmp_path, monkeypatch):
  def fail(descriptor):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', fail)
  with pytest.raises(OSError):
    write_tensors(tmp_path / 'f', {'a': np.ones(3, np.float32)})
