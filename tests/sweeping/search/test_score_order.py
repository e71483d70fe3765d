"""The order of scores: promotion, Pareto fronts, calibration points and correlations."""

import math

from hypothesis import given, strategies as st
import numpy as np
import pytest
from scipy import stats

from lmhp.sweeping.search.score_order import (
  calibration_points,
  pareto_order,
  promote,
  rank_correlations,
)

INF = math.inf
NAN = math.nan
PAIRS = {
  0: (1.0, 9.0),
  1: (2.0, 8.0),
  2: (2.0, 9.5),
  3: (9.0, 1.0),
  4: (NAN, 0.0),
  5: INF,
}


# --- promotion ------------------------------------------------------------------------


@pytest.mark.parametrize(
  'scores, n, points',
  [
    ({5: 1.0, 3: 1.0, 4: 0.5, 9: 1.0}, 2, (3, 4)),
    ({0: NAN, 1: 2.0, 2: INF, 3: -INF}, 1, (1,)),
    ({0: NAN, 1: 2.0, 2: INF}, 2, (0, 1)),
    ({2: INF, 1: NAN}, 1, (1,)),
    ({2: 1.0}, 5, (2,)),
    ({}, 1, ()),
  ],
)
def test_the_best_are_promoted_by_score_and_then_by_number(scores, n, points):
  assert promote(scores, n) == points


@pytest.mark.parametrize(
  'n, points', [(1, (0,)), (2, (0, 1)), (3, (0, 1, 3)), (4, (0, 1, 2, 3))]
)
def test_pairs_are_promoted_by_pareto_front(n, points):
  assert promote(PAIRS, n) == points


def test_pairs_that_are_not_finite_are_promoted_last():
  assert promote(PAIRS, 5) == (0, 1, 2, 3, 4)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25))
def test_pareto_order_is_that_of_fronts_removed_one_by_one(pairs):
  remaining = set(pairs)
  ordered = []
  while remaining:
    front = {pair for pair in remaining if not is_dominated(pair, remaining)}
    ordered += sorted(front)
    remaining -= front
  assert pareto_order(pairs) == [ordered.index(pair) for pair in pairs]


def is_dominated(pair, others):
  for other in others:
    if other != pair and other[0] <= pair[0] and other[1] <= pair[1]:
      return True
  return False


# --- calibration ----------------------------------------------------------------------


@given(
  st.lists(st.integers(0, 9) | st.sampled_from([INF, NAN]), max_size=30),
  st.integers(0, 8),
)
def test_calibration_points_are_spread_over_the_finite_ranks(values, n):
  scores = {10 + i: float(value) for i, value in enumerate(values)}
  chosen = calibration_points(scores, n)
  finite = sorted((s, point) for point, s in scores.items() if math.isfinite(s))
  assert len(chosen) == min(n, len(finite))
  assert list(chosen) == sorted(chosen)
  ranks = sorted(finite.index((scores[point], point)) for point in chosen)
  if ranks:
    gaps = np.diff([*ranks, len(finite)])
    assert ranks[0] == 0
    assert gaps.max() - gaps.min() <= 1


def test_calibration_points_of_pairs_are_spread_over_their_fronts():
  assert calibration_points(PAIRS, 2) == (0, 3)


# --- correlations ---------------------------------------------------------------------


def test_correlations_are_those_of_scipy():
  rng = np.random.default_rng(0)
  scores = {step: dict(enumerate(rng.random(7))) for step in (10, 20, 40)}
  correlations = rank_correlations(scores)
  assert list(correlations) == [10, 20]
  for step, correlation in correlations.items():
    expected = stats.spearmanr([*scores[step].values()], [*scores[40].values()])[0]
    assert correlation == pytest.approx(expected, abs=1e-12)


def test_there_is_no_correlation_of_two_points():
  assert math.isnan(rank_correlations({1: {0: 0.0, 1: 1.0}, 2: {0: 0.0, 1: 1.0}})[1])


def test_there_is_no_correlation_of_equal_scores():
  rising = {point: float(point) for point in range(5)}
  assert math.isnan(rank_correlations({1: rising, 2: dict.fromkeys(range(5), 7.0)})[1])


def test_there_is_no_correlation_of_a_single_rung():
  assert rank_correlations({10: {}}) == {}


def test_a_diverged_point_has_the_last_rank():
  rising = {point: float(point) for point in range(5)}
  at_end = {point: INF if point < 2 else -float(point) for point in range(5)}
  assert rank_correlations({1: rising, 2: at_end})[1] < -0.9
