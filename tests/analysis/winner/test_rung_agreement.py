"""Agreement of a rung with the end: SciPy's correlations, coverage, and the correction."""

import math

import numpy as np
import pytest
from scipy import stats

from lmhp.analysis.runs.table import CONFIRM, Runs
from lmhp.analysis.winner.rung_agreement import rung_agreement, rung_scores


def scored_runs(scores, final, **columns):
  """Runs with a score at step 10 and a final objective."""
  return Runs(
    's',
    {},
    {},
    np.asarray(final, float),
    scores=[{10: float(score)} for score in scores],
    **columns,
  )


def test_correlations_are_those_of_scipy():
  # The values are rounded, so that there are ties.
  rng = np.random.default_rng(3)
  final = rng.standard_normal(30).round(1)
  scores = (final + rng.standard_normal(30)).round(1)
  (rung,) = rung_agreement(scored_runs(scores, final))
  assert rung.step == 10
  assert rung.spearman == pytest.approx(stats.spearmanr(scores, final).statistic)
  assert rung.low < rung.spearman < rung.high


def test_without_pruned_runs_there_is_no_correction():
  rng = np.random.default_rng(3)
  final = rng.standard_normal(30)
  (rung,) = rung_agreement(scored_runs(final + rng.standard_normal(30), final))
  assert rung.corrected == rung.spearman


def test_interval_covers_the_correlation_of_a_normal_pair():
  correlation = 0.7
  spearman = 6 / math.pi * math.asin(correlation / 2)
  covered = 0
  for seed in range(200):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 40))
    final = correlation * a + math.sqrt(1 - correlation**2) * b
    (rung,) = rung_agreement(scored_runs(a, final), draws=200, seed=seed)
    covered += rung.low <= spearman <= rung.high
  assert 0.83 * 200 <= covered <= 0.96 * 200


def test_correction_restores_the_correlation_of_all_runs():
  corrected = []
  of_complete = []
  of_all = []
  for seed in range(60):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 120))
    final = 0.8 * a + 0.6 * b
    pruned = a > np.quantile(a, 1 / 3)
    runs = scored_runs(
      a,
      np.where(pruned, math.nan, final),
      status=np.where(pruned, 'pruned', 'complete'),
    )
    (rung,) = rung_agreement(runs, draws=20)
    assert rung.n_runs == 40
    corrected.append(rung.corrected)
    of_complete.append(rung.spearman)
    of_all.append(stats.spearmanr(a, final).statistic)
  assert np.mean(of_all) - np.mean(of_complete) > 0.08
  assert np.mean(corrected) == pytest.approx(np.mean(of_all), abs=0.08)


def test_the_last_step_is_no_rung():
  final = np.arange(8.0)
  runs = scored_runs(final, final, measured={'steps': np.full(8, 10.0)})
  assert rung_agreement(runs) == []


def test_runs_of_the_confirmation_are_left_out():
  final = np.arange(8.0)
  runs = scored_runs(final[::-1], final, cohort=np.full(8, CONFIRM))
  assert rung_agreement(runs) == []


def test_three_runs_have_no_interval():
  (rung,) = rung_agreement(scored_runs([1.0, 2, 4], [1.0, 3, 2]))
  assert rung.spearman == 0.5
  assert rung.rank_of_best == 1
  assert math.isnan(rung.low)


def test_two_runs_have_no_agreement():
  assert rung_agreement(scored_runs([1.0, 2], [1.0, 2.5])) == []


def test_a_maximized_objective_has_the_same_order():
  final = np.arange(10.0)
  (rung,) = rung_agreement(scored_runs(final**2 + 1, final, maximize=True))
  assert rung.spearman == pytest.approx(1)
  assert rung.rank_of_best == 1


def test_equal_scores_have_no_correlation():
  (rung,) = rung_agreement(scored_runs(np.ones(10), np.arange(10.0)))
  assert math.isnan(rung.spearman)


def test_rung_scores_are_those_of_complete_runs_before_their_last_score():
  runs = Runs(
    's',
    {},
    {},
    np.array([1.0, math.nan, 3.0, 2.0]),
    status=np.array(['complete', 'pruned', 'complete', 'complete']),
    scores=[
      {10: 4.0, 20: 1.0},
      {10: 5.0},
      {10: 6.0, 20: 3.0},
      {10: 5.5, 20: 2.0},
    ],
  )
  (rung,) = rung_scores(runs)
  assert rung.step == 10
  assert rung.number.tolist() == [0, 2, 3]
  np.testing.assert_array_equal(rung.scores, [4.0, 6.0, 5.5])
  np.testing.assert_array_equal(rung.objective, [1.0, 3.0, 2.0])
  assert rung.spearman == 1
