"""A report is written for any table: correlated, conditional, constant, tiny, wide, duplicated."""

import numpy as np
import pytest

from lmhp.analysis.analysis import analyze
from lmhp.analysis.report.page import page_of
from lmhp.analysis.runs.raw_table import RawTable
from lmhp.analysis.runs.tables import TableOptions, runs_of_table
from lmhp.errors import ConfigError


def column(rng, n, others):
  """Returns a column of one of ten kinds."""
  kind = rng.integers(10)
  if kind == 0:
    return rng.random(n).tolist()
  if kind == 1:
    return np.exp(rng.uniform(-9, 0, n)).tolist()
  if kind == 2:
    return rng.choice(['adam', 'sgd', 'lion'], n).tolist()
  if kind == 3:
    return [7] * n
  if kind == 4:
    return rng.choice([1, 2, 4, 8], n).tolist()
  if kind == 5 and others:
    # In lockstep with another column.
    other = others[int(rng.integers(len(others)))]
    return [v / 10 if isinstance(v, (int, float)) else v for v in other]
  if kind == 6:
    # Conditional: missing in half of the rows.
    return [v if rng.random() < 0.5 else None for v in rng.random(n).tolist()]
  if kind == 7:
    return [bool(v) for v in rng.integers(0, 2, n)]
  if kind == 8:
    return np.round(rng.random(n), 1).tolist()
  return [f'run {i}' for i in range(n)]


NAMES = ('lr', 'wd', 'width', 'optimizer', 'x', 'y', 'batch_size', 'n_params', 'tokens')


def table_of(seed):
  """Returns a random table. In every second one, `lr` has a large effect."""
  rng = np.random.default_rng(seed)
  n = int(rng.choice([1, 2, 3, 5, 9, 20, 60]))
  names = rng.permutation(NAMES)[: int(rng.integers(1, 9))].tolist()
  columns: dict[str, list] = {}
  for name in names:
    columns[name] = column(rng, n, list(columns.values()))
  losses = 3 + 0.01 * rng.standard_normal(n)
  if seed % 2:
    columns['lr'] = np.exp(rng.uniform(-9, -2, n)).tolist()
    losses = losses + 0.2 * (np.log(columns['lr']) + 5) ** 2
  values = losses.tolist()
  if rng.random() < 0.3:
    values = [None if rng.random() < 0.2 else v for v in values]
  if rng.random() < 0.3:
    values = [float('nan') if rng.random() < 0.2 else v for v in values]
  if rng.random() < 0.3:
    columns['seed'] = rng.integers(0, 3, n).tolist()
  columns['val_loss'] = values
  if rng.random() < 0.2:
    columns = {name: [*values, *values] for name, values in columns.items()}
  return RawTable(columns)


@pytest.mark.parametrize('seed', range(60))
def test_a_page_is_written(seed):
  runs = runs_of_table(table_of(seed), 'a table', 'runs.csv', TableOptions())
  page = page_of([runs])
  assert page.text('html').startswith('<!doctype html>')
  assert all(sentence.strip() for sentence in page.answer)


@pytest.mark.slow
@pytest.mark.parametrize('part', range(10))
def test_many_pages_are_written(part):
  for seed in range(1000 + 30 * part, 1030 + 30 * part):
    table = table_of(seed)
    if all(loss is None for loss in table.columns['val_loss']):
      with pytest.raises(ConfigError, match='--objective'):
        runs_of_table(table, 'a table', 'runs.csv', TableOptions())
      continue
    page = page_of([runs_of_table(table, 'a table', 'runs.csv', TableOptions())])
    assert page.text('html').startswith('<!doctype html>')


def planted_table(seed):
  """Returns a table in which the learning rate has a valley, beside columns of any kind."""
  rng = np.random.default_rng(seed)
  n = 40
  columns: dict[str, list] = {'lr': np.exp(rng.uniform(-9, -2, n)).tolist()}
  for name in ('wd', 'x', 'optimizer'):
    columns[name] = column(rng, n, [])
  losses = 3 + 0.2 * (np.log(columns['lr']) + 5) ** 2 + 0.05 * rng.standard_normal(n)
  columns['val_loss'] = losses.tolist()
  return RawTable(columns)


@pytest.mark.parametrize('seed', range(6))
def test_a_planted_effect_is_shown(seed):
  analysis = analyze(
    runs_of_table(planted_table(seed), 'a table', 'runs.csv', TableOptions())
  )
  assert analysis.effects[0].axis == 'lr'
  assert analysis.effects[0].significant()
  assert 'lr' in analysis.answer.title


def test_data_sets_in_rows_are_not_compared():
  table = {
    'dataset': ['cora', 'citeseer', 'pubmed'],
    'ROCKET-100': [0.91, 0.82, 0.88],
    'accuracy': [0.9, 0.8, 0.85],
  }
  page = page_of(
    [runs_of_table(RawTable(table), 't', 't.csv', TableOptions('accuracy'))]
  )
  assert page.answer[0].startswith('Each run has another dataset')
  assert page.answer[-1].startswith('To compare settings')
