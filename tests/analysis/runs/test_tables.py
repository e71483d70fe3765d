"""Anyone's table of runs: CSV, TSV, JSONL and parquet give the same; what is wrong is one line."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmhp.analysis.runs.sources import read
from lmhp.errors import ConfigError

ROWS = [
  {
    'lr': 1e-4,
    'wd': 0.1,
    'schedule': 'cosine',
    'seed': 0,
    'tokens': 1000,
    'loss': 3.5,
    'fast': True,
  },
  {
    'lr': 1e-3,
    'wd': 0.1,
    'schedule': 'cosine',
    'seed': 0,
    'tokens': 1000,
    'loss': 3.0,
    'fast': True,
  },
  {
    'lr': 1e-3,
    'wd': 0.1,
    'schedule': 'cosine',
    'seed': 1,
    'tokens': 1000,
    'loss': 3.1,
    'fast': True,
  },
  {
    'lr': 1e-2,
    'wd': 0.2,
    'schedule': 'linear',
    'seed': 0,
    'tokens': 1000,
    'loss': 4.5,
    'fast': False,
  },
  {
    'lr': 1e-1,
    'wd': 0.3,
    'schedule': 'linear',
    'seed': 0,
    'tokens': 1000,
    'loss': math.nan,
    'fast': False,
  },
]


def written(tmp_path, suffix, rows=ROWS):
  path = tmp_path / f'runs{suffix}'
  if suffix == '.parquet':
    pq.write_table(pa.Table.from_pylist(rows), path)
  elif suffix == '.jsonl':
    nested = [
      {
        'config': {k: row[k] for k in ('lr', 'wd')},
        **{k: v for k, v in row.items() if k not in ('lr', 'wd')},
      }
      for row in rows
    ]
    path.write_text('\n'.join(json.dumps(row) for row in nested) + '\n\n')
  else:
    between = '\t' if suffix == '.tsv' else ','

    path.write_text(
      '\n'.join(
        between.join(map(str, line)) for line in [rows[0], *(r.values() for r in rows)]
      )
    )
  return path


@pytest.mark.parametrize('suffix', ['.csv', '.tsv', '.jsonl', '.parquet'])
def test_every_format_gives_the_same(tmp_path, suffix):
  runs = read(written(tmp_path, suffix))
  lr, wd = ('config.lr', 'config.wd') if suffix == '.jsonl' else ('lr', 'wd')
  assert (
    set(runs.axes) == {lr, wd, 'schedule', 'fast'} and runs.objective_name == 'loss'
  )
  assert (
    runs.axes[lr].is_choice,
    runs.axes[lr].log,
    runs.axes[lr].low,
    runs.axes[lr].high,
  ) == (False, True, 1e-4, 0.1)
  assert not runs.axes[wd].log and runs.axes['schedule'].choices == ('cosine', 'linear')
  assert runs.values[lr].tolist() == [1e-4, 1e-3, 1e-3, 1e-2, 1e-1]
  assert runs.values['schedule'].tolist() == ['cosine'] * 3 + ['linear'] * 2
  assert runs.status.tolist() == ['complete'] * 4 + ['diverged']
  assert runs.objective.tolist() == [
    3.5,
    3.0,
    3.1,
    4.5,
    4.5,
  ]  # the diverged one as the worst of the others
  assert runs.point.tolist() == [0, 1, 1, 2, 3] and runs.seed.tolist() == [
    0,
    0,
    1,
    0,
    0,
  ]
  assert runs.measured['tokens'].tolist() == [1000.0] * 5
  assert runs.configs[3]['schedule'] == 'linear'


def test_what_is_asked_for(tmp_path):
  path = written(
    tmp_path, '.csv', [{**row, 'accuracy': i / 10} for i, row in enumerate(ROWS)]
  )
  runs = read(path, objective='accuracy', maximize=True, parameters=('lr',))
  assert (
    list(runs.axes) == ['lr']
    and runs.maximize
    and runs.losses.tolist() == [-0.0, -0.1, -0.2, -0.3, -0.4]
  )
  assert set(runs.measured) == {'wd', 'loss', 'tokens'}


def test_states_are_believed(tmp_path):
  states = ['FINISHED', 'crashed', 'TrialState.PRUNED', 'running', 'diverged']
  runs = read(
    written(tmp_path, '.csv', [{**row, 'state': s} for row, s in zip(ROWS, states)])
  )
  assert runs.status.tolist() == ['complete', 'failed', 'pruned', 'running', 'diverged']


@pytest.mark.parametrize(
  'text, options, words',
  [
    ('a,b\n', {}, 'got no rows'),
    (
      'a,b\n1,2\n',
      {},
      '--objective: got none, .*: a, b',
    ),
    (
      'a,loss\n1,2\n',
      {'objective': 'los'},
      "--objective: got 'los', .*did you mean 'loss'",
    ),
    (
      'a,loss\n1,2\n',
      {'parameters': ('aa',)},
      "--parameters: got 'aa', .*did you mean 'a'",
    ),
    (b'\xff\xfe\x00', {}, 'cannot be read as csv'),
  ],
)
def test_mistakes_are_one_line(tmp_path, text, options, words):
  path = tmp_path / 'x.csv'
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  with pytest.raises(ConfigError, match=words) as error:
    read(path, **options)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  'name, text', [('x.jsonl', '{"a": 1\n'), ('x.jsonl', '[1]\n'), ('x.parquet', 'PAR0')]
)
def test_damaged_files_are_one_line(tmp_path, name, text):
  (tmp_path / name).write_text(text)
  with pytest.raises(ConfigError, match='cannot be read as') as error:
    read(tmp_path / name)
  assert '\n' not in str(error.value)


def test_no_such_thing(tmp_path):
  (tmp_path / 'a.txt').write_text('x')
  (tmp_path / 'a.xlsx').write_text('x')
  for path, words in (
    (tmp_path / 'none.csv', 'no such file'),
    (tmp_path / 'a.txt', 'no rows'),
    (tmp_path / 'a.xlsx', "suffix '.xlsx'"),
    (tmp_path, 'config.json'),
  ):
    with pytest.raises(ConfigError, match=words):
      read(path)


def test_all_diverged(tmp_path):
  runs = read(written(tmp_path, '.csv', [{**row, 'loss': math.nan} for row in ROWS]))
  assert (
    (runs.status == 'diverged').all()
    and np.isnan(runs.objective).all()
    and not len(runs.finished_runs())
  )


def test_rows_that_differ_in_the_last_digit_count_once(tmp_path):
  path = tmp_path / 'runs.csv'
  path.write_text('lr,seed,loss\n0.1,0,0.10946054810801106\n0.1,0,0.1094605481080111\n')
  assert len(read(path)) == 1


def test_a_number_of_training_samples_is_a_number_of_samples(tmp_path):
  path = tmp_path / 'runs.csv'
  path.write_text('lr,n_train_samples,loss\n0.1,4000,3.5\n0.2,9000,3.1\n')
  assert read(path).sizes == ('samples',)
