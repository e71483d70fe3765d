"""The answer of a study: its kind, and the numbers that it states."""

import dataclasses

import numpy as np
import planted_studies as planted
import pytest

from lmhp.analysis.advice.answer import answer
from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.runs.table import BASE_POINT, CONFIRM, SEARCH, Runs
from lmhp.analysis.winner.setting_differences import setting_differences
from lmhp.analysis.winner.winner import confirm, find_winner

STRONG = Effect(planted.LEARNING_RATE, 1e-4, 1e-4, 1e-3, 0.1, 0.05, 0.2)
WEAK = dataclasses.replace(STRONG, p_value=0.02, p_holm=0.02)


def confirmed_runs(winner, base, base_status='complete'):
  """A winner of two points, and fresh seeds of it and of the base config."""
  n = len(winner)
  return Runs(
    's',
    {},
    {},
    np.array([3.0, 3.5, *winner, *base]),
    objective_name='eval_loss_nats',
    status=np.array([*['complete'] * (2 + n), *[base_status] * n]),
    point=np.array([0, 1, *[0] * n, *[BASE_POINT] * n]),
    seed=np.array([0, 0, *range(100, 100 + n), *range(100, 100 + n)]),
    cohort=np.array([SEARCH, SEARCH, *[CONFIRM] * (2 * n)]),
  )


def answer_of(runs, effects=()):
  winner = find_winner(runs)
  differences = setting_differences(runs, winner.point)
  confirmation = confirm(runs, winner.point)
  (finding,) = answer(runs, winner, confirmation, list(effects), differences, None)
  return finding


@pytest.mark.parametrize(
  'shift, kind', [(-0.1, 'better_than_base'), (0.1, 'worse_than_base')]
)
def test_winner_that_differs_from_the_base_config(shift, kind):
  base = np.array([3.2, 3.25, 3.18, 3.22])
  noise = np.array([0.01, -0.01, 0.012, -0.012])
  finding = answer_of(confirmed_runs(base + shift + noise, base))
  assert finding.kind == kind
  assert finding.level == 'answer'
  assert finding.numbers['difference'] == pytest.approx(shift)
  low = finding.numbers['difference_low']
  high = finding.numbers['difference_high']
  assert low < shift < high
  assert finding.effect_nats == pytest.approx(0.1)


def test_base_config_that_diverges_on_all_seeds_is_worse():
  runs = confirmed_runs([3.0, 3.1], [9.0, 9.0], base_status='diverged')
  finding = answer_of(runs)
  assert finding.kind == 'better_than_base'
  assert 'difference' not in finding.numbers


def test_without_a_base_config_a_significant_effect_is_the_answer():
  runs = planted.study(planted.one_effect, 0).search_runs()
  assert answer_of(runs, [STRONG]).kind == 'best_trial'


def test_no_significant_effect_is_no_significant_difference():
  runs = planted.study(planted.one_effect, 0).search_runs()
  finding = answer_of(runs, [WEAK])
  assert finding.kind == 'no_significant_difference'
  assert 'p = 0.02' in finding.evidence


def test_no_complete_trial_has_the_number_of_runs_by_status():
  status = np.array(['running', 'diverged'])
  runs = Runs('s', {}, {}, np.array([np.nan, 9.0]), status=status)
  (finding,) = answer(runs, None, None, [], [], None)
  assert finding.kind == 'no_complete_trial'
  assert finding.numbers == {'statuses': {'running': 1, 'diverged': 1}}


def test_numbers_of_a_maximized_objective_are_its_values():
  runs = Runs('s', {}, {}, np.array([0.1, 0.9, 0.5]), maximize=True)
  finding = answer_of(runs)
  assert finding.numbers['mean'] == 0.9
  assert finding.runs == (1,)
