"""Files and data frames as raw tables."""

import bz2
import gzip
import json

from etils import epath
import pytest

from lmhp.analysis.runs.formats import from_frame, is_table_file, read_file
from lmhp.errors import ConfigError


def table_of(tmp_path, name, data):
  path = tmp_path / name
  path.write_bytes(data if isinstance(data, bytes) else data.encode())
  return read_file(epath.Path(path))


def columns_of(tmp_path, name, data):
  return dict(table_of(tmp_path, name, data).columns)


EXPECTED = {'lr': [0.1, 0.2], 'loss': [3.0, 2.5]}


@pytest.mark.parametrize(
  'name, data',
  [
    ('a.csv', 'lr,loss\n0.1,3.0\n0.2,2.5\n'),
    ('a.csv', '\ufefflr,loss\n0.1,3.0\n0.2,2.5\n'),
    ('a.csv', 'lr;loss\n0,1;3,0\n0,2;2,5\n'),
    ('a.csv', '# a comment\n\nlr , loss\n0.1, 3.0\n0.2, 2.5\n\n'),
    ('a.tsv', 'lr\tloss\n0.1\t3.0\n0.2\t2.5\n'),
    ('a.txt', 'lr|loss\n0.1|3.0\n0.2|2.5\n'),
    ('a.csv.gz', gzip.compress(b'lr,loss\n0.1,3.0\n0.2,2.5\n', mtime=0)),
    ('a.csv.bz2', bz2.compress(b'lr,loss\n0.1,3.0\n0.2,2.5\n')),
    ('a.csv', 'lr,loss\n0.1,3.0\n0.2,2.5\n'.encode('utf-16')),
    ('a.jsonl', '{"lr": 0.1, "loss": 3.0}\n{"lr": 0.2, "loss": 2.5}\n'),
    ('a.json', '[{"lr": 0.1, "loss": 3.0}, {"lr": 0.2, "loss": 2.5}]'),
    ('a.json', '{"lr": [0.1, 0.2], "loss": [3.0, 2.5]}'),
    ('a.json', '{"lr": {"0": 0.1, "1": 0.2}, "loss": {"0": 3.0, "1": 2.5}}'),
    (
      'a.json',
      '{"date": "x", "results": [{"lr": 0.1, "loss": 3.0}, {"lr": 0.2, "loss": 2.5}]}',
    ),
  ],
)
def test_all_dialects_give_the_same(tmp_path, name, data):
  assert is_table_file(epath.Path(name))
  assert columns_of(tmp_path, name, data) == EXPECTED


def test_duplicate_headers_and_ragged_rows(tmp_path):
  table = table_of(tmp_path, 'a.csv', ',lr,lr,lr\n0,1,1,5\n1,2,2,6,7\n2,3\n')
  assert dict(table.columns) == {
    'index': [0, 1, 2],
    'lr': [1, 2, 3],
    'lr.2': [1, 2, None],
    'lr.3': [5, 6, None],
  }
  assert len(table.notes) == 2


def test_a_header_may_begin_as_a_comment(tmp_path):
  columns = columns_of(tmp_path, 'a.csv', '# runs of May\n#_layers,lr\n2,0.1\n3,0.2\n')
  assert columns == {'#_layers': [2, 3], 'lr': [0.1, 0.2]}
  columns = columns_of(tmp_path, 'a.csv', '# small, and quick\nlr,loss\n0.1,3\n')
  assert columns == {'lr': [0.1], 'loss': [3]}


def test_a_header_of_two_lines_is_joined(tmp_path):
  text = 'model,Useful,,Other\n,F1,Recall,F1\na,0.8,0.7,0.6\nb,0.9,0.8,0.7\n'
  columns = columns_of(tmp_path, 'a.csv', text)
  assert list(columns) == ['model', 'Useful.F1', 'Useful.Recall', 'Other.F1']
  assert columns['Useful.Recall'] == [0.7, 0.8]
  # An unnamed column of numbers is no part of a group.
  assert list(columns_of(tmp_path, 'a.csv', 'lr,,loss\n0.1,1,3\n0.2,2,4\n')) == [
    'lr',
    'index',
    'loss',
  ]


def test_tables_below_each_other_have_their_own_headers(tmp_path):
  text = 'lr,loss\n0.1,3.0\nlr,wd,loss\n0.2,0.5,2.9\nlr,loss\n0.3,2.8\n'
  assert columns_of(tmp_path, 'a.csv', text) == {
    'lr': [0.1, 0.2, 0.3],
    'loss': [3.0, 2.9, 2.8],
    'wd': [None, 0.5, None],
  }


def test_rows_of_another_table_are_left_out(tmp_path):
  text = 'model,lr,loss\na,0.1,3.0\nb,0.2,2.9\nc,0.1,sgd,2.5\nd,0.3\nfinal,today\n'
  table = table_of(tmp_path, 'a.csv', text)
  assert table.columns['model'] == ['a', 'b', 'd']
  assert table.columns['loss'] == [3.0, 2.9, None]
  assert table.notes[0].startswith('2 of 5 rows have other cells')
  with pytest.raises(ConfigError, match='4 of 7 rows have other cells'):
    table_of(tmp_path, 'a.csv', text + 'e,0.2,sgd,2.4\nf,0.3,sgd,2.3\n')


def test_a_line_break_inside_a_cell_is_mended(tmp_path):
  text = 'exp,bleu,loss\nbase,\n,4.5\nno_residual,\n,7.6\n'
  assert columns_of(tmp_path, 'a.csv', text) == {
    'exp': ['base', 'no_residual'],
    'bleu': [None, None],
    'loss': [4.5, 7.6],
  }


def test_an_object_as_python_writes_it(tmp_path):
  text = "params,loss\n\"{'depth': None, 'fast': True}\",3\n\"{'depth': 2, 'fast': False}\",2\n"
  assert columns_of(tmp_path, 'a.csv', text) == {
    'loss': [3, 2],
    'params.depth': [None, 2],
    'params.fast': [True, False],
  }


def test_results_of_each_class_are_no_runs(tmp_path):
  run = {
    'training': {'lr': 0.1},
    'evaluation': {'accuracy': 0.9},
    'per_class_metrics': {'a': {'f1': 0.8}, 'b': {'f1': 0.7}},
  }
  for more in ({}, {'experiment': 'first'}):
    columns = columns_of(tmp_path, 'a.json', json.dumps({**run, **more}))
    assert columns['evaluation.accuracy'] == [0.9]
    assert columns['per_class_metrics.a.f1'] == [0.8]


def test_equal_columns_of_one_name_are_one(tmp_path):
  assert columns_of(tmp_path, 'a.csv', 'lr,lr\n1,1\n2,2\n') == {'lr': [1, 2]}


def test_cells_with_objects_and_spreads(tmp_path):
  text = (
    'config,loss\n"{""lr"": 0.1, ""seed"": 1}",3.2 ± 0.1\n"{""lr"": 0.2}",3.1 ± 0.2\n'
  )
  assert columns_of(tmp_path, 'a.csv', text) == {
    'config.lr': [0.1, 0.2],
    'config.seed': [1, None],
    'loss': [3.2, 3.1],
    'loss_std': [0.1, 0.2],
  }


def test_runs_by_name_with_logs(tmp_path):
  log = [{'step': s, 'val_loss': 5.0 - s} for s in range(3)]
  runs = {
    '3M': {'n': 3, 'log': log},
    '10M': {'n': 10, 'log': log[:2]},
    'about': {'x': 1},
  }
  table = table_of(tmp_path, 'a.json', json.dumps(runs))
  assert dict(table.columns) == {'name': ['3M', '10M'], 'n': [3, 10]}
  assert table.curves[0]['step'].tolist() == [0, 1, 2]
  assert table.curves[1]['val_loss'].tolist() == [5, 4]


def test_lists_of_seeds_and_nested_names(tmp_path):
  seeds = {
    'a': [{'seed': 0, 'acc': 1}, {'seed': 1, 'acc': 2}],
    'b': [{'seed': 0, 'acc': 3}],
  }
  assert columns_of(tmp_path, 'a.json', json.dumps(seeds)) == {
    'name': ['a', 'a', 'b'],
    'seed': [0, 1, 0],
    'acc': [1, 2, 3],
  }
  nested = {m: {d: {'acc': i} for i, d in enumerate('xy')} for m in ('m1', 'm2')}
  assert columns_of(tmp_path, 'b.json', json.dumps(nested)) == {
    'name': ['m1', 'm1', 'm2', 'm2'],
    'name.2': ['x', 'y', 'x', 'y'],
    'acc': [0, 1, 0, 1],
  }


def test_rows_of_a_matrix_have_numbered_columns(tmp_path):
  assert columns_of(tmp_path, 'a.json', '[[0, 1.5], [500, 0.5]]') == {
    '0': [0, 500],
    '1': [1.5, 0.5],
  }


def test_an_object_of_numbers_is_a_value_for_each_name(tmp_path):
  assert columns_of(tmp_path, 'a.json', '{"a": 1.5, "b": 2.5, "c": 3.5}') == {
    'name': ['a', 'b', 'c'],
    'value': [1.5, 2.5, 3.5],
  }


@pytest.mark.parametrize(
  'name, data',
  [
    ('a.csv', ''),
    ('a.csv', 'lr,loss\n'),
    ('a.json', '{"a": '),
    ('a.json', '[1, 2]'),
    ('a.json', '3'),
    ('a.csv.gz', b'no gzip'),
    ('a.parquet', b'no parquet'),
  ],
)
def test_a_damaged_file_is_one_line(tmp_path, name, data):
  with pytest.raises(ConfigError) as error:
    table_of(tmp_path, name, data)
  assert name in str(error.value)
  assert '\n' not in str(error.value)


@pytest.mark.extra
def test_a_data_frame():
  pd = pytest.importorskip('pandas')
  frame = pd.DataFrame({'lr': [0.1, None], 'name': ['a', None]}, index=[5, 6])
  assert dict(from_frame(frame).columns) == {'lr': [0.1, None], 'name': ['a', None]}
  named = frame.rename_axis('trial')
  assert dict(from_frame(named).columns)['trial'] == [5, 6]
