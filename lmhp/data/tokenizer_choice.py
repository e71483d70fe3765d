"""Choice of the tokenizer: that of `data.tokenizer`, and the one that all sources share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from etils import epath

from lmhp.data.bpe import train_bpe
from lmhp.data.cache import cache_key, new_directory, read_or_write
from lmhp.data.config import DataConfig
from lmhp.data.readers import Text
from lmhp.data.shards import TokenStream
from lmhp.data.tokenizer import (
  ByteTokenizer,
  CharTokenizer,
  IdTokenizer,
  Tokenizer,
  load_tokenizer,
)
from lmhp.errors import ConfigError
from lmhp.files import as_path
from lmhp.sections import wrong

KINDS = ('byte', 'char', 'bpe')
"""Values of `data.tokenizer` that are not paths."""


def choose_tokenizer(
  cfg: DataConfig,
  texts: Sequence[Text],
  cache: epath.Path,
  validation_texts: Sequence[Text] = (),
) -> Tokenizer | None:
  """Returns the tokenizer of `data.tokenizer`.

  The result is None if there are no texts and `data.tokenizer` is byte, char or bpe.

  Args:
    cfg: Section `data`.
    texts: All sources of text in `data.path`.
    cache: Cache directory, which stores tokenizers that depend on the texts.
    validation_texts: All sources of text in `data.validation_path`. They give characters to a
      char tokenizer. A bpe tokenizer is not trained on them.

  Raises:
    ConfigError: If `data.tokenizer` is not byte, char, bpe or the path of a tokenizer that can
      be read.
  """
  if cfg.tokenizer not in KINDS:
    path = as_path(cfg.tokenizer)
    if not path.exists():
      accepted = 'byte, char, bpe or the path of a tokenizer.json'
      raise wrong(cfg, 'tokenizer', accepted, KINDS)
    return load_tokenizer(path)
  if not texts and not validation_texts:
    return None
  if cfg.tokenizer == 'byte':
    return ByteTokenizer()

  # The cache key covers all that the tokenizer depends on. The 1 after the kind is the version
  # of the code that makes the tokenizer. The validation fraction decides which text trains bpe.
  is_char = cfg.tokenizer == 'char'
  read = [*texts, *validation_texts] if is_char else list(texts)
  if not read:
    raise wrong(cfg, 'tokenizer', 'byte or char, since data.path has no text', KINDS)
  hashes = [text.sha256 for text in read]
  held_out = 0.0 if cfg.validation_path else cfg.validation_fraction
  sizes = () if is_char else (cfg.tokenizer_vocab_size, held_out)
  key = cache_key(f'{cfg.tokenizer} 1', hashes, *sizes)

  def write(directory: epath.Path) -> None:
    with new_directory(directory) as unfinished:
      if is_char:
        tokenizer = _char_tokenizer(read)
      else:
        pieces = _training_text(read, 1 - held_out)
        tokenizer = train_bpe(pieces, cfg.tokenizer_vocab_size)
      tokenizer.save(unfinished)

  return read_or_write(cache / 'tokenizers' / key, write, load_tokenizer)


def _char_tokenizer(texts: Sequence[Text]) -> CharTokenizer:
  """Returns a tokenizer of all characters of the texts.

  The tokenizer has an end-of-text token if a source has more than one document.
  """
  characters: set[str] = set()
  has_several_documents = False
  for text in texts:
    n_documents = 0
    for document in text.documents():
      characters.update(document)
      n_documents += bool(document)
    # An end-of-text token is needed only between documents.
    has_several_documents |= n_documents > 1
  return CharTokenizer(characters, end_of_text=has_several_documents)


def _training_text(texts: Sequence[Text], fraction: float) -> Iterator[str]:
  """Yields the first part of each text, with `fraction` of its characters.

  The rest is approximately the validation split. The tokenizer is not trained on it.
  """
  for text in texts:
    # Number of characters that are still to be yielded.
    n_left = int(fraction * sum(len(document) for document in text.documents()))
    for document in text.documents():
      yield document[:n_left]
      n_left -= len(document)
      if n_left <= 0:
        break


def shared_tokenizer(
  names: Sequence[str],
  streams: Sequence[Sequence[TokenStream]],
  tokenizers: Sequence[Tokenizer | None],
  file_tokenizer: Tokenizer | None,
) -> Tokenizer:
  """Returns the tokenizer that all sources share.

  Args:
    names: Names of the sources in the config.
    streams: Streams of each source.
    tokenizers: Tokenizer of each source. None if it is unknown.
    file_tokenizer: Tokenizer of the file that `data.tokenizer` names. None if the key is
      byte, char or bpe.

  Raises:
    ConfigError: If two tokenizers differ, or a source has an id that is not in the vocabulary.
  """
  # The largest id of each source.
  largest_ids = []
  for source_streams in streams:
    largest_ids.append(max(int(stream.ids.max()) for stream in source_streams))
  known = [
    tokenizer for tokenizer in (file_tokenizer, *tokenizers) if tokenizer is not None
  ]
  # If no tokenizer is known, the largest id gives the size of the vocabulary.
  tokenizer = known[0] if known else IdTokenizer(max(largest_ids) + 1)

  for name, source_tokenizer, largest_id in zip(names, tokenizers, largest_ids):
    is_equal = source_tokenizer is not None and source_tokenizer.hash == tokenizer.hash
    if known and not is_equal:
      kind = 'no' if source_tokenizer is None else f'another {source_tokenizer.kind}'
      origin = 'the other sources' if file_tokenizer is None else 'data.tokenizer'
      raise ConfigError(
        f'data.path: {name!r} has {kind} tokenizer, expected the {tokenizer.kind} tokenizer '
        f'of {origin}'
      )
    if largest_id >= tokenizer.vocab_size:
      raise ConfigError(
        f'data.path: {name!r} has token {largest_id}, expected at most '
        f'{tokenizer.vocab_size - 1} ({tokenizer.kind} tokenizer)'
      )
  return tokenizer
