"""Tables of runs."""

import dataclasses

from figure_studies import confirmed, study
from lmhp.analysis.report.tables import best_table, named, trials_table
import numpy as np
import pytest


def test_trials_table_has_every_run():
  runs = study()
  table = trials_table(runs)
  names = [c.name for c in table.columns]
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
    'flops',
    'seconds',
  ]
  assert len(table.rows) == 40 and table.caption == '40 runs: 37 complete, 3 diverged.'
  assert [row[0] for row in table.rows] == list(range(40)) and table.columns[
    0
  ].kind == 'run'
  for i, row in enumerate(table.rows):
    assert row[names.index('eval loss')] == runs.objective[i]
    assert row[names.index('schedule')] == runs.values['schedule'][i]
  assert trials_table(confirmed([-0.1])).rows[-1][1] is None


@pytest.mark.parametrize('maximize', [False, True])
def test_best_table_is_sorted_and_without_the_diverged(maximize):
  runs = study(maximize=maximize)
  table = best_table(runs, 5)
  order = np.argsort(np.where(runs.status == 'complete', runs.losses, np.inf))[:5]
  assert [row[1] for row in table.rows] == order.tolist()
  np.testing.assert_allclose([row[2] for row in table.rows], runs.objective[order])
  np.testing.assert_allclose(
    [row[3] for row in table.rows], runs.losses[order] - runs.losses[order[0]]
  )
  assert [row[0] for row in table.rows] == [
    1,
    2,
    3,
    4,
    5,
  ] and 'of 37 settings' in table.caption


def test_best_table_takes_means_over_seeds_and_drops_a_setting_with_a_diverged_seed():
  runs = study(6, n_diverged=0)
  objective = np.array([1.0, 9.0, 2.0, 2.2, 3.0, 3.4])
  point, status = (
    np.array([0, 0, 1, 1, 2, 2]),
    np.array(['complete', 'diverged', *['complete'] * 4]),
  )
  table = best_table(
    dataclasses.replace(runs, objective=objective, point=point, status=status)
  )
  names = [c.name for c in table.columns]
  assert [row[2] for row in table.rows] == pytest.approx([2.1, 3.2])
  assert [row[names.index('seeds')] for row in table.rows] == [2, 2]
  # Student's 97.5% quantile of one degree of freedom, times the standard error.
  half = 12.7062 * 0.1
  interval = table.rows[0][names.index('95% interval')]
  assert interval == f'{2.1 - half:.3f} to {2.1 + half:.3f}'


def test_no_setting_came_to_its_end():
  runs = study(4, n_diverged=4)
  assert (
    best_table(runs).rows == []
    and best_table(runs).caption == 'No setting came to its end.'
  )


def test_units_are_apart():
  assert (named('flops').name, named('flops').unit) == ('flops', '')
  assert (named('eval_loss_nats').name, named('eval_loss_nats').unit) == (
    'eval loss',
    'nats',
  )
  assert named('optimizer.cooldown_steps').name == 'optimizer.cooldown_steps'
