"""Tensors of a checkpoint directory: one safetensors file, or shards with an index."""

from __future__ import annotations

from collections.abc import Mapping
import json
import re

from etils import epath
import numpy as np

from lmhp.errors import ConfigError
from lmhp.hub.config_json import parse
from lmhp.hub.tensor_file import read_tensors, write_tensors

WEIGHTS = 'model.safetensors'
INDEX = 'model.safetensors.index.json'
PICKLES = ('pytorch_model.bin', 'pytorch_model.bin.index.json')

MAX_INDEX_BYTES = 50_000_000
SHARD_BYTES = 5_000_000_000
"""Default size of the largest shard."""

_MAX_PRINTED = 200
_SHARD_NAME = re.compile(r'[\w-][\w.-]*\.safetensors')
"""Name of a file in the directory itself. It has no separators."""


# --- reading ------------------------------------------------------------------------


def read_directory(directory: epath.Path) -> dict[str, np.ndarray]:
  """Reads all tensors of a directory.

  Args:
    directory: Directory with model.safetensors, or with shards and their index.

  Returns:
    {name: array}. The arrays are read-only and mapped into memory.

  Raises:
    ConfigError: If a file is missing or damaged, or if the index and the shards disagree.
  """
  if (directory / WEIGHTS).exists():
    return read_tensors(directory / WEIGHTS)
  if not (directory / INDEX).exists():
    message = f'{directory}: no {WEIGHTS} and no {INDEX}, expected one of them'
    if any((directory / name).exists() for name in PICKLES):
      message += '. pytorch_model.bin is not read, because it is a pickle, which can run any code'
    raise ConfigError(message)

  # Each tensor has to be in the shard that the index lists for it, and in no other.
  shard_of = _read_index(directory / INDEX)
  tensors: dict[str, np.ndarray] = {}
  for shard in sorted(set(shard_of.values())):
    path = directory / shard
    if not path.exists():
      raise ConfigError(f'{path}: no such file, expected the shard that {INDEX} lists')
    for name, array in read_tensors(path).items():
      if shard_of.get(name) != shard:
        expected = shard_of.get(name, 'no shard')
        raise ConfigError(
          f'{path}: {name[:_MAX_PRINTED]!r}: got this tensor, but {INDEX} lists it in '
          f'{expected}'
        )
      tensors[name] = array
  for name, shard in shard_of.items():
    if name not in tensors:
      raise ConfigError(
        f'{directory / shard}: no tensor {name[:_MAX_PRINTED]!r}, expected it in this shard, '
        f'as {INDEX} lists it'
      )
  return tensors


def _read_index(path: epath.Path) -> dict[str, str]:
  """Returns {name of a tensor: name of its shard}."""
  n_bytes = path.stat().length
  if n_bytes > MAX_INDEX_BYTES:
    raise ConfigError(
      f'{path}: got {n_bytes} bytes, expected at most {MAX_INDEX_BYTES}'
    )
  weight_map = parse(path.read_bytes(), str(path)).get('weight_map')

  error = ConfigError(
    f'{path}: weight_map: expected an object with the file name of each tensor'
  )
  if not isinstance(weight_map, dict):
    raise error
  shard_of = {}
  for name, shard in weight_map.items():
    if not isinstance(shard, str):
      raise error
    # The name comes from a file that is not trusted, and must not leave the directory.
    if not _SHARD_NAME.fullmatch(shard):
      raise ConfigError(
        f'{path}: weight_map: got {shard[:_MAX_PRINTED]!r}, expected the name of a '
        'safetensors file in the same directory'
      )
    shard_of[name] = shard
  return shard_of


# --- writing ------------------------------------------------------------------------


def write_directory(
  directory: epath.Path, tensors: Mapping[str, np.ndarray], shard_bytes: int
) -> None:
  """Writes tensors as one file, or as shards with an index.

  Args:
    directory: Local directory, which exists.
    tensors: {name: array}.
    shard_bytes: Size of the largest file. A larger tensor is alone in its file.
  """
  shards = _split(tensors, shard_bytes)
  if len(shards) == 1:
    write_tensors(directory / WEIGHTS, shards[0])
    return

  # The index lists the shard of each tensor.
  shard_of = {}
  for i, shard in enumerate(shards):
    shard_name = f'model-{i + 1:05}-of-{len(shards):05}.safetensors'
    write_tensors(directory / shard_name, shard)
    shard_of |= dict.fromkeys(shard, shard_name)
  total_bytes = sum(array.nbytes for array in tensors.values())
  index = {'metadata': {'total_size': total_bytes}, 'weight_map': shard_of}
  (directory / INDEX).write_text(json.dumps(index, indent=2))


def _split(
  tensors: Mapping[str, np.ndarray], shard_bytes: int
) -> list[dict[str, np.ndarray]]:
  """Divides tensors into shards, in order. There is at least one shard."""
  shards: list[dict[str, np.ndarray]] = [{}]
  n_free_bytes = shard_bytes
  for name, array in tensors.items():
    # A tensor that is larger than a shard is alone in its shard.
    if array.nbytes > n_free_bytes and shards[-1]:
      shards.append({})
      n_free_bytes = shard_bytes
    shards[-1][name] = array
    n_free_bytes -= array.nbytes
  return shards
