"""Shards: what is written, that it appears whole or not at all, that damage is found."""

import hashlib
import json
import os

import numpy as np
import pytest

from lmhp.data import shards
from lmhp.data import tokenizer as tk
from lmhp.errors import ConfigError

TEXTS = ['one', '', 'two é', 'x' * 5]


def write(directory, texts=TEXTS, tokenizer=None):
  shards.write(directory, iter(texts), tokenizer or tk.ByteTokenizer())
  return shards.read(directory)


def test_documents_one_after_the_other_each_ended(tmp_path):
  shard = write(tmp_path / 's')
  assert shard.tokens.ids.tolist() == [
    *b'one',
    256,
    *'two é'.encode(),
    256,
    *b'xxxxx',
    256,
  ]
  assert shard.tokens.ids.dtype == np.uint16 and shard.tokens.starts.tolist() == [
    0,
    4,
    11,
  ]
  assert (
    shard.index['documents'] == 3
    and shard.index['empty_documents'] == 1
    and shard.index['text_bytes'] == 14
  )
  assert (
    shard.index['tokens_sha256']
    == hashlib.sha256((tmp_path / 's' / 'tokens.bin').read_bytes()).hexdigest()
  )


def test_the_sha256_of_one_document_is_its_file_s(tmp_path):
  assert (
    write(tmp_path / 's', ['a café']).index['text_sha256']
    == hashlib.sha256('a café'.encode()).hexdigest()
  )


def test_documents_are_told_apart_in_the_sha256_of_the_text(tmp_path):
  one, two = (
    write(tmp_path / 'one', ['ab', 'c']).index,
    write(tmp_path / 'two', ['a', 'bc']).index,
  )
  assert one['text_sha256'] != two['text_sha256']


def test_a_tokenizer_without_an_end(tmp_path):
  shard = write(tmp_path / 's', ['ba'], tk.CharTokenizer('ab', end_of_text=False))
  assert shard.tokens.ids.tolist() == [1, 0] and shard.tokenizer.decode([1, 0]) == 'ba'


def test_a_large_vocabulary_takes_uint32(tmp_path):
  characters = [chr(i) for i in range(0x10000, 0x10000 + 2**16 + 1)]
  shard = write(
    tmp_path / 's', [characters[-1]], tk.CharTokenizer(characters, end_of_text=False)
  )
  assert shard.tokens.ids.tolist() == [2**16] and shard.tokens.ids.dtype == np.uint32


def test_many_documents_make_the_same_shard_as_their_bytes(tmp_path, monkeypatch):
  texts = [f'document {i} ' * (i % 7) for i in range(300)]
  monkeypatch.setattr(shards, '_BATCH_CHARACTERS', 100)
  assert bytes(write(tmp_path / 's', texts).tokens.ids.astype('<u2')) == b''.join(
    np.asarray([*t.encode(), 256], '<u2').tobytes() for t in texts if t
  )


def test_no_text_is_an_error_and_leaves_nothing(tmp_path):
  with pytest.raises(ConfigError, match="data.path: 'x.txt' is empty"):
    shards.write(tmp_path / 's', ['', ''], tk.ByteTokenizer(), "'x.txt'")
  assert list(tmp_path.iterdir()) == []


def test_an_error_on_the_way_leaves_nothing(tmp_path):
  def texts():
    yield 'a' * 10
    raise ConfigError('line 2')

  with pytest.raises(ConfigError, match='line 2'):
    shards.write(tmp_path / 's', texts(), tk.ByteTokenizer())
  assert list(tmp_path.iterdir()) == []


def test_a_shard_has_no_name_before_it_is_complete(tmp_path):
  with shards.appearing(shards.epath.Path(tmp_path / 's')) as unfinished:
    (unfinished / 'x').write_text('x')
    assert not (tmp_path / 's').exists()
  assert [p.name for p in tmp_path.iterdir()] == ['s'] and (
    tmp_path / 's' / 'x'
  ).read_text() == 'x'


def test_everything_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
  synced = set()

  def fsync(handle):
    assert not (tmp_path / 's').exists()
    synced.add(os.path.basename(os.readlink(f'/proc/self/fd/{handle}')))

  monkeypatch.setattr(os, 'fsync', fsync)
  write(tmp_path / 's')
  assert {p.name for p in (tmp_path / 's').iterdir()} <= synced and len(
    synced
  ) == 5  # four files and their directory


def test_the_first_of_two_writers_stands(tmp_path):
  with shards.appearing(shards.epath.Path(tmp_path / 's')) as late:
    write(tmp_path / 's')
    (late / 'x').write_text('x')
  assert (
    shards.read(tmp_path / 's').index['documents'] == 3
    and len(list(tmp_path.iterdir())) == 1
  )


def flip(path):
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
    (lambda d: flip(d / 'tokens.bin'), 'is corrupt: the sha256 of its tokens'),
    (lambda d: flip(d / 'documents.npy'), 'is corrupt: the sha256 of its documents'),
    (lambda d: cut(d / 'tokens.bin', 2), 'holds 16 tokens, .* 17: .*cut short'),
    (lambda d: cut(d / 'tokens.bin', 1), 'has 33 bytes, expected .* of 2'),
    (lambda d: (d / 'tokens.bin').write_bytes(b''), 'has 0 bytes'),
    (lambda d: (d / 'tokens.bin').unlink(), 'not a token shard that can be read'),
    (
      lambda d: (d / 'tokenizer.json').write_text(
        '{"lmhp_tokenizer": "ids", "vocab_size": 9}'
      ),
      'its tokenizer is not',
    ),
    (lambda d: (d / 'tokenizer.json').write_text('{'), 'tokenizer.json is not'),
    (
      lambda d: (d / 'index.json').write_text('{"format"'),
      'not a token shard that can be read',
    ),
    (
      lambda d: (d / 'index.json').write_text('[]'),
      'not a token shard that can be read',
    ),
    (
      lambda d: (d / 'index.json').write_text(f'{{"format": "{shards.FORMAT}"}}'),
      'not a token shard that can be read',
    ),
    (
      lambda d: edit(d / 'index.json', format='lmhp tokens 9'),
      "has format 'lmhp tokens 9'",
    ),
    (
      lambda d: edit(d / 'index.json', dtype='rubbish'),
      'not a token shard that can be read',
    ),
  ],
)
def test_damage_is_found_and_said_in_one_line(tmp_path, damage, message):
  write(tmp_path / 's')
  damage(tmp_path / 's')
  with pytest.raises(ConfigError, match=message) as e:
    shards.read(tmp_path / 's')
  assert '\n' not in str(e.value)


def test_a_part_keeps_the_documents_that_begin_in_it():
  tokens = shards.TokenShards(np.arange(10, dtype=np.uint16), np.asarray([0, 4, 7]))
  assert tokens.part(4, 8).starts.tolist() == [0, 3] and tokens.part(
    4, 8
  ).ids.tolist() == [4, 5, 6, 7]
  assert (
    tokens.part(5, 7).starts.tolist() == [0] and tokens.part(3, 3).starts.tolist() == []
  )
  assert tokens.part(0, 10).starts.tolist() == [0, 4, 7]
