"""Extrapolation: the true loss is within the interval as often as it says, and refusals where there is no law."""

import math

import numpy as np
import pytest
from synthetic_curves import curve_with_a_later_loss, power_law

from lmhp.analysis.curves.extrapolation import extrapolate
from lmhp.errors import ConfigError

STEPS = np.arange(10.0, 2001, 10)


def curve(noise=0.02, seed=0, steps=STEPS):
  return power_law(steps, 2.0, 8.0, 0.5, 20.0) + noise * np.random.default_rng(
    seed
  ).standard_normal(len(steps))


def test_intervals_cover():
  inside, said = 0, 0
  for seed in range(250):
    steps, losses, later, truth = curve_with_a_later_loss(10_000 + seed)
    found = extrapolate(steps, losses, later)
    if not found.refused:
      said += 1
      inside += found.low <= truth <= found.high
  assert said > 220
  assert (
    0.84 <= inside / said <= 0.95
  )  # 2.5 standard errors; the full run is bench/calibration_curves.py


def test_without_noise_the_law_is_found():
  found = extrapolate(STEPS, power_law(STEPS, 2.0, 8.0, 0.5, 0.1 * 2000), 4000)
  truth = power_law(4000.0, 2.0, 8.0, 0.5, 200.0)
  assert found.loss == pytest.approx(truth, abs=2e-3)
  assert found.low - 2e-3 <= truth <= found.high + 2e-3


def test_farther_is_wider_and_more_confident_is_wider():
  near, far = extrapolate(STEPS, curve(), 2500), extrapolate(STEPS, curve(), 8000)
  sure = extrapolate(STEPS, curve(), 8000, confidence=0.99)
  assert near.high - near.low < far.high - far.low < sure.high - sure.low
  assert far.loss < near.loss


def test_a_spike_and_missing_rows_hardly_matter_and_runs_repeat():
  losses = curve()
  spiked = losses.copy()
  spiked[150] += 4
  spiked[20] = math.nan
  a, b = extrapolate(STEPS, losses, 4000), extrapolate(STEPS, spiked, 4000)
  assert abs(a.loss - b.loss) < 0.2 * (a.high - a.low)
  assert a == extrapolate(STEPS, losses, 4000)


def test_a_cooldown_is_left_out():
  rates = np.where(STEPS > 1600, 1 - (STEPS - 1600) / 400, np.minimum(1, STEPS / 100))
  truth, held, misled = power_law(3000.0, 2.0, 8.0, 0.5, 20.0), 0, 0
  for seed in range(40):
    bent = curve(seed=seed) - 0.3 * np.where(STEPS > 1600, (STEPS - 1600) / 400, 0)
    whole, constant = (
      extrapolate(STEPS, bent, 3000),
      extrapolate(STEPS, bent, 3000, rates),
    )
    assert constant.last_step == 1600 and constant.rows < 160
    held += constant.low <= truth <= constant.high
    misled += not whole.low <= truth <= whole.high
  assert held >= 31 and misled == 40  # of 40 intervals of 90%: fewer in one of 300


@pytest.mark.parametrize(
  'why, losses, rates, to_step',
  [
    ('too few', curve(), 0.5 + 0.5 * np.cos(np.pi * STEPS / 2000), 3000),
    ('spikes', curve() + 2 * (np.arange(200) % 30 == 29), None, 3000),
    ('fall', 2 + 0.001 * STEPS, None, 3000),
    ('later', curve(), None, 2000),
    ('times', curve(), None, 50_000),
    ('rows', np.where(STEPS < 1800, math.nan, curve()), None, 3000),
    ('rows', np.full(200, math.nan), None, 3000),
  ],
)
def test_refused(why, losses, rates, to_step):
  found = extrapolate(STEPS, losses, to_step, rates)
  assert why in found.refused and math.isnan(found.loss) and math.isnan(found.low)


def test_nothing_at_all_is_refused_and_mistakes_are_errors():
  assert extrapolate([], [], 10).refused
  for wrong in (
    lambda: extrapolate(STEPS, STEPS[1:], 3000),
    lambda: extrapolate(STEPS, curve(), 3000, confidence=1.5),
    lambda: extrapolate(STEPS, curve(), 3000, STEPS[1:]),
  ):
    with pytest.raises(ConfigError):
      wrong()
