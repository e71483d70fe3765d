"""Smoothing, divergence and standard errors, against direct sums and resampling in float64."""

import numpy as np
import pytest

from lmhp.statistics import diverged_at, smooth, standard_error


@pytest.mark.parametrize('half_life', [0.5, 1.0, 20.0])
def test_smooth_is_the_weighted_mean_of_the_past(half_life):
  values = np.random.default_rng(0).standard_normal(50)
  ages = np.arange(50)
  expected = [np.average(values[: i + 1], weights=2.0 ** (-ages[: i + 1][::-1] / half_life)) for i in range(50)]
  np.testing.assert_allclose(smooth(values, half_life), expected, rtol=1e-10, atol=1e-12)


def test_smooth_keeps_constants_and_infinity():
  np.testing.assert_allclose(smooth(np.full(30, 7.0), 3.0), 7.0)
  assert np.isfinite(smooth(np.array([1, 2, np.nan, 4.0]), 2.0)).tolist() == [True, True, False, False]
  assert smooth(np.array([]), 2.0).shape == (0,)


@pytest.mark.parametrize('losses, expected', [
    ([4.0, 3.0, np.nan, 3.0], 2), ([4.0, np.inf], 1), ([np.nan], 0), ([4.0, 3.0, -np.inf, np.nan], 2),
    ([], None), ([4.0], None), ([4.0, 9.0, 9.0], None),  # too short to say
    (np.linspace(4, 2, 200), None),
    (np.full(200, 4.0), None),
    (np.concatenate([np.linspace(4, 5, 30), np.linspace(5, 2, 170)]), None),  # a bad start is forgiven
])
def test_diverged_at(losses, expected):
  assert diverged_at(np.array(losses)) == expected


def test_a_spike_is_no_divergence_and_a_plateau_above_the_start_is():
  rng = np.random.default_rng(0)
  losses = np.linspace(4, 2, 400) + 0.05 * rng.standard_normal(400)
  spiky = losses.copy()
  spiky[200:205] = 50
  assert diverged_at(spiky) is None
  lost = losses.copy()
  lost[200:] = 6
  assert 200 < diverged_at(lost) <= 240
  assert diverged_at(lost, first_step=1000) == 1000 + diverged_at(lost)
  assert diverged_at(lost, half_life=5.0) < diverged_at(lost, half_life=40.0)
  assert diverged_at(np.concatenate([[4.0], np.full(100, 5.0)])) == 1  # never below again


def test_standard_error_of_equal_weights_is_the_usual_one():
  values = np.random.default_rng(0).standard_normal(37)
  expected = np.std(values, ddof=1) / np.sqrt(37)
  assert standard_error(values, np.ones(37)) == pytest.approx(expected, rel=1e-12)
  assert standard_error(values, np.full(37, 5.0)) == pytest.approx(expected, rel=1e-12)


def test_standard_error_of_unequal_weights_is_that_of_resampling():
  rng = np.random.default_rng(0)
  weights = rng.integers(1, 60, 400).astype(float)
  values = rng.standard_normal(400) + 5 / np.sqrt(weights)  # short sequences score worse
  drawn = rng.integers(0, 400, (4000, 400))
  means = np.sum((weights * values)[drawn], axis=1) / np.sum(weights[drawn], axis=1)
  assert standard_error(values, weights) == pytest.approx(np.std(means), rel=0.05)


def test_padding_is_left_out():
  values, weights = np.array([1.0, 2.0, 4.0]), np.array([3.0, 1.0, 2.0])
  padded = standard_error(np.append(values, [99.0, 0.0]), np.append(weights, [0.0, 0.0]))
  assert padded == pytest.approx(standard_error(values, weights), rel=1e-12)


@pytest.mark.parametrize('n', [0, 1])
def test_below_two_values_there_is_no_error(n):
  assert np.isnan(standard_error(np.ones(n), np.ones(n)))
  assert np.isnan(standard_error(np.ones(n + 3), np.r_[np.ones(n), np.zeros(3)]))
