"""Token shards: text as token ids on disk. Each text is converted to a shard before training.

A shard is a directory with these files:

  tokens.bin      ids of all documents, uint16 or uint32, without a header
  documents.npy   index of the first token of each document, int64
  hashes.npy      a hash of the text of each document, uint64, to find equal documents
  tokenizer.json  the tokenizer
  index.json      counts, and the sha256 of the text, tokens and tokenizer
"""

from __future__ import annotations

import array
from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import hashlib
import io
import json

from etils import epath
import numpy as np

from lmhp.data.cache import new_directory
from lmhp.data.tokenizer import FILE as TOKENIZER_FILE, Tokenizer, load_tokenizer
from lmhp.errors import ConfigError
from lmhp.files import is_remote, read_bytes

INDEX = 'index.json'
FORMAT = 'lmhp tokens 1'
"""Name and version of the format of a shard."""
_TOKENS = 'tokens.bin'
_DOCUMENTS = 'documents.npy'
_HASHES = 'hashes.npy'
_BATCH_CHARACTERS = 1 << 20
"""Characters of text that are tokenized at a time."""


@dataclasses.dataclass(frozen=True, eq=False)
class TokenStream:
  """Tokens of consecutive documents.

  Attributes:
    ids: (n,) uint8, uint16 or uint32, memory-mapped if the file is local.
    starts: (documents,) int64, index of the first token of each document. If the stream
      begins in the middle of a document, the rest of that document is the first one.
  """

  ids: np.ndarray
  starts: np.ndarray

  def __len__(self) -> int:
    return len(self.ids)

  def part(self, start: int, stop: int) -> TokenStream:
    """Returns the tokens from index `start` up to `stop`."""
    starts = self.starts[(self.starts > start) & (self.starts < stop)] - start
    # The first document begins at 0, unless the part is empty.
    first = np.zeros(min(1, stop - start), np.int64)
    return TokenStream(self.ids[start:stop], np.concatenate([first, starts]))


@dataclasses.dataclass(frozen=True)
class ShardIndex:
  """Contents of `index.json`.

  Attributes:
    format: Name and version of the format.
    dtype: Dtype of the ids in `tokens.bin`, 'uint16' or 'uint32'.
    tokens: Number of tokens.
    documents: Number of documents, without the empty ones.
    empty_documents: Number of empty documents. They are not in the shard.
    text_bytes: Size of the text in UTF-8.
    text_sha256: Hash of the text, with a zero byte between documents.
    tokens_sha256: Hash of `tokens.bin`.
    documents_sha256: Hash of `documents.npy`.
    hashes_sha256: Hash of `hashes.npy`. None for a shard of an older version, without that file.
    tokenizer: Kind of the tokenizer, such as 'bpe'.
    tokenizer_sha256: Hash of the tokenizer.
  """

  format: str
  dtype: str
  tokens: int
  documents: int
  empty_documents: int
  text_bytes: int
  text_sha256: str
  tokens_sha256: str
  documents_sha256: str
  tokenizer: str
  tokenizer_sha256: str
  hashes_sha256: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Shard:
  """A shard on disk.

  Attributes:
    tokens: Tokens of all documents.
    tokenizer: Tokenizer of the tokens.
    index: Contents of `index.json`.
    hashes: (documents,) uint64, hash of the text of each document. None if it is unknown.
  """

  tokens: TokenStream
  tokenizer: Tokenizer
  index: ShardIndex
  hashes: np.ndarray | None = None


# --- writing ------------------------------------------------------------------------


def write(
  directory: epath.PathLike,
  documents: Iterable[str],
  tokenizer: Tokenizer,
  name: str = 'the text',
) -> None:
  """Writes documents as a shard. Empty documents are left out.

  Args:
    directory: New directory of the shard.
    documents: Texts in order. An end-of-text token is added after each, if the tokenizer has
      such a token.
    tokenizer: Tokenizer of the shard.
    name: Name of the source, for error messages.

  Raises:
    ConfigError: If all documents are empty, or the tokenizer cannot encode a text.
  """
  with new_directory(epath.Path(directory)) as unfinished:
    index, starts, hashes = _write_tokens(unfinished / _TOKENS, documents, tokenizer)
    if not index.tokens:
      raise ConfigError(f'data.path: {name} is empty')
    (unfinished / _DOCUMENTS).write_bytes(starts)
    (unfinished / _HASHES).write_bytes(hashes)
    tokenizer.save(unfinished)
    (unfinished / INDEX).write_text(json.dumps(dataclasses.asdict(index), indent=2))


def _write_tokens(
  file: epath.Path, documents: Iterable[str], tokenizer: Tokenizer
) -> tuple[ShardIndex, bytes, bytes]:
  """Writes `tokens.bin`. Returns the index, and the content of the two .npy files."""
  # The smallest dtype that holds every id.
  dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
  end = [] if tokenizer.end_of_text is None else [tokenizer.end_of_text]
  end_ids = np.asarray(end, dtype)
  text_hash = hashlib.sha256()
  token_hash = hashlib.sha256()
  starts: list[int] = []
  hashes = array.array('Q')
  n_tokens = 0
  text_bytes = 0
  n_empty = 0

  with file.open('wb') as out:
    for batch in _batches(documents):
      # Empty documents are counted and left out.
      texts = [text for text in batch if text]
      n_empty += len(batch) - len(texts)
      for text, ids in zip(texts, tokenizer.encode_all(texts)):
        # A zero byte between documents makes the hash depend on the borders.
        text_hash.update((b'\0' if starts else b'') + text.encode())
        text_bytes += len(text.encode())
        hashes.append(_hash_of_document(text))
        data = np.concatenate([ids.astype(dtype), end_ids]).tobytes()
        token_hash.update(data)
        out.write(data)
        starts.append(n_tokens)
        n_tokens += len(ids) + len(end_ids)

  starts_npy = _to_npy(np.asarray(starts, np.int64))
  hashes_npy = _to_npy(np.asarray(hashes, np.uint64))
  index = ShardIndex(
    format=FORMAT,
    dtype=dtype.name,
    tokens=n_tokens,
    documents=len(starts),
    empty_documents=n_empty,
    text_bytes=text_bytes,
    text_sha256=text_hash.hexdigest(),
    tokens_sha256=token_hash.hexdigest(),
    documents_sha256=hashlib.sha256(starts_npy).hexdigest(),
    tokenizer=tokenizer.kind,
    tokenizer_sha256=tokenizer.hash,
    hashes_sha256=hashlib.sha256(hashes_npy).hexdigest(),
  )
  return index, starts_npy, hashes_npy


def _hash_of_document(text: str) -> int:
  """Returns 64 bits of a hash of a text. Two different texts are almost never equal."""
  return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _to_npy(values: np.ndarray) -> bytes:
  npy = io.BytesIO()
  np.save(npy, values, allow_pickle=False)
  return npy.getvalue()


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
  """Yields lists of documents. Each list has about a million characters in total."""
  batch: list[str] = []
  n_characters = 0
  for text in documents:
    batch.append(text)
    n_characters += len(text)
    if n_characters >= _BATCH_CHARACTERS:
      yield batch
      batch = []
      n_characters = 0
  if batch:
    yield batch


# --- reading ------------------------------------------------------------------------


def read(directory: epath.PathLike) -> Shard:
  """Opens a shard and checks its files against its index.

  Raises:
    ConfigError: If a file is missing, cut short or changed.
  """
  path = epath.Path(directory)
  try:
    return _read(path)
  except ConfigError:  # Also a ValueError, but its message is already complete.
    raise
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
    raise ConfigError(
      f'data.path: cannot read the token shard {path}: {error!r}'
    ) from error


def _read(directory: epath.Path) -> Shard:
  content = json.loads(read_bytes(directory / INDEX))
  if content['format'] != FORMAT:
    raise ConfigError(
      f'data.path: {directory / INDEX}: got format {content["format"]!r}, expected {FORMAT!r}'
    )
  index = ShardIndex(**content)
  ids = _read_ids(directory / _TOKENS, np.dtype(index.dtype))
  starts = (directory / _DOCUMENTS).read_bytes()
  hashes = None
  if index.hashes_sha256 is not None:
    hashes = (directory / _HASHES).read_bytes()
  tokenizer = load_tokenizer(directory)

  if len(ids) != index.tokens:
    raise ConfigError(
      f'data.path: {directory / _TOKENS}: got {len(ids)} tokens, expected {index.tokens} '
      f'({INDEX}): the file was cut short or changed'
    )
  # Compare the hash of each file with the index.
  for name, sha256, expected in (
    (_TOKENS, hashlib.sha256(ids.data).hexdigest(), index.tokens_sha256),
    (_DOCUMENTS, hashlib.sha256(starts).hexdigest(), index.documents_sha256),
    (_HASHES, hashes and hashlib.sha256(hashes).hexdigest(), index.hashes_sha256),
    (TOKENIZER_FILE, tokenizer.hash, index.tokenizer_sha256),
  ):
    if sha256 != expected:
      raise ConfigError(
        f'data.path: {directory / name} is corrupt: got sha256 {sha256}, expected '
        f'{expected} ({INDEX})'
      )
  return Shard(
    TokenStream(ids, np.load(io.BytesIO(starts))),
    tokenizer,
    index,
    hashes=None if hashes is None else np.load(io.BytesIO(hashes)),
  )


def _read_ids(file: epath.Path, dtype: np.dtype) -> np.ndarray:
  """Returns the token ids of a shard, memory-mapped if the file is local.

  Raises:
    ConfigError: If the file is empty, or its size is not a multiple of the size of an id.
  """
  size = file.stat().length
  if not size or size % dtype.itemsize:
    raise ConfigError(
      f'data.path: {file}: got {size} bytes, expected a positive multiple of '
      f'{dtype.itemsize} ({dtype.name} tokens)'
    )
  # A remote file cannot be memory-mapped, so it is read as a whole.
  if is_remote(file):
    return np.frombuffer(file.read_bytes(), dtype)
  return np.memmap(file, dtype, 'r')


# --- equal documents ----------------------------------------------------------------

NOTABLE_FRACTION = 0.01
"""Smallest fraction of repeated documents of which a warning is logged."""


@dataclasses.dataclass(frozen=True)
class RepeatedDocuments:
  """Numbers of equal documents, over all sources of text.

  Attributes:
    documents: Number of documents, training and validation together.
    distinct: Number of different documents.
    validation: Number of documents of the validation split.
    validation_in_training: Number of those that are also documents of the training split.
  """

  documents: int
  distinct: int
  validation: int
  validation_in_training: int

  @property
  def is_notable(self) -> bool:
    """True if at least 1% of all, or of the validation documents, are repeated."""
    n_repeated = self.documents - self.distinct
    is_leak = 0 < self.validation_in_training >= NOTABLE_FRACTION * self.validation
    return is_leak or 0 < n_repeated >= NOTABLE_FRACTION * self.documents

  def describe(self) -> str:
    """Returns the numbers in one line."""
    return (
      f'{self.documents:,} documents, of which {self.distinct:,} are distinct; '
      f'{self.validation_in_training:,} of {self.validation:,} validation documents are also '
      'in the training split'
    )


def count_repeated(
  train: Sequence[np.ndarray], validation: Sequence[np.ndarray]
) -> RepeatedDocuments | None:
  """Counts equal documents. Returns None if the hash of no document is known.

  Args:
    train: (documents,) uint64 hashes of each training split.
    validation: The same of each validation split.
  """
  train_hashes = np.concatenate(train)
  validation_hashes = np.concatenate(validation)
  all_hashes = np.concatenate([train_hashes, validation_hashes])
  if not len(all_hashes):
    return None
  return RepeatedDocuments(
    documents=len(all_hashes),
    distinct=len(np.unique(all_hashes)),
    validation=len(validation_hashes),
    validation_in_training=int(np.isin(validation_hashes, train_hashes).sum()),
  )
