"""Tokenizers of bytes, of characters and of Hugging Face, and their `tokenizer.json`.

If a document contains the name of a special token, such as `<|endoftext|>`, the name is encoded
as ordinary text. Therefore an end-of-text token always ends a document. A prompt is encoded as
the owner of the tokenizer defined it: with the special tokens that it contains by name, and with
those that the tokenizer adds.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sequence
import functools
import hashlib
import itertools
import json

from etils import epath
import numpy as np
import tokenizers

from lmhp.data.special_tokens import (
  CONFIG_FILE,
  END_OF_TEXT_NAMES,
  MASK_NAMES,
  PAD_NAMES,
  SpecialTokens,
  read_special_tokens,
)
from lmhp.errors import ConfigError
from lmhp.files import as_path, read_bytes
from lmhp.typing import JSON

FILE = 'tokenizer.json'
FORMAT_KEY = 'lmhp_tokenizer'
"""Key in the `tokenizer.json` of a tokenizer that is not from Hugging Face.

Its value is the kind of the tokenizer: 'byte', 'char' or 'ids'.
"""

# Types of post-processors that decide which special tokens are added to a text.
_TEMPLATES = frozenset({'TemplateProcessing', 'RobertaProcessing', 'BertProcessing'})


class Tokenizer(abc.ABC):
  """Interface of all tokenizers.

  Attributes:
    kind: Kind of the tokenizer for result files, such as 'byte' or 'bpe'.
    vocab_size: Number of ids. All ids are below it.
    end_of_text: Id that ends each document. None if there is none.
    mask_token: Id that replaces masked tokens. None if there is none.
    sentinels: Ids that replace removed spans, in order. Empty if there are none.
    pad_token: Id of padding. None if there is none.
    bytes_per_token: (vocab_size,) int32, number of UTF-8 bytes in the text of each token, 0
      for special tokens. It converts nats per token to bits per byte. None if it is unknown.
  """

  kind: str
  vocab_size: int
  end_of_text: int | None
  mask_token: int | None = None
  sentinels: tuple[int, ...] = ()
  pad_token: int | None = None
  bytes_per_token: np.ndarray | None

  def encode(self, text: str) -> np.ndarray:
    """Returns the ids of a prompt, (n,) uint32, with the special tokens that it needs."""
    return next(iter(self.encode_all([text])))

  @abc.abstractmethod
  def encode_all(self, texts: Sequence[str]) -> Iterable[np.ndarray]:
    """Returns the ids of each document, (n,) uint32, without special tokens.

    Some tokenizers are faster for many documents at a time.
    """

  @abc.abstractmethod
  def decode(self, ids: Sequence[int] | np.ndarray) -> str:
    """Returns the text of ids, without special tokens. Invalid UTF-8 becomes U+FFFD."""

  @abc.abstractmethod
  def spec(self) -> dict[str, JSON]:
    """Returns the content of `tokenizer.json`."""

  @property
  def n_ordinary_ids(self) -> int:
    """Number of ids up to the last one that is not an added token, such as a padding token."""
    return self.vocab_size

  @functools.cached_property
  def hash(self) -> str:
    """The sha256 of everything that determines the ids of a text."""
    text = json.dumps([self.spec(), self.end_of_text], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()

  def save(self, directory: epath.PathLike) -> None:
    """Writes `tokenizer.json` into a directory."""
    text = json.dumps(self.spec(), ensure_ascii=False)
    (epath.Path(directory) / FILE).write_text(text)


class ByteTokenizer(Tokenizer):
  """The bytes of UTF-8 as ids 0 to 255. Id 256 is end-of-text."""

  kind = 'byte'
  vocab_size = 257
  end_of_text = 256

  def __init__(self):
    self.bytes_per_token = np.asarray([1] * 256 + [0], np.int32)

  def encode_all(self, texts: Sequence[str]) -> Iterable[np.ndarray]:
    for text in texts:
      yield np.frombuffer(text.encode(), np.uint8).astype(np.uint32)

  def decode(self, ids: Sequence[int] | np.ndarray) -> str:
    text_bytes = bytes(i for i in np.asarray(ids).tolist() if i < 256)
    return text_bytes.decode(errors='replace')

  def spec(self) -> dict[str, JSON]:
    return {FORMAT_KEY: self.kind}


class CharTokenizer(Tokenizer):
  """One id for each character. The ids are in the order of the Unicode code points.

  Args:
    characters: All characters of the text, each once.
    end_of_text: If True, the last id is end-of-text.
  """

  kind = 'char'

  def __init__(self, characters: Iterable[str], end_of_text: bool):
    self._characters = ''.join(sorted(characters))
    self._codes = np.frombuffer(self._characters.encode('utf-32-le'), np.uint32)
    self.vocab_size = len(self._characters)
    self.end_of_text = None
    sizes = [len(character.encode()) for character in self._characters]
    if end_of_text:
      self.end_of_text = self.vocab_size
      self.vocab_size += 1
      sizes.append(0)
    self.bytes_per_token = np.asarray(sizes, np.int32)

  def encode_all(self, texts: Sequence[str]) -> Iterable[np.ndarray]:
    return map(self._encode, texts)

  def _encode(self, text: str) -> np.ndarray:
    codes = np.frombuffer(text.encode('utf-32-le'), np.uint32)
    # The id of a character is its index in the sorted code points. `minimum` keeps the index
    # valid for a code point above all others.
    ids = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
    unknown = codes[self._codes[ids] != codes]
    if unknown.size:
      raise ConfigError(
        f'data.tokenizer: got the character {chr(unknown[0])!r}, expected one of the '
        f'{len(self._characters)} characters of the char tokenizer'
      )
    return ids.astype(np.uint32)

  def decode(self, ids: Sequence[int] | np.ndarray) -> str:
    return ''.join(
      self._characters[i] for i in np.asarray(ids).tolist() if i != self.end_of_text
    )

  def spec(self) -> dict[str, JSON]:
    return {
      FORMAT_KEY: self.kind,
      'characters': self._characters,
      'end_of_text': self.end_of_text is not None,
    }


class IdTokenizer(Tokenizer):
  """Ids whose text is unknown, for a .bin file without a tokenizer."""

  kind = 'ids'
  end_of_text = None
  bytes_per_token = None

  def __init__(self, vocab_size: int):
    self.vocab_size = vocab_size

  def encode_all(self, texts: Sequence[str]) -> Iterable[np.ndarray]:
    raise ConfigError(
      'data.tokenizer: got text, but the tokens of data.path have no tokenizer; expected the '
      'path of their tokenizer.json'
    )

  def decode(self, ids: Sequence[int] | np.ndarray) -> str:
    return ' '.join(str(i) for i in np.asarray(ids).tolist())

  def spec(self) -> dict[str, JSON]:
    return {FORMAT_KEY: self.kind, 'vocab_size': self.vocab_size}


# --- files: `tokenizer.json` of Hugging Face or of lmhp, and BPE training -----------


MAX_VOCAB_SIZE = 1 << 24
"""Largest vocabulary. The tables of a model have a row for each id, also for unused ones."""


class JsonTokenizer(Tokenizer):
  """Tokenizer of a Hugging Face `tokenizer.json`.

  A lossy tokenizer (such as one with a lower-casing normalizer) changes the text before it
  encodes it. `bytes_per_token` then counts the bytes of the changed text.

  Args:
    text: Content of `tokenizer.json`.
    special: Special tokens that the files beside `tokenizer.json` declare. If they declare no
      end-of-text token, it is the first of the usual names (such as `</s>`) that is in the
      vocabulary.

  Raises:
    ValueError: If a declared token is not in the vocabulary.
  """

  def __init__(self, text: str, special: SpecialTokens | None = None):
    self._special = special or SpecialTokens()
    self._tokenizer = _plain_tokenizer(text)
    # '</s>' in a document is four characters, not the end of the document.
    self._tokenizer.encode_special_tokens = True
    self._json = json.loads(text)
    self.kind = str(self._json['model'].get('type', 'bpe')).lower()

    vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
    self.vocab_size = max(vocabulary.values()) + 1
    if self.vocab_size > MAX_VOCAB_SIZE:
      raise ValueError(
        f'got the id {self.vocab_size - 1}, expected ids below {MAX_VOCAB_SIZE}'
      )
    for name in (self._special.begin, self._special.end):
      if name is not None and name not in vocabulary:
        raise ValueError(
          f'got the special token {name!r}, expected one in the vocabulary'
        )
    self.end_of_text = self._end_of_text(vocabulary)
    self.mask_token = _first_id(vocabulary, MASK_NAMES)
    self.pad_token = _first_id(vocabulary, PAD_NAMES)
    # Sentinels of T5: <extra_id_0>, <extra_id_1>, ... up to the first that is missing.
    sentinel_names = (f'<extra_id_{i}>' for i in range(len(vocabulary)))
    self.sentinels = tuple(
      vocabulary[name]
      for name in itertools.takewhile(vocabulary.__contains__, sentinel_names)
    )
    self.bytes_per_token = self._bytes_per_token(vocabulary)

  @property
  def n_ordinary_ids(self) -> int:
    vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
    return max(vocabulary.values(), default=-1) + 1

  def _end_of_text(self, vocabulary: dict[str, int]) -> int | None:
    """Returns the id of the declared end-of-text token, or of the first usual name."""
    if self._special.end is not None:
      return vocabulary[self._special.end]
    end_id = self._special.end_id
    if end_id is not None and 0 <= end_id < self.vocab_size:
      return end_id
    return _first_id(vocabulary, END_OF_TEXT_NAMES)

  @functools.cached_property
  def _prompt_tokenizer(self) -> tokenizers.Tokenizer:
    """Tokenizer of prompts, which recognizes special tokens and adds its own."""
    tokenizer = _plain_tokenizer(json.dumps(self._json))
    # transformers 5 reads add_bos_token and add_eos_token only if tokenizer.json does not decide.
    is_decided = _TEMPLATES.intersection(_types(self._json.get('post_processor')))
    special = self._special
    names = [*special.before, *special.after]
    if names and not is_decided:
      tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=[*special.before, '$A', *special.after],
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in names],
      )
    return tokenizer

  def encode(self, text: str) -> np.ndarray:
    ids = self._prompt_tokenizer.encode(text, add_special_tokens=True).ids
    return np.asarray(ids, np.uint32)

  def encode_all(self, texts: Sequence[str]) -> Iterable[np.ndarray]:
    encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return (np.asarray(encoding.ids, np.uint32) for encoding in encodings)

  def decode(self, ids: Sequence[int] | np.ndarray) -> str:
    return self._tokenizer.decode(np.asarray(ids).tolist(), skip_special_tokens=True)

  def spec(self) -> dict[str, JSON]:
    return self._json

  def save(self, directory: epath.PathLike) -> None:
    super().save(directory)
    # `load_tokenizer` reads the names of the special tokens from this file.
    config = self._special.to_json()
    if self.end_of_text is not None:
      config['eos_token'] = self._tokenizer.id_to_token(self.end_of_text)
    if config:
      (epath.Path(directory) / CONFIG_FILE).write_text(json.dumps(config))

  def _bytes_per_token(self, vocabulary: dict[str, int]) -> np.ndarray:
    # {id: token} of the tokens that were added to the vocabulary of the model.
    added = self._tokenizer.get_added_tokens_decoder()
    # In byte-level BPE, each character of a token stands for one byte.
    is_byte_level = 'ByteLevel' in _types(self._json)
    sizes = np.zeros(self.vocab_size, np.int32)
    for token, i in vocabulary.items():
      if i in added:
        sizes[i] = 0 if added[i].special else len(added[i].content.encode())
      else:
        sizes[i] = len(token) if is_byte_level else _n_bytes(token)
    return sizes


def _plain_tokenizer(text: str) -> tokenizers.Tokenizer:
  """Returns the tokenizer of a `tokenizer.json`, without truncation and padding."""
  tokenizer = tokenizers.Tokenizer.from_str(text)
  tokenizer.no_truncation()
  tokenizer.no_padding()
  return tokenizer


def _first_id(vocabulary: dict[str, int], names: Iterable[str]) -> int | None:
  """Returns the id of the first name that is in the vocabulary."""
  return next((vocabulary[name] for name in names if name in vocabulary), None)


def _types(node: JSON) -> Iterator[str]:
  """Yields the types of the parts of a tokenizer.json, such as 'ByteLevel' of a pre-tokenizer.

  The model and the added tokens are left out.
  """
  if isinstance(node, dict):
    yield str(node.get('type'))
    for name, value in node.items():
      if name not in ('model', 'added_tokens'):
        yield from _types(value)
  if isinstance(node, list):
    for value in node:
      yield from _types(value)


def _n_bytes(token: str) -> int:
  """Returns the number of UTF-8 bytes of a token of sentencepiece or WordPiece."""
  if len(token) == 6 and token.startswith('<0x') and token.endswith('>'):
    return 1  # A byte that is no character of the vocabulary, such as <0x0A>.
  # WordPiece writes ## before a token that continues a word. sentencepiece writes a space as ▁.
  return len(token.removeprefix('##').replace('▁', ' ').encode())


def load_tokenizer(path: epath.PathLike) -> Tokenizer:
  """Returns the tokenizer of a `tokenizer.json`, or of a directory with such a file.

  Raises:
    ConfigError: If there is no such file, or it cannot be read.
  """
  path = as_path(path)
  file = path / FILE if path.is_dir() else path
  if not file.exists():
    raise ConfigError(f'data.tokenizer: no file {file}')
  try:
    return _load(file)
  except Exception as error:  # The tokenizers library raises plain Exception.
    reason = ' '.join(str(error).split()) or type(error).__name__
    raise ConfigError(f'data.tokenizer: cannot read {file}: {reason}') from error


def _load(file: epath.Path) -> Tokenizer:
  text = read_bytes(file).decode()
  # A file without lmhp's key is a tokenizer of Hugging Face.
  content = json.loads(text)
  kind = content.get(FORMAT_KEY)
  if kind is None:
    return JsonTokenizer(text, read_special_tokens(file.parent))
  if kind == 'byte':
    return ByteTokenizer()
  if kind == 'char':
    return CharTokenizer(content['characters'], content['end_of_text'])
  if kind == 'ids':
    return IdTokenizer(content['vocab_size'])
  raise ValueError(f'{FORMAT_KEY}: got {kind!r}, expected byte, char or ids')
