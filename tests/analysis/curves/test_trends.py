"""Trends at the end of training, and the variance from step to step."""

import math

import numpy as np
import pytest
from synthetic_curves import STEPS, noisy_law, single_run

from lmhp.analysis.curves.trends import (
  late_trend,
  step_variance_of_runs,
  trend_at_end,
)


def jitter():
  return 0.002 * np.random.default_rng(4).standard_normal(len(STEPS))


def test_a_falling_loss_is_still_improving():
  # loss = 5 - 0.8 log(step), so 10% more steps gain 0.8 log(1.1).
  (finding,) = trend_at_end(single_run(5 - 0.8 * np.log(STEPS / 10) + jitter()))
  assert finding.kind == 'still_improving'
  assert finding.effect_nats == pytest.approx(0.8 * math.log(1.1), rel=0.2)


def test_a_flat_loss_is_saturated():
  (finding,) = trend_at_end(single_run(2 + jitter()))
  assert finding.kind == 'saturated'


def test_evaluations_are_used_before_the_training_loss():
  curve = {
    'step': STEPS,
    'loss_nats': np.full(len(STEPS), 2.0),
    'eval_loss_nats': 5 - 0.8 * np.log(STEPS / 10),
  }
  trend = late_trend(7, curve)
  assert trend.number == 7
  assert trend.loss_name == 'validation'
  assert trend.gain == pytest.approx(0.8 * math.log(1.1))


def test_a_short_curve_has_no_trend():
  curve = {'step': STEPS[:12], 'loss_nats': STEPS[:12]}
  assert late_trend(0, curve) is None


def test_step_variance_is_the_planted_noise():
  (finding,) = step_variance_of_runs(single_run(noisy_law(0.05)))
  assert finding.kind == 'step_variance'
  assert finding.numbers['standard_deviation_nats'] == pytest.approx(0.05, rel=0.2)
