"""A reader for each format, and one clear line for each way a file can be wrong."""

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


def documents(path, text_field='text'):
  return list(
    readers.open_text(str(path), text_field, epath.Path('/nowhere')).documents()
  )


def lines(*rows) -> bytes:
  return b''.join(json.dumps(row).encode() + b'\n' for row in rows)


def test_txt_is_one_document_to_the_byte(tmp_path):
  (tmp_path / 'a.txt').write_bytes(''.join(TEXTS).encode())
  assert documents(tmp_path / 'a.txt') == [''.join(TEXTS)]


def test_jsonl_reads_the_field_of_each_line(tmp_path):
  rows = {'body': TEXTS[0], 'n': 1}, {'body': TEXTS[1]}, {'body': None}
  (tmp_path / 'a.jsonl').write_bytes(lines(rows[0]) + b'\n' + lines(*rows[1:]))
  assert documents(tmp_path / 'a.jsonl', 'body') == [*TEXTS[:2], '']


@pytest.mark.parametrize(
  'kind', [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_parquet_reads_the_column(tmp_path, kind):
  table = pa.table(
    {'n': [1, 2, 3, 4], 'body': pa.array([*TEXTS, None], pa.string()).cast(kind)}
  )
  pq.write_table(table, tmp_path / 'a.parquet', row_group_size=2)
  assert documents(tmp_path / 'a.parquet', 'body') == [*TEXTS, '']


def test_a_directory_is_its_files_in_the_order_of_their_paths(tmp_path):
  (tmp_path / 'sub').mkdir()
  (tmp_path / 'b.txt').write_text('b')
  (tmp_path / 'a.jsonl').write_bytes(lines({'text': 'a1'}, {'text': 'a2'}))
  (tmp_path / 'sub' / 'c.TXT').write_text('c')
  (tmp_path / 'd.csv').write_text('left out')
  assert documents(tmp_path) == ['a1', 'a2', 'b', 'c']


def test_the_hash_follows_the_bytes_the_field_and_the_order_but_not_the_name(tmp_path):
  def hash_of(name, data, field='text'):
    (tmp_path / name).write_bytes(data)
    return readers.open_text(str(tmp_path / name), field, epath.Path('/nowhere')).sha256

  same = hash_of('a.txt', b'x')
  assert (
    same
    == hash_of('b.txt', b'x')
    == hash_of('a.txt', b'x', 'body')
    != hash_of('c.txt', b'y')
  )
  row = lines({'text': 'x', 'body': 'y'})
  assert hash_of('a.jsonl', row) != hash_of('a.jsonl', row, 'body')


@pytest.mark.parametrize(
  'name, data, message',
  [
    ('a.txt', b'one\ntwo \xff', r'a\.txt:2: not UTF-8 text \(byte 0xff\)'),
    ('a.jsonl', lines({'text': 'x'}) + b'{"text": \n', r'a\.jsonl:2: not JSON'),
    ('a.jsonl', lines({'text': 'x'}) + b'{"text": "\xff"}\n', r'a\.jsonl:2: not UTF-8'),
    ('a.jsonl', b'[1]\n', r'a\.jsonl:1: got a list, expected an object'),
    (
      'a.jsonl',
      lines({'texts': 'x'}),
      r"data\.text_field: .*a\.jsonl:1 has no field 'text'; did you mean 'texts'",
    ),
    ('a.jsonl', lines({'text': 3}), r'a\.jsonl:1: got int, expected text'),
    ('a.jsonl', b'{"text": "\\ud800"}\n', r'a\.jsonl:1: not UTF-8 text'),
    ('a.parquet', b'PAR1 nonsense', r'a\.parquet is not a parquet file'),
    ('a.parquet', b'', r'a\.parquet is not a parquet file'),
    ('a.csv', b'x', r'no reader for .*a\.csv'),
  ],
)
def test_a_bad_file_is_one_line_that_says_where(tmp_path, name, data, message):
  (tmp_path / name).write_bytes(data)
  with pytest.raises(ConfigError, match=message) as e:
    documents(tmp_path / name)
  assert '\n' not in str(e.value) and str(e.value).startswith('data.')


@pytest.mark.parametrize(
  'column, values, message',
  [
    ('texts', ['x'], r"has no column 'text'; did you mean 'texts'"),
    ('text', [1], r'row 1: got int, expected text'),
  ],
)
def test_a_bad_parquet_column(tmp_path, column, values, message):
  pq.write_table(pa.table({column: values}), tmp_path / 'a.parquet')
  with pytest.raises(ConfigError, match=message):
    documents(tmp_path / 'a.parquet')


def test_a_parquet_file_cut_short(tmp_path):
  pq.write_table(
    pa.table({'text': [str(i) * 9 for i in range(10_000)]}), tmp_path / 'a.parquet'
  )
  data = (tmp_path / 'a.parquet').read_bytes()
  (tmp_path / 'a.parquet').write_bytes(data[: len(data) // 2])
  with pytest.raises(
    ConfigError, match='a.parquet is not a parquet file that can be read'
  ):
    documents(tmp_path / 'a.parquet')


def test_a_missing_path_names_its_neighbour(tmp_path):
  (tmp_path / 'shakespeare.txt').write_text('x')
  with pytest.raises(
    ConfigError, match=r"no file or directory .*; did you mean 'shakespeare\.txt'"
  ):
    documents(tmp_path / 'shakespear.txt')
  with pytest.raises(ConfigError, match="did you mean 'docstrings'"):
    documents('docstring')


def test_a_directory_without_text(tmp_path):
  with pytest.raises(ConfigError, match='holds no .txt'):
    documents(tmp_path)


def test_bin_files_are_one_or_nanogpt_s_pair(tmp_path):
  (tmp_path / 'other.bin').write_bytes(b'\0\0')
  names = lambda path: [file.name for file in readers.bin_files(str(path))]
  assert names(tmp_path) == [] and names(tmp_path / 'other.bin') == ['other.bin']
  (tmp_path / 'train.bin').write_bytes(b'\0\0')
  assert names(tmp_path) == ['train.bin']
  (tmp_path / 'val.bin').write_bytes(b'\0\0')
  assert names(tmp_path) == names(tmp_path / 'train.bin') == ['train.bin', 'val.bin']
  assert (
    names(tmp_path / 'val.bin') == ['val.bin'] and names(tmp_path / 'absent.bin') == []
  )


class Table:
  """As much of `datasets.Dataset` as the reader uses."""

  def __init__(self, **columns):
    self.columns, self.column_names = columns, list(columns)

  def select_columns(self, names):
    return [
      dict(zip(names, row)) for row in zip(*(self.columns[name] for name in names))
    ]


def test_hugging_face_takes_the_train_split(tmp_path, monkeypatch):
  asked = []
  fake = types.ModuleType('datasets')
  fake.load_dataset = lambda *args: (
    asked.append(args) or {'train': Table(text=['a', None], n=[1, 2]), 'test': None}
  )
  fake.load_from_disk = lambda path: asked.append(path) or Table(text=['b'])
  monkeypatch.setitem(sys.modules, 'datasets', fake)
  assert documents('hf:owner/name') == ['a', ''] and documents(
    'hf:owner/name:subset'
  ) == ['a', '']
  assert documents(f'hf:{tmp_path}') == ['b']
  assert asked == [('owner/name', None), ('owner/name', 'subset'), epath.Path(tmp_path)]
  with pytest.raises(ConfigError, match="no column 'txt'; did you mean 'text'"):
    documents('hf:owner/name', 'txt')
  fake.load_dataset = lambda *args: {'test': None}
  with pytest.raises(ConfigError, match='no split train, only test'):
    documents('hf:owner/name')
  fake.load_dataset = lambda *args: 1 / 0
  with pytest.raises(ConfigError, match='cannot load'):
    documents('hf:owner/name')


def test_hugging_face_without_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'datasets', None)
  with pytest.raises(ConfigError, match=r'lmhp\[datasets\]'):
    documents('hf:owner/name')
