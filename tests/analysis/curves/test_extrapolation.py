"""Extrapolation: coverage of its interval, and no result if no law holds."""

import math

import numpy as np
import pytest
from synthetic_curves import curve_with_a_later_loss, power_law

from lmhp.analysis.curves import extrapolation
from lmhp.analysis.curves.extrapolation import extrapolate
from lmhp.errors import ConfigError

STEPS = np.arange(10.0, 2001, 10)


def noisy_curve(noise=0.02, seed=0):
  rng = np.random.default_rng(seed)
  return power_law(STEPS, 2.0, 8.0, 0.5, 20.0) + noise * rng.standard_normal(len(STEPS))


def test_intervals_cover_the_expected_loss():
  # `bench/calibration_curves.py` has more curves. The lower bound is 2.5 standard errors
  # below 0.93.
  n_inside = 0
  widths = []
  for seed in range(50):
    steps, losses, later, expected = curve_with_a_later_loss(10_000 + seed)
    result = extrapolate(steps, losses, later)
    if not result.reason:
      widths.append(result.high - result.low)
      n_inside += result.low <= expected <= result.high
  assert len(widths) > 45
  assert n_inside / len(widths) >= 0.84
  assert np.median(widths) < 0.15


def wandering_curve(seed):
  """Returns the losses at `STEPS`, and the loss at step 4000.

  The rate of the fall changes by a random walk in log steps, as that of real curves does.
  """
  rng = np.random.default_rng(seed)
  steps = np.append(STEPS, np.arange(2010.0, 4001, 10))
  log_steps = np.log(steps)
  walk = np.cumsum(0.2 * np.sqrt(np.diff(log_steps)) * rng.standard_normal(399))
  rate = 0.5 * (steps[:-1] / 10) ** -0.5 * (1 + walk - walk[180])
  losses = 3 - np.append(0, np.cumsum(rate * np.diff(log_steps)))
  noisy = losses[: len(STEPS)] + 5e-4 * rng.standard_normal(len(STEPS))
  return noisy, losses[-1]


def n_covered(seeds):
  """Returns the number of wandering curves whose later loss is in the interval."""
  n = 0
  for seed in range(seeds):
    losses, expected = wandering_curve(seed)
    result = extrapolate(STEPS, losses, 4000)
    n += result.low <= expected <= result.high
  return n


def test_intervals_cover_curves_that_bend_away_from_a_law(monkeypatch):
  assert n_covered(30) >= 24
  # Intervals of the law alone are too short.
  monkeypatch.setattr(extrapolation, 'WANDERS', np.array([1e-6]))
  assert n_covered(30) <= 12


def test_the_discrepancy_is_an_integral_of_brownian_motion():
  log_steps = np.array([-0.02, -0.01, 0.0, 0.01])
  covariance = extrapolation._discrepancy(log_steps, np.full(4, 2.0))
  # For a constant rate r, the variance of the integral to t is r^2 t^3 / 3. The clock is t
  # if t is small. The past and the future are independent, given the last step.
  assert covariance[3, 3] == pytest.approx(4 * 0.01**3 / 3, rel=0.03)
  assert (covariance[2] == 0).all()
  assert (covariance[3, :2] == 0).all()


def test_a_fit_agrees_with_the_normal_equations():
  rng = np.random.default_rng(0)
  n = 9
  law = np.linspace(2, 0.5, n + 1)
  losses = 3 + law[:n] + 0.1 * rng.standard_normal(n)
  root = rng.standard_normal((n + 1, n + 1))
  covariance = root @ root.T + 5 * np.eye(n + 1)
  fit = extrapolation._fit(law[None], losses, covariance)

  # Best linear unbiased prediction, as in Rasmussen and Williams, eq. 2.41 and 2.42.
  inverse = np.linalg.inv(covariance[:n, :n])
  design = np.column_stack([np.ones(n), law[:n]])
  normal = np.linalg.inv(design.T @ inverse @ design)
  beta = normal @ design.T @ inverse @ losses
  residuals = losses - design @ beta
  link = inverse @ covariance[:n, n]
  later = np.array([1.0, law[n]])
  rest = later - design.T @ link
  scale = residuals @ inverse @ residuals / (n - 2)
  variance = covariance[n, n] - covariance[:n, n] @ link + rest @ normal @ rest

  assert fit.amplitude[0] == pytest.approx(beta[1])
  assert fit.mean[0] == pytest.approx(later @ beta + link @ residuals)
  assert fit.deviation[0] == pytest.approx(math.sqrt(scale * variance))


@pytest.mark.parametrize('order', ['resumed', 'shuffled'])
def test_the_order_of_the_rows_has_no_effect(order):
  losses = noisy_curve()
  if order == 'resumed':
    # The run stopped at step 1500, lost the steps after 1200, and ran them again.
    lost = slice(120, 150)
    steps = np.concatenate([STEPS[:150], STEPS[120:]])
    disordered = np.concatenate([losses[:120], losses[lost] + 1, losses[120:]])
  else:
    rows = np.random.default_rng(0).permutation(len(STEPS))
    steps = STEPS[rows]
    disordered = losses[rows]
  assert extrapolate(steps, disordered, 4000) == extrapolate(STEPS, losses, 4000)


def test_without_noise_the_law_is_found():
  result = extrapolate(STEPS, power_law(STEPS, 2.0, 8.0, 0.5, 200.0), 4000)
  expected = power_law(4000.0, 2.0, 8.0, 0.5, 200.0)
  assert result.loss == pytest.approx(expected, abs=2e-3)
  assert result.low - 2e-3 <= expected <= result.high + 2e-3


def test_a_later_step_has_a_lower_loss_and_a_wider_interval():
  near = extrapolate(STEPS, noisy_curve(), 2500)
  far = extrapolate(STEPS, noisy_curve(), 8000)
  assert far.loss < near.loss
  assert far.high - far.low > near.high - near.low


def test_more_confidence_makes_a_wider_interval():
  usual = extrapolate(STEPS, noisy_curve(), 8000)
  wide = extrapolate(STEPS, noisy_curve(), 8000, confidence=0.99)
  assert wide.high - wide.low > usual.high - usual.low


def test_a_spike_and_a_missing_row_have_hardly_an_effect():
  spiked = noisy_curve()
  spiked[150] += 4
  spiked[20] = math.nan
  without = extrapolate(STEPS, noisy_curve(), 4000)
  with_spike = extrapolate(STEPS, spiked, 4000)
  width = without.high - without.low
  assert with_spike.loss == pytest.approx(without.loss, abs=0.2 * width)


def test_equal_seeds_give_equal_results():
  first = extrapolate(STEPS, noisy_curve(), 4000)
  assert first == extrapolate(STEPS, noisy_curve(), 4000)


def cooldown_curve(seed):
  """A curve that falls below its law in a cooldown after step 1600, and its learning rate."""
  progress = np.where(STEPS > 1600, (STEPS - 1600) / 400, 0)
  rates = np.where(STEPS > 1600, 1 - progress, np.minimum(1, STEPS / 100))
  return noisy_curve(seed=seed) - 0.3 * progress, rates


def test_a_cooldown_is_left_out():
  losses, rates = cooldown_curve(0)
  result = extrapolate(STEPS, losses, 3000, rates)
  assert result.last_step == 1600
  assert result.n_rows < 160


def test_intervals_cover_without_the_cooldown_and_not_with_it():
  expected = power_law(3000.0, 2.0, 8.0, 0.5, 20.0)
  n_inside = 0
  n_misled = 0
  for seed in range(20):
    losses, rates = cooldown_curve(seed)
    at_constant_rate = extrapolate(STEPS, losses, 3000, rates)
    over_all = extrapolate(STEPS, losses, 3000)
    n_inside += at_constant_rate.low <= expected <= at_constant_rate.high
    n_misled += not over_all.low <= expected <= over_all.high
  # Less than 14 of 20 intervals of 90% has a probability of one in 400.
  assert n_inside >= 14
  assert n_misled >= 18


COSINE = 0.5 + 0.5 * np.cos(np.pi * STEPS / 2000)


@pytest.mark.parametrize(
  'words, losses, learning_rate, to_step',
  [
    ('constant', noisy_curve(), COSINE, 3000),
    ('spikes', noisy_curve() + 2 * (np.arange(200) % 30 == 29), None, 3000),
    ('fall', 2 + 0.001 * STEPS, None, 3000),
    ('fall', noisy_curve() + 0.12 * np.maximum(STEPS / 1000 - 1, 0), None, 3000),
    ('not after', noisy_curve(), None, 2000),
    ('times', noisy_curve(), None, 50_000),
    ('rows', np.where(STEPS < 1900, math.nan, noisy_curve()), None, 3000),
    ('rows', np.full(200, math.nan), None, 3000),
  ],
)
def test_without_a_law_there_is_a_reason_and_no_result(
  words, losses, learning_rate, to_step
):
  result = extrapolate(STEPS, losses, to_step, learning_rate)
  assert words in result.reason
  assert np.isnan([result.loss, result.low, result.high]).all()


def test_an_empty_curve_has_no_result():
  assert extrapolate([], [], 10).reason


@pytest.mark.parametrize(
  'arguments',
  [
    {'losses': noisy_curve()[1:]},
    {'confidence': 1.5},
    {'learning_rate': STEPS[1:]},
  ],
  ids=['losses', 'confidence', 'learning_rate'],
)
def test_wrong_arguments_are_errors(arguments):
  (name,) = arguments
  with pytest.raises(ConfigError, match=f'{name}: got'):
    extrapolate(
      **{'steps': STEPS, 'losses': noisy_curve(), 'to_step': 3000, **arguments}
    )
