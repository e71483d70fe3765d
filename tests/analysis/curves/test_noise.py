"""Tests of the noise of training curves."""

import math

import numpy as np
import pytest
from synthetic_curves import ar1

from lmhp.analysis.curves.noise import noise_sd, step_variance


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
