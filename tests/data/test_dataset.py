"""`load`: split and cached token streams of all sources, with one tokenizer."""

import json
import subprocess
import sys

import numpy as np
import pytest

from lmhp.data import corpus, dataset, shards, tokenizer_choice
from lmhp.data.config import DataConfig
from lmhp.data.tokenizer import ByteTokenizer
from lmhp.errors import ConfigError
from lmhp.hypers import split

TEXT = ''.join(f'Line {i} of the text, é.\n' for i in range(40))


class Folder:
  """A folder with a text of one document (a.txt) and of 20 documents (b.jsonl)."""

  def __init__(self, path):
    self.path = path
    self.cache = path / 'cache'
    (path / 'a.txt').write_text(TEXT)
    rows = [json.dumps({'text': f'document {i} ' * 3}) + '\n' for i in range(20)]
    (path / 'b.jsonl').write_text(''.join(rows))

  def load(self, *names, **values):
    paths = tuple(
      name if name == 'docstrings' else str(self.path / name) for name in names
    )
    return dataset.load(DataConfig(path=paths, cache_dir=str(self.cache), **values))

  def write_bin(self, name, ids):
    (self.path / name).write_bytes(np.asarray(ids, '<u2').tobytes())


@pytest.fixture
def folder(tmp_path):
  return Folder(tmp_path)


def ids_of(streams):
  return [stream.ids.tolist() for stream in streams]


# --- splits -------------------------------------------------------------------------


def test_train_and_validation_together_are_the_whole_stream(folder):
  all_ids = [*TEXT.encode(), 256]
  data = folder.load('a.txt', validation_fraction=0.25)
  assert data.train[0].ids.tolist() + data.validation[0].ids.tolist() == all_ids
  assert len(data.train[0]) == int(0.75 * len(all_ids))


def test_split_by_document_cuts_between_documents(folder):
  data = folder.load('b.jsonl', split='document', validation_fraction=0.3)
  assert data.train[0].ids[-1] == data.validation[0].ids[-1] == 256
  assert data.tokenizer.decode(data.validation[0].ids).startswith('document 14 ')
  assert data.describe()['train_documents'] == 14
  assert data.describe()['validation_documents'] == 6


def test_split_by_document_needs_two_documents(folder):
  message = r"data\.split: got 'document', expected fraction: .*a\.txt"
  with pytest.raises(ConfigError, match=message):
    folder.load('a.txt', split='document')


def test_fraction_of_the_training_tokens_keeps_the_validation_split(folder):
  full = folder.load('a.txt')
  half = folder.load('a.txt', fraction=0.5)
  n_tokens = len(full.train[0]) // 2
  assert half.train[0].ids.tolist() == full.train[0].ids.tolist()[:n_tokens]
  assert ids_of(half.validation) == ids_of(full.validation)


def test_split_of_characters_equals_nanogpt(folder):
  data = folder.load('a.txt', tokenizer='char')
  characters = sorted(set(TEXT))
  assert data.vocab_size == len(characters)
  n_train = int(0.9 * len(TEXT))
  ids = [characters.index(character) for character in TEXT]
  assert ids_of(data.train) == [ids[:n_train]]
  assert ids_of(data.validation) == [ids[n_train:]]


# --- cache and hashes ---------------------------------------------------------------


def test_second_load_reads_the_cache(folder, monkeypatch):
  values = {'tokenizer': 'bpe', 'tokenizer_vocab_size': 280}
  first = folder.load('a.txt', 'b.jsonl', **values)
  monkeypatch.setattr(shards, 'write', lambda *_: 1 / 0)
  monkeypatch.setattr(tokenizer_choice, 'train_bpe', lambda *_: 1 / 0)
  second = folder.load('a.txt', 'b.jsonl', **values)
  assert second.describe() == first.describe()
  assert ids_of(second.train) == ids_of(first.train)


def test_changed_file_is_another_dataset(folder):
  first = folder.load('a.txt')
  (folder.path / 'a.txt').write_text(TEXT.replace('text', 'TEXT'))
  assert folder.load('a.txt').sha256 != first.sha256


def test_corrupt_shard_is_written_again(folder):
  first = folder.load('a.txt')
  (path,) = folder.cache.rglob('tokens.bin')
  path.write_bytes(path.read_bytes()[:-2])
  assert ids_of(folder.load('a.txt').train) == ids_of(first.train)


def test_sha256_depends_on_all_keys_that_change_the_tokens(folder):
  variants = [
    folder.load('a.txt'),
    folder.load('b.jsonl'),
    folder.load('a.txt', 'b.jsonl'),
    folder.load('a.txt', tokenizer='char'),
    folder.load('a.txt', fraction=0.5),
    folder.load('a.txt', validation_fraction=0.2),
  ]
  assert len({variant.sha256 for variant in variants}) == 6


def test_sha256_does_not_depend_on_seed_and_placement(folder):
  data = folder.load('a.txt', seed=7, placement='host')
  assert data.sha256 == folder.load('a.txt').sha256


def test_load_takes_the_structure_of_a_config(folder):
  cfg = DataConfig(
    path=(str(folder.path / 'a.txt'),), cache_dir=str(folder.cache), seed=3
  )
  structure, _ = split(cfg)
  assert dataset.load(structure).sha256 == folder.load('a.txt').sha256


def test_description_is_json_with_the_counts_of_all_sources(folder):
  facts = json.loads(json.dumps(folder.load('a.txt', 'b.jsonl').describe()))
  n_tokens = sum(source['tokens'] for source in facts['sources'])
  assert facts['train_tokens'] + facts['validation_tokens'] == n_tokens
  assert facts['sources'][0]['text_bytes'] == len(TEXT.encode())
  assert facts['sources'][1]['documents'] == 20
  assert facts['tokenizer'] == 'byte'
  assert facts['vocab_size'] == 257


# --- sources of tokens --------------------------------------------------------------


def test_directory_of_shards_keeps_its_tokenizer(folder):
  first = folder.load('a.txt', tokenizer='char')
  (shard,) = (folder.cache / 'tokens').iterdir()
  second = folder.load(shard)
  assert ids_of(second.train) == ids_of(first.train)
  assert second.tokenizer.hash == first.tokenizer.hash


def test_corrupt_directory_of_shards_is_an_error(folder):
  folder.load('a.txt')
  (shard,) = (folder.cache / 'tokens').iterdir()
  (shard / 'tokens.bin').write_bytes(b'\0\0')
  with pytest.raises(ConfigError, match=r'data\.path: .*tokens\.bin'):
    folder.load(shard)


@pytest.mark.parametrize('name', ['train.bin', ''])
def test_files_of_nanogpt_are_split_already(folder, name):
  folder.write_bin('train.bin', [5, 1, 4, 2])
  folder.write_bin('val.bin', [3, 6])
  data = folder.load(name, token_dtype='uint16')
  assert ids_of(data.train) == [[5, 1, 4, 2]]
  assert ids_of(data.validation) == [[3, 6]]
  assert data.vocab_size == 7
  assert data.tokenizer.kind == 'ids'
  assert 'text_bytes' not in data.describe()['sources'][0]


def test_tokenizer_beside_a_bin_file_marks_its_documents(folder):
  folder.write_bin('x.bin', [97, 98, 256, 99, 100, 256, 101, 102, 103, 256])
  ByteTokenizer().save(folder.path)
  values = {'token_dtype': 'uint16', 'split': 'document', 'validation_fraction': 0.4}
  data = folder.load('x.bin', **values)
  assert ids_of(data.train) == [[97, 98, 256, 99, 100, 256]]
  assert data.train[0].starts.tolist() == [0, 3]


def test_bin_file_takes_the_tokenizer_of_the_config(folder):
  folder.write_bin('x.bin', [97, 98, 256, 99])
  (folder.path / 'other').mkdir()
  ByteTokenizer().save(folder.path / 'other')
  tokenizer = str(folder.path / 'other' / 'tokenizer.json')
  data = folder.load('x.bin', tokenizer=tokenizer, token_dtype='uint16')
  assert data.tokenizer.kind == 'byte'


@pytest.mark.parametrize(
  'data, message',
  [
    (b'\1\0\2', r'x\.bin: got 3 bytes, expected a positive multiple of 2'),
    (b'', r'x\.bin: got 0 bytes'),
    (b'\1\0\1\1', r"x\.bin' has token 257, expected at most 256"),
  ],
)
def test_invalid_bin_file_is_an_error(folder, data, message):
  ByteTokenizer().save(folder.path)
  (folder.path / 'x.bin').write_bytes(data)
  with pytest.raises(ConfigError, match=message):
    folder.load('x.bin', token_dtype='uint16')


# --- validation sources, equal documents ----------------------------------------------


def test_own_validation_file_leaves_all_other_text_for_training(folder):
  whole = folder.load('b.jsonl', validation_fraction=0.5)
  data = folder.load('b.jsonl', validation_path=(str(folder.path / 'a.txt'),))
  assert ids_of(data.train) == [sum(ids_of((*whole.train, *whole.validation)), [])]
  assert ids_of(data.validation) == [[*TEXT.encode(), 256]]
  assert data.sha256 != folder.load('b.jsonl', 'a.txt').sha256


def test_own_validation_file_replaces_val_bin(folder):
  folder.write_bin('train.bin', [5, 1, 4, 2])
  folder.write_bin('val.bin', [3, 6])
  folder.write_bin('own.bin', [7, 7])
  own = (str(folder.path / 'own.bin'),)
  data = folder.load('train.bin', validation_path=own, token_dtype='uint16')
  assert ids_of(data.train) == [[5, 1, 4, 2]]
  assert ids_of(data.validation) == [[7, 7]]


def test_char_tokenizer_has_the_characters_of_the_validation_file(folder):
  (folder.path / 'v.txt').write_text('Ωmega')
  own = (str(folder.path / 'v.txt'),)
  data = folder.load('a.txt', validation_path=own, tokenizer='char')
  assert data.tokenizer.decode(data.validation[0].ids) == 'Ωmega'


def test_bpe_is_not_trained_on_the_validation_file(folder):
  values = {'tokenizer': 'bpe', 'tokenizer_vocab_size': 280}
  own = (str(folder.path / 'b.jsonl'),)
  data = folder.load('a.txt', validation_path=own, **values)
  (folder.path / 'b.jsonl').write_text(json.dumps({'text': 'zzzzzzzz' * 99}) + '\n')
  other = folder.load('a.txt', validation_path=own, **values)
  assert data.tokenizer.hash == other.tokenizer.hash
  assert data.sha256 != other.sha256


def test_equal_documents_are_counted_and_named_in_one_warning(folder, caplog):
  texts = [f'document {i % 3} ' * 9 for i in range(300)]
  lines = ''.join(json.dumps({'text': text}) + '\n' for text in texts)
  (folder.path / 'd.jsonl').write_text(lines)
  for _ in range(2):  # The second time, the shard comes from the cache.
    data = folder.load('d.jsonl', split='document')
    assert data.describe()['repeated_documents'] == {
      'documents': 300,
      'distinct': 3,
      'validation': 30,
      'validation_in_training': 30,
    }
  (record,) = caplog.records
  assert '300 documents, of which 3 are distinct; 30 of 30' in record.getMessage()


def test_text_without_equal_documents_gives_no_warning(folder, caplog):
  data = folder.load('b.jsonl', split='document')
  assert data.repeated.distinct == data.repeated.documents == 20
  assert data.repeated.validation_in_training == 0
  assert not caplog.records


def test_documents_of_a_validation_file_are_found_in_the_training_text(folder):
  lines = (folder.path / 'b.jsonl').read_text().splitlines(keepends=True)
  (folder.path / 'v.jsonl').write_text(''.join(lines[:4]) + '{"text": "new"}\n')
  data = folder.load('b.jsonl', validation_path=(str(folder.path / 'v.jsonl'),))
  assert data.repeated.validation == 5
  assert data.repeated.validation_in_training == 4


def test_shard_of_an_older_version_has_no_hashes(folder):
  data = folder.load('b.jsonl')
  (index,) = folder.cache.rglob('index.json')
  values = json.loads(index.read_text())
  del values['hashes_sha256']
  index.write_text(json.dumps(values))
  old = dataset.load(DataConfig(path=(str(index.parent),)))
  assert old.repeated is None
  assert ids_of(old.train) == ids_of(data.train)


# --- errors -----------------------------------------------------------------------------


def test_empty_text_is_an_error(folder):
  (folder.path / 'e.txt').write_text('')
  with pytest.raises(ConfigError, match=r"data\.path: '.*e\.txt'"):
    folder.load('e.txt')


def test_built_in_corpus_is_read_whatever_the_text_field(folder, monkeypatch):
  documents = [f'docstring {i} ' * 9 for i in range(30)]
  monkeypatch.setattr(corpus, 'documents', lambda: documents)
  data = folder.load('docstrings', text_field='body')
  assert data.tokenizer.decode(data.train[0].ids).startswith('docstring 0 ')
  assert data.describe()['sources'][0]['documents'] == 30


# --- tokens of objectives -----------------------------------------------------------


def test_mask_token_is_added_to_the_vocabulary(folder):
  data = folder.load('a.txt', objective='masked')
  assert data.mask_token == 257
  assert data.vocab_size == 258
  assert len(data.token_bytes(258)) == 258


def test_sentinels_and_start_token_are_added_to_the_vocabulary(folder):
  data = folder.load('a.txt', objective='span')
  assert data.sentinels == tuple(range(257, 357))
  assert data.start_token == 357
  assert data.vocab_size == 358


def test_loading_data_imports_neither_jax_nor_pyarrow():
  code = (
    'import sys, lmhp.data.dataset; sys.exit("jax" in sys.modules or "pyarrow" in '
    'sys.modules)'
  )
  assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
