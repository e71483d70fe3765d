"""load: sources to streams, split and cached, with one tokenizer."""

import json
import logging
import os

import numpy as np
import pytest

from lmhp.data import corpus, dataset, shards
from lmhp.data import tokenizer as tk
from lmhp.data.config import DataConfig
from lmhp.errors import ConfigError
from lmhp.hypers import split

TEXT = ''.join(f'Line {i} of the text, é.\n' for i in range(40))


@pytest.fixture
def load(tmp_path):
  (tmp_path / 'a.txt').write_text(TEXT)
  (tmp_path / 'b.jsonl').write_text(
    ''.join(json.dumps({'text': f'document {i} ' * 3}) + '\n' for i in range(20))
  )

  def load(*names, **values):
    paths = tuple(
      n if n.startswith('/') or n == 'docstrings' else str(tmp_path / n) for n in names
    )
    return dataset.load(
      DataConfig(path=paths, cache_dir=str(tmp_path / 'cache'), **values)
    )

  load.folder = tmp_path
  return load


def ids_of(streams):
  return [t.ids.tolist() for t in streams]


def test_train_and_validation_are_disjoint_and_are_all_of_the_stream(load):
  whole = [*TEXT.encode(), 256]
  data = load('a.txt', validation_fraction=0.25)
  assert data.train[0].ids.tolist() + data.validation[0].ids.tolist() == whole
  assert len(data.train[0]) == int(0.75 * len(whole))


def test_the_split_by_document_cuts_between_documents(load):
  data = load('b.jsonl', split='document', validation_fraction=0.3)
  (train,), (validation,) = data.train, data.validation
  assert train.ids[-1] == validation.ids[-1] == 256
  assert data.tokenizer.decode(validation.ids).startswith('document 14 ')
  assert (
    data.describe()['train_documents'] == 14
    and data.describe()['validation_documents'] == 6
  )


def test_one_document_cannot_be_split_by_document(load):
  with pytest.raises(
    ConfigError,
    match=r"data\.split: got 'document', expected fraction: .*a\.txt' has one document",
  ):
    load('a.txt', split='document')


def test_a_fraction_of_the_training_tokens_leaves_validation_alone(load):
  whole, half = load('a.txt'), load('a.txt', fraction=0.5)
  assert (
    half.train[0].ids.tolist()
    == whole.train[0].ids.tolist()[: len(whole.train[0]) // 2]
  )
  assert ids_of(half.validation) == ids_of(whole.validation)


def test_nanogpt_s_characters_and_cut(load):
  data = load('a.txt', tokenizer='char')
  characters = sorted(set(TEXT))
  assert data.vocab_size == len(characters) and data.tokenizer.end_of_text is None
  cut = int(0.9 * len(TEXT))
  assert ids_of(data.train) == [[characters.index(c) for c in TEXT[:cut]]]
  assert ids_of(data.validation) == [[characters.index(c) for c in TEXT[cut:]]]


def test_characters_have_an_end_where_there_are_documents(load):
  data = load('a.txt', 'b.jsonl', tokenizer='char')
  assert (
    data.tokenizer.end_of_text
    == data.vocab_size - 1
    == data.train[1].ids[len('document 0 ' * 3)]
  )


def test_bpe_is_made_from_the_training_text_alone(load):
  (load.folder / 'c.txt').write_text('ab' * 450 + 'xy' * 50)
  tokenizer = load('c.txt', tokenizer='bpe', tokenizer_vocab_size=300).tokenizer
  longest = lambda text: tokenizer.bytes_per_token[tokenizer.encode(text)].max()
  assert longest('abab') > 1 and longest('xyxy') == 1
  wider = load(
    'c.txt', tokenizer='bpe', tokenizer_vocab_size=300, validation_fraction=0.01
  )
  assert wider.tokenizer.encode('xy').size == 1


def test_the_second_load_makes_nothing(load, monkeypatch):
  first = load('a.txt', 'b.jsonl', tokenizer='bpe', tokenizer_vocab_size=280)
  monkeypatch.setattr(shards, 'write', lambda *_: 1 / 0)
  monkeypatch.setattr(tk, 'train_bpe', lambda *_: 1 / 0)
  again = load('a.txt', 'b.jsonl', tokenizer='bpe', tokenizer_vocab_size=280)
  assert again.describe() == first.describe() and ids_of(again.train) == ids_of(
    first.train
  )


def test_a_changed_file_is_other_data(load):
  first = load('a.txt')
  (load.folder / 'a.txt').write_text(TEXT.replace('text', 'TEXT'))
  assert load('a.txt').sha256 != first.sha256


def test_a_corrupt_shard_of_the_cache_is_said_and_made_again(load, caplog):
  first = load('a.txt')
  (path,) = (load.folder / 'cache').rglob('tokens.bin')
  path.write_bytes(path.read_bytes()[:-2])
  with caplog.at_level(logging.WARNING, 'lmhp'):
    again = load('a.txt')
  assert 'cut short' in caplog.text and 'made again' in caplog.text
  assert ids_of(again.train) == ids_of(first.train) and path.exists()


def test_the_sha256_follows_everything_that_changes_the_data_and_nothing_else(load):
  base = load('a.txt')
  others = [
    load('b.jsonl'),
    load('a.txt', 'b.jsonl'),
    load('a.txt', tokenizer='char'),
    load('a.txt', fraction=0.5),
    load('a.txt', validation_fraction=0.2),
  ]
  assert len({base.sha256, *(d.sha256 for d in others)}) == 6
  assert load('a.txt', seed=7, placement='host').sha256 == base.sha256


def test_load_reads_no_traced_field(load):
  structure, _ = split(
    DataConfig(
      path=(str(load.folder / 'a.txt'),), cache_dir=str(load.folder / 'cache'), seed=3
    )
  )
  assert dataset.load(structure).sha256 == load('a.txt').sha256


def test_describe(load):
  facts = json.loads(json.dumps(load('a.txt', 'b.jsonl').describe()))
  assert facts['train_tokens'] + facts['validation_tokens'] == sum(
    s['tokens'] for s in facts['sources']
  )
  assert (
    facts['sources'][0]['text_bytes'] == len(TEXT.encode())
    and facts['sources'][1]['documents'] == 20
  )
  assert (facts['tokenizer'], facts['vocab_size']) == ('byte', 257)


def test_a_directory_of_shards_is_used_as_it_is_with_its_tokenizer(load):
  made = load('a.txt', tokenizer='char')
  (tokens,) = (load.folder / 'cache' / 'tokens').iterdir()
  again = load(str(tokens))
  assert (
    ids_of(again.train) == ids_of(made.train)
    and again.tokenizer.hash == made.tokenizer.hash
  )
  (tokens / 'tokens.bin').write_bytes(b'\0\0')
  with pytest.raises(ConfigError, match='cut short'):
    load(str(tokens))


def save_bin(path, ids):
  path.write_bytes(np.asarray(ids, '<u2').tobytes())


def test_nanogpt_s_pair_of_files(load):
  save_bin(load.folder / 'train.bin', [5, 1, 4, 2])
  save_bin(load.folder / 'val.bin', [3, 6])
  for name in ('train.bin', ''):
    data = load(name)
    assert ids_of(data.train) == [[5, 1, 4, 2]] and ids_of(data.validation) == [[3, 6]]
    assert data.vocab_size == 7 and data.tokenizer.kind == 'ids'


def test_a_lone_bin_is_split_and_its_documents_found_by_the_tokenizer_beside_it(load):
  save_bin(load.folder / 'x.bin', [97, 98, 256, 99, 100, 256, 101, 102, 103, 256])
  tk.ByteTokenizer().save(load.folder)
  data = load('x.bin', split='document', validation_fraction=0.4)
  assert ids_of(data.train) == [[97, 98, 256, 99, 100, 256]] and data.train[
    0
  ].starts.tolist() == [0, 3]
  os.rename(load.folder / 'tokenizer.json', load.folder / 'mine.json')
  assert (
    load('x.bin', tokenizer=str(load.folder / 'mine.json')).tokenizer.kind == 'byte'
  )


@pytest.mark.parametrize(
  'data, message',
  [
    (b'\1\0\2', r'x\.bin has 3 bytes, expected a positive multiple of 2'),
    (b'', r'x\.bin has 0 bytes'),
    (b'\1\0\1\1', r"x\.bin' holds token 257, beyond the 257 of its byte tokenizer"),
  ],
)
def test_a_bad_bin(load, data, message):
  tk.ByteTokenizer().save(load.folder)
  (load.folder / 'x.bin').write_bytes(data)
  with pytest.raises(ConfigError, match=message):
    load('x.bin')


def test_sources_must_share_a_tokenizer(load):
  load('a.txt', tokenizer='char')
  (chars,) = (load.folder / 'cache' / 'tokens').iterdir()
  save_bin(load.folder / 'x.bin', [1, 2, 3])
  with pytest.raises(
    ConfigError,
    match=r"x\.bin' came with no tokenizer, expected the byte tokenizer of the other",
  ):
    load('a.txt', 'x.bin')
  with pytest.raises(
    ConfigError, match='came with a char tokenizer of its own, expected the byte'
  ):
    load('a.txt', str(chars))
  (load.folder / 'own').mkdir()
  tk.ByteTokenizer().save(load.folder / 'own')
  with pytest.raises(
    ConfigError, match='expected the byte tokenizer of data.tokenizer'
  ):
    load(str(chars), tokenizer=str(load.folder / 'own'))


def test_an_unknown_tokenizer_names_the_nearest(load):
  with pytest.raises(
    ConfigError,
    match=r"data\.tokenizer: got 'bite', expected byte, char, bpe or .* mean 'byte'",
  ):
    load('a.txt', tokenizer='bite')


def test_an_empty_text(load):
  (load.folder / 'e.txt').write_text('')
  with pytest.raises(ConfigError, match=r"data\.path: '.*e\.txt' is empty"):
    load('e.txt')


def test_the_embedded_corpus(load, monkeypatch):
  monkeypatch.setattr(
    corpus, 'documents', lambda: [f'docstring {i} ' * 9 for i in range(30)]
  )
  data = load('docstrings', text_field='body')
  assert data.tokenizer.decode(data.train[0].ids).startswith('docstring 0 ')
  assert data.describe()['sources'][0]['documents'] == 30


def test_the_cache_is_where_it_is_said_to_be(monkeypatch, tmp_path):
  monkeypatch.setenv('LMHP_CACHE', str(tmp_path / 'x'))
  assert str(dataset.cache_dir(DataConfig())) == str(tmp_path / 'x')
  assert str(dataset.cache_dir(DataConfig(cache_dir='/y'))) == '/y'
  monkeypatch.delenv('LMHP_CACHE')
  monkeypatch.setenv('HOME', '/home/me')
  assert str(dataset.cache_dir(DataConfig())) == '/home/me/.cache/lmhp'


def test_loading_data_needs_no_jax():
  import subprocess
  import sys

  code = 'import sys, lmhp.data.dataset; sys.exit("jax" in sys.modules or "pyarrow" in sys.modules)'
  assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
