"""Directories with one file or with shards."""

import json

from etils import epath
import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.hub.tensor_file import (
  INDEX,
  WEIGHTS,
  read_directory,
  read_tensors,
  write_directory,
)

TENSORS = {name: np.full(10, i, np.float32) for i, name in enumerate('abcde')}


@pytest.fixture
def directory(tmp_path):
  return epath.Path(tmp_path)


def write_index(directory, weight_map):
  (directory / INDEX).write_text(json.dumps({'weight_map': weight_map}))


def test_small_tensors_are_one_file(directory):
  write_directory(directory, TENSORS, shard_bytes=200)
  assert [path.name for path in directory.iterdir()] == [WEIGHTS]


def test_shards_are_filled_in_order_and_read_back(directory):
  write_directory(directory, TENSORS, shard_bytes=100)
  index = json.loads((directory / INDEX).read_text())
  assert index['metadata'] == {'total_size': 200}
  first, second, third = (f'model-0000{i}-of-00003.safetensors' for i in (1, 2, 3))
  assert index['weight_map'] == {
    'a': first,
    'b': first,
    'c': second,
    'd': second,
    'e': third,
  }
  read = read_directory(directory)
  assert read.keys() == TENSORS.keys()
  for name, array in TENSORS.items():
    np.testing.assert_array_equal(read[name], array)


def test_a_tensor_larger_than_a_shard_has_its_own_file(directory):
  write_directory(directory, TENSORS, shard_bytes=1)
  assert len(list(directory.glob('*.safetensors'))) == 5
  assert len(read_tensors(directory / 'model-00001-of-00005.safetensors')) == 1


def test_no_tensors_are_one_file(directory):
  write_directory(directory, {}, shard_bytes=100)
  assert read_directory(directory) == {}


# --- wrong directories --------------------------------------------------------------


def test_a_directory_without_weights_is_an_error(directory):
  with pytest.raises(ConfigError, match=f'{WEIGHTS}.*{INDEX}'):
    read_directory(directory)


def test_the_error_names_a_pickle(directory):
  (directory / 'pytorch_model.bin').write_bytes(b'\x80\x04')
  with pytest.raises(ConfigError, match=r'pytorch_model\.bin'):
    read_directory(directory)


WRONG_INDICES = {
  'no object': ([], 'JSON object'),
  'no map': ({}, 'weight_map'),
  'a list': ({'weight_map': ['a']}, 'weight_map'),
  'a number for a shard': ({'weight_map': {'a': 1}}, 'weight_map'),
  'a shard in another directory': (
    {'weight_map': {'a': '../../etc/passwd'}},
    "weight_map: .*'../../etc/passwd'",
  ),
  'a shard that is no safetensors file': (
    {'weight_map': {'a': 'model.bin'}},
    "weight_map: .*'model.bin'",
  ),
  'a missing shard': (
    {'weight_map': {'a': 'missing.safetensors'}},
    'missing.safetensors: ',
  ),
}


@pytest.mark.parametrize('case', WRONG_INDICES)
def test_a_wrong_index_is_an_error_of_one_line(directory, case):
  content, pattern = WRONG_INDICES[case]
  (directory / INDEX).write_text(json.dumps(content))
  with pytest.raises(ConfigError, match=pattern) as caught:
    read_directory(directory)
  assert '\n' not in str(caught.value)
  assert str(directory) in str(caught.value)


def test_a_large_index_is_an_error(directory):
  with open(directory / INDEX, 'wb') as file:
    file.truncate(60_000_000)
  with pytest.raises(ConfigError, match='larger than 50,000,000 bytes'):
    read_directory(directory)


@pytest.fixture
def shard(directory):
  """The name of a shard with all tensors. The directory has no index yet."""
  write_directory(directory, TENSORS, shard_bytes=1000)
  (directory / WEIGHTS).rename(directory / 'x.safetensors')
  return 'x.safetensors'


def test_a_tensor_without_a_row_in_the_index_is_an_error(directory, shard):
  write_index(directory, dict.fromkeys('abcd', shard))
  with pytest.raises(ConfigError, match="x.safetensors: 'e'"):
    read_directory(directory)


def test_a_tensor_that_the_index_has_elsewhere_is_an_error(directory, shard):
  (directory / shard).copy(directory / 'y.safetensors')
  write_index(directory, dict.fromkeys('abcd', shard) | {'e': 'y.safetensors'})
  with pytest.raises(ConfigError, match="x.safetensors: 'e'.*y.safetensors"):
    read_directory(directory)


def test_a_tensor_that_is_only_in_the_index_is_an_error(directory, shard):
  write_index(directory, dict.fromkeys('abcdef', shard))
  with pytest.raises(ConfigError, match="'f'"):
    read_directory(directory)
