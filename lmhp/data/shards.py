"""Token shards: what all text becomes, and all that training sees.

A shard is a directory: `tokens.bin` (ids one after the other, uint16 or uint32, no header), `documents.npy` (where each
document begins, int64), the tokenizer's own files, and `index.json`, which holds the sha256 of the text and of the
tokens. A shard appears under its name complete or not at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
from typing import Any, Iterable, Iterator
import uuid

from etils import epath
import numpy as np

from lmhp.data import tokenizer as tokenizers
from lmhp.errors import ConfigError

INDEX = 'index.json'
FORMAT = 'lmhp tokens 1'
_BATCH_CHARACTERS = 1 << 20


@dataclasses.dataclass(frozen=True, eq=False)
class TokenShards:
  """A stretch of a token stream.

  Attributes:
    ids: (n,) uint16 or uint32, mapped from disk where that can be.
    starts: (documents,) int64, the positions in `ids` where a document begins; a stretch that begins inside a document
      begins with the rest of it.
  """

  ids: np.ndarray
  starts: np.ndarray

  def __len__(self) -> int:
    return len(self.ids)

  def part(self, start: int, stop: int) -> TokenShards:
    """The tokens from `start` up to `stop`."""
    inside = self.starts[(self.starts > start) & (self.starts < stop)] - start
    return TokenShards(
      self.ids[start:stop],
      np.concatenate([np.zeros(min(1, stop - start), np.int64), inside]),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Shard:
  """A shard on disk: its tokens, its tokenizer and its index (the contents of index.json)."""

  tokens: TokenShards
  tokenizer: tokenizers.Tokenizer
  index: dict[str, Any]


# --- writing --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def appearing(directory: epath.Path) -> Iterator[epath.Path]:
  """Gives an empty directory to write into, which appears as `directory` when the block ends without an error.

  A kill at any moment leaves `directory` absent or complete. Where another process was first, its directory stands.
  """
  directory.parent.mkdir(parents=True, exist_ok=True)
  unfinished = directory.parent / f'.{directory.name}.{uuid.uuid4().hex}'
  unfinished.mkdir()
  try:
    yield unfinished
    _sync(unfinished)
    try:
      unfinished.rename(directory)
    except OSError:
      if not directory.exists():
        raise
  finally:
    unfinished.rmtree(missing_ok=True)


def write(
  directory: epath.PathLike,
  documents: Iterable[str],
  tokenizer: tokenizers.Tokenizer,
  name: str = 'the text',
) -> None:
  """Turns documents into a shard. Empty documents are dropped and counted.

  Args:
    directory: the shard; it must not exist.
    documents: the texts, in order; each is followed by end-of-text where the tokenizer has one.
    tokenizer: makes the ids.
    name: what an error calls the source.

  Raises:
    ConfigError: where there is no text at all, or the tokenizer cannot encode it.
  """
  with appearing(epath.Path(directory)) as unfinished:
    index, starts = _write_tokens(unfinished / 'tokens.bin', documents, tokenizer)
    if not index['tokens']:
      raise ConfigError(f'data.path: {name} is empty')
    (unfinished / 'documents.npy').write_bytes(_npy(starts))
    tokenizer.save(unfinished)
    (unfinished / INDEX).write_text(json.dumps(index, indent=2))


def _write_tokens(
  file: epath.Path, documents: Iterable[str], tokenizer
) -> tuple[dict[str, Any], np.ndarray]:
  """Writes tokens.bin; returns the index and where each document begins."""
  dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
  end = np.asarray(
    [] if tokenizer.end_of_text is None else [tokenizer.end_of_text], dtype
  )
  text_hash, token_hash = hashlib.sha256(), hashlib.sha256()
  starts, length, text_bytes, empty = [], 0, 0, 0
  with file.open('wb') as out:
    for batch in _batches(documents):
      texts = [text for text in batch if text]
      empty += len(batch) - len(texts)
      for text, ids in zip(texts, tokenizer.encode_all(texts)):
        text_hash.update((b'\0' if starts else b'') + text.encode())
        text_bytes += len(text.encode())
        data = np.concatenate([ids.astype(dtype), end]).tobytes()
        token_hash.update(data)
        out.write(data)
        starts.append(length)
        length += len(ids) + len(end)
  index = dict(
    format=FORMAT,
    dtype=dtype.name,
    tokens=length,
    documents=len(starts),
    empty_documents=empty,
    text_bytes=text_bytes,
    text_sha256=text_hash.hexdigest(),
    tokens_sha256=token_hash.hexdigest(),
    documents_sha256=hashlib.sha256(_npy(np.asarray(starts, np.int64))).hexdigest(),
    tokenizer=tokenizer.kind,
    tokenizer_sha256=tokenizer.hash,
  )
  return index, np.asarray(starts, np.int64)


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
  """Documents in lists of about a million characters."""
  batch, size = [], 0
  for text in documents:
    batch.append(text)
    size += len(text)
    if size >= _BATCH_CHARACTERS:
      yield batch
      batch, size = [], 0
  if batch:
    yield batch


def _npy(array: np.ndarray) -> bytes:
  out = io.BytesIO()
  np.save(out, array, allow_pickle=False)
  return out.getvalue()


def _sync(directory: epath.Path) -> None:
  """Forces files to the disk, so that the rename that follows cannot outlive them; remote stores need no such care."""
  if _is_local(directory):
    for path in (*directory.iterdir(), directory):
      handle = os.open(path, os.O_RDONLY)
      os.fsync(handle)
      os.close(handle)


# --- reading --------------------------------------------------------------------------------------------------------


def read(directory: epath.PathLike) -> Shard:
  """Opens a shard and checks all of it against its index.

  Raises:
    ConfigError: where a file is missing, cut short or changed.
  """
  directory = epath.Path(directory)
  try:
    return _read(directory)
  except ConfigError:
    raise
  except (OSError, ValueError, KeyError, TypeError) as e:
    raise ConfigError(
      f'data.path: {directory} is not a token shard that can be read: {e!r}'
    ) from e


def _read(directory: epath.Path) -> Shard:
  index = json.loads((directory / INDEX).read_text())
  if index['format'] != FORMAT:
    raise ConfigError(
      f'data.path: {directory / INDEX} has format {index["format"]!r}, expected {FORMAT!r}'
    )
  ids = read_ids(directory / 'tokens.bin', np.dtype(index['dtype']))
  starts = (directory / 'documents.npy').read_bytes()
  if len(ids) != index['tokens']:
    raise ConfigError(
      f'data.path: {directory / "tokens.bin"} holds {len(ids)} tokens, its index says '
      f'{index["tokens"]}: it was cut short or changed'
    )
  for name, data in (('tokens', ids), ('documents', starts)):
    if hashlib.sha256(data).hexdigest() != index[f'{name}_sha256']:
      raise ConfigError(
        f'data.path: {directory} is corrupt: the sha256 of its {name} is not the one in its index'
      )
  tokenizer = tokenizers.load(directory)
  if tokenizer.hash != index['tokenizer_sha256']:
    raise ConfigError(
      f'data.path: {directory} is corrupt: its tokenizer is not the one in its index'
    )
  return Shard(TokenShards(ids, np.load(io.BytesIO(starts))), tokenizer, index)


def read_ids(file: epath.Path, dtype: np.dtype) -> np.ndarray:
  """The ids of a .bin, mapped where the file is local.

  Raises:
    ConfigError: where the file is empty or is not a whole number of ids.
  """
  size = file.stat().length
  if not size or size % dtype.itemsize:
    raise ConfigError(
      f'data.path: {file} has {size} bytes, expected a positive multiple of {dtype.itemsize} '
      f'({dtype.name} tokens): it was cut short, or holds something else'
    )
  return (
    np.memmap(file, dtype, 'r')
    if _is_local(file)
    else np.frombuffer(file.read_bytes(), dtype)
  )


def remove(directory: epath.Path) -> None:
  """Deletes a directory of the cache, out of sight first so that nobody reads half of it."""
  doomed = directory.parent / f'.{directory.name}.{uuid.uuid4().hex}'
  directory.rename(doomed)
  doomed.rmtree()


def _is_local(path: epath.Path) -> bool:
  return '://' not in os.fspath(path)
