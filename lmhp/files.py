"""Local and remote paths, atomic writes, bounded reads, and values as JSON.

JSON has no NaN and no infinity. They are stored as the strings "nan", "inf" and "-inf", so that
a strict parser reads the file, and `float` converts the strings. This file imports no jax.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterator, Mapping
import contextlib
import gzip
import hashlib
import importlib.util
import io
import json
import lzma
import math
import os
import stat
from typing import IO, Any, cast

from etils import epath
import numpy as np

from lmhp.errors import ConfigError
from lmhp.errors.redaction import redact_url
from lmhp.typing import JSON, PathLike

MAX_JSON_BYTES = 1 << 28
"""Size of the largest JSON file that is read, 256 MiB."""

MAX_JSON_DEPTH = 100
"""Largest number of lists and objects inside each other in JSON that is read."""

_PIECE_BYTES = 1 << 24
"""Bytes that are read at a time."""

DECOMPRESSORS: Mapping[str, Callable[[IO[bytes]], IO[bytes]]] = {
  '.gz': lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file)),
  '.bz2': bz2.BZ2File,
  '.xz': lzma.LZMAFile,
}
"""{suffix of a compressed file: function that returns a file of its decompressed bytes}."""

CHECKSUM = 'checksum'
"""Key of the checksum in a JSON object."""

STORE_LIBRARIES = {'gs': 'gcsfs', 's3': 's3fs', 'az': 'adlfs'}
"""{scheme of an object store: library that reads it}."""

NONFINITE_WORDS = ('nan', 'inf', '-inf')
_JSON_TYPES = {str, int, bool, type(None)}


# --- paths --------------------------------------------------------------------------


def is_remote(path: PathLike) -> bool:
  """Returns True for a path in an object store, such as `gs://bucket/run`.

  An object store replaces whole files and cannot append to one.
  """
  return '://' in str(path)


def as_path(path: PathLike) -> epath.Path:
  """Returns a path object. A local path has `~` expanded, a remote one is unchanged.

  Raises:
    ConfigError: If the path is a URL that is not of an object store, or the library of the store
      is not installed.
  """
  if not is_remote(path):
    return epath.Path(path).expanduser()
  _check_store(str(path))
  return epath.Path(path)


def _check_store(path: str) -> None:
  scheme, separator, _ = path.partition('://')
  if not separator:
    return
  if scheme not in STORE_LIBRARIES:
    stores = ', '.join(f'{name}://' for name in STORE_LIBRARIES)
    raise ConfigError(
      f'{redact_url(path)}: got a URL that begins with {scheme}://, expected a path on this '
      f'machine or in an object store ({stores})'
    )
  # TensorFlow reads all of these stores.
  library = STORE_LIBRARIES[scheme]
  if not any(importlib.util.find_spec(name) for name in (library, 'tensorflow')):
    raise ConfigError(
      f'{path}: lmhp needs the library {library} for paths that begin with {scheme}:// '
      f'(pip install {library})'
    )


def cache_directory() -> str:
  """Returns the directory of lmhp's caches: $LMHP_CACHE, or ~/.cache/lmhp."""
  return os.environ.get('LMHP_CACHE') or '~/.cache/lmhp'


# --- atomic writes ------------------------------------------------------------------


def write_json(path: PathLike, value: object, checksum: bool = False) -> None:
  """Writes a value as JSON, atomically (see `write_atomic`).

  Args:
    path: Path of the file.
    value: The value.
    checksum: If True, the value is a mapping, and `read_json` finds every change of it.
  """
  content = to_jsonable(value)
  if checksum:
    content = with_checksum(content)
  text = json.dumps(content, indent=2, allow_nan=False) + '\n'
  write_atomic(path, text.encode())


@contextlib.contextmanager
def named_errors(path: PathLike) -> Iterator[None]:
  """Adds the path of a file to an OSError without a path, such as that of a full disk."""
  try:
    yield
  except OSError as error:
    if error.filename is None:
      error.filename = str(path)
    raise


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
  try:
    with named_errors(path):
      with open(temporary, 'wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
      os.replace(temporary, path)
  except OSError:
    # For instance a full disk.
    with contextlib.suppress(OSError):
      os.unlink(temporary)
    raise

  # Flush the directory to the disk. Windows cannot open a directory, and raises PermissionError.
  with contextlib.suppress(PermissionError):
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


# --- bounded reads ------------------------------------------------------------------


def read_bytes(path: PathLike, max_bytes: int = MAX_JSON_BYTES) -> bytes:
  """Reads a file of a limited size. Devices, pipes and sockets are refused.

  Args:
    path: Path of the file, local or remote.
    max_bytes: Size of the largest file that is read.

  Raises:
    OSError: If the file does not exist, or there is no permission to read it.
    ConfigError: If it is no regular file, or larger than `max_bytes`.
  """
  path = as_path(path)
  if is_remote(path):
    content = path.read_bytes()
  else:
    # Without this flag, a pipe without a writer would block.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0))
    try:
      check_is_regular(path, os.fstat(descriptor))
    except ConfigError:
      os.close(descriptor)
      raise
    with open(descriptor, 'rb') as file:
      content = read_stream(file, max_bytes + 1)
  if len(content) > max_bytes:
    raise ConfigError(
      f'{path}: is larger than {max_bytes:,} bytes, expected a smaller file'
    )
  return content


def read_stream(file: IO[bytes], n_bytes: int) -> bytes:
  """Reads at most `n_bytes` of an open file, and only needs memory for what it has read."""
  pieces = []
  while n_bytes > 0 and (piece := file.read(min(n_bytes, _PIECE_BYTES))):
    pieces.append(piece)
    n_bytes -= len(piece)
  return b''.join(pieces)


def decompress(content: bytes, suffix: str, max_bytes: int) -> bytes:
  """Decompresses the content of a file.

  Args:
    content: Compressed content.
    suffix: Suffix of the file, one of `DECOMPRESSORS`.
    max_bytes: Largest size of the result.

  Raises:
    ConfigError: If the result would be larger.
    EOFError, OSError, zlib.error or lzma.LZMAError: If the content is damaged.
  """
  with DECOMPRESSORS[suffix](io.BytesIO(content)) as file:
    result = read_stream(file, max_bytes + 1)
  if len(result) > max_bytes:
    raise ConfigError(f'it is larger than {max_bytes:,} bytes after decompression')
  return result


def check_is_regular(path: PathLike, status: os.stat_result) -> None:
  """Checks that a path is a file or a link to one, and no device, pipe or directory.

  Raises:
    ConfigError: If it is something else.
  """
  if not stat.S_ISREG(status.st_mode):
    kind = 'a directory' if stat.S_ISDIR(status.st_mode) else 'a device or a pipe'
    raise ConfigError(f'{path}: is {kind}, expected a file')


def read_json(path: PathLike, max_bytes: int = MAX_JSON_BYTES) -> JSON:
  """Reads a JSON file, and compares its checksum if it has one.

  Args:
    path: Path of the file.
    max_bytes: Size of the largest file that is read.

  Raises:
    OSError: If the file does not exist, or there is no permission to read it.
    ConfigError: If it is not JSON, too large or too deep, or does not fit its checksum.
  """
  value = parse_json(read_bytes(path, max_bytes), path)
  return without_checksum(value, path) if isinstance(value, dict) else value


def parse_json(text: bytes | str, place: object) -> JSON:
  """Returns the value of a JSON text.

  Args:
    text: The text.
    place: Place of the text, for the message.

  Raises:
    ConfigError: If the text is not JSON, or deeper than `MAX_JSON_DEPTH`.
  """
  try:
    value = json.loads(text)
    _check_depth(value, MAX_JSON_DEPTH)
  except RecursionError:
    raise ConfigError(
      f'{place}: has more than {MAX_JSON_DEPTH} lists and objects inside each other'
    ) from None
  except ValueError as error:
    # A UnicodeDecodeError is a ValueError.
    raise ConfigError(f'{place}: is damaged ({error}), expected JSON') from None
  return value


def _check_depth(value: JSON, n_levels: int) -> None:
  if not n_levels:
    raise RecursionError
  children = ()
  if isinstance(value, dict):
    children = value.values()
  elif isinstance(value, list):
    children = value
  for child in children:
    if isinstance(child, (dict, list)):
      _check_depth(child, n_levels - 1)


def with_checksum(value: Mapping[str, JSON]) -> dict[str, JSON]:
  """Returns a JSON object with a checksum of its content."""
  return {**value, CHECKSUM: _checksum(value)}


def without_checksum(value: Mapping[str, JSON], place: object) -> dict[str, JSON]:
  """Returns a JSON object without its checksum. An object without one is not checked.

  Raises:
    ConfigError: If the object does not fit its checksum.
  """
  content = dict(value)
  stored = content.pop(CHECKSUM, None)
  if stored is not None and stored != _checksum(content):
    raise ConfigError(
      f'{place}: does not fit its checksum, expected the content that lmhp wrote'
    )
  return content


def _checksum(value: Mapping[str, JSON]) -> str:
  """Returns a digest of a JSON object that does not depend on the order of its keys."""
  text = json.dumps(value, sort_keys=True, separators=(',', ':'))
  return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- Python files -------------------------------------------------------------------


def python_docstring(text: str) -> str:
  r"""Returns a text as a string literal in three quotes, whatever the text contains.

  >>> python_docstring('C:' + chr(92) + 'new').strip('"') == r'C:\\new'
  True
  """
  characters = []
  for character in text:
    if character in '\\"':
      characters.append(f'\\{character}')
    elif character == '\n' or character.isprintable():
      characters.append(character)
    else:
      # A control character or a lone surrogate as its escape sequence.
      characters.append(repr(character)[1:-1])
  return f'"""{"".join(characters)}"""'


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
