"""The table of runs: which rows count for what."""

import math

import numpy as np
import pytest

from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs


def halved():
  """Nine runs, of which six stopped at step 10, two at 30, and one ended; one diverged early."""
  scores = [{10: 5.0 - i / 10} for i in range(6)] + [
    {10: 4.0, 30: 3.0},
    {10: 3.9, 30: 2.9},
    {10: 3.8, 30: 2.8, 90: 2.0},
  ]
  status = ['pruned'] * 8 + ['complete', 'diverged']
  return Runs(
    'x',
    {},
    {},
    np.array([math.nan] * 8 + [2.0, 9.0]),
    status=np.array(status),
    scores=(*scores, {}),
  )


def test_a_response_is_read_where_enough_runs_were():
  runs, step = halved().comparable_runs()
  assert step == 10 and len(runs) == 10 and runs.number.tolist() == list(range(10))
  np.testing.assert_allclose(
    runs.objective, [5.0, 4.9, 4.8, 4.7, 4.6, 4.5, 4.0, 3.9, 3.8, 9.0]
  )
  assert runs.status.tolist() == ['complete'] * 9 + ['diverged']
  whole = Runs(
    'x',
    {},
    {},
    np.array([1.0, 2.0, math.nan]),
    status=np.array(['complete', 'complete', 'pruned']),
  )
  runs, step = whole.comparable_runs()
  assert step is None and runs.objective.tolist() == [1.0, 2.0]


def test_confirming_runs_are_not_of_the_search():
  runs = Runs(
    'x',
    {'a': Axis('a', low=0, high=1)},
    {'a': np.array([0.1, 0.2, 0.3])},
    np.array([1.0, 2.0, 3.0]),
    cohort=np.array(['search', 'confirm', 'search']),
    point=np.array([4, -1, 4]),
    maximize=True,
  )
  assert runs.search_runs().number.tolist() == [0, 2] and {
    p: r.tolist() for p, r in runs.rows_by_point().items()
  } == {4: [0, 2], -1: [1]}
  assert runs.losses.tolist() == [-1.0, -2.0, -3.0] and runs.to_objective(-3.0) == 3.0
  assert (
    list(runs.varied_axes()) == ['a'] and list(runs.select([0]).varied_axes()) == []
  )


def test_columns_must_be_as_long():
  with pytest.raises(ValueError, match='a: got 2 rows'):
    Runs('x', {'a': Axis('a')}, {'a': np.zeros(2)}, np.zeros(1))


@pytest.mark.parametrize(
  'axis', [Axis('a', low=1e-4, high=1e-1, log=True), Axis('a', low=-2.0, high=6.0)]
)
def test_shares_of_a_range(axis):
  shares = np.array([0.0, 0.25, 1.0])
  np.testing.assert_allclose(axis.to_unit(axis.from_unit(shares)), shares, atol=1e-12)
  assert np.isnan(axis.to_unit([math.nan])).all()


def test_a_table_is_written_as_a_data_frame():
  pd = pytest.importorskip('pandas')
  runs = Runs(
    'a study',
    {'lr': Axis('lr', low=0, high=1)},
    {'lr': np.array([0.1, np.nan, 0.3])},
    np.array([3.0, 2.0, np.nan]),
    measured={'tokens': np.array([1e6, 1e6, 2e6])},
    labels=('a', 'b', 'c'),
  )
  frame = runs.to_pandas()
  assert isinstance(frame, pd.DataFrame)
  assert frame['label'].tolist() == ['a', 'b', 'c']
  assert frame['status'].tolist() == ['complete', 'complete', 'failed']
  for name, column in (
    ('lr', runs.values['lr']),
    ('tokens', runs.measured['tokens']),
    ('objective', runs.objective),
  ):
    np.testing.assert_array_equal(frame[name], column)
