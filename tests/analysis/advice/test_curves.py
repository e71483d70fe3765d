"""Each situation planted in training curves is found, what is said of it is so, and healthy curves are left alone."""

import dataclasses
import math

import numpy as np
import pytest
import synthetic_curves as synthetic

from lmhp.analysis.advice.curves import KINDS, NOTES, curve_findings
from lmhp.analysis.curves import instability
from lmhp.analysis.runs.table import Axis, Runs


@pytest.mark.parametrize('situation', synthetic.PLANTED)
def test_what_is_planted_is_found(situation):
  found = [
    [
      one
      for one in curve_findings(synthetic.study(situation, seed))
      if one.kind == situation
    ]
    for seed in range(12)
  ]
  assert (
    sum(map(bool, found)) >= 11
  )  # 95 of 100 and more in bench/calibration_curves.py
  for (one,) in filter(None, found):
    assert one.kind in KINDS and one.kind not in NOTES and one.evidence and one.numbers


def test_healthy_curves_are_left_alone():
  kinds = [
    one.kind
    for seed in range(40)
    for one in curve_findings(synthetic.study('nothing', 500 + seed, seed % 2 > 0))
  ]
  assert set(kinds) <= set(NOTES) and kinds.count('step_variance') == 40


STEPS = np.arange(10.0, 3001, 10)


def one_run(loss, evaluations=None, config=None, **columns):
  """A study of one run, with its curve as given."""
  curve = {'step': STEPS, 'loss_nats': loss, **columns}
  if evaluations is not None:
    curve['eval_loss_nats'] = np.where(
      np.arange(len(STEPS)) % 15 == 14, evaluations, np.nan
    )
  return Runs(
    's',
    {},
    {},
    np.array([float(loss[-1])]),
    objective_name='eval_loss_nats',
    curves={0: curve},
    configs={0: config or {}},
  )


def law(noise=0.01, seed=0):
  return (
    2
    + 4 * (STEPS / 10) ** -0.5
    + noise * np.random.default_rng(seed).standard_normal(len(STEPS))
  )


def of_kind(runs, kind):
  return [one for one in curve_findings(runs) if one.kind == kind]


def test_overfitting_has_the_gap_and_the_step():
  rising = law(0.003, 1) + 0.3 * np.maximum(STEPS / 3000 - 0.5, 0)
  (one,) = of_kind(one_run(law(), rising), 'overfitting')
  assert any(0.05 < v < 0.2 for v in one.numbers.values() if isinstance(v, float)), (
    one.numbers
  )
  assert not of_kind(one_run(law(), law(0.003, 1)), 'overfitting')
  both = law() + 0.3 * np.maximum(
    STEPS / 3000 - 0.5, 0
  )  # training rises too: that is no overfitting
  assert not of_kind(one_run(both, rising), 'overfitting')


def test_the_best_checkpoint_is_named():
  evaluations = law(0.002, 2)
  evaluations[299] = evaluations.min() + 0.3
  (one,) = of_kind(one_run(law(), evaluations), 'best_before_last')
  assert (
    one.numbers['above_best_nats'] == pytest.approx(0.3, abs=0.05)
    and one.numbers['last_step'] == 3000
  )
  assert one.numbers['best_step'] < 3000


def test_spikes_are_counted_and_placed():
  spiked = law()
  spiked[[120, 200, 260]] += (0.5, 1.0, 0.7)
  (one,) = of_kind(one_run(spiked), 'spiking')
  assert '3 times' in one.title and '2,010' in one.evidence
  assert not of_kind(one_run(law()), 'spiking')


def test_a_clip_in_the_config_needs_no_clip():
  norms = 1 + 0.05 * np.random.default_rng(3).standard_normal(len(STEPS))
  norms[[50, 90, 150, 210, 280]] = 12
  bare = one_run(law(), config={'optimizer.clip_norm': None}, grad_norm=norms)
  (one,) = of_kind(bare, 'clipping_indicated')
  assert 1 <= one.proposal.get('optimizer.clip_norm', {}).get('value', 1.5) <= 3
  assert not of_kind(
    one_run(law(), config={'optimizer.clip_norm': 1.0}, grad_norm=norms),
    'clipping_indicated',
  )


def test_what_still_improves_and_what_is_saturated():
  falling, flat = 5 - 0.8 * np.log(STEPS / 10), 2 + 0 * STEPS
  jitter = 0.002 * np.random.default_rng(4).standard_normal(len(STEPS))
  (one,) = of_kind(one_run(falling + jitter), 'still_improving')
  assert one.worth == pytest.approx(0.8 * math.log(1.1), rel=0.2)
  assert of_kind(one_run(flat + jitter), 'saturated') and not of_kind(
    one_run(flat + jitter), 'still_improving'
  )


def test_step_variance_is_the_noise_that_was_put_in():
  (one,) = of_kind(one_run(law(0.05)), 'step_variance')
  assert any(
    v == pytest.approx(0.05, rel=0.2)
    for v in one.numbers.values()
    if isinstance(v, float)
  ), one.numbers


def test_no_curves_and_broken_ones_say_nothing():
  assert (
    curve_findings(Runs('s', {'x': Axis('x')}, {'x': np.ones(3)}, np.ones(3))) == []
  )
  empty = Runs(
    's', {}, {}, np.ones(1), curves={0: {'step': np.zeros(0), 'loss_nats': np.zeros(0)}}
  )
  assert curve_findings(empty) == []
  nothing = one_run(np.full(len(STEPS), np.nan), np.full(len(STEPS), np.nan))
  assert [one.kind for one in curve_findings(nothing) if one.kind not in NOTES] == []
  failed = dataclasses.replace(one_run(law()), status=np.array(['failed']))
  assert curve_findings(failed) == []


def test_warmup_is_indicated_where_there_is_none():
  study = synthetic.study('warmup_indicated', 0)
  assert instability.warmup_indicated(study)
  warmed = dataclasses.replace(
    study,
    configs={
      n: {**c, 'schedule.warmup_fraction': 0.1} for n, c in study.configs.items()
    },
  )
  axes = {name: axis for name, axis in warmed.axes.items() if 'warmup' not in name}
  warmed = dataclasses.replace(
    warmed, axes=axes, values={name: warmed.values[name] for name in axes}
  )
  assert not instability.warmup_indicated(warmed)
