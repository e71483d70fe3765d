"""The cache of tokenizers and token shards.

Each tokenizer and each shard has a directory, which is either complete or absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import hashlib
import json
import logging
import os
from typing import TypeVar
import uuid

from etils import epath

from lmhp.data.config import DataConfig
from lmhp.errors import ConfigError
from lmhp.files import as_path, cache_directory, is_remote
from lmhp.typing import JSON

T = TypeVar('T')


def cache_dir(cfg: DataConfig) -> epath.Path:
  """Returns the cache directory: data.cache_dir, else $LMHP_CACHE, else ~/.cache/lmhp."""
  return as_path(cfg.cache_dir or cache_directory())


def cache_key(*parts: JSON) -> str:
  """Returns the name of a cached result: a hash of all the values that determine it."""
  return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def read_or_write(
  directory: epath.Path,
  write: Callable[[epath.Path], None],
  read: Callable[[epath.Path], T],
) -> T:
  """Reads a cached result. If it is absent or corrupt, it is written first.

  Args:
    directory: Directory of the result.
    write: Function that creates the directory.
    read: Function that reads the directory, and raises `ConfigError` if it is corrupt.
  """
  if directory.exists():
    try:
      return read(directory)
    except ConfigError as error:
      logging.getLogger('lmhp').warning('%s; writing it again', error)
      # Rename the directory first, so that no other process reads it while it is removed.
      directory.rename(_hidden(directory)).rmtree()
  write(directory)
  return read(directory)


@contextlib.contextmanager
def new_directory(directory: epath.Path) -> Iterator[epath.Path]:
  """Yields an empty directory, which is renamed to `directory` if the block succeeds.

  If the process is killed, `directory` is absent or complete. If another process has created
  `directory` in the meantime, the directory of that process is kept.
  """
  directory.parent.mkdir(parents=True, exist_ok=True)
  unfinished = _hidden(directory)
  unfinished.mkdir()
  try:
    yield unfinished
    _sync(unfinished)
    try:
      unfinished.rename(directory)
    except OSError:
      # Another process may have made the same directory first. Its content is equal.
      if not directory.exists():
        raise
  finally:
    unfinished.rmtree(missing_ok=True)


def _sync(directory: epath.Path) -> None:
  """Flushes the files of a directory to the disk. A remote store does not need this."""
  if is_remote(directory):
    return
  for path in (*directory.iterdir(), directory):
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def _hidden(directory: epath.Path) -> epath.Path:
  """Returns an unused hidden path beside a directory."""
  return directory.with_name(f'.{directory.name}.{uuid.uuid4().hex}')
