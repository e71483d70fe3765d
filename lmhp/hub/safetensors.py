"""The safetensors format, read without trust and written whole: a JSON header, then the numbers.

A file is 8 bytes (length of the header, little-endian), the header `{name: {dtype, shape, data_offsets}}`, and one
buffer that the offsets cover without gap or overlap. Reading maps the file into memory: nothing is copied before it is
used, and nothing in a file is ever executed. Source: github.com/huggingface/safetensors, README, "Format".
"""

from __future__ import annotations

import json
import math
import os
from typing import Any, Mapping

from etils import epath
import ml_dtypes
import numpy as np

from lmhp.errors import ConfigError
from lmhp.hub.config_json import parse

DTYPES = {
  'F64': np.dtype('<f8'),
  'F32': np.dtype('<f4'),
  'F16': np.dtype('<f2'),
  'BF16': np.dtype(ml_dtypes.bfloat16),
  'I64': np.dtype('<i8'),
  'I32': np.dtype('<i4'),
  'I16': np.dtype('<i2'),
  'I8': np.dtype('i1'),
  'U8': np.dtype('u1'),
  'U16': np.dtype('<u2'),
  'U32': np.dtype('<u4'),
  'U64': np.dtype('<u8'),
  'BOOL': np.dtype('?'),
}
FLOATS = ('F64', 'F32', 'F16', 'BF16')
MAX_HEADER = 100_000_000  # bytes; the format's own limit
MAX_DIMENSIONS = 8


def read(path: Any) -> dict[str, np.ndarray]:
  """The tensors of a file, by name, read-only and mapped into memory where the file is local.

  Raises:
    ConfigError: one line, where the file is cut short, or its header says what cannot be true.
  """
  path = epath.Path(path)
  data = _bytes_of(path)
  if data.size < 8:
    raise ConfigError(f'{path}: {data.size} bytes, too short for a safetensors file')
  size = int(data[:8].view('<u8')[0])
  if size > MAX_HEADER:
    raise ConfigError(
      f'{path}: says that its header has {size} bytes, expected at most {MAX_HEADER}; is it '
      'safetensors?'
    )
  if 8 + size > data.size:
    raise ConfigError(
      f'{path}: says that its header has {size} bytes, but the file ends after {data.size - 8}'
    )
  header = parse(data[8 : 8 + size].tobytes(), str(path))
  header.pop('__metadata__', None)
  buffer, entries = data[8 + size :], {}
  for name, entry in header.items():
    entries[name] = _checked(path, name, entry, buffer.size)
  _check_covered(path, entries, buffer.size)
  return {
    name: buffer[start:end].view(dtype).reshape(shape)
    for name, (dtype, shape, start, end) in entries.items()
  }


def _bytes_of(path: epath.Path) -> np.ndarray:
  """The file as uint8: mapped where it is local, else in memory."""
  try:
    if '://' in os.fspath(path):
      return np.frombuffer(path.read_bytes(), np.uint8)
    if path.stat().length == 0:
      return np.zeros(0, np.uint8)
    return np.memmap(path, np.uint8, mode='r')
  except (OSError, ValueError) as error:
    raise ConfigError(
      f'{path}: cannot be read: {getattr(error, "strerror", None) or error}'
    ) from None


def _checked(
  path: epath.Path, name: str, entry: Any, size: int
) -> tuple[np.dtype, tuple[int, ...], int, int]:
  """A header entry as dtype, shape, start and end, all of them consistent."""

  def wrong(what: str) -> ConfigError:
    return ConfigError(f'{path}: {name[:200]!r}: {what}')

  if not isinstance(entry, dict) or set(entry) != {'dtype', 'shape', 'data_offsets'}:
    raise wrong('expected dtype, shape and data_offsets in its header')
  if entry['dtype'] not in FLOATS and entry['dtype'] not in DTYPES:
    raise wrong(
      f'got the dtype {str(entry["dtype"])[:40]!r}, expected one of {", ".join(DTYPES)}'
    )
  shape, offsets = entry['shape'], entry['data_offsets']
  whole = lambda values: (
    isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)
  )
  if not whole(shape) or len(shape) > MAX_DIMENSIONS:
    raise wrong(
      f'got the shape {str(shape)[:80]}, expected at most {MAX_DIMENSIONS} whole numbers'
    )
  if not whole(offsets) or len(offsets) != 2:
    raise wrong(f'got the offsets {str(offsets)[:80]}, expected two whole numbers')
  (start, end), dtype = offsets, DTYPES[entry['dtype']]
  if end > size or start > end:
    raise wrong(
      f'stands at bytes {start} to {end} of {size}: the file is cut short, or its header is wrong'
    )
  size = math.prod(shape) * dtype.itemsize
  if end - start != size:
    raise wrong(
      f'has {end - start} bytes, but {entry["dtype"]} of shape {shape} takes {size}'
    )
  return dtype, tuple(shape), start, end


def _check_covered(path: epath.Path, entries: Mapping[str, tuple], size: int) -> None:
  """No byte belongs to two tensors, or to none."""
  at = 0
  for name, (_, _, start, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
    if start != at:
      raise ConfigError(
        f'{path}: {name[:200]!r}: begins at byte {start} and not at {at}: tensors overlap or leave a '
        'gap'
      )
    at = end
  if at != size:
    raise ConfigError(f'{path}: {size - at} bytes after the last tensor belong to none')


def write(path: Any, tensors: Mapping[str, np.ndarray]) -> None:
  """Writes tensors to a file that is whole or not there: under another name, synced, renamed.

  Args:
    path: of the file; its directory exists.
    tensors: by name; bfloat16 stays bfloat16.
  """
  path, header, at = epath.Path(path), {'__metadata__': {'format': 'pt'}}, 0
  names = {dtype: name for name, dtype in DTYPES.items()}
  for name, tensor in tensors.items():
    header[name] = {
      'dtype': names[tensor.dtype],
      'shape': list(tensor.shape),
      'data_offsets': [at, at + tensor.nbytes],
    }
    at += tensor.nbytes
  text = json.dumps(header, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % 8)  # tensors begin at a multiple of 8
  temporary = path.parent / f'.{path.name}.{os.getpid()}'
  try:
    with temporary.open('wb') as file:
      file.write(len(text).to_bytes(8, 'little') + text)
      for tensor in tensors.values():
        file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
      file.flush()
      if '://' not in os.fspath(path):
        os.fsync(file.fileno())
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)
