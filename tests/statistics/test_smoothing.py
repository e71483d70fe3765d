"""Smoothing, against direct weighted means and against numpy's weighted polynomials."""

import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.statistics.smoothing import exponential_moving_average, lowess

# --- exponential moving average -----------------------------------------------------


@pytest.mark.parametrize('half_life', [0.5, 1.0, 20.0])
def test_moving_average_is_the_weighted_mean_of_the_past(half_life):
  values = np.random.default_rng(0).standard_normal(50)
  expected = []
  for i in range(50):
    ages = np.arange(i, -1, -1)
    expected.append(np.average(values[: i + 1], weights=0.5 ** (ages / half_life)))
  np.testing.assert_allclose(
    exponential_moving_average(values, half_life), expected, rtol=1e-10, atol=1e-12
  )


def test_moving_average_of_a_constant_is_the_constant():
  averages = exponential_moving_average(np.full(30, 7.0), 3.0)
  np.testing.assert_allclose(averages, 7.0)


def test_moving_average_is_not_finite_from_the_first_value_that_is_not():
  averages = exponential_moving_average(np.array([1, 2, np.nan, 4.0]), 2.0)
  assert np.isfinite(averages).tolist() == [True, True, False, False]


def test_moving_average_of_nothing_is_empty():
  assert exponential_moving_average([], 2.0).shape == (0,)


# --- local linear regression --------------------------------------------------------


def local_line(x, y, place, window, weights_by_residual):
  """Returns Cleveland's fit at one place, by numpy's weighted polynomial."""
  near = np.argsort(np.abs(x - x[place]), kind='stable')[:window]
  distances = np.abs(x[near] - x[place])
  weights = (1 - (distances / (distances.max() * 1.001)) ** 3) ** 3
  weights = weights * weights_by_residual[near]
  _, level = np.polyfit(x[near] - x[place], y[near], 1, w=np.sqrt(weights))
  return level


@pytest.mark.parametrize('rounds', [0, 2])
def test_lowess_follows_cleveland(rounds):
  rng = np.random.default_rng(0)
  x = np.cumsum(rng.uniform(0.5, 2, 40))
  y = 3 / np.sqrt(x) + 0.1 * rng.standard_normal(40)
  y[20] = 5.0
  weights = np.ones(40)
  for _ in range(rounds + 1):
    fitted = np.array([local_line(x, y, i, 9, weights) for i in range(40)])
    residuals = np.abs(y - fitted)
    weights = np.maximum(1 - (residuals / (6 * np.median(residuals))) ** 2, 0) ** 2
  np.testing.assert_allclose(lowess(y, 9, x, rounds=rounds), fitted, atol=1e-8)


def test_lowess_keeps_a_line_and_the_places_without_a_value():
  line = 5 - 0.25 * np.arange(30.0)
  line[[0, 7, 29]] = np.nan
  np.testing.assert_allclose(lowess(line, 7), line, atol=1e-10)


@pytest.mark.parametrize('n', [0, 1, 2, 3, 4, 5])
def test_lowess_of_a_few_equal_values_returns_them(n):
  np.testing.assert_allclose(lowess(np.full(n, 4.0), 5), np.full(n, 4.0), rtol=1e-14)


def test_lowess_of_fewer_than_three_values_returns_them():
  smoothed = lowess([2.0, np.nan, 5.0], 5)
  assert smoothed[0] == 2.0
  assert np.isnan(smoothed[1])
  assert smoothed[2] == 5.0


def test_lowess_does_not_lag_and_ignores_a_spike():
  steps = np.arange(1.0, 201)
  law = 2 + 3 * steps**-0.5
  spiked = law.copy()
  spiked[100] += 5
  assert np.abs(lowess(spiked, 15) - law)[20:].max() < 0.01


def test_a_window_of_two_is_an_error():
  with pytest.raises(ConfigError, match='window: got 2'):
    lowess([1.0, 2.0, 3.0], 2)
