"""The Pareto front: against the definition, pair by pair."""

import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.statistics.pareto import pareto_front


def by_definition(losses, costs):
  rows = [(loss, *np.atleast_1d(cost)) for loss, cost in zip(losses, costs)]
  dominates = lambda p, q: (
    all(a <= b for a, b in zip(p, q)) and any(a < b for a, b in zip(p, q))
  )
  return [not any(dominates(p, q) for p in rows) for q in rows]


@pytest.mark.parametrize('n_costs', [1, 2, 4])
@pytest.mark.parametrize('levels', [3, 10**6])  # with many ties, and with none
def test_it_is_the_definition(n_costs, levels):
  rng = np.random.default_rng(n_costs)
  for _ in range(20):
    losses, costs = (
      rng.integers(levels, size=40),
      rng.integers(levels, size=(40, n_costs)),
    )
    assert pareto_front(losses, costs).tolist() == by_definition(losses, costs)


def test_equal_runs_are_both_kept():
  assert pareto_front([1, 1, 1, 2], [5, 5, 6, 5]).tolist() == [True, True, False, False]
  assert pareto_front([2, 2], [[1, 1], [1, 1]]).all()


def test_what_is_not_known_is_not_on_the_front_and_beats_nothing():
  assert pareto_front([1, np.nan, np.inf, 0.5, 3], [1, 0, 0, np.nan, 2]).tolist() == [
    True,
    False,
    False,
    False,
    False,
  ]
  assert (
    not pareto_front([np.nan], [1]).any()
    and pareto_front([1.0], [1]).all()
    and pareto_front([], []).shape == (0,)
  )


def test_many_runs():
  rng = np.random.default_rng(0)
  losses, costs = rng.random(3000), rng.random((3000, 3))
  front = pareto_front(losses, costs)
  on = np.column_stack([losses, costs])[front]
  assert not np.any(
    (on[:, None] <= on[None]).all(-1) & (on[:, None] < on[None]).any(-1)
  )
  assert all(
    np.any((on <= row).all(axis=1)) for row in np.column_stack([losses, costs])[~front]
  )


@pytest.mark.parametrize('losses, costs', [([1, 2], [1]), ([[1]], [1]), ([1], [[[1]]])])
def test_mistakes_are_named(losses, costs):
  with pytest.raises(ConfigError, match='got shapes'):
    pareto_front(losses, costs)
