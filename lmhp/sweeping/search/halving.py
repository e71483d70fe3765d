"""Successive halving and Hyperband, synchronous: which points are trained to which rung.

A point is one assignment of values to the parameters of a space. A rung is a step at which
points are scored. A bracket is a set of points, its members, that start together. At each rung,
all points of a bracket are scored, and the best fraction 1 / `eta` of them is promoted: these
points are trained to the next rung. `halving_state` is a pure function of the scores so far. It
is called after each stage, also in a study that was killed and continues.

A rung prunes (stops) points only if its scores predict the final scores. To test this, some
points of one bracket, the calibration points, are trained in full. If their ranks at a rung and
at the end do not agree, this rung promotes all points (`lmhp.sweeping.search.calibration`).

Source: Jamieson and Talwalkar, arXiv:1502.07943. Li et al., arXiv:1603.06560.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import math

import numpy as np

from lmhp.sweeping.search.calibration import RungTest, calibration_points, rung_tests
from lmhp.sweeping.search.rungs import MIN_CALIBRATION_POINTS, Bracket, n_promoted
from lmhp.sweeping.search.score_order import Score, promote


@dataclasses.dataclass(frozen=True)
class HalvingPlan:
  """A search with halving, as planned before the first score.

  Attributes:
    rungs: Steps at which points are scored, increasing. The last one is the end of training.
    eta: One in `eta` points is promoted.
    brackets: Brackets in order. The first bracket has the points with the lowest numbers, the
      second one has the next points, and so on. Each new cohort of a search appends brackets.
    n_calibration_points: Number of points that are trained in full, to test how well the
      scores at a rung predict the final scores.
    min_rank_correlation: Threshold of the test, -1 to 1, as for `calibration.rung_tests`. A
      rung prunes points only if it passes the test. None: every rung prunes.
  """

  rungs: tuple[int, ...]
  eta: int
  brackets: tuple[Bracket, ...]
  n_calibration_points: int = 6
  min_rank_correlation: float | None = 0.82


@dataclasses.dataclass(frozen=True)
class PointState:
  """Scores of one point so far.

  Attributes:
    scores: {step: score}. If the point diverges, its earlier scores are kept.
    diverged: True if the point diverged. A diverged point is not trained further. Its score is
      infinity at each rung that it did not reach.
  """

  scores: Mapping[int, Score] = dataclasses.field(default_factory=dict)
  diverged: bool = False

  @classmethod
  def of_seeds(
    cls, scores: Sequence[Mapping[int, Score]], diverged: Sequence[bool]
  ) -> PointState:
    """Returns the state of a point that has one trial for each of several seeds.

    The score of the point at a step is the mean over the seeds. The point has a score there only
    if each seed has a score there or has diverged. If a seed diverged before the step, the mean
    is infinity. A point has diverged if at least one of its seeds has diverged.

    Args:
      scores: {step: score} of each seed.
      diverged: For each seed, True if it has diverged.
    """
    # With two objectives, a score is a pair, and so is the mean.
    means: dict[int, Score] = {}
    for step in sorted(set().union(*scores)):
      if all(step in one for one in scores):
        mean = np.mean([one[step] for one in scores], axis=0).tolist()
        means[step] = tuple(mean) if isinstance(mean, list) else mean
      elif all(
        step in one or has_diverged
        for one, has_diverged in zip(scores, diverged, strict=True)
      ):
        # Each seed without a score at the step has diverged, so the mean is infinite.
        means[step] = math.inf
    return cls(means, any(diverged))


@dataclasses.dataclass(frozen=True)
class HalvingStage:
  """One stage of a search. Points are trained up to a step, and scored there.

  Attributes:
    step: Step of the rung up to which the points are trained.
    points: Numbers of the points.
    reason: Reason for the choice of these points, for the log.
  """

  step: int
  points: tuple[int, ...]
  reason: str


@dataclasses.dataclass
class HalvingState:
  """State of a search with halving.

  Attributes:
    stage: Next stage. None if the search is complete.
    calibration: Points that are trained in full, to test the rungs. Empty until they are
      chosen.
    tests: {step of a rung: test if its scores predict the final scores}. Empty until the
      calibration points are trained.
    pruned: Points that a rung stopped: neither promoted nor calibration points.
  """

  stage: HalvingStage | None = None
  calibration: tuple[int, ...] = ()
  tests: dict[int, RungTest] = dataclasses.field(default_factory=dict)
  pruned: set[int] = dataclasses.field(default_factory=set)

  @property
  def correlations(self) -> dict[int, float]:
    """{step of a rung: rank correlation of its scores with the final scores}."""
    return {step: test.correlation for step, test in self.tests.items()}


def halving_state(points: Mapping[int, PointState], plan: HalvingPlan) -> HalvingState:
  """Returns the state of a search, given all of its points.

  Args:
    points: {number of the point: its state}.
    plan: Plan of the search.

  Raises:
    ValueError: If the number of points is not that of the plan.
  """
  n_planned = sum(bracket.n_points for bracket in plan.brackets)
  if len(points) != n_planned:
    raise ValueError(f'got {len(points)} points, expected {n_planned}: {plan.brackets}')
  state = HalvingState()
  # Go through the stages, up to the first one in which a point has no score yet.
  for stage in _stages(points, plan, state):
    unfinished = [
      p
      for p in stage.points
      if not points[p].diverged and stage.step not in points[p].scores
    ]
    if unfinished:
      state.stage = dataclasses.replace(stage, points=tuple(sorted(unfinished)))
      break
  return state


def _stages(
  points: Mapping[int, PointState], plan: HalvingPlan, state: HalvingState
) -> Iterator[HalvingStage]:
  """Yields all stages, finished or not.

  A stage depends on the scores of the stages before it. So the caller must stop at the first
  stage that is not finished.

  The calibration points, the tests and the pruned points are written into `state`.
  """
  numbers = iter(sorted(points))
  for first_rung, n in plan.brackets:
    # All points of the bracket start together at its first rung.
    steps = plan.rungs[first_rung:]
    members = tuple(next(numbers) for _ in range(n))
    yield HalvingStage(steps[0], members, 'first rung')

    # In one bracket of the search, some points are trained to the end.
    calibrating: tuple[int, ...] = ()
    if len(steps) > 1 and not state.calibration:
      first_scores = _scores_at(points, members, steps[0])
      candidates = calibration_points(first_scores, plan.n_calibration_points)
      n_needed = min(plan.n_calibration_points, MIN_CALIBRATION_POINTS)
      # Calibrate in the first bracket that has enough points.
      if len(candidates) >= n_needed:
        calibrating = candidates
        state.calibration = calibrating
        for step in steps[1:]:
          yield HalvingStage(step, calibrating, 'calibration')
        state.tests = rung_tests(
          {step: _scores_at(points, calibrating, step) for step in steps},
          plan.min_rank_correlation,
        )
    yield from _promotions(points, plan, state, members, calibrating, steps)


def _promotions(
  points: Mapping[int, PointState],
  plan: HalvingPlan,
  state: HalvingState,
  members: tuple[int, ...],
  calibrating: Sequence[int],
  steps: Sequence[int],
) -> Iterator[HalvingStage]:
  """Yields the stages of a bracket after its first rung and its calibration.

  The members that reached a rung are ranked together with the calibration points. The number of
  promoted points is the number of members divided by `eta`, rounded up. A calibration point
  that was not promoted at one rung may be promoted at a later one.

  Args:
    points: States of all points.
    plan: Plan of the search.
    state: State of the search. The pruned points are added to it.
    members: Points of the bracket.
    calibrating: Calibration points of the bracket. Empty in all brackets but one.
    steps: Steps of the rungs of the bracket, increasing.
  """
  # At each rung, the best points continue. All points continue if the rung did not pass its
  # test.
  for step, next_step in zip(steps, steps[1:], strict=False):
    failure = _failure(plan, state, step)
    candidates = _scores_at(points, {*members, *calibrating}, step)
    if failure is None:
      members = promote(candidates, n_promoted(len(members), plan.eta))
      state.pruned |= {*candidates} - {*members} - {*calibrating}
      reason = f'best {len(members)} of {len(candidates)} at step {step}'
    else:
      reason = f'all points, because {failure}'
    yield HalvingStage(next_step, members, reason)


def _failure(plan: HalvingPlan, state: HalvingState, step: int) -> str | None:
  """Returns the reason why a rung prunes no points, or None if it prunes."""
  if plan.min_rank_correlation is None:
    return None
  if step not in state.tests:
    return (
      f'the rank correlation at step {step} could not be measured: no group of points that '
      f'starts there or earlier has {MIN_CALIBRATION_POINTS} points with a finite score'
    )
  return state.tests[step].failure


def _scores_at(
  points: Mapping[int, PointState], members: Iterable[int], step: int
) -> dict[int, Score]:
  """Returns {point: score at a step}. The score is infinity for a point without one.

  Each point has reached the step, or has diverged before it.
  """
  return {point: points[point].scores.get(step, math.inf) for point in members}
