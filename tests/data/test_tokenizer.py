"""Tokenizers: round trips, bytes of tokens, hashes, and tokenizers of lmhp."""

import numpy as np
import pytest

from lmhp.data.bpe import train_bpe
from lmhp.data.tokenizer import (
  ByteTokenizer,
  CharTokenizer,
  IdTokenizer,
  load_tokenizer,
)
from lmhp.errors import ConfigError

PROSE = 'The quick brown fox jumps over the lazy dog, and then it sleeps.\n' * 20
UNUSUAL = (
  'naïve café — 日本語, עברית; 😀👩‍👩‍👧🏽 e\u0301 \u200b\ufeff\x00\x01\x7f\r\n\t  tail \u2028 '
  '\U0010ffff <|endoftext|> </s> <0x0A> ▁x ##y'
)
KINDS = ['byte', 'char', 'char with end', 'bpe']


def make(kind):
  if kind == 'byte':
    return ByteTokenizer()
  if kind == 'bpe':
    return train_bpe([PROSE, UNUSUAL], 300)
  return CharTokenizer(set(PROSE + UNUSUAL), end_of_text=kind == 'char with end')


@pytest.fixture(params=KINDS)
def tokenizer(request):
  return make(request.param)


def document(tokenizer, text):
  """Returns the ids of a document."""
  return next(iter(tokenizer.encode_all([text])))


# --- every tokenizer ----------------------------------------------------------------


@pytest.mark.parametrize('text', ['', 'a', PROSE, UNUSUAL, UNUSUAL[::-1]])
def test_decoded_ids_are_the_text(tokenizer, text):
  ids = document(tokenizer, text)
  assert tokenizer.decode(ids) == text
  assert ids.dtype == np.uint32
  assert ids.shape == (len(ids),)


@pytest.mark.parametrize('text', ['', 'a', PROSE, UNUSUAL])
def test_bytes_of_the_tokens_are_the_bytes_of_the_text(tokenizer, text):
  ids = document(tokenizer, text)
  assert tokenizer.bytes_per_token[ids].sum() == len(text.encode())
  assert len(tokenizer.bytes_per_token) == tokenizer.vocab_size


def test_names_of_special_tokens_in_a_document_are_text(tokenizer):
  ids = document(tokenizer, UNUSUAL)
  assert tokenizer.end_of_text not in ids.tolist()
  assert ids.max() < tokenizer.vocab_size


@pytest.mark.parametrize('kind', ['byte', 'char with end', 'bpe'])
def test_end_of_text_decodes_to_nothing(kind):
  tokenizer = make(kind)
  end = tokenizer.end_of_text
  ids = [*tokenizer.encode('ab'), end, *tokenizer.encode('o')]
  assert tokenizer.decode(ids) == 'abo'
  assert tokenizer.bytes_per_token[end] == 0


def test_batch_is_encoded_as_single_texts(tokenizer):
  texts = [PROSE, '', UNUSUAL]
  for ids, text in zip(tokenizer.encode_all(texts), texts, strict=True):
    assert ids.tolist() == document(tokenizer, text).tolist()


@pytest.mark.parametrize('name', ['', 'tokenizer.json'])
def test_saved_tokenizer_is_loaded_unchanged(tokenizer, tmp_path, name):
  tokenizer.save(tmp_path)
  loaded = load_tokenizer(tmp_path / name)
  assert loaded.hash == tokenizer.hash
  assert loaded.kind == tokenizer.kind
  assert loaded.end_of_text == tokenizer.end_of_text
  assert loaded.vocab_size == tokenizer.vocab_size
  assert loaded.encode(UNUSUAL).tolist() == tokenizer.encode(UNUSUAL).tolist()


@pytest.mark.parametrize(
  'kind, vocab_size, end_of_text',
  [
    ('byte', 257, 256),
    ('char', len(set(PROSE + UNUSUAL)), None),
    ('char with end', len(set(PROSE + UNUSUAL)) + 1, len(set(PROSE + UNUSUAL))),
    ('bpe', 300, 0),
  ],
)
def test_vocabulary(kind, vocab_size, end_of_text):
  tokenizer = make(kind)
  assert tokenizer.vocab_size == vocab_size
  assert tokenizer.end_of_text == end_of_text


def test_different_tokenizers_have_different_hashes():
  tokenizers = [make(kind) for kind in KINDS]
  tokenizers += [train_bpe([PROSE], 300), IdTokenizer(300)]
  hashes = {tokenizer.hash for tokenizer in tokenizers}
  assert len(hashes) == len(tokenizers)


def test_bpe_training_is_deterministic():
  assert make('bpe').hash == make('bpe').hash


# --- tokenizers of lmhp -------------------------------------------------------------


def test_invalid_utf8_is_replaced():
  assert ByteTokenizer().decode([0xE2, 0x82, 256]) == '\ufffd'


def test_ids_of_characters_follow_the_code_points():
  tokenizer = CharTokenizer('ba\n', end_of_text=False)
  assert tokenizer.encode('\nab').tolist() == [0, 1, 2]


def test_unknown_character_is_an_error():
  tokenizer = CharTokenizer('ba\n', end_of_text=False)
  with pytest.raises(ConfigError, match="data.tokenizer: got .*'z'"):
    tokenizer.encode('az')


def test_ids_without_text_decode_to_numbers():
  tokenizer = IdTokenizer(7)
  assert tokenizer.decode([3, 6]) == '3 6'
  assert tokenizer.bytes_per_token is None


def test_ids_without_text_cannot_encode():
  with pytest.raises(ConfigError, match='data.tokenizer: .*tokenizer.json'):
    IdTokenizer(7).encode('x')
