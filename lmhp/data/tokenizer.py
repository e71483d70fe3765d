"""Text to token ids and back: bytes, characters, and whatever a `tokenizer.json` describes.

A tokenizer encodes text alone: words in the text that look like its special tokens are text, so an end-of-text token in
a stream always is the end of a document. Each knows how many bytes of UTF-8 every token stands for, which is what turns
nats per token into bits per byte.
"""

from __future__ import annotations

import abc
import functools
import hashlib
import itertools
import json
from typing import Any, Iterable, Iterator, Sequence

from etils import epath
import numpy as np
import tokenizers

from lmhp.errors import ConfigError

FILE = 'tokenizer.json'
END_OF_TEXT = '<|endoftext|>'
_ENDS = (
  END_OF_TEXT,
  '<|end_of_text|>',
  '</s>',
  '<eos>',
  '<|eos|>',
  '<end_of_text>',
  '[EOS]',
  '[SEP]',
)
_MASKS, _PADS = ('[MASK]', '<mask>'), ('<pad>', '[PAD]')
_FORMAT = 'lmhp_tokenizer'


class Tokenizer(abc.ABC):
  """What every tokenizer offers.

  Attributes:
    kind: the word that describes it in a result file.
    vocab_size: ids are below it.
    end_of_text: the id that ends each document, None where there is none.
    mask_token: the id that stands for hidden text, None where there is none.
    sentinels: ids that stand for spans of text, in order; () where there are none.
    pad_token: the id that fills up, None where there is none.
    bytes_per_token: (vocab_size,) int32, bytes of UTF-8 that each id stands for (0 for special tokens); None where
      that is unknown.
  """

  kind: str
  vocab_size: int
  end_of_text: int | None
  mask_token: int | None = None
  sentinels: tuple[int, ...] = ()
  pad_token: int | None = None
  bytes_per_token: np.ndarray | None

  def encode(self, text: str) -> np.ndarray:
    """The ids of a text, (n,) uint32, without an end-of-text."""
    return next(iter(self.encode_all([text])))

  @abc.abstractmethod
  def encode_all(self, texts: Sequence[str]) -> Iterable[np.ndarray]:
    """The ids of each text; some tokenizers do many at once faster."""

  @abc.abstractmethod
  def decode(self, ids: Any) -> str:
    """The text of a sequence of ids; special tokens are left out, broken UTF-8 becomes U+FFFD."""

  @abc.abstractmethod
  def spec(self) -> dict[str, Any]:
    """What `save` writes, as JSON."""

  @functools.cached_property
  def hash(self) -> str:
    """The sha256 of all that decides how a text becomes ids."""
    return hashlib.sha256(
      json.dumps([self.spec(), self.end_of_text], sort_keys=True).encode()
    ).hexdigest()

  def save(self, directory: epath.PathLike) -> None:
    """Writes `tokenizer.json` into a directory."""
    (epath.Path(directory) / FILE).write_text(
      json.dumps(self.spec(), ensure_ascii=False)
    )


class ByteTokenizer(Tokenizer):
  """The bytes of UTF-8, and 256 for end-of-text."""

  kind = 'byte'
  vocab_size = 257
  end_of_text = 256

  def __init__(self):
    self.bytes_per_token = np.asarray([1] * 256 + [0], np.int32)

  def encode_all(self, texts):
    return (np.frombuffer(text.encode(), np.uint8).astype(np.uint32) for text in texts)

  def decode(self, ids):
    return bytes(i for i in np.asarray(ids).tolist() if i < 256).decode(
      errors='replace'
    )

  def spec(self):
    return {_FORMAT: self.kind}


class CharTokenizer(Tokenizer):
  """One id for each character, in the order of code points; then end-of-text, where documents must be told apart.

  Args:
    characters: every character of the text, each once.
    end_of_text: whether there is an end-of-text token.
  """

  kind = 'char'

  def __init__(self, characters: Iterable[str], end_of_text: bool):
    self._characters = ''.join(sorted(characters))
    self.end_of_text = len(self._characters) if end_of_text else None
    self.vocab_size = len(self._characters) + end_of_text
    widths = [len(c.encode()) for c in self._characters] + [0] * end_of_text
    self.bytes_per_token = np.asarray(widths, np.int32)
    self._codes = np.frombuffer(self._characters.encode('utf-32-le'), np.uint32)

  def encode_all(self, texts):
    return map(self._encode, texts)

  def _encode(self, text: str) -> np.ndarray:
    codes = np.frombuffer(text.encode('utf-32-le'), np.uint32)
    ids = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
    unknown = codes[self._codes[ids] != codes]
    if unknown.size:
      raise ConfigError(
        f"data.tokenizer: the character {chr(unknown[0])!r} is not one of the char tokenizer's "
        f'{len(self._characters)}'
      )
    return ids.astype(np.uint32)

  def decode(self, ids):
    return ''.join(
      self._characters[i] for i in np.asarray(ids).tolist() if i != self.end_of_text
    )

  def spec(self):
    return {
      _FORMAT: self.kind,
      'characters': self._characters,
      'end_of_text': self.end_of_text is not None,
    }


class IdTokenizer(Tokenizer):
  """Ids of unknown meaning: a .bin without its tokenizer can be learnt, not read."""

  kind = 'ids'
  end_of_text = None
  bytes_per_token = None

  def __init__(self, vocab_size: int):
    self.vocab_size = vocab_size

  def encode_all(self, texts):
    raise ConfigError(
      'data.tokenizer: the tokens came without their tokenizer, so text cannot become tokens; give the '
      'path of its tokenizer.json'
    )

  def decode(self, ids):
    return ' '.join(str(i) for i in np.asarray(ids).tolist())

  def spec(self):
    return {_FORMAT: self.kind, 'vocab_size': self.vocab_size}


class JsonTokenizer(Tokenizer):
  """A Hugging Face `tokenizer.json`: the trained BPE, or one from elsewhere.

  Of a lossy one (WordPiece, a lower-casing normalizer) `bytes_per_token` counts the text as the tokenizer sees it.

  Args:
    text: the contents of tokenizer.json.
    end_of_text: the end-of-text token's text; None takes the first well-known name that is among the special tokens.
  """

  def __init__(self, text: str, end_of_text: str | None = None):
    self._tokenizer = tokenizers.Tokenizer.from_str(text)
    self._tokenizer.no_truncation()
    self._tokenizer.no_padding()
    self._tokenizer.encode_special_tokens = (
      True  # '</s>' in a text is four characters, not the end of it
    )
    self._json = json.loads(text)
    self.kind = str(self._json['model'].get('type', 'bpe')).lower()
    vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
    self.vocab_size = max(vocabulary.values()) + 1
    names = _ENDS if end_of_text is None else (end_of_text,)
    self.end_of_text = next(
      (vocabulary[name] for name in names if name in vocabulary), None
    )
    self.mask_token = next(
      (vocabulary[name] for name in _MASKS if name in vocabulary), None
    )
    self.pad_token = next(
      (vocabulary[name] for name in _PADS if name in vocabulary), None
    )
    named = (f'<extra_id_{i}>' for i in range(len(vocabulary)))
    self.sentinels = tuple(
      vocabulary[n] for n in itertools.takewhile(vocabulary.__contains__, named)
    )
    self.bytes_per_token = self._bytes_per_token(vocabulary)

  def encode_all(self, texts):
    encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return (np.asarray(encoding.ids, np.uint32) for encoding in encodings)

  def decode(self, ids):
    return self._tokenizer.decode(np.asarray(ids).tolist(), skip_special_tokens=True)

  def spec(self):
    return self._json

  def save(self, directory):
    super().save(directory)
    if self.end_of_text is not None:
      config = {'eos_token': self._tokenizer.id_to_token(self.end_of_text)}
      (epath.Path(directory) / 'tokenizer_config.json').write_text(json.dumps(config))

  def _bytes_per_token(self, vocabulary: dict[str, int]) -> np.ndarray:
    added = self._tokenizer.get_added_tokens_decoder()
    width = _byte_level_width if 'ByteLevel' in _types(self._json) else _plain_width
    table = np.zeros(self.vocab_size, np.int32)
    for token, i in vocabulary.items():
      table[i] = (
        (0 if added[i].special else len(added[i].content.encode()))
        if i in added
        else width(token)
      )
    return table


def _types(node: Any) -> Iterator[str]:
  """The types of all parts of a tokenizer.json except its model."""
  if isinstance(node, dict):
    yield str(node.get('type'))
    node = [
      value for name, value in node.items() if name not in ('model', 'added_tokens')
    ]
  if isinstance(node, list):
    for value in node:
      yield from _types(value)


def _byte_level_width(token: str) -> int:
  return len(token)  # byte-level BPE writes each byte as one printable character


def _plain_width(token: str) -> int:
  if len(token) == 6 and token.startswith('<0x') and token.endswith('>'):
    return 1  # the byte fallback of sentencepiece
  return len(token.removeprefix('##').replace('▁', ' ').encode())


def train_bpe(texts: Iterable[str], vocab_size: int) -> JsonTokenizer:
  """A byte-level BPE tokenizer with an end-of-text token, made from texts. Source: GPT-2 (Radford et al. 2019).

  Args:
    texts: the training text, in any pieces.
    vocab_size: the largest vocabulary; a small text gives a smaller one.
  """
  parts = tokenizers
  tokenizer = parts.Tokenizer(parts.models.BPE())
  tokenizer.pre_tokenizer = parts.pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = parts.decoders.ByteLevel()
  trainer = parts.trainers.BpeTrainer(
    vocab_size=vocab_size,
    special_tokens=[END_OF_TEXT],
    show_progress=False,
    initial_alphabet=sorted(parts.pre_tokenizers.ByteLevel.alphabet()),
  )
  tokenizer.train_from_iterator(texts, trainer)
  return JsonTokenizer(tokenizer.to_str())


def load(path: epath.PathLike) -> Tokenizer:
  """The tokenizer of a `tokenizer.json`, ours or Hugging Face's, or of a directory with one.

  Raises:
    ConfigError: where there is none, or it cannot be read.
  """
  path = epath.Path(path)
  file = path / FILE if path.is_dir() else path
  if not file.exists():
    raise ConfigError(f'data.tokenizer: no file {file}')
  try:
    text = file.read_text()
    content = json.loads(text)
    kind = content.get(_FORMAT)
    if kind is None:
      return JsonTokenizer(text, _end_of_text_beside(file))
    return {
      'byte': lambda: ByteTokenizer(),
      'char': lambda: CharTokenizer(content['characters'], content['end_of_text']),
      'ids': lambda: IdTokenizer(content['vocab_size']),
    }[kind]()
  except ConfigError:
    raise
  except Exception as e:  # tokenizers raises bare Exception
    reason = ' '.join(str(e).split()) or type(e).__name__
    raise ConfigError(
      f'data.tokenizer: {file} is not a tokenizer.json that can be read: {reason}'
    ) from e


def _end_of_text_beside(file: epath.Path) -> str | None:
  """The eos_token of the `tokenizer_config.json` beside a tokenizer, None where it says nothing."""
  config = file.parent / 'tokenizer_config.json'
  if not config.exists():
    return None
  token = json.loads(config.read_text()).get('eos_token')
  return token['content'] if isinstance(token, dict) else token
