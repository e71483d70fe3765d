"""Rungs, brackets and their cost: against the papers' table, an allocation seat by seat, and sums by hand."""

import heapq
import itertools
import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from lmhp.sweeping.search import rungs as ladder


@given(
  st.integers(1, 10**7),
  st.integers(2, 8),
  st.floats(1e-4, 1.0),
  st.none() | st.integers(1, 9),
)
def test_rungs_increase_to_the_end(total, eta, first, n):
  rungs = ladder.rungs(total, eta, first, n)
  assert (
    rungs[-1] == total
    and rungs[0] >= 1
    and all(a < b for a, b in itertools.pairwise(rungs))
  )
  if len(rungs) > 1:
    assert abs(rungs[0] - max(1, first * total)) <= 0.5 + 1e-6 * total
  if n is None and total * first > 1000 and first <= 1 / eta:
    ratios = np.array(rungs[1:]) / rungs[:-1]
    assert np.ptp(ratios) < 0.02 * ratios[0] and eta**0.66 < ratios[0] < eta**1.51
  if n is not None and total > 10**6 and first < 0.5:
    assert len(rungs) == n


def test_rungs_of_powers_are_exact():
  assert ladder.rungs(3**9, 3, 1 / 27) == (3**6, 3**7, 3**8, 3**9)
  assert ladder.rungs(1000, 10, 0.001) == (1, 10, 100, 1000)
  assert ladder.rungs(5, 2, 0.01) == (
    1,
    3,
    5,
  )  # from a 20th of a step on: most are the first step
  assert ladder.rungs(100, 3, 0.7) == (70, 100) and ladder.rungs(100, 3, 1.0) == (
    100,
  ) == ladder.rungs(100, 3, 0.1, 1)


def test_brackets_are_the_papers():
  found = ladder.brackets(
    81 + 34 + 15 + 8 + 5, 3, 5, 'hyperband'
  )  # arXiv:1603.06560, table 1
  assert [tuple(b) for b in found] == [(0, 81), (1, 34), (2, 15), (3, 8), (4, 5)]
  assert ladder.brackets(7, 3, 5, 'successive') == (ladder.Bracket(0, 7),)


@given(st.integers(0, 300), st.integers(2, 5), st.integers(1, 6))
def test_brackets_hold_all_points_in_proportion_and_grow(n, eta, n_rungs):
  held = {
    b.first_rung: b.n_points for b in ladder.brackets(n, eta, n_rungs, 'hyperband')
  }
  assert sum(held.values()) == n and all(held.values()) and list(held) == sorted(held)
  more = {
    b.first_rung: b.n_points for b in ladder.brackets(n + 1, eta, n_rungs, 'hyperband')
  }
  assert all(more[rung] >= held[rung] for rung in held)
  weights = [math.ceil(n_rungs * eta**s / (s + 1)) for s in range(n_rungs - 1, -1, -1)]
  seats = heapq.nlargest(
    n, ((w / (2 * i + 1), -rung) for rung, w in enumerate(weights) for i in range(n))
  )
  assert held == {
    rung: count
    for rung in range(n_rungs)
    if (count := sum(-r == rung for _, r in seats))
  }


@given(st.integers(1, 1000), st.integers(2, 9))
def test_keep_never_prunes_more_than_its_share_nor_all(n, eta):
  assert (
    1 <= ladder.n_promoted(n, eta) <= n
    and n / eta <= ladder.n_promoted(n, eta) < n / eta + 1
  )


def test_costs_by_hand():
  assert (
    ladder.cost_in_steps(27, (1, 3, 9, 27), 3, 0, 0.0, 'successive')
    == 27 + 9 * 2 + 3 * 6 + 18
  )
  assert (
    ladder.cost_in_steps(9, (10, 30, 90), 3, 0, 0.2, 'successive')
    == 9 * 12 + 3 * 26 + 60
  )
  # In full: ranks 0, 3 and 6 of 9, of which the last two may not be among the best 3, then none the best.
  assert (
    ladder.cost_in_steps(9, (10, 30, 90), 3, 3, 0.0, 'successive')
    == 90 + (3 + 2) * 20 + (1 + 3) * 60
  )
  assert (
    ladder.cooldown_steps(2, 0.2) == 1
    and ladder.cooldown_steps(100, 0.2) == 20
    and ladder.cooldown_steps(100, 0.0) == 0
  )
