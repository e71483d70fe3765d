"""Standard errors and intervals, against resampling, scipy and published formulas."""

import numpy as np
import pytest
from scipy import stats

from lmhp.statistics.intervals import (
  mean_interval,
  paired_difference,
  standard_error,
  wilson_interval,
)

# --- standard errors ----------------------------------------------------------------


def test_standard_error_of_equal_weights_is_the_usual_one():
  values = np.random.default_rng(0).standard_normal(37)
  expected = np.std(values, ddof=1) / np.sqrt(37)
  assert standard_error(values, np.ones(37)) == pytest.approx(expected, rel=1e-12)
  assert standard_error(values, np.full(37, 5.0)) == pytest.approx(expected, rel=1e-12)


def test_standard_error_of_unequal_weights_agrees_with_resampling():
  rng = np.random.default_rng(0)
  weights = rng.integers(1, 60, 400).astype(float)
  # Short sequences have higher losses.
  values = rng.standard_normal(400) + 5 / np.sqrt(weights)
  drawn = rng.integers(0, 400, (4000, 400))
  means = np.sum((weights * values)[drawn], axis=1) / np.sum(weights[drawn], axis=1)
  assert standard_error(values, weights) == pytest.approx(np.std(means), rel=0.05)


def test_values_of_weight_zero_are_left_out():
  values = np.array([1.0, 2.0, 4.0])
  weights = np.array([3.0, 1.0, 2.0])
  padded = standard_error(
    np.append(values, [99.0, 0.0]), np.append(weights, [0.0, 0.0])
  )
  assert padded == pytest.approx(standard_error(values, weights), rel=1e-12)


@pytest.mark.parametrize('n', [0, 1])
def test_fewer_than_two_values_have_no_standard_error(n):
  assert np.isnan(standard_error(np.ones(n), np.ones(n)))
  assert np.isnan(standard_error(np.ones(n + 3), np.r_[np.ones(n), np.zeros(3)]))


# --- means and differences ----------------------------------------------------------


@pytest.mark.parametrize('n', [2, 3, 8, 40])
@pytest.mark.parametrize('confidence', [0.5, 0.95, 0.999])
def test_mean_interval_equals_that_of_a_t_test(n, confidence):
  values = np.random.default_rng(n).standard_normal(n) + 3
  expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
  np.testing.assert_allclose(
    mean_interval(values, confidence),
    [np.mean(values), expected.low, expected.high],
    rtol=1e-10,
  )


def test_mean_interval_contains_the_mean_as_often_as_its_confidence():
  rows = np.random.default_rng(0).standard_normal((4000, 4)) * 2 + 5
  intervals = np.array([mean_interval(row, 0.9) for row in rows])
  contained = np.mean((intervals[:, 1] <= 5) & (5 <= intervals[:, 2]))
  assert abs(contained - 0.9) < 5 * np.sqrt(0.9 * 0.1 / 4000)


def test_equal_values_have_an_interval_of_no_length():
  assert mean_interval([2.0, 2.0, 2.0]) == (2.0, 2.0, 2.0)


def test_one_value_has_no_interval():
  estimate = mean_interval([3.0])
  assert estimate.mean == 3
  assert np.isnan([estimate.low, estimate.high]).all()


def test_values_that_are_not_finite_have_no_interval():
  estimate = mean_interval([3.0, np.inf, 2.0])
  assert estimate.mean == np.inf
  assert np.isnan([estimate.low, estimate.high]).all()


def test_paired_difference_cancels_the_shared_part():
  rng = np.random.default_rng(0)
  seeds = 10 * rng.standard_normal(8)
  noise = 0.1 * rng.standard_normal((2, 8))
  a = seeds + noise[0]
  b = seeds + noise[1] + 0.5
  estimate = paired_difference(a, b, 0.9)
  expected = stats.ttest_rel(a, b).confidence_interval(0.9)
  np.testing.assert_allclose(
    estimate, [np.mean(a) - np.mean(b), expected.low, expected.high], rtol=1e-9
  )
  assert estimate.high < -0.3


def test_the_difference_of_infinities_is_nan():
  assert np.isnan(paired_difference([1.0, np.inf], [1.0, np.inf])).all()


def test_pairs_of_different_lengths_are_an_error():
  with pytest.raises(ValueError, match=r'\(2,\).*\(1,\)'):
    paired_difference([1.0, 2.0], [1.0])


# --- probabilities ------------------------------------------------------------------


@pytest.mark.parametrize('count,total', [(0, 8), (3, 10), (10, 10), (40, 400)])
@pytest.mark.parametrize('confidence', [0.9, 0.95])
def test_wilson_interval_solves_its_equation(count, total, confidence):
  # Its ends are the p with |count / total - p| = z sqrt(p (1 - p) / total).
  z = stats.norm.ppf((1 + confidence) / 2)
  share = count / total
  roots = np.roots([1 + z**2 / total, -2 * share - z**2 / total, share**2])
  np.testing.assert_allclose(
    wilson_interval(count, total, confidence), np.sort(roots), atol=1e-12
  )


def test_no_trials_have_no_interval():
  assert np.isnan(wilson_interval(0, 0)).all()
