"""Tests of the gain from twice as many trials."""

import numpy as np
import pytest

from lmhp.analysis.winner.doubling_gain import (
  ENOUGH,
  MORE,
  UNCERTAIN,
  UNKNOWN,
  gain_of_doubling,
)


@pytest.mark.parametrize('dimensions', [1, 2, 4])
def test_the_interval_contains_the_true_gain(dimensions):
  rng = np.random.default_rng(dimensions)
  n = 40

  def draw(*shape):
    return np.sum((rng.random((*shape, dimensions)) * 2 - 0.9) ** 2, axis=-1)

  best_of_n = draw(20_000, n).min(axis=1).mean()
  true = best_of_n - draw(20_000, 2 * n).min(axis=1).mean()
  covered = []
  for _ in range(150):
    result = gain_of_doubling(draw(n), min_gain=1.0, draws=1000)
    assert result.low < result.gain < result.high
    covered.append(result.low <= true <= result.high)
  assert np.mean(covered) > 0.8


def test_the_gain_of_uniform_losses_is_known():
  # The mean best of k uniform losses is 1 / (k + 1).
  losses = np.random.default_rng(0).random(2000)
  result = gain_of_doubling(losses, min_gain=0.001)
  true = 1 / 2001 - 1 / 4001
  assert result.verdict == ENOUGH
  assert result.low < true < result.high
  assert 0.4 < result.gain / true < 2.5


@pytest.fixture(scope='module')
def losses():
  return 3 + np.random.default_rng(0).random(40)


def test_one_percent_of_the_best_loss_would_pay(losses):
  one_percent = 0.01 * losses.min()
  assert gain_of_doubling(losses) == gain_of_doubling(losses, min_gain=one_percent)


def test_the_verdict_follows_from_the_interval(losses):
  result = gain_of_doubling(losses)
  limits = (result.high * 1.01, result.low * 0.99, result.gain)
  verdicts = [gain_of_doubling(losses, min_gain=limit).verdict for limit in limits]
  assert verdicts == [ENOUGH, MORE, UNCERTAIN]


def test_the_gain_scales_with_the_losses(losses):
  result = gain_of_doubling(losses)
  scaled = gain_of_doubling(10 * losses + 7, min_gain=1.0)
  expected = [10 * result.low, 10 * result.high]
  np.testing.assert_allclose([scaled.low, scaled.high], expected, rtol=1e-9)


@pytest.mark.parametrize(
  'losses', [np.arange(7.0), np.r_[np.arange(5.0), [np.nan] * 20], np.ones(30)]
)
def test_too_few_different_losses_have_no_gain(losses):
  result = gain_of_doubling(losses)
  assert result.verdict == UNKNOWN
  assert np.isnan([result.gain, result.low, result.high]).all()
  assert result.reason
