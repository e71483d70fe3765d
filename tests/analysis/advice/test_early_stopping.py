"""Early stopping is reported as unfair if the order at a rung is unrelated to the end."""

import planted_studies as planted
import pytest

from lmhp.analysis.analysis import Analysis


def unfair(law):
  analysis = Analysis(planted.study(law, 0))
  return [f for f in analysis.findings if f.kind == 'unfair_early_stopping']


def test_unrelated_order_at_a_rung_is_reported():
  (finding,) = unfair(planted.unfair_stop)
  # The scores at step 100 are a permutation, and those at step 1000 are the losses.
  assert finding.numbers['step'] == 100
  assert abs(finding.numbers['spearman']) < 0.3
  assert finding.numbers['low'] < finding.numbers['spearman'] < finding.numbers['high']
  assert finding.numbers['runs'] == planted.POINTS


def test_no_pruned_run_is_advice_and_no_warning():
  (finding,) = unfair(planted.unfair_stop)
  assert finding.numbers['pruned'] == 0
  assert finding.level == 'advice'


@pytest.mark.parametrize('law', [planted.one_effect, planted.no_effect])
def test_equal_order_or_no_difference_is_not_reported(law):
  assert unfair(law) == []
