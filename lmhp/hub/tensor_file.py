"""Reads and writes safetensors: one file, or the shards of a directory with an index.

A file that is read is not trusted.

The package `safetensors` checks the header of a file, and writes files. It is not used to read
tensors, because its readers copy each tensor into new memory. For a file of 1,024 MB in
bfloat16, safetensors 0.8.0 takes 0.5 seconds and 1,024 MB of memory. `read_tensors` maps the
same file into memory in 5 milliseconds, without a copy.

A file consists of:

1. 8 bytes: the length of the header in bytes, a little-endian whole number.
2. The header: a JSON object {name: {dtype, shape, data_offsets}}.
3. The values of the tensors, without gaps. data_offsets are the start and the end of a tensor in
   this part, in bytes.

Source: github.com/huggingface/safetensors, README, section "Format".
"""

from __future__ import annotations

from collections.abc import Mapping
import json
import os
import re
import shutil
import tempfile
from typing import TypeGuard

from etils import epath
import ml_dtypes
import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from lmhp.errors import ConfigError
from lmhp.files import as_path, check_is_regular, is_remote, read_bytes
from lmhp.hub.config_json import parse
from lmhp.hub.other_formats import other_format
from lmhp.typing import JSON, PathLike

DTYPES: dict[str, npt.DTypeLike] = {
  'F64': '<f8',
  'F32': '<f4',
  'F16': '<f2',
  'BF16': ml_dtypes.bfloat16,
  'I64': '<i8',
  'I32': '<i4',
  'I16': '<i2',
  'I8': 'i1',
  'U8': 'u1',
  'U16': '<u2',
  'U32': '<u4',
  'U64': '<u8',
  'BOOL': '?',
}
"""{dtype in a header: dtype in numpy}. Files with other dtypes are refused."""

WEIGHTS = 'model.safetensors'
INDEX = 'model.safetensors.index.json'
_LFS_POINTER = b'version https://git-lfs'

MAX_INDEX_BYTES = 50_000_000
"""Largest accepted file `INDEX`, in bytes."""

SHARD_BYTES = 5_000_000_000
"""Default of the largest size of a shard, in bytes."""

_SHARD_NAME = re.compile(r'[\w-][\w.-]*\.safetensors')
"""Accepted name of a shard. It has no `/`, so the shard is in the directory of the index."""

MAX_DIMENSIONS = 8
"""Largest accepted number of dimensions of a tensor."""

_HEADER_LENGTH_BYTES = 8
"""Number of bytes at the start of a file that hold the length of the header."""

_MAX_PRINTED = 200
"""Longest quotation in an error message, in characters."""

_ENTRY_KEYS = {'dtype', 'shape', 'data_offsets'}
"""Keys of each tensor in a header."""


# --- files --------------------------------------------------------------------------


def read_tensors(path: PathLike) -> dict[str, np.ndarray]:
  """Reads the tensors of a file.

  Args:
    path: Path of the file, local or remote. A remote file is copied to a temporary file.

  Returns:
    {name: array}. The arrays are read-only and mapped into memory.

  Raises:
    ConfigError: If the file cannot be read, if it is cut short, or if its header is wrong.
  """
  if not is_remote(path):
    try:
      check_is_regular(path, os.stat(as_path(path)))
    except OSError as error:
      raise ConfigError(f'{path}: cannot be read: {_one_line(error)}') from None
    return _map_tensors(os.fspath(as_path(path)), str(path))
  with tempfile.NamedTemporaryFile(suffix='.safetensors') as copy:
    try:
      with as_path(path).open('rb') as file:
        shutil.copyfileobj(file, copy)
    except (OSError, ValueError) as error:
      raise ConfigError(f'{path}: cannot be read: {_one_line(error)}') from None
    copy.flush()
    # The mapping stays valid after the temporary file is deleted.
    return _map_tensors(copy.name, str(path))


def _map_tensors(file: str, source: str) -> dict[str, np.ndarray]:
  """Maps the tensors of a local file into memory. `source` is its name in error messages."""
  try:
    # Opening a file checks sizes, dtypes, shapes and offsets of all tensors against each
    # other and against the size of the file.
    with safetensors.safe_open(file, framework='np'):
      pass
    data = np.memmap(file, np.uint8, mode='r')
  except (OSError, ValueError, safetensors.SafetensorError) as error:
    with open(file, 'rb') as content:
      is_pointer = content.read(len(_LFS_POINTER)) == _LFS_POINTER
    reason = 'a pointer of Git LFS (git lfs pull)' if is_pointer else _one_line(error)
    raise ConfigError(f'{source}: not a valid safetensors file: {reason}') from None

  # Read the header again, since the package does not return the offsets of the tensors.
  header_start = _HEADER_LENGTH_BYTES
  header_end = header_start + int(data[:header_start].view('<u8')[0])
  header = parse(data[header_start:header_end].tobytes(), source)
  header.pop('__metadata__', None)
  buffer = data[header_end:]

  return {
    name: _tensor_view(buffer, name, entry, source) for name, entry in header.items()
  }


def _tensor_view(buffer: np.ndarray, name: str, entry: JSON, source: str) -> np.ndarray:
  """Returns a view of one tensor.

  The package `safetensors` has already checked the header. It accepts some entries that are
  refused here: those with further keys, with dtypes that numpy lacks, or with more than
  `MAX_DIMENSIONS` dimensions.

  Args:
    buffer: All bytes after the header.
    name: Name of the tensor.
    entry: Value of the tensor in the header.
    source: Name of the file, for error messages.
  """

  def error(problem: str) -> ConfigError:
    return ConfigError(f'{source}: {name[:_MAX_PRINTED]!r}: {problem}')

  if not isinstance(entry, dict) or set(entry) != _ENTRY_KEYS:
    raise error('expected dtype, shape and data_offsets, and no other key')
  dtype = entry['dtype']
  shape = entry['shape']
  offsets = entry['data_offsets']
  if not isinstance(dtype, str) or dtype not in DTYPES:
    raise error(f'got dtype {str(dtype)[:40]!r}, expected one of {", ".join(DTYPES)}')
  if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
    raise error(
      f'got shape {str(shape)[:80]}, expected at most {MAX_DIMENSIONS} whole numbers'
    )
  if not _are_sizes(offsets) or len(offsets) != 2:
    raise error(f'got data_offsets {str(offsets)[:80]}, expected two whole numbers')
  try:
    return buffer[offsets[0] : offsets[1]].view(DTYPES[dtype]).reshape(shape)
  except ValueError:
    raise error(f'got shape {shape}, expected a shape that numpy supports') from None


def _are_sizes(values: JSON) -> TypeGuard[list[int]]:
  """Returns True for a list of whole numbers of at least 0."""
  return isinstance(values, list) and all(
    type(value) is int and value >= 0 for value in values
  )


def _one_line(error: Exception) -> str:
  """Returns the message of an error in one line of at most `_MAX_PRINTED` characters."""
  return ' '.join(str(error).split())[:_MAX_PRINTED]


def write_tensors(path: PathLike, tensors: Mapping[str, np.ndarray]) -> None:
  """Writes a local file, and flushes it to the disk.

  Args:
    path: Path of the file. Its directory exists.
    tensors: {name: array}. bfloat16 stays bfloat16.
  """
  contiguous = {name: np.asarray(array, order='C') for name, array in tensors.items()}
  # transformers 4 refuses a file without this metadata (pt is PyTorch).
  safetensors.numpy.save_file(contiguous, path, metadata={'format': 'pt'})
  with open(path, 'rb') as file:
    os.fsync(file.fileno())


# --- directories --------------------------------------------------------------------


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
    described = other_format(directory)
    raise ConfigError(f'{message}: {described}' if described else message)

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
  weight_map = parse(read_bytes(path, MAX_INDEX_BYTES), str(path)).get('weight_map')

  error = ConfigError(
    f'{path}: weight_map: expected an object {{name of a tensor: name of its shard}}'
  )
  if not isinstance(weight_map, dict):
    raise error
  shard_of = {}
  for name, shard in weight_map.items():
    if not isinstance(shard, str):
      raise error
    # The index is not trusted. The name must not lead out of the directory.
    if not _SHARD_NAME.fullmatch(shard):
      raise ConfigError(
        f'{path}: weight_map: got {shard[:_MAX_PRINTED]!r}, expected the name of a '
        'safetensors file in the same directory'
      )
    shard_of[name] = shard
  return shard_of


def write_directory(
  directory: epath.Path, tensors: Mapping[str, np.ndarray], shard_bytes: int
) -> None:
  """Writes tensors as one file, or as shards with an index.

  Args:
    directory: Local directory, which exists.
    tensors: {name: array}.
    shard_bytes: Largest size of a file, in bytes. A tensor that is larger than this has a file
      that contains no other tensor.
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
  """Returns the tensors of each shard, in order. There is at least one shard."""
  shards: list[dict[str, np.ndarray]] = [{}]
  n_free_bytes = shard_bytes
  for name, array in tensors.items():
    # An empty shard takes any tensor, even one that is larger than `shard_bytes`.
    if array.nbytes > n_free_bytes and shards[-1]:
      shards.append({})
      n_free_bytes = shard_bytes
    shards[-1][name] = array
    n_free_bytes -= array.nbytes
  return shards
