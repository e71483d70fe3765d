"""Situations planted in training curves are found, and healthy curves have no warning."""

import dataclasses

import numpy as np
import pytest
import synthetic_curves as synthetic

from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs

# Observations that every study may have, and no warnings.
NOTES = {'still_improving', 'saturated', 'step_variance'}


@pytest.mark.parametrize('situation', synthetic.PLANTED)
def test_planted_situation_is_found(situation):
  # `bench/calibration_curves.py` has more studies, in which 95% and more are found.
  n_found = 0
  for seed in range(12):
    findings = synthetic.curve_findings(synthetic.study(situation, seed))
    n_found += [finding.kind for finding in findings].count(situation)
  assert 11 <= n_found <= 12


@pytest.mark.slow
def test_healthy_curves_have_no_warning():
  for seed in range(40):
    study = synthetic.study('nothing', 500 + seed, tails=seed % 2 > 0)
    kinds = {finding.kind for finding in synthetic.curve_findings(study)}
    assert kinds <= NOTES, seed
    assert 'step_variance' in kinds, seed


def healthy_run():
  return synthetic.single_run(synthetic.noisy_law())


def without_curves():
  return Runs('s', {'x': Axis('x')}, {'x': np.ones(3)}, np.ones(3))


def with_empty_curve():
  empty = {'step': np.zeros(0), 'loss_nats': np.zeros(0)}
  return dataclasses.replace(healthy_run(), curves={0: empty})


def that_failed():
  return dataclasses.replace(healthy_run(), status=np.array(['failed']))


@pytest.mark.parametrize(
  'make_runs', [without_curves, with_empty_curve, that_failed], ids=lambda f: f.__name__
)
def test_runs_without_usable_curves_have_no_finding(make_runs):
  assert synthetic.curve_findings(make_runs()) == []


def test_a_curve_without_any_value_has_no_warning():
  unknown = np.full(len(synthetic.STEPS), np.nan)
  findings = synthetic.curve_findings(synthetic.single_run(unknown, unknown))
  assert {finding.kind for finding in findings} <= NOTES
