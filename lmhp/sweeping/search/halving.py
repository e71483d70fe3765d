"""Successive halving and Hyperband, synchronous: who trains on to which rung, a pure function of the scores so far.

Points are numbered. At each rung all points of a bracket are scored, and one in eta goes on. Nothing here remembers
anything: :func:`next_stage` is asked again after each stage, and a study that was killed asks it with what it has.

Whether a rung may prune is measured. In the first bracket some points, spread over the ranks of its first rung, are
trained in full whatever their rungs say; where the ranks of a rung and of the end do not agree among them, that rung
stops nobody. Lower scores are better, so the negative of what is maximized. A score is a number, or a pair where there
are two objectives; what is not finite is worse than all that is.

Source: Jamieson and Talwalkar, arXiv:1502.07943; Li et al., arXiv:1603.06560.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

import numpy as np

from lmhp.statistics.pareto import front_numbers
from lmhp.statistics.ranks import spearman
from lmhp.sweeping.search.rungs import (
  MIN_CORRELATION_POINTS,
  Bracket,
  evenly_spaced_ranks,
  n_promoted,
)

Score = float | tuple[float, float]


@dataclasses.dataclass(frozen=True)
class HalvingPlan:
  """What was planned, before any score; `dataclasses.asdict` of it is JSON.

  Attributes:
    rungs: where points are scored, in steps, increasing; the last is the end.
    eta: one in eta goes on.
    kind: successive or hyperband.
    brackets: one after the other; the points are theirs in increasing number. More may be appended.
    calibration_points: points trained in full, to measure how well rungs predict the end.
    min_rank_correlation: below which a rung prunes nobody, -1 to 1; None prunes whatever it is.
  """

  rungs: tuple[int, ...]
  eta: int
  kind: str
  brackets: tuple[Bracket, ...]
  calibration_points: int = 4
  min_rank_correlation: float | None = 0.5

  @classmethod
  def from_json(cls, obj: Mapping[str, Any]) -> HalvingPlan:
    """The plan that `dataclasses.asdict` and JSON made this of."""
    own = {
      'rungs': tuple(obj['rungs']),
      'brackets': tuple(Bracket(*bracket) for bracket in obj['brackets']),
    }
    return cls(**{**obj, **own})


# --- the order of scores --------------------------------------------------------------------------------------------


def pareto_order(values: Sequence[tuple[float, float]]) -> list[int]:
  """Returns the rank of each pair: by the number of its Pareto front, then by its first number.

  Args:
    values: Finite pairs. Lower is better.

  Returns:
    Ranks from 0. Equal pairs share a rank.

  >>> pareto_order([(1, 5), (2, 2), (3, 3), (5, 1)])
  [0, 1, 3, 2]
  """
  numbers = front_numbers(values).tolist()
  keys = [(number, pair[0]) for number, pair in zip(numbers, values)]
  rank = {key: i for i, key in enumerate(sorted(set(keys)))}
  return [rank[key] for key in keys]


def _order(scores: Mapping[int, Score]) -> dict[int, float]:
  """One number for each score, lower is better; infinity for what is not finite."""
  finite = {p: s for p, s in scores.items() if np.all(np.isfinite(s))}
  if any(isinstance(s, tuple) for s in finite.values()):
    finite = dict(zip(finite, pareto_order(list(finite.values()))))
  return {p: float(finite[p]) if p in finite else math.inf for p in scores}


def promote(scores: Mapping[int, Score], n_keep: int) -> tuple[int, ...]:
  """The best n_keep points in increasing number; of equal ones, those of lower number; not finite only after finite.

  >>> promote({0: 2.0, 1: float('nan'), 2: 1.0, 3: 2.0}, 2)
  (0, 2)
  """
  order = _order(scores)
  return tuple(sorted(sorted(scores, key=lambda p: (order[p], p))[:n_keep]))


def calibration(scores: Mapping[int, Score], m: int) -> tuple[int, ...]:
  """The points to train in full: the best of each of m even parts of the ranks, those not finite left out.

  >>> calibration({0: 3.0, 1: 1.0, 2: 4.0, 3: 2.0, 4: float('inf')}, 2)
  (0, 1)
  """
  order = _order(scores)
  ranked = sorted(
    (p for p in scores if order[p] < math.inf), key=lambda p: (order[p], p)
  )
  return tuple(sorted(ranked[rank] for rank in evenly_spaced_ranks(len(ranked), m)))


def correlations(
  scores: Mapping[int, Mapping[int, Score]], rungs: Sequence[int]
) -> dict[int, float]:
  """How well the ranks at each rung but the last agree with those at the last: {step: Spearman's correlation}.

  Args:
    scores: {point: {step: score}}; a point counts at a rung where it has both.
    rungs: steps, increasing.

  Returns:
    -1 to 1; NaN for fewer than three points, or where all are equal.
  """
  measured = {}
  for step in rungs[:-1]:
    both = [p for p in scores if step in scores[p] and rungs[-1] in scores[p]]
    here, end = (
      list(_order({p: scores[p][at] for p in both}).values())
      for at in (step, rungs[-1])
    )
    measured[step] = (
      spearman(here, end) if len(both) >= MIN_CORRELATION_POINTS else math.nan
    )
  return measured


def may_prune(correlation: float, threshold: float | None) -> bool:
  """Whether a rung of this correlation may prune: it is the threshold or above; None asks for nothing."""
  return threshold is None or bool(correlation >= threshold)


# --- the state machine ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class PointState:
  """What is known of a point.

  Attributes:
    scores: {step: score}; what was scored before it diverged stays as it was.
    diverged: it is not continued, and counts as infinity at every rung for which it has no score.
  """

  scores: Mapping[int, Score] = dataclasses.field(default_factory=dict)
  diverged: bool = False

  @classmethod
  def of_seeds(
    cls, scores: Sequence[Mapping[int, Score]], diverged: Sequence[bool]
  ) -> PointState:
    """A point with several seeds: their mean, where each has a score or has diverged; one that diverged is enough."""
    mean = {}
    for step in sorted(set().union(*scores)):
      if all(step in one for one in scores):
        values = np.mean([one[step] for one in scores], axis=0).tolist()
        mean[step] = tuple(values) if isinstance(values, list) else values
      elif all(step in one or gone for one, gone in zip(scores, diverged)):
        mean[step] = math.inf
    return cls(mean, any(diverged))


class Stage(NamedTuple):
  """Train these points on to this step, from wherever they are, and score them; `reason` is for people."""

  step: int
  points: tuple[int, ...]
  reason: str


@dataclasses.dataclass
class HalvingState:
  """Where a search stands.

  Attributes:
    stage: what to do next; None when all is done.
    calibration: the points trained in full; () until chosen.
    correlations: {step: rank correlation with the end}; {} until measured.
    pruned: the points that do not go on.
  """

  stage: Stage | None = None
  calibration: tuple[int, ...] = ()
  correlations: dict[int, float] = dataclasses.field(default_factory=dict)
  pruned: set[int] = dataclasses.field(default_factory=set)


def halving_state(points: Mapping[int, PointState], plan: HalvingPlan) -> HalvingState:
  """Where a search stands, given all of its points.

  Raises:
    ValueError: where the points are not as many as the plan's.
  """
  if len(points) != sum(bracket.n_points for bracket in plan.brackets):
    raise ValueError(f'{len(points)} points, and {plan.brackets}')
  found = HalvingState()
  for step, members, reason in _stages(points, plan, found):
    left = tuple(
      sorted(
        p for p in members if not points[p].diverged and step not in points[p].scores
      )
    )
    if left:
      found.stage = Stage(step, left, reason)
      break
  return found


def next_stage(points: Mapping[int, PointState], plan: HalvingPlan) -> Stage | None:
  """What to do next: a pure function of the scores so far; None when all is done. Raises as :func:`progress`."""
  return halving_state(points, plan).stage


def verdicts(points: Mapping[int, PointState], plan: HalvingPlan) -> dict[int, str]:
  """Of each point: 'finished' (at the end, or diverged), 'pruned' (for good), or 'active'."""
  pruned = halving_state(points, plan).pruned
  word = lambda p, s: (
    'finished'
    if s.diverged or plan.rungs[-1] in s.scores
    else 'pruned'
    if p in pruned
    else 'active'
  )
  return {p: word(p, state) for p, state in points.items()}


def _stages(
  points: Mapping[int, PointState], plan: HalvingPlan, found: HalvingState
) -> Iterator[Stage]:
  """All stages in order, whether done or not; what follows one may be asked for only when it is done.

  Args:
    points: states.
    plan: the plan.
    found: is told what is found on the way.
  """
  numbers = iter(sorted(points))
  for first_rung, n in plan.brackets:
    steps, members = plan.rungs[first_rung:], [next(numbers) for _ in range(n)]
    yield Stage(steps[0], tuple(members), 'first rung')
    calibrating = ()
    if len(steps) > 1 and not found.calibration:
      calibrating = calibration(_at(points, members, steps[0]), plan.calibration_points)
      if len(calibrating) >= min(
        plan.calibration_points, MIN_CORRELATION_POINTS
      ):  # else a later bracket's
        found.calibration = calibrating
        yield from (Stage(step, calibrating, 'calibration') for step in steps[1:])
        seen = {
          p: {step: _at(points, [p], step)[p] for step in steps} for p in calibrating
        }
        found.correlations = correlations(seen, steps)
      else:
        calibrating = ()
    yield from _halvings(points, plan, found, steps, members, calibrating)


def _halvings(
  points: Mapping[int, PointState],
  plan: HalvingPlan,
  found: HalvingState,
  steps: Sequence[int],
  members: Sequence[int],
  calibrating: Sequence[int],
) -> Iterator[Stage]:
  """The stages of a bracket after its first rung and its calibration.

  One in eta of those that came by their scores goes on, and calibration points compete for the places, too: the search
  grows no longer by them, and one that a rung missed may come back.
  """
  for step, following in zip(steps, steps[1:]):
    correlation = found.correlations[step] if step in found.correlations else math.nan
    rivals = _at(points, {*members, *calibrating}, step)
    if may_prune(correlation, plan.min_rank_correlation):
      members = promote(rivals, n_promoted(len(members), plan.eta))
      found.pruned |= {*rivals} - {*members} - {*calibrating}
      reason = f'best {len(members)} of {len(rivals)} at step {step}'
    else:
      reason = f'all: rank correlation {correlation:.2f} at step {step}, below {plan.min_rank_correlation:g}'
    yield Stage(following, members, reason)


def _at(points: Mapping[int, PointState], members: Any, step: int) -> dict[int, Score]:
  """Scores of points that were all brought to a step; of one that diverged on the way, infinity."""
  return {
    p: points[p].scores[step] if step in points[p].scores else math.inf for p in members
  }
