"""Findings about the design of a study: budgets, trials, seeds and the learning rate."""

import dataclasses
import math

import numpy as np
import planted_studies as planted
import pytest

from lmhp.analysis.advice import study_design
from lmhp.analysis.analysis import Analysis
from lmhp.analysis.findings import ProposedRange
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.matched_budget import BudgetRange
from lmhp.analysis.winner.winner import expected_loss_of_best, find_winner

RATE = planted.LEARNING_RATE


# --- budgets ------------------------------------------------------------------------

UNEQUAL_STEPS = {'steps': BudgetRange('steps', 10.0, 20.0)}


def test_runs_without_a_common_budget_are_reported():
  runs = planted.study(planted.one_effect, 0)
  (finding,) = study_design.no_common_budget(runs, UNEQUAL_STEPS, 'They differ.')
  assert finding.kind == 'no_common_budget'
  assert finding.numbers == {'steps': [10.0, 20.0]}


def test_one_equal_budget_is_enough():
  runs = planted.study(planted.one_effect, 0)
  budgets = {**UNEQUAL_STEPS, 'tokens': BudgetRange('tokens', 5.0, 5.0)}
  assert study_design.no_common_budget(runs, budgets, '') == []


def test_a_declared_budget_is_not_reported():
  runs = planted.study(planted.one_effect, 0)
  facts = dataclasses.replace(runs.facts, match_budget='flops')
  declared = dataclasses.replace(runs, facts=facts)
  assert study_design.no_common_budget(declared, UNEQUAL_STEPS, '') == []


# --- learning rate ------------------------------------------------------------------


@pytest.fixture
def fixed_rate():
  return planted.without_axis(planted.study(planted.one_effect, 0), RATE)


def test_structures_compared_at_one_learning_rate_are_reported(fixed_rate):
  (finding,) = study_design.learning_rate_fixed(fixed_rate)
  assert 'model.n_layers' in finding.axes
  assert finding.numbers == {'learning_rate': 1e-3}
  assert finding.proposal == {RATE: ProposedRange(1e-4, 1e-2, log=True)}


def test_a_varied_learning_rate_is_not_reported():
  runs = planted.study(planted.one_effect, 0)
  assert study_design.learning_rate_fixed(runs) == []


def test_nuisance_axes_alone_are_not_reported(fixed_rate):
  only_decay = planted.without_axis(fixed_rate, 'model.n_layers', 'schedule.name')
  assert list(only_decay.axes) == ['optimizer.weight_decay']
  assert study_design.learning_rate_fixed(only_decay) == []


# --- trials and seeds ---------------------------------------------------------------


def test_fewer_than_ten_points_per_hyperparameter_are_few():
  runs = planted.study(planted.one_effect, 0, points=20)
  (finding,) = study_design.too_few_trials(runs, None)
  assert finding.numbers == {'points': 20, 'dimensions': 4, 'recommended': 40}


def test_ten_points_per_hyperparameter_are_enough():
  runs = planted.study(planted.one_effect, 0, points=40)
  assert study_design.too_few_trials(runs, None) == []


def test_winner_without_fresh_seeds_is_not_confirmed():
  runs = planted.study(planted.one_effect, 0).search_runs()
  (finding,) = study_design.not_confirmed(runs, find_winner(runs))
  assert finding.numbers == {'points': planted.POINTS}
  assert finding.runs == (int(np.argmin(runs.losses)),)


def test_winner_on_fresh_seeds_is_confirmed():
  runs = planted.study(planted.one_effect, 0)
  assert study_design.not_confirmed(runs, find_winner(runs)) == []


def two_seeds_of_three_points():
  losses = np.array([3.0, 3.01, 3.5, 3.02, 3.03, 3.52])
  point = np.array([0, 1, 2, 0, 1, 2])
  return Runs('s', {}, {}, losses, point=point, objective_name='loss_nats')


def test_points_within_the_noise_of_the_winner_are_listed():
  runs = two_seeds_of_three_points()
  winner = expected_loss_of_best(runs.losses, runs.point)
  (finding,) = study_design.winner_within_noise(runs, winner)
  assert finding.numbers['points'] == 1
  assert finding.runs == (0, 1)
  # The variance of a pair that differs by 0.02 is 0.0002.
  assert finding.numbers['noise'] == pytest.approx(math.sqrt(0.0002))


def test_unknown_noise_separates_no_points():
  runs = two_seeds_of_three_points()
  winner = expected_loss_of_best(runs.losses)
  assert study_design.winner_within_noise(runs, winner) == []


# --- early stopping ---------------------------------------------------------------


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
