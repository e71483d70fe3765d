"""Gradient noise scale and critical batch size of a study, against known laws."""

import dataclasses

import numpy as np
import pytest

from lmhp.analysis.advice.batch_size import (
  analyze_batch_size,
  critical_batch,
  noise_scale,
)
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs

BATCH_SIZES = (8, 16, 32, 64, 128, 256)
CRITICAL = 64.0
MIN_STEPS = 1000.0


def study_of_batch_sizes(batch_sizes=BATCH_SIZES):
  """Runs whose loss falls with log(steps), at the rate of the law of the batch size."""
  curves = {}
  final_losses = []
  for i, batch_size in enumerate(batch_sizes):
    steps = np.linspace(1, 3000 + 30_000 / batch_size, 400)
    loss = 5 - 0.3 * np.log(1 + steps / (MIN_STEPS * (1 + CRITICAL / batch_size)))
    unknown = np.full(400, np.nan)
    curves[i] = {'step': steps, 'loss_nats': unknown, 'eval_loss_nats': loss}
    final_losses.append(loss[-1])
  axis = Axis('train.batch_size', low=min(batch_sizes), high=max(batch_sizes), log=True)
  return Runs(
    's',
    {'train.batch_size': axis},
    {'train.batch_size': np.array(batch_sizes, float)},
    np.array(final_losses),
    objective_name='eval_loss_nats',
    curves=curves,
  )


def run_with_norms(noise_tokens=4096.0, batch_size=16, seq_len=64, n_rows=200):
  """A run whose squared gradient norms are |G|^2 (1 + B_noise / B), with some jitter."""
  rng = np.random.default_rng(0)
  tokens = batch_size * seq_len
  jitter = 1 + 0.02 * rng.standard_normal((2, n_rows))
  curve = {
    'step': np.arange(1.0, n_rows + 1),
    'loss_nats': np.linspace(5, 3, n_rows),
    'grad_norm': np.sqrt((1 + noise_tokens / tokens) * jitter[0]),
    'microbatch_grad_norm': np.sqrt((1 + noise_tokens / (tokens / 2)) * jitter[1]),
  }
  config = {
    'train.batch_size': batch_size,
    'train.seq_len': seq_len,
    'train.grad_accumulation_steps': 1,
  }
  return Runs(
    's',
    {},
    {},
    np.array([3.0]),
    objective_name='eval_loss_nats',
    curves={0: curve},
    configs={0: config},
  )


# --- critical batch size ------------------------------------------------------------


def test_critical_batch_size_is_that_of_the_law():
  critical = analyze_batch_size(study_of_batch_sizes()).critical
  assert critical.fit.batch_size == pytest.approx(CRITICAL, rel=0.02)


def test_steps_to_the_target_follow_the_law():
  critical = analyze_batch_size(study_of_batch_sizes()).critical
  expected = (1 + CRITICAL / critical.batch_sizes) / (1 + CRITICAL / 256)
  np.testing.assert_allclose(critical.steps / critical.steps.min(), expected, rtol=0.02)


def test_critical_batch_size_is_a_finding():
  (finding,) = critical_batch(analyze_batch_size(study_of_batch_sizes()))
  assert finding.kind == 'critical_batch_size'
  assert finding.numbers['sequences'] == pytest.approx(CRITICAL, rel=0.02)
  assert finding.runs == tuple(range(len(BATCH_SIZES)))


def test_two_batch_sizes_have_no_critical_batch_size():
  analysis = analyze_batch_size(study_of_batch_sizes(batch_sizes=(8, 16)))
  assert analysis.critical is None
  assert critical_batch(analysis) == []


# --- gradient noise scale -----------------------------------------------------------


@pytest.mark.parametrize('batch_size, rel', [(16, 0.1), (256, 0.35)])
def test_noise_scale_is_that_of_the_norms(batch_size, rel):
  analysis = analyze_batch_size(run_with_norms(batch_size=batch_size))
  assert len(analysis.noise_scale.scales) == len(analysis.noise_scale.steps) == 4
  (finding,) = noise_scale(analysis)
  assert finding.numbers['tokens'] == pytest.approx(4096, rel=rel)
  assert finding.numbers['low'] < 4096 < finding.numbers['high']
  assert finding.numbers['batch'] == 64 * batch_size


@pytest.mark.parametrize('batch_size, advice', [(16, 'larger'), (256, 'smaller')])
def test_advice_is_to_move_the_batch_towards_the_noise_scale(batch_size, advice):
  (finding,) = noise_scale(analyze_batch_size(run_with_norms(batch_size=batch_size)))
  assert advice in finding.title


def test_runs_without_norms_have_no_noise_scale():
  runs = run_with_norms()
  curve = {k: v for k, v in runs.curves[0].items() if k != 'microbatch_grad_norm'}
  analysis = analyze_batch_size(dataclasses.replace(runs, curves={0: curve}))
  assert analysis.noise_scale is None
  assert noise_scale(analysis) == []
