"""Halving on synthetic curves: against a naive simulation, cut off anywhere, never dearer than planned."""

import dataclasses
import heapq
import itertools
import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import stats

from lmhp.sweeping.search import halving as h
from lmhp.sweeping.search import rungs as ladder

INF = math.inf
KINDS = ('successive', 'hyperband')


def simulate(plan, curves, states=None, on_stage=lambda states: None):
  """Runs a search on curves, (points, rungs), where what is not finite diverges. Returns the states and the steps."""
  states, steps = dict(states or {p: h.PointState() for p in range(len(curves))}), 0
  while (stage := h.next_stage(states, plan)) is not None:
    assert list(stage.points) == sorted(set(stage.points)) and stage.points
    rung = plan.rungs.index(stage.step)
    for p in stage.points:
      reached = max(states[p].scores, default=0)
      assert not states[p].diverged and reached < stage.step
      steps += stage.step - reached
      if np.all(np.isfinite(curves[p][rung])):
        states[p] = h.PointState({**states[p].scores, stage.step: curves[p][rung]})
      else:
        states[p] = dataclasses.replace(states[p], diverged=True)
    on_stage(states)
  return states, steps


def furthest(states, plan):
  """Number of the last rung that each point was brought to, where one that diverged was so."""
  reached = {}
  for first, members in starts(plan):
    for p in members:
      reached[p] = (
        max((plan.rungs.index(s) for s in states[p].scores), default=first - 1)
        + states[p].diverged
      )
  return reached


def naive(plan, curves):
  """The same, from curves that are all known, and by nobody's stages."""
  last, depth, left, trusted, measured = (
    len(plan.rungs) - 1,
    {},
    list(range(len(curves))),
    {},
    False,
  )
  for first, n in plan.brackets:
    group, left, full = left[:n], left[n:], []
    depth.update(dict.fromkeys(group, first))
    if not measured and first < last:
      ranking = sorted(
        (p for p in group if curves[p][first] < INF),
        key=lambda p: (curves[p][first], p),
      )
      m = min(len(ranking), plan.calibration_points)
      if m >= min(3, plan.calibration_points):
        full, measured = (
          [ranking[math.floor(len(ranking) / m * i + 1e-9)] for i in range(m)],
          m > 0,
        )
        for k in range(first, last):
          here, end = [curves[p][k] for p in full], [curves[p][last] for p in full]
          if m >= 3 and len(set(here)) > 1 and len(set(end)) > 1:
            trusted[k] = stats.spearmanr(here, end)[0]
    group = set(group)
    for k in range(first, last):
      rivals = group | set(full)
      if plan.min_rank_correlation is None or (
        k in trusted and trusted[k] > plan.min_rank_correlation
      ):
        group = set(
          heapq.nsmallest(
            math.ceil(len(group) / plan.eta), rivals, key=lambda p: (curves[p][k], p)
          )
        )
      depth.update(dict.fromkeys(group, k + 1))
    depth.update(dict.fromkeys(full, last))
  died = {
    p: next((k for k, score in enumerate(curves[p]) if score == INF), last)
    for p in depth
  }
  return {
    p: max(min(depth[p], died[p]), next(f for f, ps in starts(plan) if p in ps))
    for p in depth
  }


def starts(plan):
  ends = np.cumsum([b.n_points for b in plan.brackets])
  return [
    (b.first_rung, range(end - b.n_points, end)) for b, end in zip(plan.brackets, ends)
  ]


def make_plan(
  n, rungs=(1, 3, 9, 27), eta=3, kind='successive', calibration=4, threshold=0.5
):
  return h.HalvingPlan(
    rungs, eta, kind, ladder.brackets(n, eta, len(rungs), kind), calibration, threshold
  )


@st.composite
def searches(draw, threshold=(None, 0.45, 0.91, -1.1)):
  """A plan and curves: crossing or not, with ties, some that diverge for good."""
  n, n_rungs, eta = (
    draw(st.integers(1, 24)),
    draw(st.integers(1, 4)),
    draw(st.integers(2, 4)),
  )
  rungs = ladder.rungs(draw(st.integers(60, 300)), eta, 0.02, n_rungs)
  plan = make_plan(
    n,
    rungs,
    eta,
    draw(st.sampled_from(KINDS)),
    draw(st.integers(0, 6)),
    draw(st.sampled_from(threshold)),
  )
  rng = np.random.default_rng(draw(st.integers(0, 2**32)))
  curves = (
    rng.integers(0, 9, (n, 1))
    + rng.integers(0, draw(st.sampled_from([1, 4, 20])), (n, len(rungs))) * 1.0
  )
  for p in np.flatnonzero(rng.random(n) < draw(st.sampled_from([0, 0.2, 0.9]))):
    curves[p, rng.integers(len(rungs)) :] = INF
  return plan, curves.tolist()


# --- cost -----------------------------------------------------------------------------------------------------------


def cost(plan, n, fraction):
  return ladder.cost_in_steps(
    n, plan.rungs, plan.eta, plan.calibration_points, fraction, plan.kind
  )


def forks(states, plan, fraction):
  """Steps of the forks that the scores below the end were taken from, of those that diverged on the way too."""
  reached = furthest(states, plan)
  return sum(
    ladder.cooldown_steps(plan.rungs[k], fraction)
    for p in states
    for k in range(next(f for f, ps in starts(plan) if p in ps), reached[p] + 1)
    if k < len(plan.rungs) - 1
  )


@settings(max_examples=300, deadline=None)
@given(searches(threshold=(None,)), st.sampled_from([0.0, 0.1, 0.2, 1.0]))
def test_a_search_that_may_prune_is_never_dearer_than_its_plan(search, fraction):
  plan, curves = search
  states, steps = simulate(plan, curves)
  assert steps + forks(states, plan, fraction) <= cost(plan, len(curves), fraction)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
  'calibration, fraction', [(0, 0.0), (0, 0.2), (2, 0.0), (3, 0.2), (50, 0.2)]
)
def test_the_cost_is_reached(kind, calibration, fraction):
  """The dearest of many searches costs what was planned; without calibration, all do."""
  plan, rng = (
    make_plan(11, (2, 5, 12), 2, kind, calibration, None),
    np.random.default_rng(0),
  )
  found = [
    simulate(plan, rng.random((11, 3)).tolist())
    for _ in range(300 if calibration in (2, 3) else 10)
  ]
  costs = [steps + forks(states, plan, fraction) for states, steps in found]
  assert max(costs) == cost(plan, 11, fraction)
  assert min(costs) == max(costs) or calibration in (2, 3)


@settings(deadline=None)
@given(searches(), st.floats(0, 5e4), st.sampled_from([0.0, 0.2]))
def test_points_for_inverts_the_cost(search, budget, fraction):
  plan, _ = search
  n = ladder.points_for(
    budget, plan.rungs, plan.eta, plan.calibration_points, fraction, plan.kind
  )
  assert (n == 0 or cost(plan, n, fraction) <= budget) and budget < cost(
    plan, n + 1, fraction
  )
  costs = [cost(plan, i, fraction) for i in range(40)]
  assert all(a < b for a, b in itertools.pairwise(costs))  # so there is one inverse
  exact = ladder.points_for(
    costs[-1], plan.rungs, plan.eta, plan.calibration_points, fraction, plan.kind
  )
  assert exact == 39


# --- the search -----------------------------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(searches())
def test_a_search_is_the_naive_one(search):
  plan, curves = search
  states, _ = simulate(plan, curves)
  assert furthest(states, plan) == naive(plan, curves)


@settings(max_examples=100, deadline=None)
@given(searches(), st.randoms(use_true_random=False))
def test_a_search_cut_off_anywhere_ends_the_same(search, random):
  plan, curves = search
  moments = []
  end, _ = simulate(plan, curves, on_stage=lambda states: moments.append(dict(states)))
  for before, after in itertools.pairwise([{p: h.PointState() for p in end}, *moments]):
    half = {
      p: after[p] if random.random() < 0.5 else before[p] for p in before
    }  # a part of a stage is done
    assert simulate(plan, curves, half)[0] == end


@settings(max_examples=100, deadline=None)
@given(searches())
def test_verdicts_are_final_and_come_to_an_end(search):
  plan, curves = search
  seen = [h.verdicts({p: h.PointState() for p in range(len(curves))}, plan)]
  assert set(seen[0].values()) == {'active'}
  end, _ = simulate(
    plan, curves, on_stage=lambda states: seen.append(h.verdicts(states, plan))
  )
  for before, after in itertools.pairwise(seen):
    assert all(after[p] == word for p, word in before.items() if word != 'active')
  finished = {
    p for p, state in end.items() if state.diverged or plan.rungs[-1] in state.scores
  }
  assert seen[-1] == {p: 'finished' if p in finished else 'pruned' for p in end}
  assert h.halving_state(end, plan).pruned.isdisjoint(
    h.halving_state(end, plan).calibration
  )


def power_laws(floors, rates, rungs):
  return (
    np.array(floors)[:, None] + 3 * np.array(rungs, float) ** -np.array(rates)[:, None]
  ).tolist()


@pytest.mark.parametrize('kind', KINDS)
def test_where_curves_do_not_cross_the_best_is_found_for_a_fraction(kind):
  plan = make_plan(81, (10, 30, 90, 270), 3, kind)
  floors = np.random.default_rng(0).permutation(81) / 40
  states, steps = simulate(plan, power_laws(floors, np.full(81, 0.4), plan.rungs))
  found = h.halving_state(states, plan)
  assert found.stage is None and found.correlations == {10: 1.0, 30: 1.0, 90: 1.0}
  best_of_first = min(range(plan.brackets[0].n_points), key=lambda p: floors[p])
  assert h.verdicts(states, plan)[best_of_first] == 'finished'
  assert min((s.scores[270], p) for p, s in states.items() if 270 in s.scores)[
    1
  ] == np.argmin(floors)
  assert steps < 0.4 * 81 * 270 and len(found.pruned) > 40


def test_where_ranks_are_reversed_nobody_is_pruned_unless_told_to():
  rungs = (10, 100, 1000)
  ends = np.arange(9.0)
  curves = np.array(
    [8 - ends, 0.6 * (8 - ends) + 0.4 * ends, ends]
  ).T.tolist()  # who falls fast ends high
  ranks = stats.rankdata(curves, axis=0)
  assert (ranks[:, 0] == 10 - ranks[:, 2]).all()
  states, steps = simulate(make_plan(9, rungs), curves)
  found = h.halving_state(states, make_plan(9, rungs))
  assert steps == 9 * 1000 and not found.pruned and found.correlations[10] == -1.0
  blind, _ = simulate(make_plan(9, rungs, calibration=0, threshold=None), curves)
  assert [p for p, s in blind.items() if 1000 in s.scores] != [
    int(np.argmin([c[2] for c in curves]))
  ]


def test_a_calibration_point_that_a_rung_missed_may_come_back():
  curves = [[float(p), float(p), float(p)] for p in range(9)]
  curves[6] = [
    6.0,
    -1.0,
    -1.0,
  ]  # the best of the last third at the first rung, the best of all later
  plan = make_plan(9, (1, 3, 9), calibration=3, threshold=None)
  states, _ = simulate(plan, curves)
  assert [p for p, s in states.items() if 9 in s.scores] == [0, 3, 6]
  assert [p for p, s in states.items() if 3 in s.scores] == [
    0,
    1,
    2,
    3,
    6,
  ]  # 6 took the one place of the second rung


def test_stages_in_order_with_their_reasons():
  plan, seen = make_plan(9, (1, 3, 9), calibration=3, threshold=0.6), []
  curves = [
    [float(p), float(p) if p else 99.0, float(p)] for p in range(9)
  ]  # the second rung is misled about the best
  states = {p: h.PointState() for p in range(9)}
  while (stage := h.next_stage(states, plan)) is not None:
    seen.append(stage)
    states = {
      p: h.PointState({**s.scores, stage.step: curves[p][plan.rungs.index(stage.step)]})
      if p in stage.points
      else s
      for p, s in states.items()
    }
  assert [s[:2] for s in seen] == [
    (1, tuple(range(9))),
    (3, (0, 3, 6)),
    (9, (0, 3, 6)),
    (3, (1, 2)),
    (9, (1, 2)),
  ]
  assert [s.reason for s in seen] == [
    'first rung',
    'calibration',
    'calibration',
    'best 3 of 9 at step 1',
    'all: rank correlation -0.50 at step 3, below 0.6',
  ]


def test_one_calibration_serves_all_brackets_and_later_ones():
  plan = make_plan(49, kind='hyperband')
  plan = dataclasses.replace(
    plan, brackets=(*plan.brackets, ladder.Bracket(0, 9))
  )  # a study that was extended
  rng = np.random.default_rng(1)
  curves = np.repeat(rng.random((58, 1)), 4, axis=1).tolist()
  reasons = []
  states = {p: h.PointState() for p in range(58)}
  states, _ = simulate(
    plan, curves, on_stage=lambda s: reasons.append(h.next_stage(s, plan))
  )
  assert sum(s is not None and s.reason == 'calibration' for s in reasons) == 3
  assert set(h.halving_state(states, plan).calibration) < set(range(27))
  assert sum(27 in s.scores for p, s in states.items() if p >= 49) == 1


def test_where_the_first_bracket_diverges_the_next_calibrates():
  plan = make_plan(49, kind='hyperband', threshold=0.5)
  curves = [[INF] * 4] * 27 + [[float(p)] * 4 for p in range(27, 49)]
  states, _ = simulate(plan, curves)
  found = h.halving_state(states, plan)
  assert set(found.calibration) < set(range(27, 39)) and found.correlations == {
    3: 1.0,
    9: 1.0,
  }
  assert all(
    state.diverged and not state.scores for p, state in states.items() if p < 27
  )


def test_a_point_that_diverges_later_changes_no_earlier_decision():
  curves = [[0.0, INF, INF], [1.0, 1.0, 1.0], [2.0, 0.0, 0.0], [3.0, 3.0, 3.0]]
  plan = make_plan(4, (1, 2, 4), 2, calibration=0, threshold=None)
  states, _ = simulate(plan, curves)
  assert h.verdicts(states, plan) == {
    0: 'finished',
    1: 'finished',
    2: 'pruned',
    3: 'pruned',
  }


def test_pairs_go_through_a_search():
  plan = make_plan(9, (1, 3, 9), calibration=3, threshold=None)
  curves = [
    [(float(p), float(8 - p))] * 3 if p % 2 else [(p + 9.0, 20.0)] * 3 for p in range(9)
  ]
  states, _ = simulate(plan, curves)
  assert 9 in states[1].scores and h.halving_state(states, plan).correlations == {
    1: 1.0,
    3: 1.0,
  }
  assert {p for p, s in states.items() if 3 in s.scores} >= {1, 3, 5}


def test_the_number_of_points_is_the_plans():
  with pytest.raises(ValueError, match='2 points'):
    h.next_stage({0: h.PointState(), 1: h.PointState()}, make_plan(3))


def test_a_plan_survives_json():
  for plan in (make_plan(49, kind='hyperband', threshold=None), make_plan(5)):
    assert (
      h.HalvingPlan.from_json(json.loads(json.dumps(dataclasses.asdict(plan)))) == plan
    )


def test_seeds_are_averaged():
  of = h.PointState.of_seeds
  assert of([{1: 2.0, 3: 4.0}, {1: 3.0}], [False, False]) == h.PointState(
    {1: 2.5}, False
  )
  assert of([{1: 2.0, 3: 4.0}, {1: 3.0}], [False, True]) == h.PointState(
    {1: 2.5, 3: INF}, True
  )
  assert of([{1: 2.0}, {1: INF}], [False, True]) == h.PointState({1: INF}, True)
  assert of([{1: (2.0, 1.0)}, {1: (4.0, 2.0)}], [False, False]) == h.PointState(
    {1: (3.0, 1.5)}, False
  )
  assert of([{}], [True]) == h.PointState({}, True)
