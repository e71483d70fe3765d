"""`load`: token streams for training and validation, and their tokenizer, from a config."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import json
import logging

from etils import epath
import numpy as np

from lmhp.data import readers, shards
from lmhp.data.cache import cache_dir, cache_key, read_or_write
from lmhp.data.config import DataConfig
from lmhp.data.formats import token_files
from lmhp.data.shards import TokenStream
from lmhp.data.tokenizer import FILE as TOKENIZER_FILE, Tokenizer, load_tokenizer
from lmhp.data.tokenizer_choice import KINDS, choose_tokenizer, shared_tokenizer
from lmhp.files import as_path
from lmhp.sections import wrong
from lmhp.typing import JSON

N_SENTINELS = 100
"""Number of sentinels (ids that replace removed spans) to add if a tokenizer has none.

Source: T5 (arXiv:1910.10683).
"""


@dataclasses.dataclass(frozen=True)
class SourceSummary:
  """Facts about one source of `data.path`, for result files.

  Attributes:
    path: Name of the source in the config.
    tokens: Number of tokens.
    documents: Number of documents.
    tokens_sha256: Hash of the tokens. For two .bin files, two hashes with a space between.
    text_bytes: Size of the text in UTF-8. None if only the tokens are known.
    text_sha256: Hash of the text. None if only the tokens are known.
    token_dtype: Dtype of the ids in .bin and .npy files. None for other sources.
  """

  path: str
  tokens: int
  documents: int
  tokens_sha256: str
  text_bytes: int | None = None
  text_sha256: str | None = None
  token_dtype: str | None = None

  def to_json(self) -> dict[str, JSON]:
    """Returns {name of a fact: value}, without the facts that are None."""
    return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """Token streams of all sources, in the order of `data.path`.

  Attributes:
    tokenizer: Tokenizer of all streams.
    train: Training streams, each cut to `data.fraction` of its tokens.
    validation: Validation streams, disjoint from `train`.
    sources: Facts about each source, of `data.path` and then of `data.validation_path`.
    sha256: Hash of tokens, tokenizer and split. Runs with equal hashes read equal data.
    mask_token: Id that replaces masked tokens: that of the tokenizer, or a new id after its
      vocabulary. None if the objective is not 'masked'.
    sentinels: Ids that replace removed spans: those of the tokenizer, or new ids after its
      vocabulary. Empty if the objective is not 'span'.
    start_token: First token of the decoder's input. None if the objective is not 'span'.
    repeated: Numbers of equal documents. None if the text of no source is known.
  """

  tokenizer: Tokenizer
  train: tuple[TokenStream, ...]
  validation: tuple[TokenStream, ...]
  sources: tuple[SourceSummary, ...]
  sha256: str
  mask_token: int | None = None
  sentinels: tuple[int, ...] = ()
  start_token: int | None = None
  repeated: shards.RepeatedDocuments | None = None

  @property
  def vocab_size(self) -> int:
    """Number of ids, including those that the objective adds."""
    added = (self.mask_token or 0, self.start_token or 0, *self.sentinels)
    return max(self.tokenizer.vocab_size, max(added) + 1)

  def token_bytes(self, vocab_size: int) -> np.ndarray:
    """Returns the number of UTF-8 bytes of each token, (V,) int32. 0 if unknown.

    Args:
      vocab_size: V, vocabulary size of the model. It may exceed that of the tokenizer.
    """
    bytes_V = np.zeros(vocab_size, np.int32)
    if self.tokenizer.bytes_per_token is not None:
      bytes_V[: self.tokenizer.vocab_size] = self.tokenizer.bytes_per_token
    return bytes_V

  def describe(self) -> dict[str, JSON]:
    """Returns the facts about the data that a result file contains."""
    return {
      'sha256': self.sha256,
      'train_tokens': sum(len(stream) for stream in self.train),
      'validation_tokens': sum(len(stream) for stream in self.validation),
      'train_documents': sum(len(stream.starts) for stream in self.train),
      'validation_documents': sum(len(stream.starts) for stream in self.validation),
      'tokenizer': self.tokenizer.kind,
      'tokenizer_sha256': self.tokenizer.hash,
      'vocab_size': self.vocab_size,
      'repeated_documents': self.repeated and dataclasses.asdict(self.repeated),
      'sources': [source.to_json() for source in self.sources],
    }


@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
  """An opened source.

  Attributes:
    streams: One stream that is not split yet, or the training and the validation stream.
    tokenizer: Tokenizer of the streams. None if it is unknown.
    summary: Facts for result files.
    hashes: (documents,) uint64, hash of the text of each document of the stream. None if it is
      unknown.
  """

  streams: tuple[TokenStream, ...]
  tokenizer: Tokenizer | None
  summary: SourceSummary
  hashes: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Split:
  """One of the two splits of a source.

  Attributes:
    stream: Tokens of the split.
    hashes: (documents,) uint64, hashes of the documents that begin in the split, (0,) if they
      are unknown.
  """

  stream: TokenStream
  hashes: np.ndarray


def load(cfg: DataConfig) -> Dataset:
  """Opens every source. Tokenizers and token shards that the cache lacks are made first.

  `cfg` may lack the traced numbers (see `lmhp.hypers`), such as the seed. They are not read.

  Raises:
    ConfigError: If a source is missing, unreadable or corrupt, or if two sources have
      different tokenizers.
  """
  cache = cache_dir(cfg)
  # Choose the tokenizer of the texts. It may have to be trained on them.
  names = (*cfg.path, *cfg.validation_path)
  texts = {
    name: readers.open_text(name, cfg.text_field, cache)
    for name in dict.fromkeys(names)
    if not readers.is_tokens(name)
  }
  tokenizer = choose_tokenizer(
    cfg,
    [texts[name] for name in dict.fromkeys(cfg.path) if name in texts],
    cache,
    [texts[name] for name in dict.fromkeys(cfg.validation_path) if name in texts],
  )
  # If `data.tokenizer` names a file, the sources of tokens must have that tokenizer too.
  file_tokenizer = None if cfg.tokenizer in KINDS else tokenizer

  # Open the sources in their order in the config.
  sources: list[_Source] = []
  for name in names:
    # If there are texts, the tokenizer is not None.
    if name in texts and tokenizer is not None:
      sources.append(_open_text(texts[name], tokenizer, cache))
    else:
      sources.append(_open_tokens(cfg, name, file_tokenizer))

  # All sources must have the same tokenizer.
  tokenizer = shared_tokenizer(
    names,
    [source.streams for source in sources],
    [source.tokenizer for source in sources],
    file_tokenizer,
  )
  train, validation = _splits(cfg, sources)
  # The hash covers all that determines the token streams.
  identity = [
    tokenizer.hash,
    cfg.split,
    cfg.validation_fraction,
    cfg.fraction,
    [source.summary.tokens_sha256 for source in sources],
  ]
  if cfg.validation_path:
    # The place at which the sources of validation begin.
    identity.append(len(cfg.path))
  repeated = shards.count_repeated(
    [split.hashes for split in train], [split.hashes for split in validation]
  )
  if repeated is not None and repeated.is_notable:
    _warn_once(f'data.path: {", ".join(names)}: {repeated.describe()}')
  streams = [split.stream for split in train]
  dataset = Dataset(
    tokenizer=tokenizer,
    train=tuple(stream.part(0, int(len(stream) * cfg.fraction)) for stream in streams),
    validation=tuple(split.stream for split in validation),
    sources=tuple(source.summary for source in sources),
    sha256=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
    repeated=repeated,
  )
  return _add_objective_tokens(dataset, cfg.objective)


def _add_objective_tokens(dataset: Dataset, objective: str) -> Dataset:
  """Sets the special tokens of an objective. Those that the tokenizer lacks get new ids."""
  tokenizer = dataset.tokenizer
  first_new = tokenizer.vocab_size
  if objective == 'masked':
    mask_token = first_new if tokenizer.mask_token is None else tokenizer.mask_token
    return dataclasses.replace(dataset, mask_token=mask_token)
  if objective == 'span':
    new_sentinels = tuple(range(first_new, first_new + N_SENTINELS))
    return dataclasses.replace(
      dataset,
      sentinels=tokenizer.sentinels or new_sentinels,
      start_token=start_token(tokenizer),
    )
  return dataset


def start_token(tokenizer: Tokenizer) -> int:
  """Returns the first token of a decoder's input.

  As in T5, this is the padding token. If there is none, it is a new id after the sentinels.
  """
  n_new_sentinels = 0 if tokenizer.sentinels else N_SENTINELS
  after_sentinels = tokenizer.vocab_size + n_new_sentinels
  return after_sentinels if tokenizer.pad_token is None else tokenizer.pad_token


# --- opening and splitting one source -----------------------------------------------


def _open_text(text: readers.Text, tokenizer: Tokenizer, cache: epath.Path) -> _Source:
  """Opens the token shard of a text. If the cache lacks the shard, it is written first."""

  def write(directory: epath.Path) -> None:
    shards.write(directory, text.documents(), tokenizer, repr(text.name))

  key = cache_key(shards.FORMAT, text.sha256, tokenizer.hash)
  return _shard_source(
    text.name, read_or_write(cache / 'tokens' / key, write, shards.read)
  )


def _open_tokens(cfg: DataConfig, name: str, tokenizer: Tokenizer | None) -> _Source:
  """Opens a directory of token shards, or files of token ids.

  Args:
    cfg: Section `data`.
    name: Name of the source in the config.
    tokenizer: Tokenizer of ids that have no tokenizer.json beside them. None if it is unknown.
  """
  if readers.is_shard(name):
    return _shard_source(name, shards.read(as_path(name)))
  # A tokenizer.json may stand beside the files.
  files = token_files.find(name)
  tokenizer_file = files.train[0].parent / TOKENIZER_FILE
  if tokenizer_file.exists():
    tokenizer = load_tokenizer(tokenizer_file)
  ids, dtype = token_files.read_split(files.train, cfg.token_dtype)
  arrays = [ids]
  if files.validation:
    ids, _ = token_files.read_split(files.validation, cfg.token_dtype, dtype)
    arrays.append(ids)
  streams = tuple(_bin_stream(ids, tokenizer) for ids in arrays)
  summary = SourceSummary(
    path=name,
    tokens=sum(len(stream) for stream in streams),
    documents=sum(len(stream.starts) for stream in streams),
    tokens_sha256=' '.join(
      hashlib.sha256(np.ascontiguousarray(ids).data).hexdigest() for ids in arrays
    ),
    token_dtype=dtype,
  )
  return _Source(streams, tokenizer, summary)


def _shard_source(name: str, shard: shards.Shard) -> _Source:
  summary = SourceSummary(
    path=name,
    tokens=shard.index.tokens,
    documents=shard.index.documents,
    tokens_sha256=shard.index.tokens_sha256,
    text_bytes=shard.index.text_bytes,
    text_sha256=shard.index.text_sha256,
  )
  return _Source((shard.tokens,), shard.tokenizer, summary, shard.hashes)


def _bin_stream(ids: np.ndarray, tokenizer: Tokenizer | None) -> TokenStream:
  """Returns a stream whose documents are separated by end-of-text tokens."""
  ends: Sequence[int] | np.ndarray = ()
  if tokenizer is not None and tokenizer.end_of_text is not None:
    # If the last token is end-of-text, no document follows it.
    ends = np.flatnonzero(ids[:-1] == tokenizer.end_of_text)
  later_starts = np.asarray(ends, np.int64) + 1
  return TokenStream(ids, np.concatenate([np.zeros(1, np.int64), later_starts]))


def _splits(
  cfg: DataConfig, sources: Sequence[_Source]
) -> tuple[list[_Split], list[_Split]]:
  """Returns the training and the validation splits of all sources."""
  if not cfg.validation_path:
    pairs = [_split(cfg, source) for source in sources]
    return [train for train, _ in pairs], [validation for _, validation in pairs]
  # All of `data.path` is for training, except a val.bin beside a train.bin.
  n_train = len(cfg.path)
  train = [_whole(source, source.streams[0]) for source in sources[:n_train]]
  validation = []
  for source in sources[n_train:]:
    validation.append(_whole(source, source.streams[-1]))
  return train, validation


def _whole(source: _Source, stream: TokenStream) -> _Split:
  hashes = np.zeros(0, np.uint64) if source.hashes is None else source.hashes
  return _Split(stream, hashes)


def _split(cfg: DataConfig, source: _Source) -> tuple[_Split, _Split]:
  """Returns the training and the validation split of a source."""
  if len(source.streams) == 2:
    # nanoGPT's train.bin and val.bin.
    train, validation = source.streams
    return _whole(source, train), _whole(source, validation)
  (tokens,) = source.streams
  boundary = int(len(tokens) * (1 - cfg.validation_fraction))
  if cfg.split == 'document':
    if len(tokens.starts) < 2:
      accepted = f'fraction: {source.summary.path!r} has only one document'
      raise wrong(cfg, 'split', accepted)
    # Move the boundary to the nearest start of a document.
    later_starts = tokens.starts[1:]
    boundary = int(later_starts[np.abs(later_starts - boundary).argmin()])
  whole = _whole(source, tokens)
  n_train = int(np.searchsorted(tokens.starts, boundary))
  return (
    _Split(tokens.part(0, boundary), whole.hashes[:n_train]),
    _Split(tokens.part(boundary, len(tokens)), whole.hashes[n_train:]),
  )


@functools.cache
def _warn_once(message: str) -> None:
  """Logs a warning, once in a process: a sweep loads its data for each structure."""
  logging.getLogger('lmhp').warning(message)
