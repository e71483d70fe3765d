"""The files of a source: a file, a directory or a glob, and what their suffixes mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import dataclasses
import glob
import io
import logging
import lzma
import os
from typing import IO, cast
import zlib

from etils import epath

from lmhp.errors import ConfigError
from lmhp.files import DECOMPRESSORS, as_path, is_remote

MAX_NAMES = 10
"""Largest number of skipped files that one message names."""


@dataclasses.dataclass(frozen=True)
class SkippedFile:
  """A file of a source that is not read.

  Attributes:
    path: Path of the file.
    reason: Why it is not read, in a few words.
  """

  path: epath.Path
  reason: str


@dataclasses.dataclass(frozen=True)
class SourceFiles:
  """The files that a source names.

  Attributes:
    files: Files in order of path. Each real file is in the list once.
    skipped: Files that are not read.
  """

  files: tuple[epath.Path, ...]
  skipped: tuple[SkippedFile, ...] = ()


def is_glob(name: str) -> bool:
  """Returns True if the name of a source is a pattern, such as `texts/*.txt`."""
  return glob.has_magic(name) and not as_path(name).exists()


def find_files(name: str) -> SourceFiles:
  """Returns the files of a source: one file, all files below a directory, or those of a glob.

  Hidden files are left out. A file or a folder that links lead to twice is taken once.

  Args:
    name: Path or glob. `**` stands for any number of folders.

  Raises:
    ConfigError: If a glob is not local.
  """
  if is_glob(name):
    if is_remote(name):
      raise ConfigError(f'data.path: got {name!r}, expected a local path for a glob')
    matches = glob.glob(os.path.expanduser(name), recursive=True)
    return _each_once(epath.Path(match) for match in sorted(matches))
  return _each_once([as_path(name)])


def _each_once(paths: Iterable[epath.Path]) -> SourceFiles:
  """Walks through paths and all folders below them, and returns each real file once."""
  files: list[epath.Path] = []
  skipped: list[SkippedFile] = []
  seen: set[object] = set()

  def visit(path: epath.Path) -> None:
    identity = _identity(path)
    if identity is None:
      skipped.append(SkippedFile(path, 'a link to nothing'))
    elif identity in seen:
      skipped.append(SkippedFile(path, 'a second name of what is read already'))
    else:
      seen.add(identity)
      if not path.is_dir():
        files.append(path)
        return
      for below in sorted(path.iterdir()):
        if not below.name.startswith('.'):
          visit(below)

  for path in paths:
    visit(path)
  return SourceFiles(tuple(files), tuple(skipped))


def _identity(path: epath.Path) -> object:
  """Returns what two names of one file or folder have in common. None if it does not exist."""
  if is_remote(path):
    return str(path)  # An object store has no links.
  try:
    status = os.stat(path)
  except OSError:
    return None
  # Some file systems have no inode numbers.
  has_inode = status.st_ino != 0
  return (status.st_dev, status.st_ino) if has_inode else os.path.realpath(path)


def report_skipped(name: str, skipped: Iterable[SkippedFile]) -> None:
  """Logs one line that names the files of a source that are not read."""
  texts = [f'{file.path} ({file.reason})' for file in skipped]
  if not texts:
    return
  n_more = len(texts) - MAX_NAMES
  more = f', and {n_more} more' if n_more > 0 else ''
  logging.getLogger('lmhp').warning(
    'data.path: %r: not read: %s%s', name, ', '.join(texts[:MAX_NAMES]), more
  )


# --- suffixes and compression ---------------------------------------------------------


def _zstandard(file: IO[bytes]) -> IO[bytes]:
  import pyarrow as pa  # Loaded only for this format: it takes 40 ms.

  stream = pa.CompressedInputStream(file, 'zstd')
  # `BufferedReader` adds the lines that the stream of pyarrow lacks.
  return cast(IO[bytes], io.BufferedReader(cast(io.RawIOBase, stream)))


_DECOMPRESSORS = {**DECOMPRESSORS, '.zst': _zstandard}
"""{suffix: function that returns a file of the decompressed bytes}."""

COMPRESSIONS = tuple(_DECOMPRESSORS)
"""Suffixes of compressed files."""


def format_of(file: epath.Path, formats: Mapping[str, object]) -> str | None:
  """Returns the format of a file, such as '.jsonl' for `a.jsonl` and for `a.jsonl.gz`.

  Args:
    file: Path of the file. Upper and lower case are equal.
    formats: Table whose keys are the suffixes of formats.

  Returns:
    A key of `formats`, or None if the file has none of these formats.
  """
  path = file.with_suffix('') if file.suffix.lower() in COMPRESSIONS else file
  suffix = path.suffix.lower()
  return suffix if suffix in formats else None


@contextlib.contextmanager
def open_binary(file: epath.Path) -> Iterator[IO[bytes]]:
  """Opens a file to read its bytes. The bytes of a compressed file are decompressed.

  Raises:
    ConfigError: If a compressed file is damaged. This may be raised at any read.
  """
  decompress = _DECOMPRESSORS.get(file.suffix.lower())
  with file.open('rb') as raw:
    if decompress is None:
      yield raw
      return
    try:
      with decompress(raw) as content:
        yield content
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
      reason = ' '.join(str(error).split()) or type(error).__name__
      raise ConfigError(f'data.path: cannot decompress {file}: {reason}') from error
