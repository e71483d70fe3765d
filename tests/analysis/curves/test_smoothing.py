"""Smoothing against independent oracles: weighted polynomials, von Neumann, planted noise."""

import math

import numpy as np
import pytest
from synthetic_curves import ar1

from lmhp.analysis.curves.smoothing import lowess, noise_sd, step_variance
from lmhp.errors import ConfigError


def local_line(x, y, row, window, trust):
  """Cleveland's fit at one row, by numpy's weighted polynomial."""
  near = np.argsort(np.abs(x - x[row]), kind='stable')[:window]
  reach = np.abs(x[near] - x[row]).max() * 1.001
  weights = (1 - (np.abs(x[near] - x[row]) / reach) ** 3) ** 3 * trust[near]
  _, level = np.polyfit(x[near] - x[row], y[near], 1, w=np.sqrt(weights))
  return level


@pytest.mark.parametrize('rounds', [0, 2])
def test_lowess_is_weighted_least_squares(rounds):
  rng = np.random.default_rng(0)
  x = np.cumsum(rng.uniform(0.5, 2, 40))
  y = 3 / np.sqrt(x) + 0.1 * rng.standard_normal(40)
  y[20] = 5.0
  trust = np.ones(40)
  fitted = None
  for _ in range(rounds + 1):
    fitted = np.array([local_line(x, y, row, 9, trust) for row in range(40)])
    residuals = np.abs(y - fitted)
    trust = np.maximum(1 - (residuals / (6 * np.median(residuals))) ** 2, 0) ** 2
  np.testing.assert_allclose(lowess(y, 9, x, rounds=rounds), fitted, atol=1e-8)


def test_lowess_keeps_a_line_and_missing_values():
  line = 5 - 0.25 * np.arange(30.0)
  line[[0, 7, 29]] = math.nan
  np.testing.assert_allclose(lowess(line, 7), line, atol=1e-10)


@pytest.mark.parametrize(
  'values', [[], [2.0, math.nan], [1.0, 3.0], [4.0] * 9], ids=str
)
def test_lowess_keeps_short_and_constant_curves(values):
  np.testing.assert_array_equal(lowess(values, 5), values)


def test_lowess_needs_a_window_of_three():
  with pytest.raises(ConfigError, match='window: got 2'):
    lowess([1.0, 2.0, 3.0], 2)


def test_lowess_has_no_lag_and_ignores_a_spike():
  steps = np.arange(1.0, 201)
  law = 2 + 3 * steps**-0.5
  spiked = law.copy()
  spiked[100] += 5
  assert np.abs(lowess(spiked, 15) - law)[20:].max() < 0.01


@pytest.mark.parametrize('correlation, low, high', [(0.0, 0.85, 1.15), (0.6, 0.7, 1.2)])
def test_noise_of_a_falling_curve_is_the_planted_one(correlation, low, high):
  rng = np.random.default_rng(1)
  law = 2 + 3 * np.arange(1.0, 301) ** -0.5
  ratios = [
    noise_sd((law + 0.05 * ar1(rng, 300, correlation))[50:]) / 0.05 for _ in range(20)
  ]
  assert low < np.mean(ratios) < high


def test_noise_of_three_values_is_unknown():
  assert math.isnan(noise_sd([1.0, math.nan, 2.0, 3.0]))


def test_step_variance_is_von_neumanns():
  rng = np.random.default_rng(2)
  white = 0.3 * rng.standard_normal(4000)
  expected = np.sum(np.diff(white) ** 2) / (2 * 3999)
  assert step_variance(white) == pytest.approx(expected, rel=1e-3)


def test_step_variance_leaves_out_the_trend():
  rng = np.random.default_rng(2)
  white = 0.3 * rng.standard_normal(4000)
  trend = np.linspace(50, 0, 4000)
  assert step_variance(white + trend) == pytest.approx(0.09, rel=0.06)


def test_step_variance_leaves_out_missing_values():
  assert step_variance([1.0, math.nan, 1.0, 1.0]) == 0
  assert math.isnan(step_variance([1.0, 2.0]))
