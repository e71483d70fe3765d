"""Readers: what a word of `data.path` means, and the documents of each kind of file.

A source of text yields its documents again each time it is asked, and names its contents by a sha256 that decides which
shard of the cache is its own. Sources that are tokens already (shards, a .bin) are opened in `dataset`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Callable, Iterator

from etils import epath

from lmhp.data import corpus
from lmhp.data.shards import INDEX
from lmhp.errors import ConfigError, suggest

EMBEDDED = 'docstrings'
HUGGING_FACE = 'hf:'
_PIECE = 1 << 24


@dataclasses.dataclass(frozen=True)
class Text:
  """A source of text.

  Attributes:
    name: how the user wrote it.
    documents: gives the texts in order; may be called again.
    sha256: of all that decides the documents.
  """

  name: str
  documents: Callable[[], Iterator[str]]
  sha256: str


def is_shard(name: str) -> bool:
  """Whether the word names a directory of token shards."""
  return not name.startswith(HUGGING_FACE) and (_path(name) / INDEX).exists()


def bin_files(name: str) -> tuple[epath.Path, ...]:
  """The .bin files that the word names: one to be split, or nanoGPT's train.bin and val.bin; () where it names none."""
  if name.startswith(HUGGING_FACE):
    return ()
  path = _path(name)
  pair = (
    (path / 'train.bin', path / 'val.bin')
    if path.is_dir()
    else (path, path.parent / 'val.bin')
  )
  if pair[0].name == 'train.bin' and pair[0].exists():
    return tuple(file for file in pair if file.exists())
  return (path,) if path.suffix == '.bin' and path.exists() else ()


def open_text(name: str, text_field: str, cache_dir: epath.Path) -> Text:
  """The source of text that the word names.

  Args:
    name: docstrings, a path, or hf:...
    text_field: the field of .jsonl lines, the column of tables.
    cache_dir: where the embedded corpus is kept.

  Raises:
    ConfigError: where there is no such file, or no reader for it.
  """
  if name.startswith(HUGGING_FACE):
    return _hugging_face(name, text_field)
  if name == EMBEDDED:
    return _files(name, [corpus.docstrings(cache_dir)], 'text')
  path = _path(name)
  if not path.exists():
    raise ConfigError(f'data.path: no file or directory {name!r}{_nearest(path)}')
  if not path.is_dir():
    if path.suffix.lower() not in READERS:
      raise ConfigError(
        f'data.path: no reader for {name!r}, expected one of {", ".join(READERS)}, .bin'
      )
    return _files(name, [path], text_field)
  files = [file for file in _below(path) if file.suffix.lower() in READERS]
  if not files:
    raise ConfigError(
      f'data.path: the directory {name!r} holds no {", ".join(READERS)}, no token shard ({INDEX}) and '
      'no train.bin'
    )
  return _files(name, files, text_field)


def _path(name: str) -> epath.Path:
  return epath.Path(name).expanduser()


def _below(directory: epath.Path) -> Iterator[epath.Path]:
  """All files below a directory by name, hidden ones left out."""
  for path in sorted(directory.iterdir()):
    if not path.name.startswith('.'):
      yield from _below(path) if path.is_dir() else (path,)


def _nearest(path: epath.Path) -> str:
  """The name that was perhaps meant: a neighbour of the missing path, or a word."""
  neighbours = (
    [str(p.name) for p in path.parent.iterdir()] if path.parent.is_dir() else []
  )
  return suggest(path.name, [EMBEDDED, *neighbours])


def _files(name: str, files: list[epath.Path], text_field: str) -> Text:
  def documents() -> Iterator[str]:
    for file in files:
      yield from READERS[file.suffix.lower()](file, text_field)

  digest = hashlib.sha256()
  for file in files:
    field = '' if file.suffix.lower() == '.txt' else text_field
    digest.update(f'{file.suffix.lower()} {field} {file.stat().length}\n'.encode())
    with file.open('rb') as f:
      while piece := f.read(_PIECE):
        digest.update(piece)
  return Text(name, documents, digest.hexdigest())


# --- one function for each format: the documents of a file -----------------------------------------------------------


def txt(file: epath.Path, text_field: str) -> Iterator[str]:
  """The whole file is one document."""
  del text_field
  data = file.read_bytes()
  try:
    yield data.decode()
  except UnicodeDecodeError as e:
    line = data.count(b'\n', 0, e.start) + 1
    raise ConfigError(
      f'data.path: {file}:{line}: not UTF-8 text (byte 0x{data[e.start]:02x})'
    ) from e


def jsonl(file: epath.Path, text_field: str) -> Iterator[str]:
  """Each line is an object with one document; blank lines are none."""
  with file.open('rb') as lines:
    for number, line in enumerate(lines, 1):
      if line.strip():
        yield _field_of(line, text_field, f'{file}:{number}')


def _field_of(line: bytes, text_field: str, where: str) -> str:
  """The text of one line of .jsonl."""
  try:
    row = json.loads(line)
  except UnicodeDecodeError as e:
    raise ConfigError(
      f'data.path: {where}: not UTF-8 text (byte 0x{line[e.start]:02x})'
    ) from e
  except ValueError as e:
    raise ConfigError(f'data.path: {where}: not JSON: {e}') from e
  if not isinstance(row, dict):
    raise ConfigError(
      f'data.path: {where}: got a {type(row).__name__}, expected an object with the field '
      f'{text_field!r} (data.text_field)'
    )
  if text_field not in row:
    raise ConfigError(
      f'data.text_field: {where} has no field {text_field!r}{suggest(text_field, row)}'
    )
  return _checked(row[text_field], where)


def parquet(file: epath.Path, text_field: str) -> Iterator[str]:
  """Each row is one document."""
  import pyarrow as pa  # 40 ms that other formats need not spend
  import pyarrow.parquet as pq

  try:
    with file.open('rb') as f, pq.ParquetFile(f) as table:
      names = table.schema_arrow.names
      if text_field not in names:
        raise ConfigError(
          f'data.text_field: {file} has no column {text_field!r}{suggest(text_field, names)}'
        )
      row = 0
      for batch in table.iter_batches(columns=[text_field], batch_size=1024):
        for value in batch.column(0).to_pylist():
          row += 1
          yield _checked(value, f'{file} row {row}')
  except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
    raise ConfigError(
      f'data.path: {file} is not a parquet file that can be read: {" ".join(str(e).split())}'
    ) from e


READERS = {'.txt': txt, '.jsonl': jsonl, '.parquet': parquet}


def _checked(value: object, where: str) -> str:
  """A document as text; null is an empty one."""
  if value is None:
    return ''
  if not isinstance(value, str):
    raise ConfigError(
      f'data.text_field: {where}: got {type(value).__name__}, expected text'
    )
  try:
    value.encode()
  except UnicodeEncodeError as e:
    raise ConfigError(
      f'data.path: {where}: not UTF-8 text (lone surrogate {value[e.start]!r})'
    ) from e
  return value


def _hugging_face(name: str, text_field: str) -> Text:
  """hf:NAME, hf:NAME:SUBSET or hf:DIRECTORY (of `save_to_disk`); of several splits, `train`."""
  try:
    import datasets
  except ImportError as e:
    raise ConfigError(
      f'data.path: {name!r} needs the extra datasets (pip install "lmhp[datasets]")'
    ) from e
  target, _, subset = name.removeprefix(HUGGING_FACE).partition(':')
  local = epath.Path(target).expanduser().is_dir()
  if local and subset:
    raise ConfigError(
      f'data.path: got {name!r}, expected hf:{target}: a directory has no subset'
    )
  try:
    if local:
      table = datasets.load_from_disk(epath.Path(target).expanduser())
    else:
      table = datasets.load_dataset(target, subset or None)
  except Exception as e:  # its own errors have no common base
    raise ConfigError(
      f'data.path: cannot load {name!r}: {" ".join(str(e).split())}'
    ) from e
  if isinstance(table, dict):
    if 'train' not in table:
      raise ConfigError(
        f'data.path: {name!r} has no split train, only {", ".join(table)}'
      )
    table = table['train']
  names = table.column_names
  if text_field not in names:
    raise ConfigError(
      f'data.text_field: {name!r} has no column {text_field!r}{suggest(text_field, names)}'
    )

  def documents() -> Iterator[str]:
    for number, row in enumerate(table.select_columns([text_field])):
      yield _checked(row[text_field], f'{name} row {number}')

  digest = hashlib.sha256()
  for text in documents():
    digest.update(f'{len(text)}\n{text}'.encode())
  return Text(name, documents, digest.hexdigest())
