"""Sources of `data.path`: the kind of a source, and the documents of a source of text.

Sources of text are .txt, .jsonl and .parquet files and Hugging Face datasets. Sources of tokens
(token shards and .bin files) are opened in `lmhp.data.dataset`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
import dataclasses
import hashlib
import json
import logging
import os
from typing import cast

from etils import epath

from lmhp.data import corpus
from lmhp.data.shards import INDEX
from lmhp.errors import ConfigError, suggest
from lmhp.files import as_path, check_is_regular, is_remote

CORPUS = 'docstrings'
"""Name of the built-in corpus in `data.path`."""
HUGGING_FACE = 'hf:'
"""Beginning of the name of a Hugging Face dataset in `data.path`."""
_log = logging.getLogger(__name__)
_PIECE_BYTES = 1 << 24
"""Bytes of a file that are read at a time, to hash it."""


@dataclasses.dataclass(frozen=True)
class Text:
  """A source of text.

  Attributes:
    name: Name of the source in the config.
    documents: Function that yields the documents in order. It may be called repeatedly.
    sha256: Hash of everything that determines the documents. The cache key of the token shard
      contains it.
  """

  name: str
  documents: Callable[[], Iterator[str]]
  sha256: str


# --- kinds of sources ---------------------------------------------------------------


def is_tokens(name: str) -> bool:
  """Returns True if a source holds tokens, and False if it holds text."""
  return is_shard(name) or bool(bin_files(name))


def is_shard(name: str) -> bool:
  """Returns True if a source is a directory of token shards."""
  return not name.startswith(HUGGING_FACE) and (as_path(name) / INDEX).exists()


def bin_files(name: str) -> tuple[epath.Path, ...]:
  """Returns the .bin files of a source: one file, or nanoGPT's train.bin and val.bin.

  The result is empty if the source has no .bin file.
  """
  if name.startswith(HUGGING_FACE):
    return ()
  path = as_path(name)
  train = path / 'train.bin' if path.is_dir() else path
  if train.name == 'train.bin' and train.exists():
    validation = train.parent / 'val.bin'
    return (train, validation) if validation.exists() else (train,)
  return (path,) if path.suffix == '.bin' and path.exists() else ()


def open_text(name: str, text_field: str, cache: epath.Path) -> Text:
  """Opens a source of text.

  Args:
    name: `docstrings`, a path, or hf:NAME.
    text_field: Field of .jsonl lines, or column of a table, that holds the text.
    cache: Cache directory, which stores the built-in corpus.

  Raises:
    ConfigError: If there is no such file, or its format is not supported.
  """
  if name.startswith(HUGGING_FACE):
    return _hugging_face_text(name, text_field)
  if name == CORPUS:
    return _text_of_files(name, [corpus.write_corpus(cache)], 'text')
  path = as_path(name)
  if not path.exists():
    raise ConfigError(f'data.path: no file or directory {name!r}{_suggest_path(path)}')

  # A single file, or all files of a supported format below a directory.
  formats = ', '.join(FORMATS)
  if not path.is_dir():
    if path.suffix.lower() not in FORMATS:
      raise ConfigError(
        f'data.path: got {name!r}, expected a file of type {formats} or .bin'
      )
    return _text_of_files(name, [path], text_field)
  files = [file for file in _files_below(path) if file.suffix.lower() in FORMATS]
  if not files:
    raise ConfigError(
      f'data.path: the directory {name!r} has no file that can be read, expected {formats}, '
      f'a token shard ({INDEX}) or train.bin'
    )
  return _text_of_files(name, files, text_field)


def _files_below(
  directory: epath.Path, seen: set[str] | None = None
) -> Iterator[epath.Path]:
  """Yields all files below a directory in order of name, except hidden ones.

  A file or a directory to which several links lead is read once, so that a link to a directory
  above it ends.

  Args:
    directory: The directory.
    seen: Real paths of the files and directories so far.
  """
  seen = set() if seen is None else seen
  if not is_remote(directory):
    seen.add(os.path.realpath(directory))
  for path in sorted(directory.iterdir()):
    if path.name.startswith('.'):
      continue
    if not is_remote(path):
      real_path = os.path.realpath(path)
      if real_path in seen:
        _log.warning('data.path: %s leads to data that is read already', path)
        continue
      seen.add(real_path)
    if path.is_dir():
      yield from _files_below(path, seen)
    else:
      yield path


def _suggest_path(path: epath.Path) -> str:
  """Returns a suggestion for a missing path: a file beside it, or the built-in corpus."""
  names = [CORPUS]
  if path.parent.is_dir():
    names += [neighbour.name for neighbour in path.parent.iterdir()]
  return suggest(path.name, names)


def _text_of_files(name: str, files: list[epath.Path], text_field: str) -> Text:
  """Returns the text of all files. Its hash covers their formats, sizes and contents."""

  def documents() -> Iterator[str]:
    for file in files:
      yield from FORMATS[file.suffix.lower()](file, text_field)

  digest = hashlib.sha256()
  for file in files:
    # A device or a pipe has no end.
    if not is_remote(file):
      check_is_regular(f'data.path: {file}', os.stat(file))
    suffix = file.suffix.lower()
    field = '' if suffix == '.txt' else text_field
    # Format, field and size of each file, and then its bytes in pieces.
    digest.update(f'{suffix} {field} {file.stat().length}\n'.encode())
    with file.open('rb') as content:
      while piece := content.read(_PIECE_BYTES):
        digest.update(piece)
  return Text(name, documents, digest.hexdigest())


# --- formats ------------------------------------------------------------------------


def _read_txt(file: epath.Path, text_field: str) -> Iterator[str]:
  """Yields the whole file as one document."""
  del text_field  # Only other formats have fields.
  data = file.read_bytes()
  try:
    yield data.decode()
  except UnicodeDecodeError as error:
    line = data.count(b'\n', 0, error.start) + 1
    raise _not_utf8(f'{file}:{line}', f'byte 0x{data[error.start]:02x}') from error


def _read_jsonl(file: epath.Path, text_field: str) -> Iterator[str]:
  """Yields one document for each line that is not blank."""
  with file.open('rb') as lines:
    for number, line in enumerate(lines, 1):
      if line.strip():
        yield _text_of_line(line, text_field, f'{file}:{number}')


def _text_of_line(line: bytes, text_field: str, place: str) -> str:
  """Returns the text of a .jsonl line. `place` is FILE:LINE, for error messages."""
  try:
    row = json.loads(line)
  except UnicodeDecodeError as error:
    raise _not_utf8(place, f'byte 0x{line[error.start]:02x}') from error
  except ValueError as error:
    raise ConfigError(f'data.path: {place}: not JSON: {error}') from error
  except RecursionError:
    raise ConfigError(
      f'data.path: {place}: has too many lists or objects inside each other'
    ) from None
  if not isinstance(row, dict):
    raise ConfigError(
      f'data.path: {place}: got a {type(row).__name__}, expected an object with the field '
      f'{text_field!r} (data.text_field)'
    )
  if text_field not in row:
    raise ConfigError(
      f'data.text_field: {place} has no field {text_field!r}{suggest(text_field, row)}'
    )
  return _checked_text(row[text_field], place)


def _read_parquet(file: epath.Path, text_field: str) -> Iterator[str]:
  """Yields one document for each row."""
  import pyarrow as pa  # Loaded only for this format: it takes 40 ms.
  import pyarrow.parquet as pq

  try:
    with file.open('rb') as content, pq.ParquetFile(content) as table:
      names = table.schema_arrow.names
      if text_field not in names:
        raise ConfigError(
          f'data.text_field: {file} has no column {text_field!r}{suggest(text_field, names)}'
        )
      # Read in batches, so that a large file does not have to fit into memory.
      row = 0
      for batch in table.iter_batches(columns=[text_field], batch_size=1024):
        for value in batch.column(0).to_pylist():
          row += 1
          yield _checked_text(value, f'{file} row {row}')
  except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
    reason = ' '.join(str(error).split())
    raise ConfigError(
      f'data.path: cannot read the parquet file {file}: {reason}'
    ) from error


FORMATS: Mapping[str, Callable[[epath.Path, str], Iterator[str]]] = {
  '.txt': _read_txt,
  '.jsonl': _read_jsonl,
  '.parquet': _read_parquet,
}
"""Readers by file suffix. Each yields the documents of a file, given the text field."""


def _checked_text(value: object, place: str) -> str:
  """Returns the text of a document, after checks. None becomes an empty document."""
  if value is None:
    return ''
  if not isinstance(value, str):
    raise ConfigError(
      f'data.text_field: {place}: got {type(value).__name__}, expected text'
    )
  try:
    # JSON can contain a lone surrogate, which UTF-8 cannot encode.
    value.encode()
  except UnicodeEncodeError as error:
    raise _not_utf8(place, f'lone surrogate {value[error.start]!r}') from error
  return value


def _not_utf8(place: str, problem: str) -> ConfigError:
  return ConfigError(f'data.path: {place}: not UTF-8 text ({problem})')


# --- Hugging Face datasets ----------------------------------------------------------


def _hugging_face_text(name: str, text_field: str) -> Text:
  """Opens hf:NAME, hf:NAME:SUBSET, or hf:DIRECTORY (written by `Dataset.save_to_disk`).

  A dataset with several splits is read from its split `train`.
  """
  try:
    import datasets  # pyright: ignore[reportMissingImports]  # an optional extra
  except ImportError as error:
    raise ConfigError(
      f'data.path: {name!r} needs the extra datasets (pip install "lmhp[datasets]")'
    ) from error

  target, _, subset = name.removeprefix(HUGGING_FACE).partition(':')
  directory = epath.Path(target).expanduser()
  if directory.is_dir() and subset:
    raise ConfigError(
      f'data.path: got {name!r}, expected hf:{target} (a directory has no subset)'
    )
  try:
    if directory.is_dir():
      table = datasets.load_from_disk(directory)
    else:
      table = datasets.load_dataset(target, subset or None)
  except Exception as error:  # The errors of the library have no common base class.
    reason = ' '.join(str(error).split())
    raise ConfigError(f'data.path: cannot load {name!r}: {reason}') from error

  # A dict has one table for each split.
  if isinstance(table, datasets.DatasetDict):
    if 'train' not in table:
      raise ConfigError(
        f'data.path: {name!r} has no split train, only {", ".join(map(str, table))}'
      )
    table = table['train']
  names = table.column_names
  if text_field not in names:
    raise ConfigError(
      f'data.text_field: {name!r} has no column {text_field!r}{suggest(text_field, names)}'
    )

  def documents() -> Iterator[str]:
    rows = cast(Iterable[dict[str, object]], table.select_columns([text_field]))
    for number, row in enumerate(rows):
      yield _checked_text(row[text_field], f'{name} row {number}')

  digest = hashlib.sha256()
  for text in documents():
    digest.update(f'{len(text)}\n{text}'.encode())
  return Text(name, documents, digest.hexdigest())
