"""Tests of the tables of runs."""

import dataclasses

from figure_studies import confirmed, study
import numpy as np
import pytest

from lmhp.analysis.report.tables import best_table, column_of, trials_table


def test_trials_table_has_every_run():
  runs = study()
  table = trials_table(runs)
  names = [column.name for column in table.columns]
  assert names == [
    'run',
    *runs.axes,
    'eval loss',
    'status',
    'seed',
    'cohort',
    'steps',
    'tokens',
    'parameters',
    'FLOPs',
    'seconds',
  ]
  assert table.columns[0].kind == 'run'
  assert [row[0] for row in table.rows] == list(range(40))
  for i, row in enumerate(table.rows):
    assert row[names.index('eval loss')] == runs.objective[i]
    assert row[names.index('schedule')] == runs.values['schedule'][i]


def test_a_value_that_a_run_lacks_is_none():
  assert trials_table(confirmed([-0.1])).rows[-1][1] is None


@pytest.mark.parametrize('maximize', [False, True])
def test_best_table_is_sorted_and_leaves_out_diverged_points(maximize):
  runs = study(maximize=maximize)
  table = best_table(runs)
  order = np.argsort(np.where(runs.status == 'complete', runs.losses, np.inf))[:10]
  assert [row[0] for row in table.rows] == list(range(1, 11))
  assert [row[1] for row in table.rows] == order.tolist()
  np.testing.assert_allclose([row[2] for row in table.rows], runs.objective[order])
  differences = runs.losses[order] - runs.losses[order[0]]
  np.testing.assert_allclose([row[3] for row in table.rows], differences)
  assert '37' in table.caption


def test_best_table_has_means_over_seeds_of_points_whose_seeds_are_complete():
  runs = dataclasses.replace(
    study(6, n_diverged=0),
    objective=np.array([1.0, 9.0, 2.0, 2.2, 3.0, 3.4]),
    point=np.array([0, 0, 1, 1, 2, 2]),
    status=np.array(['complete', 'diverged', *['complete'] * 4]),
  )
  table = best_table(runs)
  names = [column.name for column in table.columns]
  assert [row[2] for row in table.rows] == pytest.approx([2.1, 3.2])
  assert [row[names.index('seeds')] for row in table.rows] == [2, 2]
  # Student's 97.5% quantile of one degree of freedom, times the standard error.
  half = 12.7062 * 0.1
  interval = table.rows[0][names.index('95% interval')]
  ends = [float(end) for end in interval.split(' to ')]
  assert ends == pytest.approx([2.1 - half, 2.1 + half], abs=1e-3)


def test_there_is_no_best_table_if_no_point_is_complete():
  assert best_table(study(4, n_diverged=4)) is None


@pytest.mark.parametrize(
  'name, heading, unit',
  [
    ('flops', 'FLOPs', ''),
    ('eval_loss_nats', 'eval loss', 'nats'),
    ('optimizer.cooldown_steps', 'optimizer.cooldown_steps', ''),
  ],
)
def test_a_column_has_its_unit_apart(name, heading, unit):
  column = column_of(name)
  assert (column.name, column.unit) == (heading, unit)
