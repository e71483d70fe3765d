"""Spikes, warmup and gradient clipping, on curves with planted instabilities."""

import dataclasses

import numpy as np
import pytest
import synthetic_curves as synthetic
from synthetic_curves import STEPS, noisy_law, single_run

from lmhp.analysis.curves.instability import (
  clipping_indicated,
  spiking_runs,
  warmup_indicated,
)

# --- spikes -------------------------------------------------------------------------


def test_spikes_are_counted_and_the_largest_is_named():
  losses = noisy_law()
  losses[[120, 200, 260]] += (0.5, 1.0, 0.7)
  (finding,) = spiking_runs(single_run(losses))
  assert finding.numbers['spikes'] == 3
  assert finding.numbers['largest_nats'] == pytest.approx(1.0, abs=0.05)
  assert finding.numbers['with_gradient_spikes'] == 0
  assert f'{STEPS[200]:,.0f}' in finding.evidence


def test_a_healthy_curve_has_no_spikes():
  assert spiking_runs(single_run(noisy_law())) == []


def test_spikes_of_most_runs_at_one_step_do_not_count():
  curves = {}
  for number in range(6):
    losses = noisy_law(seed=number)
    losses[[150, 220, 280]] += 0.8
    curves[number] = {'step': STEPS, 'loss_nats': losses}
  runs = dataclasses.replace(
    single_run(noisy_law()).select([0] * 6), number=np.arange(6), curves=curves
  )
  assert spiking_runs(runs) == []


# --- warmup -------------------------------------------------------------------------


@pytest.fixture(scope='module')
def bumps_without_warmup():
  return synthetic.study('warmup_indicated', 0)


def test_early_bumps_at_large_rates_indicate_warmup(bumps_without_warmup):
  (finding,) = warmup_indicated(bumps_without_warmup)
  assert finding.kind == 'warmup_indicated'
  # The bump is at 6% of training, for the upper third of learning rates.
  n_search = int(np.sum(bumps_without_warmup.cohort == 'search'))
  assert len(finding.runs) == pytest.approx(n_search / 3, abs=2)


def test_runs_with_warmup_need_none(bumps_without_warmup):
  warm = {
    number: {**config, 'schedule.warmup_fraction': 0.1}
    for number, config in bumps_without_warmup.configs.items()
  }
  assert not warmup_indicated(dataclasses.replace(bumps_without_warmup, configs=warm))


# --- clipping -----------------------------------------------------------------------


def norms_with_outliers():
  norms = 1 + 0.05 * np.random.default_rng(3).standard_normal(len(STEPS))
  norms[[50, 90, 150, 210, 280]] = 12
  return norms


def test_large_norms_without_clipping_indicate_clipping():
  runs = single_run(
    noisy_law(), config={'optimizer.clip_norm': None}, grad_norm=norms_with_outliers()
  )
  (finding,) = clipping_indicated(runs)
  assert finding.numbers['large_norms'] == 5
  assert finding.numbers['largest_over_median'] == pytest.approx(12, rel=0.05)
  # The usual norm is 1, and the outliers are far above the proposed range.
  proposal = finding.proposal['optimizer.clip_norm']
  assert proposal.low < 1 < proposal.high < 3


def test_clipped_runs_need_none():
  runs = single_run(
    noisy_law(), config={'optimizer.clip_norm': 1.0}, grad_norm=norms_with_outliers()
  )
  assert clipping_indicated(runs) == []
