"""Local and remote paths, atomic writes, and conversion of values to the types of JSON.

JSON has no NaN and no infinity. They are stored as the strings "nan", "inf" and "-inf", so that
a strict parser reads the file, and `float` converts the strings. This file imports no jax.
"""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import json
import math
import os
from typing import Any

from etils import epath
import numpy as np

from lmhp.typing import PathLike

NONFINITE_WORDS = ('nan', 'inf', '-inf')
_JSON_TYPES = {str, int, bool, type(None)}


# --- paths --------------------------------------------------------------------------


def is_remote(path: PathLike) -> bool:
  """Returns True for a path in an object store, such as `gs://bucket/run`.

  An object store replaces whole files and cannot append to one.
  """
  return '://' in str(path)


def as_path(path: PathLike) -> epath.Path:
  """Returns a path object. A local path has `~` expanded, a remote one is unchanged."""
  return epath.Path(path) if is_remote(path) else epath.Path(path).expanduser()


def cache_directory() -> str:
  """Returns the directory of lmhp's caches: $LMHP_CACHE, or ~/.cache/lmhp."""
  return os.environ.get('LMHP_CACHE') or '~/.cache/lmhp'


# --- atomic writes ------------------------------------------------------------------


def write_json(path: PathLike, value: object) -> None:
  """Writes a value as JSON, atomically (see `write_atomic`)."""
  text = json.dumps(to_jsonable(value), indent=2, allow_nan=False) + '\n'
  write_atomic(path, text.encode())


def write_atomic(path: PathLike, content: bytes) -> None:
  """Writes a file atomically: a reader finds the complete old file or the complete new one.

  This is true even if the machine stops during the write.

  Args:
    path: Path of the file, local or remote. Missing directories are made.
    content: New content of the file.
  """
  path = as_path(path)
  if is_remote(path):
    # An object store replaces a file in one operation.
    path.write_bytes(content)
    return
  path.parent.mkdir(parents=True, exist_ok=True)

  # Write a temporary file in the same directory, and flush it to the disk.
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  with open(temporary, 'wb') as file:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())

  # Rename the temporary file, and flush the directory to the disk. Windows cannot open a
  # directory, and raises PermissionError.
  os.replace(temporary, path)
  with contextlib.suppress(PermissionError):
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


# --- JSON values --------------------------------------------------------------------


def to_jsonable(value: Any) -> Any:
  """Converts a value to the types of JSON.

  Tuples and arrays become lists, paths become strings, NumPy numbers become Python numbers, and
  NaN and infinity become strings (`NONFINITE_WORDS`).
  """
  kind = type(value)
  # Check the most frequent types first, because an `isinstance` check for Mapping is slow.
  if kind in _JSON_TYPES:
    return value
  if kind is float:
    return value if math.isfinite(value) else str(value)
  if isinstance(value, (list, tuple)):
    return [to_jsonable(item) for item in value]
  if isinstance(value, (dict, Mapping)):
    return {str(key): to_jsonable(item) for key, item in value.items()}
  if hasattr(value, 'dtype'):
    array = np.asarray(value)
    if array.ndim:
      return [to_jsonable(item) for item in array]
    # `str` has the fewest digits that identify a float32: 0.1, not 0.10000000149011612.
    value = float(str(array)) if array.dtype == np.float32 else array.item()
  is_nonfinite = isinstance(value, float) and not math.isfinite(value)
  return str(value) if is_nonfinite or isinstance(value, os.PathLike) else value


def from_jsonable(value: Any) -> Any:
  """Returns a parsed JSON value, with the strings "nan", "inf" and "-inf" as floats."""
  if isinstance(value, dict):
    return {key: from_jsonable(item) for key, item in value.items()}
  if isinstance(value, list):
    return [from_jsonable(item) for item in value]
  if isinstance(value, str) and value in NONFINITE_WORDS:
    return float(value)
  return value
