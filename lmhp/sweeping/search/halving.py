"""Successive halving and Hyperband, synchronous: which points are trained to which rung.

A point is one assignment of values to the parameters of a space. A rung is a step at which
points are scored. The members of a bracket are points that start together. At each rung,
all points of a bracket are scored, and one in `eta` points is promoted: it is trained to the
next rung. `halving_state` is a pure function of the scores so far. It is called after each
stage, also in a study that was killed and continues.

A rung prunes only if its scores predict the final scores. To measure this, some points of one
bracket, spread over the ranks at its first rung, are trained in full. If their ranks at a rung
and at the end do not agree, this rung promotes all points.

Source: Jamieson and Talwalkar, arXiv:1502.07943. Li et al., arXiv:1603.06560.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import math

import numpy as np

from lmhp.sweeping.search.rungs import MIN_CORRELATION_POINTS, Bracket, n_promoted
from lmhp.sweeping.search.score_order import (
  Score,
  calibration_points,
  promote,
  rank_correlations,
)


@dataclasses.dataclass(frozen=True)
class HalvingPlan:
  """A search with halving, as planned before the first score.

  Attributes:
    rungs: Steps at which points are scored, increasing. The last one is the end.
    eta: One in `eta` points is promoted.
    brackets: Brackets in order. The first bracket has the points with the lowest numbers, the
      second one has the next points, and so on. More brackets may be appended.
    n_calibration_points: Number of points that are trained in full, to measure how well the
      scores at a rung predict the final scores.
    min_rank_correlation: Smallest rank correlation between the scores at a rung and the final
      scores, -1 to 1. A rung with a smaller one prunes no points. None: every rung prunes.
  """

  rungs: tuple[int, ...]
  eta: int
  brackets: tuple[Bracket, ...]
  n_calibration_points: int = 4
  min_rank_correlation: float | None = 0.5


@dataclasses.dataclass(frozen=True)
class PointState:
  """Scores of one point so far.

  Attributes:
    scores: {step: score}. Scores before a divergence stay.
    diverged: True if the point diverged. It is not trained further, and its score is infinity
      at each rung that it did not reach.
  """

  scores: Mapping[int, Score] = dataclasses.field(default_factory=dict)
  diverged: bool = False

  @classmethod
  def of_seeds(
    cls, scores: Sequence[Mapping[int, Score]], diverged: Sequence[bool]
  ) -> PointState:
    """Returns the state of a point with several seeds, from the mean scores over seeds.

    The mean exists at a step if each seed has a score there or has diverged. If a seed
    diverged before the step, the mean is infinity. A point has diverged if at least one of its
    seeds has diverged.

    Args:
      scores: {step: score} of each seed.
      diverged: True for each seed that diverged.
    """
    # With two objectives, a score is a pair, and the mean is taken for each of them.
    means: dict[int, Score] = {}
    for step in sorted(set().union(*scores)):
      if all(step in one for one in scores):
        mean = np.mean([one[step] for one in scores], axis=0).tolist()
        means[step] = tuple(mean) if isinstance(mean, list) else mean
      elif all(step in one or d for one, d in zip(scores, diverged, strict=True)):
        # Only seeds that diverged lack the score, so the mean is infinite.
        means[step] = math.inf
    return cls(means, any(diverged))


@dataclasses.dataclass(frozen=True)
class HalvingStage:
  """One stage of a search. Points are trained up to a step, and scored there.

  Attributes:
    step: Step of the rung.
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
    calibration: Points that are trained in full. Empty until they are chosen.
    correlations: {step: rank correlation with the final scores}. Empty until they are
      measured.
    pruned: Points that were not promoted.
  """

  stage: HalvingStage | None = None
  calibration: tuple[int, ...] = ()
  correlations: dict[int, float] = dataclasses.field(default_factory=dict)
  pruned: set[int] = dataclasses.field(default_factory=set)


def halving_state(points: Mapping[int, PointState], plan: HalvingPlan) -> HalvingState:
  """Returns the state of a search, given all of its points.

  Args:
    points: {number of the point: its state}.
    plan: Plan of the search.

  Raises:
    ValueError: If the plan has another number of points.
  """
  n_planned = sum(bracket.n_points for bracket in plan.brackets)
  if len(points) != n_planned:
    raise ValueError(f'got {len(points)} points, expected {n_planned}: {plan.brackets}')
  state = HalvingState()
  # Go through the stages until one has points without a score.
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

  The calibration points, the correlations and the pruned points are written into `state`.
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
      n_needed = min(plan.n_calibration_points, MIN_CORRELATION_POINTS)
      # Calibrate in the first bracket that has enough points.
      if len(candidates) >= n_needed:
        calibrating = candidates
        state.calibration = calibrating
        for step in steps[1:]:
          yield HalvingStage(step, calibrating, 'calibration')
        state.correlations = rank_correlations(
          {step: _scores_at(points, calibrating, step) for step in steps}
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

  One in `eta` members is promoted. The calibration points are ranked together with the
  members, but the number of promoted points depends on the number of members alone. A
  calibration point that was not promoted at one rung may be promoted at a later one.

  Args:
    points: States of all points.
    plan: Plan of the search.
    state: State of the search. The pruned points are added to it.
    members: Points of the bracket.
    calibrating: Calibration points of the bracket.
    steps: Rungs of the bracket.
  """
  # At each rung, the best points continue. If the ranks at the rung do not predict the final
  # ranks, all points continue. A correlation that is not known, NaN, fails the comparison.
  threshold = plan.min_rank_correlation
  for step, next_step in zip(steps, steps[1:], strict=False):
    correlation = state.correlations.get(step, math.nan)
    candidates = _scores_at(points, {*members, *calibrating}, step)
    if threshold is None or correlation >= threshold:
      members = promote(candidates, n_promoted(len(members), plan.eta))
      state.pruned |= {*candidates} - {*members} - {*calibrating}
      reason = f'best {len(members)} of {len(candidates)} at step {step}'
    else:
      reason = (
        f'all points, because the rank correlation {correlation:.2f} at step {step} is below '
        f'{threshold:g}'
      )
    yield HalvingStage(next_step, members, reason)


def _scores_at(
  points: Mapping[int, PointState], members: Iterable[int], step: int
) -> dict[int, Score]:
  """Returns the scores of points at a step, which all of them reached or diverged before.

  The score of a point that diverged before the step is infinity.
  """
  return {point: points[point].scores.get(step, math.inf) for point in members}
