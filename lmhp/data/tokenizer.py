"""Tokenizers without a learned vocabulary, and the interface of all tokenizers.

A tokenizer encodes all of its input as text. If the text contains the name of a special
token, it becomes ordinary tokens. Therefore an end-of-text token always ends a document. A
table of the UTF-8 bytes of each token turns nats per token into bits per byte.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
import functools
import hashlib
import json

from etils import epath
import numpy as np

from lmhp.errors import ConfigError
from lmhp.typing import JSON

FILE = 'tokenizer.json'
FORMAT_KEY = 'lmhp_tokenizer'
"""Key of a `tokenizer.json` that holds the kind of a tokenizer of this file."""


class Tokenizer(abc.ABC):
  """Interface of all tokenizers.

  Attributes:
    kind: Name of the kind, for result files.
    vocab_size: Number of ids. All ids are below it.
    end_of_text: Id that ends each document. None if there is none.
    mask_token: Id that replaces masked tokens. None if there is none.
    sentinels: Ids that replace removed spans, in order.
    pad_token: Id of padding. None if there is none.
    bytes_per_token: (vocab_size,) int32, UTF-8 bytes of the text of each token, 0 for
      special tokens. None if it is unknown.
  """

  kind: str
  vocab_size: int
  end_of_text: int | None
  mask_token: int | None = None
  sentinels: tuple[int, ...] = ()
  pad_token: int | None = None
  bytes_per_token: np.ndarray | None

  def encode(self, text: str) -> np.ndarray:
    """Returns the ids of a text, (n,) uint32, without an end-of-text token."""
    return next(iter(self.encode_all([text])))

  @abc.abstractmethod
  def encode_all(self, texts: Sequence[str]) -> Iterable[np.ndarray]:
    """Returns the ids of each text. Some tokenizers encode a batch faster."""

  @abc.abstractmethod
  def decode(self, ids: Sequence[int] | np.ndarray) -> str:
    """Returns the text of ids, without special tokens. Invalid UTF-8 becomes U+FFFD."""

  @abc.abstractmethod
  def spec(self) -> dict[str, JSON]:
    """Returns the content of `tokenizer.json`."""

  @functools.cached_property
  def hash(self) -> str:
    """sha256 of everything that determines the ids of a text."""
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
  """One id for each character, in the order of code points.

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
    # The id of a character is its rank among the sorted codes.
    ids = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
    unknown = codes[self._codes[ids] != codes]
    if unknown.size:
      raise ConfigError(
        f'data.tokenizer: got the character {chr(unknown[0])!r}, expected one of the '
        f'{len(self._characters)} of the char tokenizer'
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
  """Ids without known text, for a .bin file without its tokenizer."""

  kind = 'ids'
  end_of_text = None
  bytes_per_token = None

  def __init__(self, vocab_size: int):
    self.vocab_size = vocab_size

  def encode_all(self, texts: Sequence[str]) -> Iterable[np.ndarray]:
    raise ConfigError(
      'data.tokenizer: got text for tokens without a tokenizer, expected the path of '
      'their tokenizer.json'
    )

  def decode(self, ids: Sequence[int] | np.ndarray) -> str:
    return ' '.join(str(i) for i in np.asarray(ids).tolist())

  def spec(self) -> dict[str, JSON]:
    return {FORMAT_KEY: self.kind, 'vocab_size': self.vocab_size}
