"""Rungs, brackets and their cost, compared with the papers and with sums by hand."""

import heapq
import itertools
import math

from hypothesis import given, strategies as st
import numpy as np
import pytest

from lmhp.sweeping.search.rungs import (
  Bracket,
  HalvingCost,
  brackets,
  n_promoted,
  rungs,
)

# --- rungs ----------------------------------------------------------------------------

TOTALS = st.integers(1, 10**7)
ETAS = st.integers(2, 8)
FRACTIONS = st.floats(1e-4, 1.0)
NUMBERS = st.none() | st.integers(1, 9)


@given(TOTALS, ETAS, FRACTIONS, NUMBERS)
def test_rungs_increase_up_to_the_end(total, eta, first, n):
  steps = rungs(total, eta, first, n)
  assert steps[0] >= 1
  assert steps[-1] == total
  assert all(a < b for a, b in itertools.pairwise(steps))


@given(TOTALS, ETAS, FRACTIONS, NUMBERS)
def test_the_first_rung_is_at_its_fraction(total, eta, first, n):
  steps = rungs(total, eta, first, n)
  if len(steps) > 1:
    assert abs(steps[0] - max(1, first * total)) <= 0.5 + 1e-6 * total


@given(st.integers(10**5, 10**7), ETAS, st.floats(0.01, 1.0))
def test_rungs_have_nearly_equal_ratios_near_eta(total, eta, first):
  if first <= 1 / eta:
    steps = rungs(total, eta, first)
    ratios = np.array(steps[1:]) / steps[:-1]
    assert np.ptp(ratios) < 0.02 * ratios[0]
    assert eta**0.66 < ratios[0] < eta**1.51


@given(st.integers(10**6, 10**7), ETAS, st.floats(1e-4, 0.5), st.integers(1, 9))
def test_the_number_of_rungs_may_be_given(total, eta, first, n):
  assert len(rungs(total, eta, first, n)) == n


@pytest.mark.parametrize(
  'arguments, steps',
  [
    ((3**9, 3, 1 / 27), (3**6, 3**7, 3**8, 3**9)),
    ((1000, 10, 0.001), (1, 10, 100, 1000)),
    ((100, 3, 0.7), (70, 100)),
    ((100, 3, 1.0), (100,)),
    ((100, 3, 0.1, 1), (100,)),
    # From a twentieth of a step on. Most of the rungs are the first step.
    ((5, 2, 0.01), (1, 3, 5)),
  ],
)
def test_rungs_of_powers_are_exact(arguments, steps):
  assert rungs(*arguments) == steps


# --- brackets -------------------------------------------------------------------------


def test_brackets_are_those_of_the_paper():
  """arXiv:1603.06560, table 1."""
  sizes = [81, 34, 15, 8, 5]
  found = brackets(sum(sizes), 3, 5, 'hyperband')
  assert found == tuple(Bracket(rung, n) for rung, n in enumerate(sizes))


def test_successive_halving_has_one_bracket():
  assert brackets(7, 3, 5, 'successive') == (Bracket(0, 7),)


def sizes_of(n, eta, n_rungs):
  """{first rung: number of points}."""
  found = brackets(n, eta, n_rungs, 'hyperband')
  return {bracket.first_rung: bracket.n_points for bracket in found}


POINTS = st.integers(0, 300)
SMALL_ETAS = st.integers(2, 5)
RUNGS = st.integers(1, 6)


@given(POINTS, SMALL_ETAS, RUNGS)
def test_brackets_have_all_points_and_are_not_empty(n, eta, n_rungs):
  sizes = sizes_of(n, eta, n_rungs)
  assert sum(sizes.values()) == n
  assert all(sizes.values())
  assert list(sizes) == sorted(sizes)


@given(POINTS, SMALL_ETAS, RUNGS)
def test_one_more_point_makes_no_bracket_smaller(n, eta, n_rungs):
  sizes = sizes_of(n, eta, n_rungs)
  larger = sizes_of(n + 1, eta, n_rungs)
  assert all(larger[rung] >= size for rung, size in sizes.items())


@given(POINTS, SMALL_ETAS, RUNGS)
def test_brackets_are_those_of_webster_given_out_one_by_one(n, eta, n_rungs):
  weights = [math.ceil(n_rungs * eta**s / (s + 1)) for s in range(n_rungs - 1, -1, -1)]
  quotients = []
  for rung, weight in enumerate(weights):
    quotients += [(weight / (2 * i + 1), -rung) for i in range(n)]
  sizes = {}
  for _, negative_rung in heapq.nlargest(n, quotients):
    sizes[-negative_rung] = sizes.get(-negative_rung, 0) + 1
  assert sizes_of(n, eta, n_rungs) == sizes


@given(st.integers(1, 1000), st.integers(2, 9))
def test_one_of_eta_points_is_promoted_rounded_up(n, eta):
  assert n_promoted(n, eta) == math.ceil(n / eta)


# --- cost -----------------------------------------------------------------------------


@pytest.mark.parametrize(
  'cost, n, steps',
  [
    (HalvingCost((1, 3, 9, 27), 3, 0, 0.0, 'successive'), 27, 27 + 9 * 2 + 3 * 6 + 18),
    # Forks of 20% of their rungs.
    (HalvingCost((10, 30, 90), 3, 0, 0.2, 'successive'), 9, 9 * 12 + 3 * 26 + 60),
    # A fork has at least one step.
    (HalvingCost((2, 8), 4, 0, 0.2, 'successive'), 4, 4 * 3 + 6),
    # Ranks 0, 3 and 6 of 9 calibrate. Two of them may not be among the best three, and none
    # of them the best.
    (
      HalvingCost((10, 30, 90), 3, 3, 0.0, 'successive'),
      9,
      90 + (3 + 2) * 20 + (1 + 3) * 60,
    ),
  ],
)
def test_the_cost_is_a_sum_by_hand(cost, n, steps):
  assert cost.steps(n) == steps
