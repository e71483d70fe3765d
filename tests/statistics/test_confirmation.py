"""The comparison of a winner with the base config, against SciPy's paired t-test."""

import math

import numpy as np
import pytest
from scipy import stats

from lmhp.statistics.confirmation import SeedLoss, confirm_on_seeds


def results(losses, first_seed=100, diverged=()):
  return {
    first_seed + i: SeedLoss(loss, i in diverged) for i, loss in enumerate(losses)
  }


def test_the_difference_is_that_of_a_paired_t_test_at_95_percent():
  rng = np.random.default_rng(0)
  base = 3.2 + 0.1 * rng.standard_normal(8)
  winner = base - 0.1 + 0.02 * rng.standard_normal(8)
  found = confirm_on_seeds(results(winner), results(base))
  interval = stats.ttest_rel(winner, base).confidence_interval(0.95)
  np.testing.assert_allclose(
    [found.difference, found.low, found.high],
    [np.mean(winner - base), interval.low, interval.high],
    rtol=1e-9,
  )


@pytest.mark.parametrize(
  ('shift', 'verdict'),
  [(-0.1, 'better'), (0.1, 'worse'), (0.001, 'no significant difference')],
)
def test_the_verdict_follows_from_the_interval(shift, verdict):
  noise = np.array([0.01, -0.01, 0.012, -0.012, 0.008, -0.008])
  found = confirm_on_seeds(results(3.0 + shift + noise), results([3.0] * 6))
  assert found.verdict == verdict


def test_results_are_paired_by_their_seeds():
  winner = results([2.9, 3.9, 4.9])
  base = dict(reversed(results([3.0, 4.0, 5.0, 6.0]).items()))
  found = confirm_on_seeds(winner, base)
  assert found.seeds.tolist() == [100, 101, 102]
  assert found.difference == pytest.approx(-0.1)


def test_configs_without_a_common_seed_are_not_compared():
  assert confirm_on_seeds(results([1.0]), results([1.0], first_seed=9)) is None


def test_one_seed_gives_a_difference_without_a_verdict():
  found = confirm_on_seeds(results([2.0]), results([3.0]))
  assert found.difference == -1.0
  assert math.isnan(found.low)
  assert found.verdict == 'unknown'


@pytest.mark.parametrize(
  ('winner', 'base', 'verdict'),
  [
    ((0, 1, 2), (), 'unknown'),
    ((), (0, 1, 2), 'better'),
    ((), (0, 1), 'unknown'),
    ((0,), (0,), 'unknown'),
  ],
)
def test_diverged_runs_give_no_difference(winner, base, verdict):
  losses = [3.0, 3.1, 3.2]
  found = confirm_on_seeds(
    results(losses, diverged=winner), results(losses, diverged=base)
  )
  assert (found.winner_diverged, found.base_diverged) == (len(winner), len(base))
  assert math.isnan(found.difference)
  assert found.verdict == verdict
