"""Tests of the figures of the trials."""

import dataclasses

from figure_studies import check, confirmed, study
import numpy as np
import pytest

from lmhp.analysis.phrases import number
from lmhp.analysis.report.figures.trials import (
  best_of_n_figure,
  history_figure,
  rungs_figure,
  status_figure,
)
from lmhp.analysis.winner.best_of_n_curve import best_of_n
from lmhp.analysis.winner.rung_agreement import rung_scores
from lmhp.statistics.ranks import spearman


@pytest.mark.parametrize('maximize', [False, True])
def test_history_draws_the_running_best(maximize):
  runs = study(maximize=maximize)
  figure = history_figure(runs)
  check(figure, runs)
  (line,) = [t for t in figure.data if t.get('name') == 'best so far']
  good = [(i, v) for i, v in enumerate(runs.objective) if runs.status[i] == 'complete']
  pick = max if maximize else min
  for x, y in zip(line['x'], line['y']):
    assert y == pick(v for i, v in good if i <= x)
  best = pick(good, key=lambda pair: pair[1])[0]
  assert f'trial {best}.' in figure.caption
  assert f'{len(runs) - 1 - best} trials' in figure.caption


def test_history_states_that_the_last_trial_is_the_best():
  runs = study(n_diverged=0)
  order = np.argsort(-runs.losses)
  numbers = np.arange(len(runs))
  falling = dataclasses.replace(runs.select(order), number=numbers, point=numbers)
  assert '(39)' in history_figure(falling).caption


def test_history_of_failed_runs_has_no_best():
  runs = study()
  n = len(runs)
  failed = dataclasses.replace(
    runs,
    objective=np.full(n, np.nan),
    scores=({},) * n,
    status=np.full(n, 'failed'),
  )
  figure = history_figure(failed)
  check(figure)
  assert not [t for t in figure.data if t.get('name') == 'best so far']


@pytest.mark.parametrize('n', [2, 40])
def test_best_of_n_draws_the_median_and_its_band(n):
  runs = study(n, n_diverged=0)
  curve = best_of_n(runs.losses)
  figure = best_of_n_figure(runs, curve)
  check(figure, runs)
  np.testing.assert_array_equal(figure.data[2]['y'], curve.median)
  low, high = figure.layout['yaxis']['range']
  assert low < runs.objective.min()
  assert high > curve.median.max()
  assert np.isfinite(figure.data[0]['y']).all()


@pytest.mark.parametrize('n', [2, 40])
def test_best_of_n_states_the_number_of_trials_and_their_median(n):
  runs = study(n, n_diverged=0)
  curve = best_of_n(runs.losses)
  caption = best_of_n_figure(runs, curve).caption
  assert f' {n} trials find {number(float(curve.median[-1]))} ' in caption


def test_status_counts_add_up():
  runs = study(40, n_diverged=3)
  figure = status_figure(runs)
  check(figure)
  assert {t['name']: t['x'][0] for t in figure.data} == {'complete': 37, 'diverged': 3}
  assert [t['base'][0] for t in figure.data] == [0, 37]


def test_rungs_draw_scores_with_their_rank_correlation():
  runs = study(40, n_diverged=3)
  noise = np.random.default_rng(1).standard_normal(40)
  scores = []
  for i, scores_of_run in enumerate(runs.scores):
    noisy = {25: runs.losses[i] + noise[i], **scores_of_run} if scores_of_run else {}
    scores.append(noisy)
  runs = dataclasses.replace(runs, scores=tuple(scores))
  rungs = rung_scores(runs)
  figure = rungs_figure(runs, rungs)
  check(figure, runs)
  complete = runs.status == 'complete'
  expected = spearman((runs.losses + noise)[complete], runs.losses[complete])
  assert [rung.step for rung in rungs] == [25, 50]
  assert rungs[0].spearman == pytest.approx(expected)
  assert len(figure.data) == 2
  assert f'{expected:.2f}' in figure.caption


def test_there_is_no_figure_without_rungs():
  runs = confirmed([-0.1])
  assert rungs_figure(runs, rung_scores(runs)) is None
