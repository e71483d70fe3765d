"""Overfitting and the best checkpoint, on curves with planted rises."""

import numpy as np
import pytest
from synthetic_curves import STEPS, noisy_law, single_run

from lmhp.analysis.curves.overfitting import (
  best_before_last,
  evaluations_of,
  evaluations_of_runs,
  overfitting_runs,
)

LATE_RISE = 0.3 * np.maximum(STEPS / 3000 - 0.5, 0)
"""A rise by 0.15 nats in the second half of training."""


def overfitting(losses, evaluations):
  runs = single_run(losses, evaluations)
  return overfitting_runs(runs, evaluations_of_runs(runs))


def test_rising_evaluations_are_overfitting():
  (finding,) = overfitting(noisy_law(), noisy_law(0.003, 1) + LATE_RISE)
  assert finding.kind == 'overfitting'
  # Law and rise together are lowest at step 1587, and 0.055 nats higher at the end.
  assert finding.numbers['rise_nats'] == pytest.approx(0.055, abs=0.02)
  assert finding.numbers['gap_nats'] == pytest.approx(0.14, abs=0.03)
  assert finding.numbers['best_step'] == pytest.approx(1587, abs=300)
  assert finding.numbers['runs'] == 1


def test_falling_evaluations_are_none():
  assert overfitting(noisy_law(), noisy_law(0.003, 1)) == []


def test_a_training_loss_that_rises_too_is_none():
  assert overfitting(noisy_law() + LATE_RISE, noisy_law(0.003, 1) + LATE_RISE) == []


def test_best_checkpoint_is_before_a_high_last_evaluation():
  evaluations = noisy_law(0.002, 2)
  evaluations[-1] = evaluations.min() + 0.3
  runs = single_run(noisy_law(), evaluations)
  (finding,) = best_before_last(evaluations_of_runs(runs))
  assert finding.numbers['loss_above_best_nats'] == pytest.approx(0.3, abs=0.05)
  assert finding.numbers['last_step'] == 3000
  assert finding.numbers['best_step'] < 3000


def test_noise_of_the_last_evaluation_does_not_count():
  runs = single_run(noisy_law(), noisy_law(0.002, 2))
  assert best_before_last(evaluations_of_runs(runs)) == []


def test_a_last_evaluation_on_more_sequences_is_left_out():
  curve = {
    'step': np.arange(1.0, 5),
    'eval_loss_nats': np.array([4.0, np.nan, 3.0, 2.0]),
    'eval_sequences': np.array([32.0, np.nan, 32.0, 512.0]),
  }
  steps, losses = evaluations_of(curve)
  assert steps.tolist() == [1, 3]
  assert losses.tolist() == [4.0, 3.0]
