"""The ladder that halving climbs: the rungs, who starts where, how many go on, and what it all costs.

Nothing of it depends on a score; `lmhp.sweeping.search.halving` decides by these.

Source: Jamieson and Talwalkar, arXiv:1502.07943; Li et al., arXiv:1603.06560.
"""

from __future__ import annotations

import bisect
from fractions import Fraction
import math
from typing import NamedTuple, Sequence

MIN_CORRELATION_POINTS = 3  # points that a rank correlation needs


class Bracket(NamedTuple):
  """Points that start together: `n_points` of them, first scored at rung number `first_rung`."""

  first_rung: int
  n_points: int


def rungs(
  total_steps: int, eta: int, first_fraction: float, n_rungs: int | None = None
) -> tuple[int, ...]:
  """Where points are scored: from a share of training to its end, each about as many times the one before.

  Args:
    total_steps: the end.
    eta: that many times, where n_rungs is None.
    first_fraction: the first rung, as a share of training; above 0, at most 1.
    n_rungs: how many; fewer where steps are too few to tell them apart.

  >>> rungs(2700, 3, 1 / 27), rungs(100, 4, 0.1), rungs(100, 3, 0.01, n_rungs=3)
  ((100, 300, 900, 2700), (10, 32, 100), (1, 10, 100))
  """
  if n_rungs is None:
    n_rungs = (
      1 + max(1, round(-math.log(first_fraction, eta))) if first_fraction < 1 else 1
    )
  # Rounded twice, so that a logarithm's last digit cannot move a rung.
  exact = (
    round(total_steps * first_fraction ** (k / (n_rungs - 1)), 6)
    for k in range(1, n_rungs)
  )
  return tuple(sorted({total_steps, *(max(1, math.floor(x + 0.5)) for x in exact)}))


def brackets(n_points: int, eta: int, n_rungs: int, kind: str) -> tuple[Bracket, ...]:
  """How points are shared out over first rungs; empty brackets are left out.

  Hyperband's bracket s = n_rungs - 1, ..., 0 starts s rungs below the end with ceil(n_rungs eta^s / (s + 1)) points;
  n_points are shared out in these proportions by Webster's rule, under which one point more takes none from any.

  >>> brackets(49, 3, 4, 'hyperband')[:3]
  (Bracket(first_rung=0, n_points=27), Bracket(first_rung=1, n_points=12), Bracket(first_rung=2, n_points=6))
  """
  if kind == 'successive':
    return (Bracket(0, n_points),)
  weights = [-(-n_rungs * eta**s // (s + 1)) for s in reversed(range(n_rungs))]
  all_weights, sure = sum(weights), max(n_points - n_rungs, 0)
  held = [
    (2 * w * sure + all_weights) // (2 * all_weights) for w in weights
  ]  # what the rule gives before the last few
  while sum(held) < n_points:
    held[max(range(n_rungs), key=lambda i: Fraction(weights[i], 2 * held[i] + 1))] += 1
  return tuple(Bracket(i, n) for i, n in enumerate(held) if n)


def n_promoted(n: int, eta: int) -> int:
  """How many of n go on: n / eta, rounded up.

  The classical floor leaves nobody below eta points (8 with eta 3: 2, then 0), and so no trial that was trained in
  full; rounded up, no rung ever prunes more than it should.

  >>> [n_promoted(n, 3) for n in (27, 8, 3, 2, 1)]
  [9, 3, 1, 1, 1]
  """
  return -(-n // eta)


def cooldown_steps(step: int, rung_cooldown_fraction: float) -> int:
  """Length of the fork that scores a rung, in steps: at least one, unless there is none."""
  return max(1, round(rung_cooldown_fraction * step)) if rung_cooldown_fraction else 0


def cost_in_steps(
  n_points: int,
  rungs: Sequence[int],
  eta: int,
  calibration_points: int,
  rung_cooldown_fraction: float,
  kind: str,
) -> int:
  """Steps that a search trains at most, where every rung may prune and forks of its cooldowns are counted.

  At most, because whether the calibration points are among those that go on is not known before. Where rungs may not
  prune, a search trains up to `n_points * rungs[-1]` steps and the forks.

  Args:
    n_points: each with one seed.
    rungs: as of :func:`rungs`, steps.
    eta: as of :func:`keep`.
    calibration_points: trained in full.
    rung_cooldown_fraction: length of a fork as a share of its rung, at each rung but the last; 0 is none.
    kind: successive or hyperband.

  >>> cost_in_steps(27, (1, 3, 9, 27), 3, 0, 0.0, 'successive'), 27 * 27
  (81, 729)
  """
  total, calibrating = 0, calibration_points
  for first, n in brackets(n_points, eta, len(rungs), kind):
    steps = rungs[first:]
    chosen = (
      calibrating
      if len(steps) > 1 and n >= min(calibrating, MIN_CORRELATION_POINTS)
      else 0
    )
    calibrating -= chosen
    for n_here, before, step in zip(
      _reaching(n, len(steps), eta, chosen), (0, *steps), steps
    ):
      total += n_here * (
        step
        - before
        + (cooldown_steps(step, rung_cooldown_fraction) if step < steps[-1] else 0)
      )
  return total


def evenly_spaced_ranks(n: int, m: int) -> list[int]:
  """The first rank of each of m even parts of n ranks."""
  return [i * n // min(m, n) for i in range(min(m, n))]


def _reaching(n: int, n_rungs: int, eta: int, calibration_points: int) -> list[int]:
  """At most how many points of a bracket reach each of its rungs."""
  apart, quota, counts = evenly_spaced_ranks(n, calibration_points), n, [n]
  for k in range(1, n_rungs):
    quota = n_promoted(quota, eta)
    missed = (
      sum(rank >= quota for rank in apart) if k == 1 else len(apart)
    )  # later their ranks may be any
    counts.append(min(counts[-1], quota + missed))
  return counts


def points_for(
  budget_steps: float,
  rungs: Sequence[int],
  eta: int,
  calibration_points: int,
  rung_cooldown_fraction: float,
  kind: str,
) -> int:
  """The most points whose :func:`cost_in_steps` is within a budget; 0 where not even one's is.

  >>> points_for(81, (1, 3, 9, 27), 3, 0, 0.0, 'successive')
  27
  """
  cost = lambda n: cost_in_steps(
    n, rungs, eta, calibration_points, rung_cooldown_fraction, kind
  )
  return bisect.bisect_right(
    range(1, int(budget_steps // rungs[0]) + 1), budget_steps, key=cost
  )
