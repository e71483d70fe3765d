"""Where training falls apart: which share of runs diverged, and which axis and threshold part them from the others.

Dimension key: T runs, P points (runs that differ in their seed alone are one), R permutations, C cuts.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from lmhp.analysis.runs.table import SEARCH, Axis, Runs
from lmhp.errors import ConfigError, suggest
from lmhp.statistics.intervals import wilson_interval

RATE_NAMES = ('learning_rate', 'lr', 'base_lr', 'peak_lr', 'max_lr')
STABLE_SHARE = 0.1
"""A learning rate at which fewer than this share of runs diverge is stable."""
LEVEL = 0.05
"""A cut is shown where dealing the divergences at random makes as good a one in at most this share."""
MOST_CUTS = 100
"""Thresholds that are tried on one axis; of more, evenly many points lie between them."""


@dataclasses.dataclass(frozen=True)
class Cut:
  """A place on one axis that parts the runs that diverged from the others.

  Attributes:
    axis: its name.
    side: where more diverge: 'above' or 'below' the threshold, or 'at' a choice.
    threshold: a number halfway (on the axis's scale) between two values that were tried, or the choice.
    runs: how many lie on that side.
    diverged: how many of these diverged.
    other_runs: how many lie on the other.
    other_diverged: how many of those diverged.
    p_value: share of random deals of the divergences to points in which some axis is parted as well as this one.
  """

  axis: str
  side: str
  threshold: Any
  runs: int
  diverged: int
  other_runs: int
  other_diverged: int
  p_value: float

  @property
  def shown(self) -> bool:
    """Whether chance would hardly make it."""
    return self.p_value <= LEVEL


@dataclasses.dataclass(frozen=True)
class Divergence:
  """What :func:`stability` found.

  Attributes:
    runs: how many were judged.
    diverged: how many of them diverged.
    stopped: how many were stopped early before they could; they count as not diverged.
    share: of those that diverged; NaN where there are no runs.
    low: of its interval.
    high: its other end.
    confidence: of the interval. Runs of one point that diverge together make it too short.
    cuts: of each axis the best, the most telling first; () where none or all diverged.
    rate: the name of the learning rate's axis, '' where there is none.
    largest_stable: the largest learning rate tried up to which less than `STABLE_SHARE` diverge; NaN where there is
      none.
    smallest_diverged: the smallest at which a run diverged; NaN where there is none.
  """

  runs: int
  diverged: int
  stopped: int
  share: float
  low: float
  high: float
  confidence: float
  cuts: tuple[Cut, ...] = ()
  rate: str = ''
  largest_stable: float = math.nan
  smallest_diverged: float = math.nan


def find_divergence(
  runs: Runs,
  axis: str | None = None,
  confidence: float = 0.9,
  permutations: int = 999,
  seed: int = 0,
) -> Divergence:
  """Which share of runs diverged, and where.

  Args:
    runs: of which those of the search are used that came to their end, were stopped, or diverged.
    axis: the learning rate's; None for the one axis that is called so.
    confidence: of the interval of the share.
    permutations: deals of the divergences to points, at random. The p-value holds its level where points were not
      chosen by the results of others; an adaptive search avoids what diverged, and its p-value is only a hint.
    seed: of these.

  Raises:
    ConfigError: for an axis that the runs do not have, or that is a choice.

  Source: Wilson 1927 (the interval); Westfall and Young 1993 (the largest statistic over all axes and cuts); the
  share at a learning rate is isotonic, Ayer et al. 1955.

  >>> rates = 10.0 ** np.linspace(-4, -1, 16)
  >>> status = np.where(rates > 0.02, 'diverged', 'complete')
  >>> found = find_divergence(
  ...   Runs(
  ...     'a study',
  ...     {'lr': Axis('lr', log=True)},
  ...     {'lr': rates},
  ...     np.ones(16),
  ...     status=status,
  ...   )
  ... )
  >>> (
  ...   found.diverged,
  ...   round(found.largest_stable, 4),
  ...   round(found.smallest_diverged, 4),
  ...   found.cuts[0].shown,
  ... )
  (4, 0.0158, 0.0251, True)
  """
  rate = _rate_axis(runs, axis)
  judged = runs.where(
    (runs.cohort == SEARCH) & np.isin(runs.status, ('complete', 'pruned', 'diverged'))
  )
  bad = judged.status == 'diverged'
  low, high = wilson_interval(int(bad.sum()), len(judged), confidence)
  stable, unstable = _limits(judged.values[rate], bad) if rate else (math.nan, math.nan)
  return Divergence(
    runs=len(judged),
    diverged=int(bad.sum()),
    stopped=int(np.sum(judged.status == 'pruned')),
    share=float(bad.mean()) if len(bad) else math.nan,
    low=low,
    high=high,
    confidence=confidence,
    cuts=_cuts(judged, bad, permutations, seed) if 0 < bad.sum() < len(bad) else (),
    rate=rate,
    largest_stable=stable,
    smallest_diverged=unstable,
  )


def _rate_axis(runs: Runs, name: str | None) -> str:
  if name is None:
    named = [
      n
      for n, axis in runs.axes.items()
      if axis.kind == 'number' and n.rsplit('.', 1)[-1] in RATE_NAMES
    ]
    return named[0] if len(named) == 1 else ''
  if name not in runs.axes:
    raise ConfigError(
      f'axis: got {name!r}, expected one of {sorted(runs.axes)}{suggest(name, runs.axes)}'
    )
  if runs.axes[name].kind != 'number':
    raise ConfigError(f'axis: got {name!r}, which is a choice, expected a number')
  return name


def _limits(rates: np.ndarray, bad: np.ndarray) -> tuple[float, float]:
  """The largest stable rate and the smallest diverged one, of rates (T,) and whether each diverged."""
  from scipy.optimize import isotonic_regression

  known = np.isfinite(rates)
  rates, bad = rates[known], bad[known]
  if not rates.size:
    return math.nan, math.nan
  levels, place, count = np.unique(rates, return_inverse=True, return_counts=True)
  shares = isotonic_regression(np.bincount(place, weights=bad) / count, weights=count).x
  stable = levels[shares < STABLE_SHARE]
  return float(stable[-1]) if stable.size else math.nan, float(
    rates[bad].min()
  ) if bad.any() else math.nan


# --- which axis parts them --------------------------------------------------------------------------------------------


def _cuts(
  judged: Runs, bad: np.ndarray, permutations: int, seed: int
) -> tuple[Cut, ...]:
  """The best cut of each axis. Points are dealt whole: seeds of one point diverge together."""
  rows = list(judged.points().values())
  counts = np.array([[len(r), bad[r].sum()] for r in rows], np.float64)
  first = np.array([r[0] for r in rows])
  own = np.arange(len(rows))
  others = np.random.default_rng(seed).permuted(np.tile(own, (permutations, 1)), axis=1)
  dealt, found, gains = counts[np.concatenate([[own], others])], [], []
  for name, axis in judged.varied().items():
    sides = _sides(axis, judged.values[name][first])
    if not sides:
      continue
    members = np.array([side for _, _, side, _ in sides], np.float64)
    known = sides[0][3]
    gain = _gains(members, known.astype(np.float64), dealt)
    inside = members @ counts
    best = int(
      np.argmax(gain[0] + 1e-9 * inside[:, 1] / inside[:, 0])
    )  # of equally good ones, where more diverge
    found.append((name, sides[best], gain[0, best]))
    gains.append(gain.max(axis=1))
  if not found:
    return ()
  largest = np.max(gains, axis=0)[1:]
  return tuple(
    _cut(
      name,
      side,
      counts,
      (1 + np.sum(largest >= gain * (1 - 1e-9))) / (1 + permutations),
    )
    for name, side, gain in sorted(found, key=lambda one: -one[2])
  )


def _sides(
  axis: Axis, values: np.ndarray
) -> list[tuple[str, Any, np.ndarray, np.ndarray]]:
  """The ways to cut an axis: (side, threshold, (P,) who is on that side, (P,) who has a value at all)."""
  if axis.kind == 'choice':
    known = np.array([v is not None for v in values.tolist()])
    words = np.array([repr(v) for v in values.tolist()])
    kept = {w: v for w, v, k in zip(words.tolist(), values.tolist(), known) if k}
    return (
      [('at', v, words == w, known) for w, v in kept.items()] if len(kept) > 1 else []
    )
  known = np.isfinite(values)
  levels = np.unique(values[known])
  log = axis.log and bool((levels > 0).all())
  middles = np.sqrt(levels[1:] * levels[:-1]) if log else (levels[1:] + levels[:-1]) / 2
  if len(middles) > MOST_CUTS:
    middles = middles[np.linspace(0, len(middles) - 1, MOST_CUTS).astype(int)]
  return [('above', float(t), known & (values > t), known) for t in middles]


def _gains(sides: np.ndarray, known: np.ndarray, dealt: np.ndarray) -> np.ndarray:
  """(R, C) log likelihood that a share of its own for either side of a cut gains over one share for both.

  Args:
    sides: (C, P) 1 of the points on one side of each cut.
    known: (P,) 1 of the points that have the axis.
    dealt: (R, P, 2) runs and diverged runs of each point, as dealt.
  """
  total = np.tensordot(dealt, known, (1, 0))[:, None]
  side = np.moveaxis(np.tensordot(dealt, sides, (1, 1)), 1, 2)
  return _fit(side) + _fit(total - side) - _fit(total)


def _fit(counts: np.ndarray) -> np.ndarray:
  """Log likelihood of runs and diverged runs (..., 2) at their own share."""
  n, bad = counts[..., 0], counts[..., 1]
  share = np.divide(bad, n, out=np.zeros_like(n), where=n > 0)
  term = lambda k, p: k * np.log(np.where(k > 0, p, 1.0))
  return term(bad, share) + term(n - bad, 1 - share)


def _cut(
  name: str,
  side: tuple[str, Any, np.ndarray, np.ndarray],
  counts: np.ndarray,
  p_value: float,
) -> Cut:
  word, threshold, members, known = side
  (runs, bad), (others, other_bad) = (
    counts[rows].sum(axis=0).astype(int) for rows in (members, known & ~members)
  )
  if bad * others < other_bad * runs and word == 'above':
    word, (runs, bad), (others, other_bad) = 'below', (others, other_bad), (runs, bad)
  return Cut(
    name,
    word,
    threshold,
    int(runs),
    int(bad),
    int(others),
    int(other_bad),
    float(p_value),
  )
