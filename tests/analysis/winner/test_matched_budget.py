"""Tests of the budgets that runs have in common."""

import numpy as np
import pytest

from lmhp.analysis.runs.table import Runs, StudyFacts
from lmhp.analysis.winner.matched_budget import (
  budget_ranges,
  common_budgets,
  describe_budgets,
)


def runs_of(status=None, match_budget=None, **measured):
  n = len(next(iter(measured.values()), [1.0, 2.0, 3.0]))
  return Runs(
    'x',
    {},
    {},
    np.arange(1.0, n + 1),
    status=np.array(status or ['complete'] * n),
    measured={name: np.array(column, float) for name, column in measured.items()},
    facts=StudyFacts(match_budget=match_budget),
  )


def equal_budgets(runs):
  return {name: each.is_equal for name, each in budget_ranges(runs).items()}


def test_budgets_that_are_not_recorded_have_no_range():
  assert budget_ranges(runs_of()) == {}


def test_budgets_are_equal_or_have_a_range():
  runs = runs_of(steps=[600, 300], tokens=[9600, 9600])
  ranges = budget_ranges(runs)
  assert equal_budgets(runs) == {'steps': False, 'tokens': True}
  assert (ranges['steps'].low, ranges['steps'].high) == (300, 600)


def test_seconds_are_equal_within_a_tenth():
  assert equal_budgets(runs_of(seconds=[10.0, 10.5])) == {'seconds': True}
  assert equal_budgets(runs_of(seconds=[10.0, 12.0])) == {'seconds': False}


def test_only_complete_runs_count():
  runs = runs_of(status=['complete', 'pruned', 'complete'], steps=[9, 3, 9])
  assert equal_budgets(runs) == {'steps': True}


@pytest.mark.parametrize('match_budget, is_named', [(None, False), ('seconds', True)])
def test_seconds_are_described_only_if_the_study_matches_them(match_budget, is_named):
  runs = runs_of(match_budget=match_budget, steps=[600, 300], seconds=[10.0, 10.5])
  assert ('seconds' in describe_budgets(runs)) == is_named


def test_large_budgets_have_an_exponent():
  text = describe_budgets(runs_of(flops=[1.0e15, 2.0e15]))
  assert '1e15' in text
  assert '2e15' in text


def test_studies_have_a_budget_in_common_if_it_is_equal_within_and_between_them():
  first = budget_ranges(runs_of(steps=[600, 600], tokens=[9600, 9600]))
  second = budget_ranges(runs_of(steps=[600, 600], tokens=[4800, 4800]))
  third = budget_ranges(runs_of(steps=[600, 300]))
  assert common_budgets([first, second]) == ['steps']
  assert common_budgets([first, third]) == []
