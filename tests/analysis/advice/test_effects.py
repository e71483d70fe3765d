"""Findings about effects: the planted axis is named, and only that one."""

import dataclasses
import math

import planted_studies as planted
import pytest

from lmhp.analysis.advice.effects import no_effect
from lmhp.analysis.analysis import Analysis
from lmhp.analysis.hyperparameters.effects import Effect

RATE = planted.LEARNING_RATE
STRONG = Effect('y', 1e-4, 1e-4, 1.0, 0.1, 0.05, 0.2)
WEAK = Effect('x', 0.4, 0.4, 1.0, 0.0, 0.0, 0.001)


@pytest.fixture(scope='module')
def one_effect():
  return Analysis(planted.study(planted.one_effect, 0)).findings


def of_kind(findings, kind):
  return [finding for finding in findings if finding.kind == kind]


def test_only_the_planted_axis_has_a_significant_effect(one_effect):
  (finding,) = of_kind(one_effect, 'significant_effect')
  assert finding.axes == (RATE,)
  assert finding.numbers['p_holm'] < 0.01


def test_axes_without_effect_have_an_upper_bound_of_their_gain(one_effect):
  without = of_kind(one_effect, 'no_effect')
  assert without
  assert RATE not in {finding.axes[0] for finding in without}
  assert all(0 <= finding.numbers['gain_at_most'] < 0.02 for finding in without)


def test_interaction_is_found_between_the_planted_axes():
  findings = Analysis(planted.study(planted.interacting, 0)).findings
  (finding,) = of_kind(findings, 'interaction')
  assert set(finding.axes) == {RATE, 'model.n_layers'}
  assert finding.effect_nats == finding.numbers['size'] > 0


def test_no_effect_needs_a_significant_effect_to_compare_with():
  runs = planted.study(planted.one_effect, 0)
  assert no_effect(runs, [WEAK]) == []
  assert [f.axes for f in no_effect(runs, [STRONG, WEAK])] == [('x',)]


@pytest.mark.parametrize('gain_high', [0.08, math.nan])
def test_no_effect_needs_a_small_upper_bound(gain_high):
  runs = planted.study(planted.one_effect, 0)
  uncertain = dataclasses.replace(WEAK, gain_high=gain_high)
  assert no_effect(runs, [STRONG, uncertain]) == []
