"""Noise of training curves is the planted one. Planted spikes are found at their rows."""

import math

import numpy as np
import pytest
from synthetic_curves import ar1

from lmhp.analysis.curves.noise import (
  find_spikes,
  noise_sd,
  step_variance,
)


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


# --- spikes -------------------------------------------------------------------------


def calm_curve(noise=0.01):
  rng = np.random.default_rng(0)
  return 2 + 3 * np.arange(1.0, 201) ** -0.5 + noise * rng.standard_normal(200)


def test_planted_spikes_are_found():
  curve = calm_curve()
  curve[[60, 120, 180]] += (0.5, 1.0, 0.7)
  spikes = find_spikes(curve)
  assert spikes.rows.tolist() == [60, 120, 180]
  np.testing.assert_allclose(spikes.sizes, (0.5, 1.0, 0.7), atol=0.05)
  assert spikes.noise == pytest.approx(0.01, rel=0.3)


def test_neighbouring_rows_are_one_spike():
  curve = calm_curve()
  curve[[100, 101, 102]] += (0.4, 0.9, 0.5)
  assert find_spikes(curve).rows.tolist() == [101]


def test_noise_is_no_spike():
  assert len(find_spikes(calm_curve(noise=0.1))) == 0


def test_rows_of_the_warmup_are_left_out():
  curve = calm_curve()
  curve[[5, 60]] += 3
  assert find_spikes(curve).rows.tolist() == [60]


def test_a_short_curve_has_no_spikes():
  spikes = find_spikes([1.0, 9.0, 1.0])
  assert len(spikes) == 0
  assert math.isnan(spikes.noise)
