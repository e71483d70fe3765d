"""Sources of text: the documents of each format, and errors with their place."""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
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


def to_csv(delimiter=','):
  file = io.StringIO()
  rows = csv.writer(file, delimiter=delimiter)
  rows.writerows([('n', 'body'), (1, TEXTS[0]), (2, 'a "b", c'), (3, 'x' * 200_000)])
  return file.getvalue().encode()


@pytest.mark.parametrize('suffix, delimiter', [('.csv', ','), ('.tsv', '\t')])
def test_table_gives_the_column_of_each_row(tmp_path, suffix, delimiter):
  path = tmp_path / f'a{suffix}'
  path.write_bytes(to_csv(delimiter))
  assert documents(path, 'body') == [TEXTS[0], 'a "b", c', 'x' * 200_000]


def test_json_gives_the_objects_of_its_list(tmp_path):
  rows = [{'body': TEXTS[0]}, {'body': TEXTS[1]}]
  (tmp_path / 'a.json').write_text(json.dumps(rows, indent=1))
  assert documents(tmp_path / 'a.json', 'body') == TEXTS[:2]
  (tmp_path / 'a.json').write_text(json.dumps(rows[0]))
  assert documents(tmp_path / 'a.json', 'body') == TEXTS[:1]


def test_json_with_one_object_in_each_line_is_read_by_lines(tmp_path):
  (tmp_path / 'a.json').write_bytes(to_lines({'text': 'x'}, {'text': 'y'}))
  assert documents(tmp_path / 'a.json') == ['x', 'y']


def test_markdown_is_one_document(tmp_path):
  (tmp_path / 'a.md').write_text('# Title\n\ntext')
  assert documents(tmp_path / 'a.md') == ['# Title\n\ntext']


def zstandard(data):
  return pa.compress(data, 'zstd', asbytes=True)


@pytest.mark.parametrize(
  'suffix, compress',
  [
    ('.gz', gzip.compress),
    ('.bz2', bz2.compress),
    ('.xz', lzma.compress),
    ('.zst', zstandard),
  ],
)
def test_compressed_files_are_read(tmp_path, suffix, compress):
  lines = to_lines(*({'text': f'{i} {text}'} for text in TEXTS for i in range(2000)))
  # Two parts: large files are often made of several compressed ones.
  half = len(lines) // 2
  (tmp_path / f'a.jsonl{suffix}').write_bytes(
    compress(lines[:half]) + compress(lines[half:])
  )
  (tmp_path / 'a.jsonl').write_bytes(lines)
  expected = documents(tmp_path / 'a.jsonl')
  assert documents(tmp_path / f'a.jsonl{suffix}') == expected
  for format, content in (('.csv', to_csv()), ('.txt', lines), ('.json', b'[]')):
    (tmp_path / f'a{format}').write_bytes(content)
    (tmp_path / f'a{format}{suffix}').write_bytes(compress(content))
    plain = documents(tmp_path / f'a{format}', 'body')
    assert documents(tmp_path / f'a{format}{suffix}', 'body') == plain


@pytest.mark.parametrize('suffix', ['.gz', '.bz2', '.xz', '.zst'])
def test_damaged_compressed_file_is_one_line(tmp_path, suffix):
  (tmp_path / f'a.txt{suffix}').write_bytes(b'no compressed data' * 9)
  with pytest.raises(ConfigError, match=rf'data\.path: .*a\.txt\{suffix}') as error:
    documents(tmp_path / f'a.txt{suffix}')
  assert '\n' not in str(error.value)


def test_compressed_file_cut_short_is_one_line(tmp_path):
  data = gzip.compress(to_lines(*({'text': str(i)} for i in range(9999))))
  (tmp_path / 'a.jsonl.gz').write_bytes(data[:-99])
  with pytest.raises(ConfigError, match=r'cannot decompress .*a\.jsonl\.gz'):
    documents(tmp_path / 'a.jsonl.gz')


@pytest.mark.parametrize(
  'name, data',
  [
    ('a.txt', b'one'),
    ('a.md', b'one'),
    ('a.jsonl', to_lines({'text': 'one'})),
    ('a.json', b'[{"text": "one"}]'),
    ('a.csv', b'text\none\n'),
  ],
)
def test_byte_order_mark_is_no_part_of_the_text(tmp_path, name, data):
  (tmp_path / name).write_bytes(b'\xef\xbb\xbf' + data)
  assert documents(tmp_path / name) == ['one']


def test_nested_field_is_read_in_each_format(tmp_path):
  rows = [{'data': {'text': 'x', 'n': 1}}, {'data': {'text': 'y', 'n': 2}}]
  (tmp_path / 'a.jsonl').write_bytes(to_lines(*rows))
  (tmp_path / 'a.json').write_text(json.dumps(rows))
  pq.write_table(pa.Table.from_pylist(rows), tmp_path / 'a.parquet')
  for name in ('a.jsonl', 'a.json', 'a.parquet'):
    assert documents(tmp_path / name, 'data.text') == ['x', 'y']


def test_field_whose_name_has_a_dot_is_read_before_a_nested_one(tmp_path):
  row = {'data.text': 'flat', 'data': {'text': 'nested'}}
  (tmp_path / 'a.jsonl').write_bytes(to_lines(row))
  assert documents(tmp_path / 'a.jsonl', 'data.text') == ['flat']


# --- directories and globs --------------------------------------------------------------


def test_glob_gives_the_files_that_match(tmp_path):
  (tmp_path / 'sub').mkdir()
  for name in ('a1.txt', 'a2.txt', 'b1.txt', 'sub/a3.txt'):
    (tmp_path / name).write_text(name)
  assert documents(tmp_path / 'a*.txt') == ['a1.txt', 'a2.txt']
  assert documents(tmp_path / '**' / 'a*.txt') == ['a1.txt', 'a2.txt', 'sub/a3.txt']
  with pytest.raises(ConfigError, match=r'data\.path: the glob .*c\*\.txt'):
    documents(tmp_path / 'c*.txt')


def test_file_whose_name_looks_like_a_glob_is_read(tmp_path):
  (tmp_path / 'a[1].txt').write_text('x')
  assert documents(tmp_path / 'a[1].txt') == ['x']


def test_each_real_file_is_read_once_and_the_others_are_named(tmp_path, caplog):
  (tmp_path / 'a.txt').write_text('x')
  (tmp_path / 'again.txt').symlink_to('a.txt')
  (tmp_path / 'hard.txt').hardlink_to(tmp_path / 'a.txt')
  (tmp_path / 'dangling.txt').symlink_to('nothing')
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'folder' / 'b.txt').write_text('y')
  (tmp_path / 'folder' / 'loop').symlink_to('..')
  (tmp_path / 'self').symlink_to('.')
  (tmp_path / 'c.csv').write_text('text\nz\n')
  (tmp_path / 'd.pdf').write_text('z')
  assert documents(tmp_path) == ['x', 'y']
  (record,) = caplog.records
  for name in ('again', 'hard', 'dangling', 'loop', 'self', 'c.csv', 'd.pdf'):
    assert name in record.getMessage()


def test_notes_beside_data_are_not_read(tmp_path, caplog):
  (tmp_path / 'README.md').write_text('about the data')
  (tmp_path / 'info.json').write_text('{"rows": 1}')
  (tmp_path / 'a.jsonl').write_bytes(to_lines({'text': 'x'}))
  assert documents(tmp_path) == ['x']
  assert 'README.md' in caplog.text and 'info.json' in caplog.text


def test_directory_gives_its_files_in_the_order_of_their_paths(tmp_path):
  (tmp_path / 'sub').mkdir()
  (tmp_path / 'b.txt').write_text('b')
  (tmp_path / 'a.jsonl').write_bytes(to_lines({'text': 'a1'}, {'text': 'a2'}))
  (tmp_path / 'sub' / 'c.TXT').write_text('c')
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
    ('a.doc', b'x', r'data\.path: got .*a\.doc'),
  ],
)
def test_invalid_file_is_one_line_with_its_place(tmp_path, name, data, message):
  (tmp_path / name).write_bytes(data)
  with pytest.raises(ConfigError, match=message) as error:
    documents(tmp_path / name)
  assert '\n' not in str(error.value)
  assert str(error.value).startswith('data.')


def test_missing_field_names_the_fields_that_are_there(tmp_path):
  row = {'id': 1, 'body': {'main': 'x', 'note': 'y'}}
  (tmp_path / 'a.jsonl').write_bytes(to_lines(row))
  pq.write_table(pa.Table.from_pylist([row]), tmp_path / 'a.parquet')
  message = r"data\.text_field: .* has no field 'text', only 'id', 'body\.main'"
  with pytest.raises(ConfigError, match=message):
    documents(tmp_path / 'a.jsonl')
  with pytest.raises(ConfigError, match=r"has no column 'text', only 'id', 'body'"):
    documents(tmp_path / 'a.parquet')


@pytest.mark.parametrize('name', ['a.jsonl', 'a.json', 'a.parquet', 'a.csv', 'a.tsv'])
def test_rows_are_counted_from_one_in_each_format(tmp_path, name, monkeypatch):
  # The second row has no text: a number, or a field that is missing.
  rows = [{'text': 'x', 'n': 'y'}, {'text': 3, 'n': 'y'}]
  table = pa.table({'text': [b'1', b'2']})
  contents = {'a.jsonl': to_lines(*rows), 'a.json': json.dumps(rows).encode()}
  contents |= {'a.csv': b'text,n\nx,y\nx\n', 'a.tsv': b'text\tn\nx\ty\nx\n'}
  if name == 'a.parquet':
    pq.write_table(table, tmp_path / name)
  else:
    (tmp_path / name).write_bytes(contents[name])
  place = {'a.jsonl': r':2', 'a.parquet': ' row 1'}.get(name, ' row 2')
  with pytest.raises(ConfigError, match=rf'{re.escape(name)}{place}: '):
    documents(tmp_path / name)


def test_rows_of_a_hugging_face_dataset_are_counted_from_one(library):
  library.splits = {'train': Table(text=[3])}
  with pytest.raises(ConfigError, match='row 1: got int'):
    documents('hf:owner/name')


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


def test_another_split_of_a_dataset_is_read(library):
  library.splits = {'train': Table(text=['a']), 'validation': Table(text=['v'])}
  assert documents('hf:owner/name::validation') == ['v']
  assert documents('hf:owner/name:subset:validation') == ['v']
  assert library.calls == [('owner/name', None), ('owner/name', 'subset')]
  with pytest.raises(ConfigError, match='no split valid, only train, validation'):
    documents('hf:owner/name::valid')


def test_nested_field_of_a_dataset_is_read(library):
  library.splits = {'train': Table(data=[{'text': 'a'}])}
  assert documents('hf:owner/name', 'data.text') == ['a']


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


@pytest.mark.parametrize(
  'mark, encoding, name',
  [
    (b'\xff\xfe', 'utf-16-le', 'UTF-16'),
    (b'\xfe\xff', 'utf-16-be', 'UTF-16'),
    (b'\xff\xfe\x00\x00', 'utf-32-le', 'UTF-32'),
    (b'', 'utf-16-le', 'UTF-16LE'),
    (b'', 'utf-16-be', 'UTF-16BE'),
  ],
)
def test_text_in_another_encoding_is_named(tmp_path, mark, encoding, name):
  file = tmp_path / 'a.txt'
  file.write_bytes(mark + ('plain text ' * 50).encode(encoding))
  with pytest.raises(
    ConfigError, match=f'in {name}, expected UTF-8; .*iconv -f {name} '
  ):
    list(readers.open_text(str(file), 'text', tmp_path).documents())


@pytest.mark.parametrize('suffix', ['.jsonl', '.csv'])
def test_rows_in_another_encoding_are_named(tmp_path, suffix):
  file = tmp_path / f'a{suffix}'
  file.write_bytes(b'\xff\xfe' + 'text\n'.encode('utf-16-le'))
  with pytest.raises(ConfigError, match='in UTF-16, expected UTF-8'):
    list(readers.open_text(str(file), 'text', tmp_path).documents())
