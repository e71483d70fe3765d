"""The order in which halving sees scores: best first, by fronts, spread for calibration, correlated with the end."""

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import stats

from lmhp.sweeping.search import halving as h

INF, NAN = math.inf, math.nan


def test_promote_takes_the_best_by_score_then_number():
  assert h.promote({5: 1.0, 3: 1.0, 4: 0.5, 9: 1.0}, 2) == (3, 4)
  assert h.promote({0: NAN, 1: 2.0, 2: INF, 3: -INF}, 1) == (1,)
  assert h.promote({0: NAN, 1: 2.0, 2: INF}, 2) == (0, 1)
  assert h.promote({2: INF, 1: NAN}, 1) == (1,)
  assert h.promote({2: 1.0}, 5) == (2,) and h.promote({}, 1) == ()


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25))
def test_pareto_order_is_that_of_peeled_fronts(pairs):
  left, peeled = set(pairs), []
  while left:
    front = [
      a for a in left if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in left)
    ]
    peeled += sorted(front)
    left -= set(front)
  assert h.pareto_order(pairs) == [peeled.index(pair) for pair in pairs]


def test_pairs_are_promoted_by_front():
  scores = {
    0: (1.0, 9.0),
    1: (2.0, 8.0),
    2: (2.0, 9.5),
    3: (9.0, 1.0),
    4: (NAN, 0.0),
    5: INF,
  }
  assert [h.promote(scores, n) for n in (1, 2, 3, 4, 5)] == [
    (0,),
    (0, 1),
    (0, 1, 3),
    (0, 1, 2, 3),
    (0, 1, 2, 3, 4),
  ]
  assert h.calibration(scores, 2) == (0, 3)


@given(
  st.lists(st.integers(0, 9) | st.sampled_from([INF, NAN]), max_size=30),
  st.integers(0, 8),
)
def test_calibration_is_spread_over_the_finite_ranks(scores, m):
  scores = {10 + i: float(s) for i, s in enumerate(scores)}
  chosen = h.calibration(scores, m)
  finite = sorted((s, p) for p, s in scores.items() if math.isfinite(s))
  assert len(chosen) == min(m, len(finite)) and list(chosen) == sorted(chosen)
  ranks = sorted(finite.index((scores[p], p)) for p in chosen)
  assert ranks[:1] == [0][: len(ranks)]
  gaps = np.diff([*ranks, len(finite)])
  assert not ranks or gaps.max() - gaps.min() <= 1


def test_correlations_are_over_the_points_that_have_both():
  rng = np.random.default_rng(0)
  curves = {p: {10: rng.random(), 20: rng.random(), 40: rng.random()} for p in range(7)}
  del curves[2][20], curves[5][40]
  found = h.correlations(curves, (10, 20, 40))
  for step in (10, 20):
    both = [c for c in curves.values() if step in c and 40 in c]
    assert found[step] == pytest.approx(
      stats.spearmanr([c[step] for c in both], [c[40] for c in both])[0], abs=1e-12
    )
  assert list(found) == [10, 20]
  few = h.correlations({p: curves[p] for p in (0, 1)}, (10, 40))
  assert math.isnan(few[10]) and h.correlations({}, (10,)) == {}
  assert math.isnan(
    h.correlations({p: {1: float(p), 2: 7.0} for p in range(5)}, (1, 2))[1]
  )
  diverged = {p: {1: float(p), 2: INF if p < 2 else -float(p)} for p in range(5)}
  assert h.correlations(diverged, (1, 2))[1] < -0.9


def test_may_prune():
  assert (
    h.may_prune(0.5, 0.5) and not h.may_prune(0.49, 0.5) and not h.may_prune(NAN, -1.0)
  )
  assert h.may_prune(NAN, None) and h.may_prune(-1.0, None)
