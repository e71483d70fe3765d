"""Sources of text: the documents of each format, and errors with their place."""

import json
import sys
import types

from etils import epath
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmhp.data import readers
from lmhp.errors import ConfigError

TEXTS = ['one\r\ntwo\n', 'a café 😀\x00\x1f\u2028', 'третий']


def open_text(path, text_field='text'):
  return readers.open_text(str(path), text_field, epath.Path('/nowhere'))


def documents(path, text_field='text'):
  return list(open_text(path, text_field).documents())


def to_lines(*rows):
  return b''.join(json.dumps(row).encode() + b'\n' for row in rows)


# --- formats ------------------------------------------------------------------------


def test_txt_is_one_document_with_all_its_bytes(tmp_path):
  (tmp_path / 'a.txt').write_bytes(''.join(TEXTS).encode())
  assert documents(tmp_path / 'a.txt') == [''.join(TEXTS)]


def test_jsonl_gives_the_field_of_each_line_that_is_not_blank(tmp_path):
  lines = to_lines({'body': TEXTS[0], 'n': 1})
  lines += b'\n' + to_lines({'body': TEXTS[1]}, {'body': None})
  (tmp_path / 'a.jsonl').write_bytes(lines)
  assert documents(tmp_path / 'a.jsonl', 'body') == [TEXTS[0], TEXTS[1], '']


@pytest.mark.parametrize(
  'column_type',
  [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())],
)
def test_parquet_gives_the_column_of_each_row(tmp_path, column_type):
  column = pa.array([*TEXTS, None], pa.string()).cast(column_type)
  table = pa.table({'n': [1, 2, 3, 4], 'body': column})
  pq.write_table(table, tmp_path / 'a.parquet', row_group_size=2)
  assert documents(tmp_path / 'a.parquet', 'body') == [*TEXTS, '']


def test_directory_gives_its_files_in_the_order_of_their_paths(tmp_path):
  (tmp_path / 'sub').mkdir()
  (tmp_path / 'b.txt').write_text('b')
  (tmp_path / 'a.jsonl').write_bytes(to_lines({'text': 'a1'}, {'text': 'a2'}))
  (tmp_path / 'sub' / 'c.TXT').write_text('c')
  (tmp_path / 'd.csv').write_text('unsupported')
  (tmp_path / '.hidden.txt').write_text('hidden')
  assert documents(tmp_path) == ['a1', 'a2', 'b', 'c']


# --- hashes -------------------------------------------------------------------------


def hash_of(path, data, text_field='text'):
  path.write_bytes(data)
  return open_text(path, text_field).sha256


def test_hash_of_a_text_depends_on_its_bytes_alone(tmp_path):
  first = hash_of(tmp_path / 'a.txt', b'x')
  assert first == hash_of(tmp_path / 'b.txt', b'x')
  assert first == hash_of(tmp_path / 'a.txt', b'x', 'body')
  assert first != hash_of(tmp_path / 'a.txt', b'y')


def test_hash_of_jsonl_depends_on_the_field(tmp_path):
  line = to_lines({'text': 'x', 'body': 'y'})
  path = tmp_path / 'a.jsonl'
  assert hash_of(path, line) != hash_of(path, line, 'body')


# --- errors -------------------------------------------------------------------------


@pytest.mark.parametrize(
  'name, data, message',
  [
    ('a.txt', b'one\ntwo \xff', r'data\.path: .*a\.txt:2: .*0xff'),
    ('a.jsonl', to_lines({'text': 'x'}) + b'{"text": \n', r'a\.jsonl:2: not JSON'),
    ('a.jsonl', to_lines({'text': 'x'}) + b'{"text": "\xff"}\n', r'a\.jsonl:2: .*0xff'),
    ('a.jsonl', b'[1]\n', r'a\.jsonl:1: got a list, expected an object'),
    ('a.jsonl', to_lines({'texts': 'x'}), r"data\.text_field: .*a\.jsonl:1 .*'texts'"),
    ('a.jsonl', to_lines({'text': 3}), r'a\.jsonl:1: got int, expected text'),
    ('a.jsonl', b'{"text": "\\ud800"}\n', r'a\.jsonl:1: .*surrogate'),
    ('a.parquet', b'PAR1 nonsense', r'data\.path: .*a\.parquet'),
    ('a.parquet', b'', r'data\.path: .*a\.parquet'),
    ('a.csv', b'x', r'data\.path: got .*a\.csv'),
  ],
)
def test_invalid_file_is_one_line_with_its_place(tmp_path, name, data, message):
  (tmp_path / name).write_bytes(data)
  with pytest.raises(ConfigError, match=message) as error:
    documents(tmp_path / name)
  assert '\n' not in str(error.value)
  assert str(error.value).startswith('data.')


@pytest.mark.parametrize(
  'column, values, message',
  [
    ('texts', ['x'], r"data\.text_field: .*'text'.*'texts'"),
    ('text', [1], r'row 1: got int, expected text'),
  ],
)
def test_invalid_parquet_column_is_an_error(tmp_path, column, values, message):
  pq.write_table(pa.table({column: values}), tmp_path / 'a.parquet')
  with pytest.raises(ConfigError, match=message):
    documents(tmp_path / 'a.parquet')


def test_parquet_file_cut_short_is_an_error(tmp_path):
  path = tmp_path / 'a.parquet'
  pq.write_table(pa.table({'text': [str(i) * 9 for i in range(10_000)]}), path)
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2])
  with pytest.raises(ConfigError, match=r'data\.path: .*a\.parquet'):
    documents(path)


@pytest.mark.parametrize(
  'missing, suggestion',
  [('shakespear.txt', "'shakespeare.txt'"), ('docstring', "'docstrings'")],
)
def test_missing_path_suggests_the_nearest_name(tmp_path, missing, suggestion):
  (tmp_path / 'shakespeare.txt').write_text('x')
  with pytest.raises(ConfigError, match=suggestion):
    documents(tmp_path / missing)


def test_directory_without_text_is_an_error(tmp_path):
  with pytest.raises(ConfigError, match=r'data\.path: .*\.txt, \.jsonl, \.parquet'):
    documents(tmp_path)


# --- .bin files ---------------------------------------------------------------------


def names_of_bin_files(path):
  return [file.name for file in readers.bin_files(str(path))]


def test_lone_bin_file(tmp_path):
  (tmp_path / 'other.bin').write_bytes(b'\0\0')
  assert names_of_bin_files(tmp_path / 'other.bin') == ['other.bin']
  assert names_of_bin_files(tmp_path / 'absent.bin') == []
  assert names_of_bin_files(tmp_path) == []


def test_train_and_val_of_nanogpt_belong_together(tmp_path):
  (tmp_path / 'train.bin').write_bytes(b'\0\0')
  assert names_of_bin_files(tmp_path) == ['train.bin']
  (tmp_path / 'val.bin').write_bytes(b'\0\0')
  assert names_of_bin_files(tmp_path) == ['train.bin', 'val.bin']
  assert names_of_bin_files(tmp_path / 'train.bin') == ['train.bin', 'val.bin']
  assert names_of_bin_files(tmp_path / 'val.bin') == ['val.bin']


# --- Hugging Face datasets ----------------------------------------------------------


class Table:
  """The part of `datasets.Dataset` that the reader uses."""

  def __init__(self, **columns):
    self.columns = columns
    self.column_names = list(columns)

  def select_columns(self, names):
    rows = zip(*(self.columns[name] for name in names))
    return [dict(zip(names, row)) for row in rows]


class Library(types.ModuleType):
  """A replacement of the package `datasets` that records its calls."""

  DatasetDict = dict

  def __init__(self, splits):
    super().__init__('datasets')
    self.splits = splits
    self.calls = []

  def load_dataset(self, *args):
    self.calls.append(args)
    return self.splits

  def load_from_disk(self, path):
    self.calls.append(path)
    return Table(text=['b'])


@pytest.fixture
def library(monkeypatch):
  library = Library({'train': Table(text=['a', None], n=[1, 2]), 'test': None})
  monkeypatch.setitem(sys.modules, 'datasets', library)
  return library


def test_train_split_of_a_dataset_is_read(library):
  assert documents('hf:owner/name') == ['a', '']
  assert library.calls == [('owner/name', None)]


def test_subset_of_a_dataset_is_passed_on(library):
  documents('hf:owner/name:subset')
  assert library.calls == [('owner/name', 'subset')]


def test_saved_dataset_is_read_from_its_directory(library, tmp_path):
  assert documents(f'hf:{tmp_path}') == ['b']
  assert library.calls == [epath.Path(tmp_path)]


def test_dataset_without_the_column_suggests_the_nearest(library):
  with pytest.raises(ConfigError, match=r"data\.text_field: .*'txt'.*'text'"):
    documents('hf:owner/name', 'txt')


def test_dataset_without_a_train_split_is_an_error(library):
  library.splits = {'test': None}
  with pytest.raises(ConfigError, match=r'data\.path: .* train.* test'):
    documents('hf:owner/name')


def test_error_of_the_library_is_one_of_the_path(library):
  library.load_dataset = lambda *args: 1 / 0
  with pytest.raises(ConfigError, match=r"data\.path: .*'hf:owner/name'"):
    documents('hf:owner/name')


def test_missing_library_names_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'datasets', None)
  with pytest.raises(ConfigError, match=r'lmhp\[datasets\]'):
    documents('hf:owner/name')
