"""Pareto fronts, against the definition, pair by pair."""

import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.statistics.pareto import front_numbers, pareto_front


def dominates(a, b):
  return np.all(a <= b) and np.any(a < b)


def front_by_definition(rows):
  return [not any(dominates(other, row) for other in rows) for row in rows]


def peeled_fronts(rows):
  """Returns the number of the front of each row, by removing one front after another."""
  numbers = np.full(len(rows), -1)
  number = 0
  while (numbers < 0).any():
    left = np.flatnonzero(numbers < 0)
    numbers[left[front_by_definition(rows[left])]] = number
    number += 1
  return numbers


@pytest.mark.parametrize('n_costs', [1, 2, 4])
@pytest.mark.parametrize('levels', [3, 10**6])  # with many ties, and with none
def test_front_follows_the_definition(n_costs, levels):
  rng = np.random.default_rng(n_costs)
  for _ in range(20):
    rows = rng.integers(levels, size=(40, 1 + n_costs))
    expected = front_by_definition(rows)
    assert pareto_front(rows[:, 0], rows[:, 1:]).tolist() == expected


@pytest.mark.parametrize('n_quantities', [1, 2, 3])
@pytest.mark.parametrize('levels', [3, 10**6])
def test_front_numbers_follow_the_definition(n_quantities, levels):
  rng = np.random.default_rng(n_quantities)
  for _ in range(10):
    rows = rng.integers(levels, size=(25, n_quantities))
    np.testing.assert_array_equal(front_numbers(rows), peeled_fronts(rows))


def test_no_points_have_no_fronts():
  assert front_numbers(np.zeros((0, 2))).shape == (0,)


def test_equal_runs_are_both_kept():
  assert pareto_front([1, 1, 1, 2], [5, 5, 6, 5]).tolist() == [True, True, False, False]
  assert pareto_front([2, 2], [[1, 1], [1, 1]]).all()


def test_a_run_that_is_not_finite_is_not_on_the_front_and_dominates_nothing():
  losses = [1, np.nan, np.inf, 0.5, 3]
  costs = [1, 0, 0, np.nan, 2]
  expected = [True, False, False, False, False]
  assert pareto_front(losses, costs).tolist() == expected


@pytest.mark.parametrize(
  'losses,expected', [([np.nan], [False]), ([1.0], [True]), ([], [])]
)
def test_one_run_and_no_run(losses, expected):
  assert pareto_front(losses, np.ones(len(losses))).tolist() == expected


def test_front_of_many_runs_dominates_all_others():
  rng = np.random.default_rng(0)
  losses = rng.random(3000)
  costs = rng.random((3000, 3))
  front = pareto_front(losses, costs)
  on = np.column_stack([losses, costs])[front]
  assert not np.any(
    (on[:, None] <= on[None]).all(-1) & (on[:, None] < on[None]).any(-1)
  )
  assert all(
    np.any((on <= row).all(axis=1)) for row in np.column_stack([losses, costs])[~front]
  )


@pytest.mark.parametrize('losses, costs', [([1, 2], [1]), ([[1]], [1]), ([1], [[[1]]])])
def test_shapes_that_do_not_fit_are_an_error(losses, costs):
  with pytest.raises(ConfigError, match='got shapes'):
    pareto_front(losses, costs)
