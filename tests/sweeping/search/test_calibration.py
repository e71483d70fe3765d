"""Calibration of halving: the calibration points, and the test of a rung."""

import math

from hypothesis import given, strategies as st
import numpy as np
import pytest
from scipy import stats

from lmhp.sweeping import config
from lmhp.sweeping.search.calibration import (
  NOISE_LEVEL,
  calibration_points,
  rung_tests,
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
DEFAULTS = config.SweepConfig(trials=1)


def passes(scores, threshold=DEFAULTS.min_rank_correlation):
  """Returns True for each rung that passes. `scores` is (rungs + 1, points), the end last."""
  by_step = {step: dict(enumerate(row)) for step, row in enumerate(scores)}
  return [test.failure is None for test in rung_tests(by_step, threshold).values()]


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
  tests = rung_tests(scores, None)
  assert list(tests) == [10, 20]
  for step, test in tests.items():
    expected = stats.spearmanr([*scores[step].values()], [*scores[40].values()])[0]
    assert test.correlation == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
  'at_rung, at_end',
  [
    ([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]),
    ([0.0, 1.0, 2.0, 3.0, INF, INF], [0.0, 1.0, 2.0, 3.0, INF, INF]),
    ([0.0, 1.0, 2.0, 3.0, 4.0], [7.0] * 5),
    ([7.0] * 5, [0.0, 1.0, 2.0, 3.0, 4.0]),
    ([0.0, 1.0, 2.0, 3.0, 4.0], [INF] * 5),
  ],
)
def test_a_correlation_that_cannot_be_measured_fails_with_a_reason(at_rung, at_end):
  scores = {1: dict(enumerate(at_rung)), 2: dict(enumerate(at_end))}
  test = rung_tests(scores, 0.0)[1]
  assert math.isnan(test.correlation)
  assert test.failure is not None
  assert 'nan' not in test.failure
  assert rung_tests(scores, None)[1].failure is None


def test_there_is_no_test_of_a_single_rung():
  assert rung_tests({10: {}}, 0.5) == {}


def test_a_point_that_diverges_after_the_rung_has_the_last_rank():
  rising = {point: float(point) for point in range(6)}
  at_end = {point: INF if point < 2 else -float(point) for point in range(6)}
  assert rung_tests({1: rising, 2: at_end}, None)[1].correlation < -0.9


def test_points_that_have_diverged_before_a_rung_are_no_evidence():
  """The first five points have reversed ranks. Ten diverged points agree at both steps."""
  diverged = [INF] * 10
  scores = [[0.0, 1.0, 2.0, 3.0, 4.0, *diverged], [4.0, 3.0, 2.0, 1.0, 0.0, *diverged]]
  by_step = {step: dict(enumerate(row)) for step, row in enumerate(scores)}
  assert rung_tests(by_step, 0.5)[0].correlation == -1.0


# --- the decision ---------------------------------------------------------------------


@pytest.mark.parametrize('n_rungs, expected', [(1, True), (2, True), (3, False)])
def test_the_rungs_of_a_study_share_the_level(n_rungs, expected):
  """The ranks 2, 1, 3, 4, 5 have the p-value 5 / 120."""
  end = [1.0, 2.0, 3.0, 4.0, 5.0]
  assert passes([[2.0, 1.0, 3.0, 4.0, 5.0]] * n_rungs + [end])[0] == expected


def test_a_perfect_order_of_five_passes_and_one_of_four_does_not():
  assert passes([np.arange(5.0)] * 4) == [True] * 3
  assert passes([np.arange(4.0)] * 2) == [False]


@pytest.mark.parametrize('n, threshold', [(5, 0.0), (6, 0.0), (12, 0.4)])
@pytest.mark.parametrize('n_values', [2, 100])
def test_noise_passes_in_at_most_a_tenth_of_studies(n, threshold, n_values):
  """All studies have three rungs. With two values, half of the scores are equal.

  The threshold is too low to refuse noise, so the test against chance has to do it.
  """
  rng = np.random.default_rng(n)
  n_studies = 200
  scores = rng.integers(0, n_values, (n_studies, 4, n)).astype(float)
  n_passed = sum(any(passes(one, threshold)) for one in scores)
  # At most 2.5 standard errors above the level.
  error = math.sqrt(NOISE_LEVEL * (1 - NOISE_LEVEL) / n_studies)
  assert n_passed / n_studies <= NOISE_LEVEL + 2.5 * error


def test_a_rung_with_a_rank_correlation_of_nine_tenths_usually_passes():
  """The default number of calibration points, in the smallest study that can afford them."""
  rng = np.random.default_rng(0)
  correlation = 2 * math.sin(math.pi / 6 * 0.9)
  n_passed = 0
  for _ in range(200):
    end, noise = rng.standard_normal((2, 27))
    at_rung = correlation * end + math.sqrt(1 - correlation**2) * noise
    chosen = calibration_points(dict(enumerate(at_rung)), DEFAULTS.n_calibration_trials)
    # The level is shared by three rungs.
    n_passed += passes([at_rung[[*chosen]]] * 3 + [end[[*chosen]]])[0]
  assert n_passed >= 0.8 * 200
