"""The order of scores: promotion and Pareto fronts."""

import math

from hypothesis import given, strategies as st
import pytest

from lmhp.sweeping.search.score_order import pareto_order, promote

INF = math.inf
NAN = math.nan
PAIRS = {
  0: (1.0, 9.0),
  1: (2.0, 8.0),
  2: (2.0, 9.5),
  3: (9.0, 1.0),
  4: (NAN, 0.0),
  5: INF,
}


# --- promotion ------------------------------------------------------------------------


@pytest.mark.parametrize(
  'scores, n, points',
  [
    ({5: 1.0, 3: 1.0, 4: 0.5, 9: 1.0}, 2, (3, 4)),
    ({0: NAN, 1: 2.0, 2: INF, 3: -INF}, 1, (1,)),
    ({0: NAN, 1: 2.0, 2: INF}, 2, (0, 1)),
    ({2: INF, 1: NAN}, 1, (1,)),
    ({2: 1.0}, 5, (2,)),
    ({}, 1, ()),
  ],
)
def test_the_best_are_promoted_by_score_and_then_by_number(scores, n, points):
  assert promote(scores, n) == points


@pytest.mark.parametrize(
  'n, points', [(1, (0,)), (2, (0, 1)), (3, (0, 1, 3)), (4, (0, 1, 2, 3))]
)
def test_pairs_are_promoted_by_pareto_front(n, points):
  assert promote(PAIRS, n) == points


def test_pairs_that_are_not_finite_are_promoted_last():
  assert promote(PAIRS, 5) == (0, 1, 2, 3, 4)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25))
def test_pareto_order_is_that_of_fronts_removed_one_by_one(pairs):
  remaining = set(pairs)
  ordered = []
  while remaining:
    front = {pair for pair in remaining if not is_dominated(pair, remaining)}
    ordered += sorted(front)
    remaining -= front
  assert pareto_order(pairs) == [ordered.index(pair) for pair in pairs]


def is_dominated(pair, others):
  for other in others:
    if other != pair and other[0] <= pair[0] and other[1] <= pair[1]:
      return True
  return False
