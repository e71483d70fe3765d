"""The answer: pairs against scipy, verdicts, what is said where little is known."""

import dataclasses
import math

import numpy as np
import planted_studies as planted
import pytest
from scipy import stats

from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.runs.table import CONFIRM, SEARCH, Runs
from lmhp.analysis.winner import answer


def with_pairs(winner, base, status='complete'):
  """Two points, of which the first won, and fresh seeds of it and of the base config."""
  n = len(winner)
  return Runs(
    's',
    {},
    {},
    np.array([3.0, 3.5, *winner, *base]),
    objective_name='eval_loss_nats',
    status=np.array(['complete', 'complete', *[status] * n, *['complete'] * n]),
    number=np.arange(2 + 2 * n),
    point=np.array([0, 1, *[0] * n, *[-1] * n]),
    seed=np.array([0, 0, *range(100, 100 + n), *range(100, 100 + n)]),
    cohort=np.array([SEARCH, SEARCH, *[CONFIRM] * (2 * n)]),
  )


def test_the_difference_is_that_of_a_paired_t_test():
  rng = np.random.default_rng(0)
  base = 3.2 + 0.1 * rng.standard_normal(8)
  winner = base - 0.1 + 0.02 * rng.standard_normal(8)
  found = answer.confirmation(with_pairs(winner, base), 0)
  expected = stats.ttest_rel(winner, base)
  interval = expected.confidence_interval(0.99)
  np.testing.assert_allclose(
    [found.difference, found.low, found.high],
    [np.mean(winner - base), interval.low, interval.high],
    rtol=1e-9,
  )
  assert found.verdict == 'better' and expected.pvalue < 0.01


@pytest.mark.parametrize(
  'shift, verdict', [(-0.1, 'better'), (0.1, 'worse'), (0.001, 'no difference shown')]
)
def test_verdicts(shift, verdict):
  base = 3.2 + np.array([0.03, -0.02, 0.01, 0.02, -0.04, 0.0, 0.02, -0.02])
  winner = (
    base + shift + np.array([0.01, -0.01, 0.012, -0.012, 0.008, -0.008, 0.01, -0.01])
  )
  assert answer.confirmation(with_pairs(winner, base), 0).verdict == verdict


def test_seeds_are_paired_by_their_number_and_not_by_their_place():
  base, winner = np.array([3.0, 4.0, 5.0]), np.array([2.9, 3.9, 4.9])
  runs = with_pairs(winner, base)
  shuffled = runs.where([0, 1, 4, 2, 3, 5, 6, 7])
  assert answer.confirmation(shuffled, 0).difference == pytest.approx(-0.1)


def test_a_winner_that_diverges_on_a_fresh_seed_has_no_interval():
  runs = with_pairs([9.0, 9.0, 9.0], [3.0, 3.1, 3.2], status='diverged')
  found = answer.confirmation(runs, 0)
  assert (
    found.diverged == (3, 0) and math.isnan(found.difference) and found.verdict == ''
  )
  assert (
    answer.winner(runs).method == 'none' and 'diverged' in answer.winner(runs).reason
  )


def test_maximized_objectives_win_at_the_top():
  runs = Runs('s', {}, {}, np.array([0.1, 0.9, 0.5]), maximize=True)
  won = answer.winner(runs)
  assert won.point == 1 and runs.shown(won.mean) == 0.9


def test_nothing_finished_is_said():
  runs = Runs(
    's', {}, {}, np.array([np.nan, 9.0]), status=np.array(['running', 'diverged'])
  )
  assert answer.winner(runs) is None
  said = answer.finding(runs, None, None, [])
  assert (
    said.kind == 'nothing_finished'
    and '1 running' in said.evidence
    and '1 diverged' in said.evidence
  )


def test_without_a_base_what_matters_is_the_answer():
  runs = planted.study(planted.useless, 0).searched()
  runs = dataclasses.replace(runs)
  won, effect = (
    answer.winner(runs),
    Effect('optimizer.learning_rate', 1e-4, 1e-4, 1e-3, 0.1, 0.05, 0.2),
  )
  assert answer.confirmation(runs, won.point) is None
  assert answer.finding(runs, won, None, [effect]).kind == 'differences_shown'
  weak = dataclasses.replace(effect, p_value=0.02, p_holm=0.02)
  said = answer.finding(runs, won, None, [weak])
  assert (
    said.kind == 'no_difference_shown'
    and 'No difference shown' in said.title
    and 'p = 0.02' in said.evidence
  )


def test_better_than_a_base_that_diverges_on_all_seeds():
  runs = with_pairs([3.0, 3.1], [9.0, 9.0])
  runs = dataclasses.replace(
    runs, status=np.array([*['complete'] * 4, 'diverged', 'diverged'])
  )
  found = answer.confirmation(runs, 0)
  assert found.verdict == 'better'
  assert (
    'diverged on all 2 seeds'
    in answer.finding(runs, answer.winner(runs), found, []).title
  )
