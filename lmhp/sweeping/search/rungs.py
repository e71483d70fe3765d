"""Rungs and brackets of halving, and the cost of a search in steps.

A rung is a step at which points are scored and only the best continue. A bracket is a set of
points that start together. Rungs and brackets do not depend on scores.
`lmhp.sweeping.search.halving` uses them to choose the points that continue.

Source: Jamieson and Talwalkar, arXiv:1502.07943. Li et al., arXiv:1603.06560.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
import dataclasses
from fractions import Fraction
import math
from typing import NamedTuple

MIN_CALIBRATION_POINTS = 5
"""Smallest number of calibration points whose ranks can agree by more than chance. One of the
120 orders of 5 points is perfect, so it passes a test at the level 0.1 / 12 of 12 rungs."""


class Bracket(NamedTuple):
  """Points that start together.

  Attributes:
    first_rung: Index of the rung at which the points are first scored.
    n_points: Number of points.
  """

  first_rung: int
  n_points: int


def rungs(
  total_steps: int, eta: int, first_fraction: float, n_rungs: int | None = None
) -> tuple[int, ...]:
  """Returns the steps at which points are scored. Their ratios are nearly equal.

  Args:
    total_steps: Steps of a trial. This is the last rung.
    eta: Approximate ratio of a rung to the rung before it. Used only if `n_rungs` is None.
    first_fraction: First rung as a fraction of training, above 0 and at most 1.
    n_rungs: Number of rungs, or None to derive it from `eta`. The result has fewer rungs if
      several of them fall on one step.

  >>> rungs(2700, 3, 1 / 27), rungs(100, 4, 0.1), rungs(100, 3, 0.01, n_rungs=3)
  ((100, 300, 900, 2700), (10, 32, 100), (1, 10, 100))
  """
  if n_rungs is None:
    n_rungs = 1
    if first_fraction < 1:
      n_rungs += max(1, round(-math.log(first_fraction, eta)))
  # A set, because rungs of a short run may fall on the same step.
  steps = {total_steps}
  for k in range(1, n_rungs):
    # Rounded to 6 decimals first, so that a rounding error of the power cannot move a rung.
    exact = round(total_steps * first_fraction ** (k / (n_rungs - 1)), 6)
    steps.add(max(1, math.floor(exact + 0.5)))
  return tuple(sorted(steps))


def brackets(n_points: int, eta: int, n_rungs: int, kind: str) -> tuple[Bracket, ...]:
  """Distributes points over brackets. Brackets without points are left out.

  Hyperband has the brackets s = n_rungs - 1, ..., 0. Bracket s starts s rungs before the last
  one, with ceil(n_rungs eta^s / (s + 1)) points. Webster's method distributes `n_points` in
  these proportions, so that one more point never makes a bracket smaller.

  Args:
    n_points: Number of points.
    eta: Ratio of a rung to the rung before it.
    n_rungs: Number of rungs.
    kind: 'successive' (one bracket) or 'hyperband' (at each rung, one bracket starts).

  >>> brackets(49, 3, 4, 'hyperband')[:2]
  (Bracket(first_rung=0, n_points=27), Bracket(first_rung=1, n_points=12))
  """
  if kind == 'successive':
    return (Bracket(0, n_points),)
  # ceil(n_rungs eta^s / (s + 1)) points in bracket s. -(-a // b) is a / b, rounded up.
  weights = [-(-n_rungs * eta**s // (s + 1)) for s in reversed(range(n_rungs))]

  # Webster's method (below) gives each bracket at least its rounded share of
  # n_points - n_rungs points. To save time, start with these shares. Rounding adds at most half
  # a point to each of the n_rungs shares, so their sum is never above n_points.
  total_weight = sum(weights)
  n_start = max(n_points - n_rungs, 0)
  sizes = [(2 * w * n_start + total_weight) // (2 * total_weight) for w in weights]

  # Webster's method: the next point goes to the largest weight / (2 size + 1).
  def quotient(i: int) -> Fraction:
    return Fraction(weights[i], 2 * sizes[i] + 1)

  while sum(sizes) < n_points:
    sizes[max(range(n_rungs), key=quotient)] += 1
  return tuple(Bracket(i, n) for i, n in enumerate(sizes) if n)


def n_promoted(n: int, eta: int) -> int:
  """Returns the number of promoted points among n points: n / eta, rounded up.

  The classical rule rounds down. With fewer than eta points, it then promotes none, and no
  trial is trained in full.

  >>> [n_promoted(n, 3) for n in (27, 8, 3, 2, 1)]
  [9, 3, 1, 1, 1]
  """
  return -(-n // eta)


def evenly_spaced_ranks(n: int, m: int) -> list[int]:
  """Divides the ranks 0 to n - 1 into m equal parts, and returns the first rank of each part.

  If m is larger than n, there are n parts.
  """
  return [i * n // min(m, n) for i in range(min(m, n))]


# --- cost -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class HalvingCost:
  """Parameters that determine the cost of a search with halving.

  Attributes:
    rungs: Rungs in steps, increasing.
    eta: One in `eta` points is promoted.
    n_calibration_points: Number of points that are trained in full.
    rung_cooldown_fraction: Length of the fork that is scored at a rung, as a fraction of the
      steps up to the rung. A fork is a copy of the training whose learning rate decays to zero.
      0 if the training itself is scored. The last rung has no fork.
    kind: 'successive' or 'hyperband', as for `brackets`.
  """

  rungs: tuple[int, ...]
  eta: int
  n_calibration_points: int
  rung_cooldown_fraction: float
  kind: str

  def steps(self, n_points: int) -> int:
    """Returns the number of steps of a search of n points, at most, forks included.

    It is assumed that each rung prunes and that each point has one seed. The search may take
    fewer steps, because a calibration point that is also promoted is counted twice. If no rung
    prunes, a search trains up to `n_points * rungs[-1]` steps and the forks.

    >>> HalvingCost((1, 3, 9, 27), 3, 0, 0.0, 'successive').steps(27), 27 * 27
    (81, 729)
    """
    total = 0
    # The first bracket with enough points gets all calibration points. Then none are left.
    n_calibration_left = self.n_calibration_points
    for first_rung, n in brackets(n_points, self.eta, len(self.rungs), self.kind):
      steps = self.rungs[first_rung:]
      n_calibrating = 0
      if len(steps) > 1 and n >= min(n_calibration_left, MIN_CALIBRATION_POINTS):
        n_calibrating = n_calibration_left
      n_calibration_left -= n_calibrating
      counts = _points_at_rungs(n, len(steps), self.eta, n_calibrating)
      # Each point that reaches a rung trains the steps since the rung before, and a fork.
      for n_here, before, step in zip(counts, (0, *steps), steps, strict=False):
        total += n_here * (step - before + self._fork_steps(step))
    return total

  @property
  def complete_steps(self) -> int:
    """Steps of a point that is trained to the end, with its forks at all rungs.

    >>> HalvingCost((10, 30, 90), 3, 0, 0.2, 'successive').complete_steps
    98
    """
    return self.rungs[-1] + sum(self._fork_steps(step) for step in self.rungs)

  def _fork_steps(self, step: int) -> int:
    """Returns the length in steps of the fork that is scored at a rung."""
    if step == self.rungs[-1] or not self.rung_cooldown_fraction:
      return 0
    return max(1, round(self.rung_cooldown_fraction * step))

  def points_for(self, budget_steps: float) -> int:
    """Returns the largest number of points whose search fits in a budget of steps.

    >>> HalvingCost((1, 3, 9, 27), 3, 0, 0.0, 'successive').points_for(81)
    27
    """
    # A point costs at least the steps of the first rung. More points cost more steps.
    candidates = range(1, int(budget_steps // self.rungs[0]) + 1)
    return bisect.bisect_right(candidates, budget_steps, key=self.steps)


def _points_at_rungs(
  n: int, n_rungs: int, eta: int, n_calibration_points: int
) -> Sequence[int]:
  """Returns, for each rung of a bracket, the largest possible number of points that reach it."""
  calibration_ranks = evenly_spaced_ranks(n, n_calibration_points)
  n_best = n
  counts = [n]
  for k in range(1, n_rungs):
    n_best = n_promoted(n_best, eta)
    # Add the calibration points that are not promoted at rung k - 1. At rung 0, their ranks are
    # known in advance. At later rungs they are not, so all calibration points are added.
    n_extra = len(calibration_ranks)
    if k == 1:
      n_extra = sum(rank >= n_best for rank in calibration_ranks)
    counts.append(min(counts[-1], n_best + n_extra))
  return counts
