"""Curves against oracles written apart: LOWESS by weighted polynomials, von Neumann, ranks by scipy, planted order."""

import math

import numpy as np
import pytest
from scipy import stats

from lmhp.analysis.curves import comparison as curves
from lmhp.analysis.runs.table import CONFIRM, SEARCH, Runs
from lmhp.analysis.winner.rung_agreement import rung_agreement
from lmhp.errors import ConfigError


@pytest.mark.parametrize('correlation, low, high', [(0.0, 0.85, 1.15), (0.6, 0.7, 1.2)])
def test_noise_of_a_falling_curve(correlation, low, high):
  from synthetic_curves import ar1

  rng = np.random.default_rng(1)
  law = 2 + 3 * np.arange(1.0, 301) ** -0.5
  ratios = [
    curves.noise((law + 0.05 * ar1(rng, 300, correlation))[50:]) / 0.05
    for _ in range(20)
  ]
  assert low < np.mean(ratios) < high
  assert math.isnan(curves.noise([1.0, math.nan, 2.0, 3.0]))


def test_step_variance_is_von_neumanns_without_the_trend():
  rng = np.random.default_rng(2)
  white = 0.3 * rng.standard_normal(4000)
  oracle = np.sum(np.diff(white) ** 2) / (2 * 3999)
  assert curves.step_variance(white) == pytest.approx(oracle, rel=1e-3)
  assert curves.step_variance(white + np.linspace(50, 0, 4000)) == pytest.approx(
    0.09, rel=0.06
  )
  assert curves.step_variance([1.0, math.nan, 1.0, 1.0]) == 0 and math.isnan(
    curves.step_variance([1.0, 2.0])
  )


@pytest.mark.parametrize('points', [4, 7, 50])
def test_decimate_keeps_ends_and_extremes(points):
  rng = np.random.default_rng(points)
  x, y = np.arange(1000), rng.standard_normal(1000)
  y[300] = math.nan
  own_x, own_y = curves.decimate(x, y, points)
  assert (
    len(own_x) <= points
    and (np.diff(own_x) > 0).all()
    and own_x[0] == 0
    and own_x[-1] == 999
  )
  np.testing.assert_array_equal(own_y, y[own_x])
  assert own_y.max() == np.nanmax(y) and own_y.min() == np.nanmin(y)


def test_decimate_of_few_and_none():
  assert len(curves.decimate(np.arange(3), np.ones(3), 10)[0]) == 3
  assert len(curves.decimate(np.arange(3), np.full(3, math.nan), 10)[0]) == 0
  with pytest.raises(ConfigError):
    curves.decimate(np.arange(3), np.ones(3), 3)


# --- at equal amounts -----------------------------------------------------------------------------------------------


def two():
  """Run 7 has the lower loss a step, run 3 a token: its batches are a quarter."""
  steps = np.arange(1.0, 401)
  return {
    7: {'step': steps, 'tokens': 400 * steps, 'loss_nats': 2 + 3 * steps**-0.5},
    3: {'step': steps, 'tokens': 100 * steps, 'loss_nats': 2 + 4 * steps**-0.5},
  }


def test_the_order_depends_on_what_is_equal():
  by_step, by_tokens = curves.at_equal(two(), 'step'), curves.at_equal(two(), 'tokens')
  assert by_step.numbers == (7, 3)
  assert (by_step.ranks[:, 10:].T == [1, 2]).all()
  there = np.isfinite(by_tokens.losses).all(axis=0) & (
    by_tokens.grid > 2000
  )  # a line through the steep start is no curve
  assert (by_tokens.ranks[:, there].T == [2, 1]).all() and there.sum() > 10
  expected = 2 + 3 * (by_tokens.grid / 400) ** -0.5
  inner = by_tokens.grid > 12_000
  np.testing.assert_allclose(by_tokens.losses[0, inner], expected[inner], atol=5e-3)


def test_a_run_that_ended_has_no_rank():
  found = curves.at_equal(two(), 'tokens')
  assert (
    found.grid[-1] == 160_000
    and np.isnan(found.losses[1, -1])
    and np.isnan(found.ranks[1, -1])
  )
  assert found.ranks[0, -1] == 1


def test_repeated_rows_missing_columns_and_wrong_amounts():
  own = two()
  own[7] = {name: np.append(column, column[-1]) for name, column in own[7].items()}
  own[1] = {'step': np.arange(3.0)}
  assert curves.at_equal(own, 'tokens').numbers == (7, 3)
  with pytest.raises(ConfigError, match='beside'):
    curves.at_equal(own, 'flops')
  with pytest.raises(ConfigError, match='tokens'):
    curves.at_equal(own, 'token')


def test_flops_and_seconds_from_totals():
  runs = Runs(
    'a',
    {},
    {},
    np.ones(2),
    number=np.array([7, 3]),
    curves=two(),
    measured={
      'tokens': np.array([160_000.0, 40_000]),
      'flops': np.array([1.6e9, 8e8]),
      'seconds': np.array([40.0, math.nan]),
    },
  )
  own = curves.with_amounts(runs)
  np.testing.assert_allclose(own[7]['flops'], 1e4 * own[7]['tokens'])
  np.testing.assert_allclose(own[3]['flops'][-1], 8e8)
  assert (
    own[7]['seconds'][-1] == pytest.approx(40) and np.isnan(own[3]['seconds']).all()
  )
  assert curves.at_equal(own, 'flops').numbers == (7, 3)
  assert 'flops' not in runs.curves[7]


# --- rungs ----------------------------------------------------------------------------------------------------------


def scored(scores, ends, **columns):
  return Runs(
    'a study',
    {},
    {},
    np.asarray(ends, float),
    scores=[{10: float(s)} for s in scores],
    **columns,
  )


def test_correlations_are_scipys():
  rng = np.random.default_rng(3)
  ends = rng.standard_normal(30).round(1)  # with ties
  scores = (ends + rng.standard_normal(30)).round(1)
  found = rung_agreement(scored(scores, ends))[0]
  assert found.spearman == pytest.approx(stats.spearmanr(scores, ends).statistic)
  assert found.kendall == pytest.approx(stats.kendalltau(scores, ends).statistic)
  assert (
    found.low < found.spearman < found.high
    and found.kendall_low < found.kendall < found.kendall_high
  )
  assert found.widened == found.spearman and found.stopped == 0


def test_the_interval_covers():
  inside, truth = 0, 6 / math.pi * math.asin(0.7 / 2)  # Spearman's of a normal pair
  for seed in range(200):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 40))
    found = rung_agreement(
      scored(a, 0.7 * a + math.sqrt(0.51) * b), draws=200, seed=seed
    )[0]
    inside += found.low <= truth <= found.high
  assert 0.83 * 200 <= inside <= 0.96 * 200


def test_what_early_stopping_hid_is_given_back():
  wide, narrow, whole = [], [], []
  for seed in range(60):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 120))
    ends = 0.8 * a + 0.6 * b
    stopped = a > np.quantile(a, 1 / 3)
    found = rung_agreement(
      scored(
        a,
        np.where(stopped, math.nan, ends),
        status=np.where(stopped, 'pruned', 'complete'),
      ),
      draws=20,
    )[0]
    wide.append(found.widened)
    narrow.append(found.spearman)
    whole.append(stats.spearmanr(a, ends).statistic)
    assert found.stopped == 80 and found.runs == 40
  assert abs(np.mean(wide) - np.mean(whole)) < 0.08 < np.mean(whole) - np.mean(narrow)


def test_ends_confirmations_and_few_runs_are_no_rungs():
  ends = np.arange(8.0)
  own = scored(ends, ends, measured={'steps': np.full(8, 10.0)})
  assert rung_agreement(own) == []
  assert rung_agreement(scored(ends[::-1], ends, cohort=np.full(8, CONFIRM))) == []
  few = rung_agreement(scored([1.0, 2, 4], [1.0, 3, 2], cohort=np.full(3, SEARCH)))
  assert few[0].spearman == 0.5 and math.isnan(few[0].low) and few[0].rank_of_best == 1
  assert rung_agreement(scored([1.0, 2], [1.0, 2.5])) == []


def test_more_is_better_turns_nothing_around():
  ends = np.arange(10.0)
  found = rung_agreement(scored(ends**2 + 1, ends, maximize=True))[0]
  assert found.spearman == pytest.approx(1) and found.rank_of_best == 1
  flat = rung_agreement(scored(np.ones(10), ends))[0]
  assert math.isnan(flat.spearman)
