"""`load`: from the config's words to token streams, train and validation, that share one tokenizer."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import os
from typing import Any, Callable, Iterator, Sequence, TypeVar

from etils import epath
import numpy as np

from lmhp.data import readers, shards
from lmhp.data import tokenizer as tokenizers
from lmhp.data.config import DataConfig
from lmhp.data.shards import TokenShards
from lmhp.errors import ConfigError
from lmhp.sections import wrong

WORDS = ('byte', 'char', 'bpe')
T = TypeVar('T')
SENTINELS = 100
"""Tokens that stand for spans, where the tokenizer has none of its own. Source: T5."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """Token streams, one for each word of `data.path`.

  Attributes:
    tokenizer: the one that all streams share.
    train: streams that training reads, `data.fraction` applied.
    validation: streams that are held out, disjoint from `train`.
    sources: what is known of each source, for the result file.
    mask_token: stands for hidden tokens: the tokenizer's, or one more; None where nothing is hidden.
    sentinels: ids that stand for spans that were taken out: the tokenizer's, or as many more; () where none are.
    start_token: what a decoder beside an encoder reads first; None where there is none.
    sha256: of all tokens, the tokenizer and the split; two runs with equal hashes had the same data.
  """

  tokenizer: tokenizers.Tokenizer
  train: tuple[TokenShards, ...]
  validation: tuple[TokenShards, ...]
  sources: tuple[dict[str, Any], ...]
  sha256: str
  mask_token: int | None = None
  sentinels: tuple[int, ...] = ()
  start_token: int | None = None

  @property
  def vocab_size(self) -> int:
    """Token ids are below it."""
    return max(
      self.tokenizer.vocab_size,
      1 + max((self.mask_token or 0, self.start_token or 0, *self.sentinels)),
    )

  def token_bytes(self, vocab_size: int) -> np.ndarray:
    """(vocab_size,) int32, UTF-8 bytes of each token; all 0 where the tokenizer does not know its text."""
    bytes_V = np.zeros(vocab_size, np.int32)
    if self.tokenizer.bytes_per_token is not None:
      bytes_V[: self.tokenizer.vocab_size] = self.tokenizer.bytes_per_token
    return bytes_V

  def describe(self) -> dict[str, Any]:
    """What a result file says of the data."""
    return dict(
      sha256=self.sha256,
      train_tokens=sum(map(len, self.train)),
      validation_tokens=sum(map(len, self.validation)),
      train_documents=sum(len(t.starts) for t in self.train),
      validation_documents=sum(len(t.starts) for t in self.validation),
      tokenizer=self.tokenizer.kind,
      tokenizer_sha256=self.tokenizer.hash,
      vocab_size=self.vocab_size,
      sources=list(self.sources),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
  """One word of `data.path`, opened: its stream, or its train and validation streams, and what is known of it."""

  streams: tuple[TokenShards, ...]
  tokenizer: tokenizers.Tokenizer | None
  facts: dict[str, Any]


def load(cfg: DataConfig) -> Dataset:
  """Opens every source, making tokenizer and shards where the cache has none. Reads no traced field.

  Raises:
    ConfigError: where a source is missing, unreadable or corrupt, or sources do not share a tokenizer.
  """
  cache = cache_dir(cfg)
  is_tokens = {
    name: readers.is_shard(name) or bool(readers.bin_files(name)) for name in cfg.path
  }
  texts = {
    name: readers.open_text(name, cfg.text_field, cache)
    for name in cfg.path
    if not is_tokens[name]
  }
  made = _tokenizer(cfg, list(texts.values()), cache)
  given = None if cfg.tokenizer in WORDS else made
  sources = [
    _open_text(texts[name], made, cache) if name in texts else _open_tokens(name, given)
    for name in cfg.path
  ]
  tokenizer = _shared_tokenizer(cfg, sources, given)
  pairs = [_split(cfg, source) for source in sources]
  identity = [
    tokenizer.hash,
    cfg.split,
    cfg.validation_fraction,
    cfg.fraction,
    [source.facts['tokens_sha256'] for source in sources],
  ]
  return Dataset(
    tokenizer=tokenizer,
    train=tuple(train.part(0, int(len(train) * cfg.fraction)) for train, _ in pairs),
    validation=tuple(validation for _, validation in pairs),
    sources=tuple(source.facts for source in sources),
    sha256=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
    **_more_tokens(tokenizer, cfg.objective),
  )


def _more_tokens(tokenizer: tokenizers.Tokenizer, objective: str) -> dict[str, Any]:
  """The tokens that an objective needs beside the text's: the tokenizer's own, or more than it has."""
  more = tokenizer.vocab_size
  if objective == 'masked':
    return {
      'mask_token': more if tokenizer.mask_token is None else tokenizer.mask_token
    }
  if objective == 'span':
    sentinels = tokenizer.sentinels or tuple(range(more, more + SENTINELS))
    return {'sentinels': sentinels, 'start_token': start_token(tokenizer)}
  return {}


def start_token(tokenizer: tokenizers.Tokenizer) -> int:
  """What a decoder beside an encoder reads first: padding, as T5 does, or one more token after the sentinels."""
  if tokenizer.pad_token is not None:
    return tokenizer.pad_token
  return tokenizer.vocab_size + (0 if tokenizer.sentinels else SENTINELS)


def cache_dir(cfg: DataConfig) -> epath.Path:
  """Where shards are kept: data.cache_dir, else $LMHP_CACHE, else ~/.cache/lmhp."""
  return epath.Path(
    cfg.cache_dir or os.environ.get('LMHP_CACHE') or '~/.cache/lmhp'
  ).expanduser()


def _cached(
  directory: epath.Path,
  write: Callable[[epath.Path], None],
  read: Callable[[epath.Path], T],
) -> T:
  """Reads a directory of the cache; makes it first where it is absent, and again where it is corrupt."""
  if directory.exists():
    try:
      return read(directory)
    except ConfigError as e:
      logging.getLogger('lmhp').warning('%s; it is made again', e)
      shards.remove(directory)
  write(directory)
  return read(directory)


def _key(*parts: Any) -> str:
  return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


# --- the tokenizer --------------------------------------------------------------------------------------------------


def _tokenizer(
  cfg: DataConfig, texts: Sequence[readers.Text], cache: epath.Path
) -> tokenizers.Tokenizer | None:
  """The tokenizer that `data.tokenizer` asks for; None where it would be made of text and there is none."""
  if cfg.tokenizer not in WORDS:
    if not epath.Path(cfg.tokenizer).expanduser().exists():
      raise wrong(
        cfg, 'tokenizer', 'byte, char, bpe or the path of a tokenizer.json', WORDS
      )
    return tokenizers.load(epath.Path(cfg.tokenizer).expanduser())
  if not texts:
    return None
  if cfg.tokenizer == 'byte':
    return tokenizers.ByteTokenizer()
  hashes = [text.sha256 for text in texts]
  if cfg.tokenizer == 'char':
    key, make = _key('char 1', hashes), functools.partial(_char_tokenizer, texts)
  else:
    key = _key('bpe 1', hashes, cfg.tokenizer_vocab_size, cfg.validation_fraction)
    pieces = (
      piece
      for text in texts
      for piece in _training_text(text, 1 - cfg.validation_fraction)
    )
    make = functools.partial(tokenizers.train_bpe, pieces, cfg.tokenizer_vocab_size)

  def write(directory: epath.Path) -> None:
    with shards.appearing(directory) as unfinished:
      make().save(unfinished)

  return _cached(cache / 'tokenizers' / key, write, tokenizers.load)


def _char_tokenizer(texts: Sequence[readers.Text]) -> tokenizers.CharTokenizer:
  """All characters of all texts; end-of-text where a source has more than one document."""
  characters, several = set(), False
  for text in texts:
    documents = 0
    for document in text.documents():
      characters.update(document)
      documents += bool(document)
    several |= documents > 1
  return tokenizers.CharTokenizer(characters, end_of_text=several)


def _training_text(text: readers.Text, share: float) -> Iterator[str]:
  """The first share of a text's characters, the part that the tokenizer may learn from."""
  left = int(share * sum(map(len, text.documents())))
  for document in text.documents():
    yield document[:left]
    left -= len(document)
    if left <= 0:
      return


def _shared_tokenizer(
  cfg: DataConfig, sources: Sequence[_Source], given: tokenizers.Tokenizer | None
) -> tokenizers.Tokenizer:
  """The one tokenizer of all sources, after checking that it is one and that every id is within its vocabulary.

  Args:
    cfg: the config, for the names of the sources.
    sources: all of them.
    given: the tokenizer whose path `data.tokenizer` is, None where that is a word.
  """
  largest = [
    max(int(stream.ids.max()) for stream in source.streams) for source in sources
  ]
  known = [
    tokenizer
    for tokenizer in (given, *(s.tokenizer for s in sources))
    if tokenizer is not None
  ]
  tokenizer = known[0] if known else tokenizers.IdTokenizer(max(largest) + 1)
  for name, source, most in zip(cfg.path, sources, largest):
    if known and (source.tokenizer is None or source.tokenizer.hash != tokenizer.hash):
      came = (
        'no tokenizer'
        if source.tokenizer is None
        else f'a {source.tokenizer.kind} tokenizer of its own'
      )
      raise ConfigError(
        f'data.path: {name!r} came with {came}, expected the {tokenizer.kind} tokenizer of '
        f'{"data.tokenizer" if given else "the other sources"}'
      )
    if most >= tokenizer.vocab_size:
      raise ConfigError(
        f'data.path: {name!r} holds token {most}, beyond the {tokenizer.vocab_size} of its '
        f'{tokenizer.kind} tokenizer'
      )
  return tokenizer


# --- opening and splitting one source -------------------------------------------------------------------------------


def _open_text(
  text: readers.Text, tokenizer: tokenizers.Tokenizer, cache: epath.Path
) -> _Source:
  def write(directory: epath.Path) -> None:
    shards.write(directory, text.documents(), tokenizer, repr(text.name))

  directory = cache / 'tokens' / _key(shards.FORMAT, text.sha256, tokenizer.hash)
  return _of_shard(text.name, _cached(directory, write, shards.read))


def _of_shard(name: str, shard: shards.Shard) -> _Source:
  facts = {
    f: shard.index[f]
    for f in ('tokens', 'documents', 'text_bytes', 'text_sha256', 'tokens_sha256')
  }
  return _Source((shard.tokens,), shard.tokenizer, dict(path=name, **facts))


def _open_tokens(name: str, given: tokenizers.Tokenizer | None) -> _Source:
  """A directory of shards, or nanoGPT's .bin: with the tokenizer.json beside it, else the given one, else none."""
  if readers.is_shard(name):
    return _of_shard(name, shards.read(epath.Path(name).expanduser()))
  files = readers.bin_files(name)
  beside = files[0].parent / tokenizers.FILE
  tokenizer = tokenizers.load(beside) if beside.exists() else given
  streams = tuple(
    _stream(shards.read_ids(file, np.dtype(np.uint16)), tokenizer) for file in files
  )
  hashes = [hashlib.sha256(stream.ids).hexdigest() for stream in streams]
  facts = dict(
    path=name,
    tokens=sum(map(len, streams)),
    documents=sum(len(s.starts) for s in streams),
    tokens_sha256=' '.join(hashes),
  )
  return _Source(streams, tokenizer, facts)


def _stream(ids: np.ndarray, tokenizer: tokenizers.Tokenizer | None) -> TokenShards:
  """Ids with the documents that end-of-text tokens mark."""
  ends = (
    []
    if tokenizer is None or tokenizer.end_of_text is None
    else np.flatnonzero(ids[:-1] == tokenizer.end_of_text)
  )
  return TokenShards(
    ids, np.concatenate([np.zeros(1, np.int64), np.asarray(ends, np.int64) + 1])
  )


def _split(cfg: DataConfig, source: _Source) -> tuple[TokenShards, TokenShards]:
  """Train and validation; a pair of files is split already."""
  if len(source.streams) == 2:
    return source.streams
  (tokens,) = source.streams
  boundary = int(len(tokens) * (1 - cfg.validation_fraction))
  if cfg.split == 'document':
    if len(tokens.starts) < 2:
      raise wrong(cfg, 'split', f'fraction: {source.facts["path"]!r} has one document')
    later = tokens.starts[1:]
    boundary = int(later[np.abs(later - boundary).argmin()])
  return tokens.part(0, boundary), tokens.part(boundary, len(tokens))
