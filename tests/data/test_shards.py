"""Token shards: written tokens and hashes, and detection of damage."""

import hashlib
import json

import numpy as np
import pytest

from lmhp.data import shards
from lmhp.data.tokenizer import ByteTokenizer, CharTokenizer
from lmhp.errors import ConfigError

TEXTS = ['one', '', 'two é', 'x' * 5]


def write(directory, texts=TEXTS, tokenizer=None):
  shards.write(directory, iter(texts), tokenizer or ByteTokenizer())
  return shards.read(directory)


# --- writing ------------------------------------------------------------------------


def test_end_of_text_follows_each_document(tmp_path):
  tokens = write(tmp_path / 's').tokens
  assert tokens.ids.tolist() == [*b'one', 256, *'two é'.encode(), 256, *b'xxxxx', 256]
  assert tokens.starts.tolist() == [0, 4, 11]
  assert tokens.ids.dtype == np.uint16


def test_index_has_counts_and_hashes(tmp_path):
  index = write(tmp_path / 's').index
  assert index.documents == 3
  assert index.empty_documents == 1
  assert index.text_bytes == 14
  content = (tmp_path / 's' / 'tokens.bin').read_bytes()
  assert index.tokens_sha256 == hashlib.sha256(content).hexdigest()


def test_text_hash_of_one_document_is_that_of_its_file(tmp_path):
  index = write(tmp_path / 's', ['a café']).index
  assert index.text_sha256 == hashlib.sha256('a café'.encode()).hexdigest()


def test_text_hash_depends_on_the_boundaries_of_documents(tmp_path):
  first = write(tmp_path / 'first', ['ab', 'c']).index
  second = write(tmp_path / 'second', ['a', 'bc']).index
  assert first.text_sha256 != second.text_sha256


def test_tokenizer_without_end_of_text(tmp_path):
  shard = write(tmp_path / 's', ['ba'], CharTokenizer('ab', end_of_text=False))
  assert shard.tokens.ids.tolist() == [1, 0]
  assert shard.tokenizer.decode([1, 0]) == 'ba'


def test_large_vocabulary_is_stored_as_uint32(tmp_path):
  characters = [chr(i) for i in range(0x10000, 0x10000 + 2**16 + 1)]
  tokenizer = CharTokenizer(characters, end_of_text=False)
  ids = write(tmp_path / 's', [characters[-1]], tokenizer).tokens.ids
  assert ids.tolist() == [2**16]
  assert ids.dtype == np.uint32


def test_batches_of_documents_do_not_change_the_tokens(tmp_path, monkeypatch):
  texts = [f'document {i} ' * (i % 7) for i in range(300)]
  monkeypatch.setattr(shards, '_BATCH_CHARACTERS', 100)
  expected = []
  for text in texts:
    if text:
      expected += [*text.encode(), 256]
  assert write(tmp_path / 's', texts).tokens.ids.tolist() == expected


def test_text_without_characters_is_an_error_and_leaves_no_files(tmp_path):
  with pytest.raises(ConfigError, match="data.path: 'x.txt'"):
    shards.write(tmp_path / 's', ['', ''], ByteTokenizer(), "'x.txt'")
  assert not list(tmp_path.iterdir())


def test_error_while_reading_the_text_leaves_no_files(tmp_path):
  def texts():
    yield 'a' * 10
    raise ConfigError('line 2')

  with pytest.raises(ConfigError, match='line 2'):
    shards.write(tmp_path / 's', texts(), ByteTokenizer())
  assert not list(tmp_path.iterdir())


# --- damage -------------------------------------------------------------------------


def flip_bit(path):
  data = bytearray(path.read_bytes())
  data[-2] ^= 1
  path.write_bytes(data)


def cut(path, n):
  path.write_bytes(path.read_bytes()[:-n])


def edit(path, **values):
  path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
  'damage, message',
  [
    (lambda d: flip_bit(d / 'tokens.bin'), r'tokens\.bin is corrupt'),
    (lambda d: flip_bit(d / 'documents.npy'), r'documents\.npy is corrupt'),
    (
      lambda d: cut(d / 'tokens.bin', 2),
      r'tokens\.bin: got 16 tokens, expected 17',
    ),
    (
      lambda d: cut(d / 'tokens.bin', 1),
      r'tokens\.bin: got 33 bytes, expected .* of 2',
    ),
    (lambda d: (d / 'tokens.bin').write_bytes(b''), r'tokens\.bin: got 0 bytes'),
    (lambda d: (d / 'tokens.bin').unlink(), r'data\.path: .*token shard'),
    (
      lambda d: edit(d / 'tokenizer.json', lmhp_tokenizer='ids', vocab_size=9),
      r'tokenizer\.json is corrupt',
    ),
    (lambda d: (d / 'tokenizer.json').write_text('{'), r'tokenizer\.json'),
    (
      lambda d: (d / 'index.json').write_text('{"format"'),
      r'data\.path: .*token shard',
    ),
    (lambda d: (d / 'index.json').write_text('[]'), r'data\.path: .*token shard'),
    (
      lambda d: (d / 'index.json').write_text(f'{{"format": "{shards.FORMAT}"}}'),
      r'data\.path: .*token shard',
    ),
    (
      lambda d: edit(d / 'index.json', format='lmhp tokens 9'),
      "got format 'lmhp tokens 9'",
    ),
    (lambda d: edit(d / 'index.json', dtype='x'), r'data\.path: .*token shard'),
  ],
)
def test_damage_is_an_error_of_one_line(tmp_path, damage, message):
  write(tmp_path / 's')
  damage(tmp_path / 's')
  with pytest.raises(ConfigError, match=message) as error:
    shards.read(tmp_path / 's')
  assert '\n' not in str(error.value)


# --- parts of a stream --------------------------------------------------------------


@pytest.mark.parametrize(
  'start, stop, starts',
  [(4, 8, [0, 3]), (5, 7, [0]), (3, 3, []), (0, 10, [0, 4, 7])],
)
def test_part_has_its_tokens_and_the_starts_of_its_documents(start, stop, starts):
  ids = np.arange(10, dtype=np.uint16)
  part = shards.TokenStream(ids, np.asarray([0, 4, 7])).part(start, stop)
  assert part.ids.tolist() == list(range(start, stop))
  assert part.starts.tolist() == starts
