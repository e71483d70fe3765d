"""Halving on synthetic curves, compared with a direct simulation, interrupted, and costed."""

import dataclasses
import functools
import heapq
import itertools
import math

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
from scipy import stats

from lmhp.sweeping.search.halving import HalvingPlan, PointState, halving_state
from lmhp.sweeping.search.rungs import Bracket, HalvingCost, brackets, rungs

INF = math.inf
KINDS = ('successive', 'hyperband')


@dataclasses.dataclass
class Simulated:
  """A finished search.

  Attributes:
    states: State of each point.
    steps: Steps that were trained.
    stages: Stages in order.
    moments: States before the first stage and after each stage.
  """

  states: dict
  steps: int
  stages: list
  moments: list


def simulate(plan, curves, states=None):
  """Runs a search on curves, (points, rungs). A score that is not finite is a divergence."""
  if states is None:
    states = {point: PointState() for point in range(len(curves))}
  states = dict(states)
  found = Simulated(states, 0, [], [dict(states)])
  while (stage := halving_state(states, plan).stage) is not None:
    assert stage.points
    assert list(stage.points) == sorted(set(stage.points))
    rung = plan.rungs.index(stage.step)
    for point in stage.points:
      before = states[point]
      reached = max(before.scores, default=0)
      assert not before.diverged
      assert reached < stage.step
      found.steps += stage.step - reached
      score = curves[point][rung]
      if np.all(np.isfinite(score)):
        states[point] = PointState({**before.scores, stage.step: score})
      else:
        states[point] = dataclasses.replace(before, diverged=True)
    found.stages.append(stage)
    found.moments.append(dict(states))
  return found


def first_rung_of_point(plan):
  """{point: index of the first rung of its bracket}."""
  first = {}
  for bracket in plan.brackets:
    for _ in range(bracket.n_points):
      first[len(first)] = bracket.first_rung
  return first


def last_rung_of_point(plan, states):
  """{point: index of the last rung that it was trained to, or diverged on the way to}."""
  last = {}
  for point, first in first_rung_of_point(plan).items():
    reached = [plan.rungs.index(step) for step in states[point].scores]
    last[point] = max(reached, default=first - 1) + states[point].diverged
  return last


def points_at(states, step):
  return [point for point, state in states.items() if step in state.scores]


def make_plan(n, steps=(1, 3, 9, 27), eta=3, kind='successive', **fields):
  return HalvingPlan(
    rungs=steps, eta=eta, brackets=brackets(n, eta, len(steps), kind), **fields
  )


@st.composite
def searches(draw, thresholds=(None, 0.45, 0.91, -1.1)):
  """(plan, kind, curves). Curves cross or not, have ties, and some diverge."""
  n = draw(st.integers(1, 24))
  n_rungs = draw(st.integers(1, 4))
  eta = draw(st.integers(2, 4))
  kind = draw(st.sampled_from(KINDS))
  steps = rungs(draw(st.integers(60, 300)), eta, 0.02, n_rungs)
  plan = make_plan(
    n,
    steps,
    eta,
    kind,
    n_calibration_points=draw(st.integers(0, 7)),
    min_rank_correlation=draw(st.sampled_from(thresholds)),
  )
  rng = np.random.default_rng(draw(st.integers(0, 2**32)))
  noise = draw(st.sampled_from([1, 4, 20]))
  curves = rng.integers(0, 9, (n, 1)) + 1.0 * rng.integers(0, noise, (n, len(steps)))
  diverges = rng.random(n) < draw(st.sampled_from([0, 0.2, 0.9]))
  for point in np.flatnonzero(diverges):
    curves[point, rng.integers(len(steps)) :] = INF
  return plan, kind, curves.tolist()


# --- the search -----------------------------------------------------------------------


class Direct:
  """The same search, computed from curves that are all known, without stages.

  Attributes:
    last_rung: {point: index of the last rung that it is trained to}.
  """

  def __init__(self, plan, curves):
    self._plan = plan
    self._curves = curves
    self._end = len(plan.rungs) - 1
    self._correlations = {}
    self._p_values = {}
    self._n_tests = 0
    self._is_calibrated = False
    self.last_rung = {}
    points = list(range(len(curves)))
    for first, n in plan.brackets:
      self._add_bracket(first, points[:n])
      points = points[n:]
    for point, first in first_rung_of_point(plan).items():
      scores = curves[point]
      diverged = [rung for rung, score in enumerate(scores) if score == INF]
      trained = min([self.last_rung[point], *diverged[:1]])
      self.last_rung[point] = max(trained, first)

  def _add_bracket(self, first, points):
    plan, curves = self._plan, self._curves
    self.last_rung.update(dict.fromkeys(points, first))
    calibrating = []
    if not self._is_calibrated and first < self._end:
      calibrating = self._calibrate(first, points)
    members = set(points)
    for rung in range(first, self._end):
      if plan.min_rank_correlation is None or self._passes(rung):
        members = heapq.nsmallest(
          math.ceil(len(members) / plan.eta),
          members | set(calibrating),
          key=lambda point, rung=rung: (curves[point][rung], point),
        )
        members = set(members)
      self.last_rung.update(dict.fromkeys(members, rung + 1))
    self.last_rung.update(dict.fromkeys(calibrating, self._end))

  def _passes(self, rung):
    """Returns True if the correlation is above the threshold and is no chance result."""
    if rung not in self._correlations:
      return False
    is_high = self._correlations[rung] > self._plan.min_rank_correlation
    return is_high and self._n_tests * self._p_values[rung] < 0.1 + 1e-9

  def _calibrate(self, first, points):
    """Returns the calibration points, and tests the correlations of rungs with the end."""
    curves = self._curves
    finite = [point for point in points if curves[point][first] < INF]
    ranking = sorted(finite, key=lambda point: (curves[point][first], point))
    m = min(len(ranking), self._plan.n_calibration_points)
    if m < min(5, self._plan.n_calibration_points):
      return []
    self._is_calibrated = m > 0
    chosen = [ranking[math.floor(len(ranking) / m * i + 1e-9)] for i in range(m)]
    self._n_tests = self._end - first
    for rung in range(first, self._end):
      reached = [point for point in chosen if curves[point][rung] < INF]
      here = [curves[point][rung] for point in reached]
      at_end = [curves[point][self._end] for point in reached]
      if len(reached) >= 5 and len(set(here)) > 1 and len(set(at_end)) > 1:
        self._correlations[rung] = stats.spearmanr(here, at_end)[0]
        self._p_values[rung] = exact_p_value(here, at_end)
    return chosen


@functools.cache
def orders(n):
  """All orders of n numbers, (n!, n)."""
  return np.array(list(itertools.permutations(range(n))))


def exact_p_value(a, b):
  """Fraction of the orders of b whose rank correlation with a is at least that of b."""
  ranks_a, ranks_b = stats.rankdata(a), stats.rankdata(b)
  products = ranks_b[orders(len(b))] @ ranks_a
  return np.mean(products >= ranks_b @ ranks_a - 1e-9)


@settings(max_examples=400, deadline=None)
@given(searches())
def test_points_are_trained_as_far_as_in_a_direct_simulation(search):
  plan, _, curves = search
  states = simulate(plan, curves).states
  assert last_rung_of_point(plan, states) == Direct(plan, curves).last_rung


@settings(max_examples=100, deadline=None)
@given(searches(), st.randoms(use_true_random=False))
def test_a_search_interrupted_within_a_stage_ends_the_same(search, random):
  plan, _, curves = search
  whole = simulate(plan, curves)
  for before, after in itertools.pairwise(whole.moments):
    partly_done = {}
    for point in before:
      partly_done[point] = (after if random.random() < 0.5 else before)[point]
    assert simulate(plan, curves, partly_done).states == whole.states


@settings(max_examples=100, deadline=None)
@given(searches())
def test_pruned_points_stay_pruned(search):
  plan, _, curves = search
  moments = simulate(plan, curves).moments
  pruned = [halving_state(states, plan).pruned for states in moments]
  assert not pruned[0]
  assert all(before <= after for before, after in itertools.pairwise(pruned))


@settings(max_examples=100, deadline=None)
@given(searches())
def test_at_the_end_each_point_is_complete_diverged_or_pruned(search):
  plan, _, curves = search
  states = simulate(plan, curves).states
  state = halving_state(states, plan)
  complete = set(points_at(states, plan.rungs[-1]))
  diverged = {point for point, one in states.items() if one.diverged}
  assert complete | diverged | state.pruned == set(states)
  assert not complete & state.pruned
  assert not state.pruned & set(state.calibration)


# --- rungs that predict the end -------------------------------------------------------


@pytest.mark.parametrize('kind', KINDS)
def test_the_best_of_curves_that_do_not_cross_is_found_for_a_fraction(kind):
  plan = make_plan(81, (10, 30, 90, 270), kind=kind)
  limits = np.random.default_rng(0).permutation(81) / 40
  curves = limits[:, None] + 3 * np.array(plan.rungs, float) ** -0.4
  found = simulate(plan, curves.tolist())
  state = halving_state(found.states, plan)
  assert state.stage is None
  assert state.correlations == {10: 1.0, 30: 1.0, 90: 1.0}
  assert len(state.pruned) > 40
  assert found.steps < 0.4 * 81 * 270

  complete = points_at(found.states, 270)
  n_first = plan.brackets[0].n_points
  assert min(range(n_first), key=lambda point: limits[point]) in complete
  best = min(complete, key=lambda point: found.states[point].scores[270])
  assert best == np.argmin(limits)


def reversed_curves():
  """Nine curves whose ranks at the first of three rungs are reversed at the end."""
  ends = np.arange(9.0)
  starts = 8 - ends
  return np.array([starts, 0.6 * starts + 0.4 * ends, ends]).T.tolist()


def test_a_rung_with_reversed_ranks_prunes_no_point():
  plan = make_plan(9, (10, 100, 1000))
  found = simulate(plan, reversed_curves())
  state = halving_state(found.states, plan)
  assert found.steps == 9 * 1000
  assert not state.pruned
  assert state.correlations[10] == -1.0


@pytest.mark.parametrize(
  'threshold, n_calibration_points, prunes',
  [(0.94, 6, True), (0.95, 6, False), (0.94, 4, False), (None, 4, True)],
)
def test_a_rung_prunes_from_the_threshold_on(threshold, n_calibration_points, prunes):
  """The correlation over six points is 33 / 35. It is not measured over four points."""
  plan = make_plan(
    24,
    (10, 1000),
    n_calibration_points=n_calibration_points,
    min_rank_correlation=threshold,
  )
  ends = np.arange(24.0)
  ends[[4, 8]] = 8, 4
  curves = np.array([np.arange(24.0), ends]).T.tolist()
  states = simulate(plan, curves).states
  assert bool(halving_state(states, plan).pruned) == prunes


def test_the_log_states_why_no_correlation_was_measured():
  curves = [[float(point), 7.0] for point in range(9)]
  plan = make_plan(9, (10, 100))
  stage = simulate(plan, curves).stages[-1]
  assert 'could not be measured: all 6 calibration points have equal' in stage.reason
  assert 'nan' not in stage.reason

  few = make_plan(4, (10, 100))
  stage = simulate(few, curves[:4]).stages[-1]
  assert 'could not be measured: no group' in stage.reason


def test_without_a_threshold_a_rung_with_reversed_ranks_loses_the_best():
  plan = make_plan(
    9, (10, 100, 1000), n_calibration_points=0, min_rank_correlation=None
  )
  found = simulate(plan, reversed_curves())
  assert 0 not in points_at(found.states, 1000)


def test_a_calibration_point_may_be_promoted_at_a_later_rung():
  curves = [[float(point)] * 3 for point in range(9)]
  # The best of the last third at the first rung, and the best of all at the others.
  curves[6] = [6.0, -1.0, -1.0]
  plan = make_plan(9, (1, 3, 9), n_calibration_points=3, min_rank_correlation=None)
  states = simulate(plan, curves).states
  assert points_at(states, 3) == [0, 1, 2, 3, 6]
  assert points_at(states, 9) == [0, 3, 6]


def test_stages_follow_in_order():
  plan = make_plan(18, (1, 3, 9), n_calibration_points=6, min_rank_correlation=0.6)
  curves = [[float(point)] * 3 for point in range(18)]
  curves[0][1] = 99.0  # the second rung is wrong about the best point
  found = simulate(plan, curves)
  calibrating = (0, 3, 6, 9, 12, 15)
  assert [(stage.step, stage.points) for stage in found.stages] == [
    (1, tuple(range(18))),
    (3, calibrating),
    (9, calibrating),
    (3, (1, 2, 4, 5)),
    (9, (1, 2, 4, 5)),
  ]
  reasons = [stage.reason for stage in found.stages]
  assert reasons[:3] == ['first rung', 'calibration', 'calibration']
  assert {'6', '18', '1'} <= set(reasons[3].split())
  assert {'0.143', '3', '0.6'} <= set(reasons[4].split())


# --- brackets -------------------------------------------------------------------------


def test_one_calibration_serves_all_brackets_and_later_ones():
  plan = make_plan(49, kind='hyperband')
  # A study that was extended by nine points.
  plan = dataclasses.replace(plan, brackets=(*plan.brackets, Bracket(0, 9)))
  rng = np.random.default_rng(1)
  curves = np.repeat(rng.random((58, 1)), 4, axis=1).tolist()
  found = simulate(plan, curves)
  assert sum(stage.reason == 'calibration' for stage in found.stages) == 3
  assert set(halving_state(found.states, plan).calibration) < set(range(27))
  assert sum(point >= 49 for point in points_at(found.states, 27)) == 1


def test_the_next_bracket_calibrates_if_the_first_diverges():
  plan = make_plan(49, kind='hyperband', min_rank_correlation=0.5)
  curves = [[INF] * 4] * 27 + [[float(point)] * 4 for point in range(27, 49)]
  states = simulate(plan, curves).states
  state = halving_state(states, plan)
  assert set(state.calibration) < set(range(27, 39))
  assert state.correlations == {3: 1.0, 9: 1.0}
  for point in range(27):
    assert states[point] == PointState({}, diverged=True)


def test_a_later_divergence_changes_no_earlier_decision():
  curves = [[0.0, INF, INF], [1.0, 1.0, 1.0], [2.0, 0.0, 0.0], [3.0, 3.0, 3.0]]
  plan = make_plan(
    4, (1, 2, 4), eta=2, n_calibration_points=0, min_rank_correlation=None
  )
  states = simulate(plan, curves).states
  assert points_at(states, 2) == [1]
  assert points_at(states, 4) == [1]


def test_two_objectives_are_promoted_by_pareto_fronts():
  plan = make_plan(9, (1, 3, 9), n_calibration_points=6, min_rank_correlation=None)
  curves = []
  for point in range(9):
    score = (float(point), float(8 - point)) if point % 2 else (point + 9.0, 20.0)
    curves.append([score] * 3)
  states = simulate(plan, curves).states
  assert halving_state(states, plan).correlations == {1: 1.0, 3: 1.0}
  assert 1 in points_at(states, 9)
  assert {1, 3, 5} <= set(points_at(states, 3))


def test_another_number_of_points_than_planned_is_an_error():
  with pytest.raises(ValueError, match='2 points, expected 3'):
    halving_state({0: PointState(), 1: PointState()}, make_plan(3))


# --- seeds ----------------------------------------------------------------------------


@pytest.mark.parametrize(
  'scores, diverged, expected',
  [
    ([{1: 2.0, 3: 4.0}, {1: 3.0}], [False, False], PointState({1: 2.5}, False)),
    ([{1: 2.0, 3: 4.0}, {1: 3.0}], [False, True], PointState({1: 2.5, 3: INF}, True)),
    ([{1: 2.0}, {1: INF}], [False, True], PointState({1: INF}, True)),
    ([{1: (2.0, 1.0)}, {1: (4.0, 2.0)}], [False] * 2, PointState({1: (3.0, 1.5)})),
    ([{}], [True], PointState({}, True)),
  ],
)
def test_scores_of_seeds_are_averaged(scores, diverged, expected):
  assert PointState.of_seeds(scores, diverged) == expected


# --- cost -----------------------------------------------------------------------------


def cost_of(plan, kind, fork_fraction):
  return HalvingCost(
    plan.rungs, plan.eta, plan.n_calibration_points, fork_fraction, kind
  )


def fork_steps(plan, states, fraction):
  """Steps of the forks that scored all rungs below the end, also of diverged points."""
  steps = 0
  last_rung = last_rung_of_point(plan, states)
  for point, first in first_rung_of_point(plan).items():
    for step in plan.rungs[first : last_rung[point] + 1]:
      if fraction and step < plan.rungs[-1]:
        steps += max(1, round(fraction * step))
  return steps


@settings(max_examples=300, deadline=None)
@given(searches(thresholds=(None,)), st.sampled_from([0.0, 0.1, 0.2, 1.0]))
def test_a_search_costs_at_most_what_was_planned(search, fraction):
  plan, kind, curves = search
  found = simulate(plan, curves)
  steps = found.steps + fork_steps(plan, found.states, fraction)
  assert steps <= cost_of(plan, kind, fraction).steps(len(curves))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('n_calibration, fraction', [(0, 0.0), (0, 0.2), (50, 0.2)])
def test_the_planned_cost_is_exact_if_no_or_all_points_calibrate(
  kind, n_calibration, fraction
):
  assert set(costs_of_searches(kind, n_calibration, fraction, n_searches=10)) == {
    cost_of(small_plan(kind, n_calibration), kind, fraction).steps(11)
  }


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('n_calibration, fraction', [(2, 0.0), (3, 0.2)])
def test_the_planned_cost_is_that_of_the_most_expensive_search(
  kind, n_calibration, fraction
):
  planned = cost_of(small_plan(kind, n_calibration), kind, fraction).steps(11)
  assert max(costs_of_searches(kind, n_calibration, fraction, 300)) == planned


def small_plan(kind, n_calibration):
  return make_plan(
    11,
    (2, 5, 12),
    eta=2,
    kind=kind,
    n_calibration_points=n_calibration,
    min_rank_correlation=None,
  )


def costs_of_searches(kind, n_calibration, fraction, n_searches):
  plan = small_plan(kind, n_calibration)
  rng = np.random.default_rng(0)
  costs = []
  for _ in range(n_searches):
    found = simulate(plan, rng.random((11, 3)).tolist())
    costs.append(found.steps + fork_steps(plan, found.states, fraction))
  return costs


@settings(deadline=None)
@given(searches(), st.floats(0, 5e4), st.sampled_from([0.0, 0.2]))
def test_points_for_is_the_largest_number_within_a_budget(search, budget, fraction):
  plan, kind, _ = search
  cost = cost_of(plan, kind, fraction)
  n = cost.points_for(budget)
  assert n == 0 or cost.steps(n) <= budget
  assert budget < cost.steps(n + 1)


@settings(deadline=None)
@given(searches(), st.sampled_from([0.0, 0.2]))
def test_one_more_point_always_costs_more(search, fraction):
  plan, kind, _ = search
  cost = cost_of(plan, kind, fraction)
  costs = [cost.steps(n) for n in range(40)]
  assert all(fewer < more for fewer, more in itertools.pairwise(costs))
  assert cost.points_for(costs[-1]) == 39
