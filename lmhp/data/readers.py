"""Sources of `data.path`: the kind of a source, and the documents of a source of text.

Sources of text are files (`lmhp.data.formats.text_formats`) and Hugging Face datasets. Sources
of tokens are token shards (`lmhp.data.shards`) and arrays of ids
(`lmhp.data.formats.token_files`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import hashlib
import os
from typing import cast

from etils import epath

from lmhp.data import corpus
from lmhp.data.formats import token_files
from lmhp.data.formats.source_files import (
  COMPRESSIONS,
  SkippedFile,
  find_files,
  format_of,
  is_glob,
  report_skipped,
)
from lmhp.data.formats.text_formats import (
  FORMATS,
  WITHOUT_FIELDS,
  column_of_field,
  text_of_row,
)
from lmhp.data.shards import INDEX
from lmhp.errors import ConfigError, suggest
from lmhp.files import as_path, check_is_regular, is_remote

CORPUS = 'docstrings'
"""Name of the built-in corpus in `data.path`."""
HUGGING_FACE = 'hf:'
"""Beginning of the name of a Hugging Face dataset in `data.path`."""
DIRECTORY_FORMATS = (
  ('.txt', '.jsonl', '.parquet'),
  ('.csv', '.tsv', '.json'),
  ('.md',),
)
"""Groups of formats. Of a directory, only files of the first group that occurs are read.

A directory of .parquet files often has a README.md and a .json file that are no data.
"""
_VERSION = 'documents 2'
"""Version of the readers. Increase it if they give other documents for the same files."""
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
  if name.startswith(HUGGING_FACE) or name == CORPUS:
    return False
  return is_shard(name) or bool(token_files.find(name).train)


def is_shard(name: str) -> bool:
  """Returns True if a source is a directory of token shards."""
  return not name.startswith(HUGGING_FACE) and (as_path(name) / INDEX).exists()


def open_text(name: str, text_field: str, cache: epath.Path) -> Text:
  """Opens a source of text.

  Files of a directory or a glob that are not read are named in a warning.

  Args:
    name: `docstrings`, a path, a glob, or hf:NAME.
    text_field: Field of a row that holds the text. See `text_formats.text_of_row`.
    cache: Cache directory, which stores the built-in corpus.

  Raises:
    ConfigError: If there is no such file, or its format is not supported.
  """
  if name.startswith(HUGGING_FACE):
    return _hugging_face_text(name, text_field)
  if name == CORPUS:
    return _text_of_files(name, [corpus.write_corpus(cache)], 'text')
  path = as_path(name)
  if not path.exists() and not is_glob(name):
    raise ConfigError(f'data.path: no file or directory {name!r}{_suggest_path(path)}')

  found = find_files(name)
  accepted = f'{", ".join(FORMATS)} (also compressed: {", ".join(COMPRESSIONS)})'
  if path.exists() and not path.is_dir():
    if format_of(path, FORMATS) is None:
      raise ConfigError(
        f'data.path: got {name!r}, expected a file of type {accepted}, .bin or .npy'
      )
    return _text_of_files(name, found.files, text_field)

  files, others = _readable_files(found.files)
  if not files:
    kind = 'directory' if path.exists() else 'glob'
    raise ConfigError(
      f'data.path: the {kind} {name!r} has no file that can be read, expected {accepted}, '
      f'a token shard ({INDEX}) or train.bin'
    )
  report_skipped(name, [*found.skipped, *others])
  return _text_of_files(name, files, text_field)


def _readable_files(
  files: Sequence[epath.Path],
) -> tuple[list[epath.Path], list[SkippedFile]]:
  """Returns the files of the first group of `DIRECTORY_FORMATS` that occurs, and the others."""
  by_format = {file: format_of(file, FORMATS) for file in files}
  occurring = set(by_format.values())
  groups = [group for group in DIRECTORY_FORMATS if occurring.intersection(group)]
  chosen: tuple[str, ...] = groups[0] if groups else ()
  read = [file for file in files if by_format[file] in chosen]
  skipped = []
  for file in files:
    if by_format[file] is None:
      skipped.append(SkippedFile(file, 'no text format'))
    elif by_format[file] not in chosen:
      reason = f'beside {", ".join(chosen)}, only a path of its own reads it'
      skipped.append(SkippedFile(file, reason))
  return read, skipped


def _suggest_path(path: epath.Path) -> str:
  """Returns a suggestion for a missing path: a file beside it, or the built-in corpus."""
  names = [CORPUS]
  if path.parent.is_dir():
    names += [neighbour.name for neighbour in path.parent.iterdir()]
  return suggest(path.name, names)


def _text_of_files(name: str, files: Sequence[epath.Path], text_field: str) -> Text:
  """Returns the text of all files. Its hash covers their formats, sizes and contents."""
  readers = []
  for file in files:
    file_format = format_of(file, FORMATS)
    assert file_format is not None, 'the caller has chosen files that can be read'
    readers.append((file, file_format))

  def documents() -> Iterator[str]:
    for file, file_format in readers:
      yield from FORMATS[file_format](file, text_field)

  digest = hashlib.sha256(_VERSION.encode())
  for file, file_format in readers:
    # A device or a pipe has no end.
    if not is_remote(file):
      check_is_regular(f'data.path: {file}', os.stat(file))
    field = '' if file_format in WITHOUT_FIELDS else text_field
    compression = file.suffix.lower() if file.suffix.lower() in COMPRESSIONS else ''
    # Format, field and size of each file, and then its bytes in pieces.
    head = f'{file_format}{compression} {field} {file.stat().length}\n'
    digest.update(head.encode())
    with file.open('rb') as content:
      while piece := content.read(_PIECE_BYTES):
        digest.update(piece)
  return Text(name, documents, digest.hexdigest())


# --- Hugging Face datasets ----------------------------------------------------------


def _hugging_face_text(name: str, text_field: str) -> Text:
  """Opens hf:NAME, hf:NAME:SUBSET, hf:NAME:SUBSET:SPLIT or hf:DIRECTORY.

  A directory was written by `Dataset.save_to_disk`. SUBSET may be empty. If there is no SPLIT,
  a dataset with several splits is read from its split `train`.
  """
  try:
    import datasets  # pyright: ignore[reportMissingImports]  # an optional extra
  except ImportError as error:
    raise ConfigError(
      f'data.path: {name!r} needs the extra datasets (pip install "lmhp[datasets]")'
    ) from error

  target, subset, split = [*name.removeprefix(HUGGING_FACE).split(':', 2), '', ''][:3]
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
  wanted = split or 'train'
  if isinstance(table, datasets.DatasetDict):
    splits = [str(existing) for existing in table]
    if wanted not in splits:
      raise ConfigError(
        f'data.path: {name!r} has no split {wanted}, only {", ".join(splits)}'
        f'{suggest(wanted, splits)}'
      )
    table = table[wanted]
  elif split:
    raise ConfigError(f'data.path: {name!r} has no splits, expected hf:{target}')
  column = column_of_field(repr(name), text_field, table.column_names)

  def documents() -> Iterator[str]:
    rows = cast(Iterable[dict[str, object]], table.select_columns([column]))
    for number, row in enumerate(rows, 1):
      yield text_of_row(row, text_field, f'{name} row {number}')

  digest = hashlib.sha256(_VERSION.encode())
  for text in documents():
    digest.update(f'{len(text)}\n{text}'.encode())
  return Text(name, documents, digest.hexdigest())
