"""Divergence: the fraction of runs that diverged, and the axis and threshold that explain it.

Dimension key: T runs, P points (one per setting), R permutations, C cuts.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import SEARCH, Runs
from lmhp.statistics.intervals import wilson_interval

STABLE_FRACTION = 0.1
"""A learning rate at which less than this fraction of runs diverges is stable."""
LEVEL = 0.05
"""Significance level of a cut."""
MAX_CUTS = 100
"""Number of thresholds of one axis. If there are more, evenly spaced ones are tried."""


@dataclasses.dataclass(frozen=True)
class Cut:
  """A threshold on one axis that separates diverged runs from the others.

  Attributes:
    axis: Name of the axis.
    side: Side on which more runs diverge: 'above' or 'below' the threshold, or 'at' a choice.
    threshold: Number halfway (on the axis's scale) between two values that were tried, or
      the choice.
    n_runs: Number of runs on that side.
    n_diverged: Number of these that diverged.
    other_runs: Number of runs on the other side.
    other_diverged: Number of those that diverged.
    p_value: Fraction of permutations of the divergences across points in which some axis has
      as good a cut.
  """

  axis: str
  side: str
  threshold: object
  n_runs: int
  n_diverged: int
  other_runs: int
  other_diverged: int
  p_value: float

  @property
  def significant(self) -> bool:
    """True if the cut is significant."""
    return self.p_value <= LEVEL


@dataclasses.dataclass(frozen=True)
class Divergence:
  """Divergence of the runs of a search.

  Attributes:
    n_runs: Number of runs that were judged.
    n_diverged: Number of runs that diverged. A run that was pruned counts as not diverged.
    fraction: Fraction that diverged. NaN without runs.
    low: Lower end of its interval. The interval is too short if the seeds of a point diverge
      together.
    high: Upper end of the interval.
    confidence: Confidence of the interval.
    cuts: Best cut of each axis, the best first. Empty if no run or all runs diverged.
    learning_rate: Name of the learning rate's axis. Empty if there is none.
    largest_stable: Largest learning rate that was tried up to which less than
      `STABLE_FRACTION` diverges. NaN if there is none.
    smallest_diverged: Smallest learning rate at which a run diverged. NaN if there is none.
  """

  n_runs: int
  n_diverged: int
  fraction: float
  low: float
  high: float
  confidence: float
  cuts: tuple[Cut, ...] = ()
  learning_rate: str = ''
  largest_stable: float = math.nan
  smallest_diverged: float = math.nan


def find_divergence(
  runs: Runs,
  confidence: float = 0.9,
  permutations: int = 999,
  seed: int = 0,
) -> Divergence:
  """Finds the fraction of runs that diverged, and the cuts that explain it.

  Args:
    runs: Table of runs. Runs of the search that are complete, pruned or diverged are used.
    confidence: Confidence of the interval of the fraction.
    permutations: Number of permutations of the divergences across points. The p-value is
      valid if points were not chosen by the results of others. An adaptive search avoids
      points that diverged, so its p-value is only a hint.
    seed: Seed of the permutations.

  Source: Wilson 1927 (interval). Westfall and Young 1993 (largest statistic over all axes and
  cuts). The fraction at a learning rate is isotonic, Ayer et al. 1955.

  >>> rates = 10.0 ** np.linspace(-4, -1, 16)
  >>> status = np.where(rates > 0.02, 'diverged', 'complete')
  >>> axes = {'lr': Axis('lr', log=True)}
  >>> runs = Runs('a study', axes, {'lr': rates}, np.ones(16), status=status)
  >>> result = find_divergence(runs)
  >>> result.n_diverged, result.cuts[0].significant
  (4, True)
  >>> round(result.largest_stable, 4), round(result.smallest_diverged, 4)
  (0.0158, 0.0251)
  """
  # With several learning rates, none of them is the obvious one.
  named = [name for name, axis in runs.axes.items() if axis.is_learning_rate]
  learning_rate = named[0] if len(named) == 1 else ''
  # Runs that failed or have not ended show nothing about divergence.
  judged = runs.select(
    (runs.cohort == SEARCH) & np.isin(runs.status, ('complete', 'pruned', 'diverged'))
  )
  diverged = judged.status == 'diverged'
  n_diverged = int(diverged.sum())
  # Fraction that diverged, with Wilson's interval.
  low, high = wilson_interval(n_diverged, len(judged), confidence)
  rates = judged.values.get(learning_rate, np.full(len(judged), math.nan))
  largest_stable, smallest_diverged = _stability_limits(rates, diverged)
  # A cut needs runs of both outcomes.
  has_both = 0 < n_diverged < len(judged)
  return Divergence(
    n_runs=len(judged),
    n_diverged=n_diverged,
    fraction=float(diverged.mean()) if len(judged) else math.nan,
    low=low,
    high=high,
    confidence=confidence,
    cuts=_best_cuts(judged, diverged, permutations, seed) if has_both else (),
    learning_rate=learning_rate,
    largest_stable=largest_stable,
    smallest_diverged=smallest_diverged,
  )


def _stability_limits(rates: np.ndarray, diverged: np.ndarray) -> tuple[float, float]:
  """Returns the largest stable and the smallest diverged learning rate.

  Args:
    rates: (T,) learning rates.
    diverged: (T,) True for a run that diverged.
  """
  from scipy.optimize import isotonic_regression

  finite = np.isfinite(rates)
  rates = rates[finite]
  diverged = diverged[finite]
  if not rates.size:
    return math.nan, math.nan

  # A rate is stable up to the largest level at which a rising fit is below the limit.
  levels, index, count = np.unique(rates, return_inverse=True, return_counts=True)
  fractions = np.bincount(index, weights=diverged) / count
  isotonic = isotonic_regression(fractions, weights=count).x
  stable = levels[isotonic < STABLE_FRACTION]
  largest_stable = float(stable[-1]) if stable.size else math.nan
  smallest_diverged = float(rates[diverged].min()) if diverged.any() else math.nan
  return largest_stable, smallest_diverged


# --- cuts -------------------------------------------------------------------------------


def _best_cuts(
  judged: Runs, diverged: np.ndarray, permutations: int, seed: int
) -> tuple[Cut, ...]:
  """Returns the best cut of each axis.

  Permutations keep the runs of a point together, because its seeds diverge together.
  """
  # Runs and diverged runs of each point, (P, 2).
  rows = list(judged.rows_by_point().values())
  counts = np.array(
    [[len(indices), diverged[indices].sum()] for indices in rows], np.float64
  )
  first = np.array([indices[0] for indices in rows])

  # Permute the outcomes between points. The first order is the observed one.
  own_order = np.arange(len(rows))
  copies = np.tile(own_order, (permutations, 1))
  orders = np.random.default_rng(seed).permuted(copies, axis=1)
  permuted = counts[np.concatenate([[own_order], orders])]

  # Find the best cut of each axis, and its gain in each permutation.
  best_cuts: list[tuple[float, Cut]] = []
  largest = np.full(1 + permutations, -math.inf)
  for name, axis in judged.varied_axes().items():
    thresholds, members, has_value = _sides(axis, judged.values[name][first])
    if len(thresholds) < (2 if axis.is_choice else 1):
      continue
    gains = _gains(members.astype(float), has_value.astype(float), permuted)
    # Among equally good cuts, the one with the larger fraction is best.
    sides = (members @ counts).astype(int)
    best = int(np.argmax(gains[0] + 1e-9 * sides[:, 1] / sides[:, 0]))
    inside = sides[best].tolist()
    outside = counts[has_value & ~members[best]].sum(axis=0).astype(int).tolist()
    side = 'at' if axis.is_choice else 'above'
    if side == 'above' and inside[1] * outside[0] < outside[1] * inside[0]:
      # More runs diverge below the threshold.
      side = 'below'
      inside, outside = outside, inside
    cut = Cut(name, side, thresholds[best], *inside, *outside, p_value=math.nan)
    best_cuts.append((gains[0, best], cut))
    largest = np.maximum(largest, gains.max(axis=1))

  # The p-value compares a gain with the largest gain of all axes in each permutation. The
  # tolerance counts ties despite rounding. The observed order is the first permutation.
  best_cuts.sort(key=lambda pair: -pair[0])
  return tuple(
    dataclasses.replace(cut, p_value=float(np.mean(largest >= gain * (1 - 1e-9))))
    for gain, cut in best_cuts
  )


def _sides(
  axis: Axis, values: np.ndarray
) -> tuple[list[object], np.ndarray, np.ndarray]:
  """Returns the possible cuts of an axis.

  Args:
    axis: The axis.
    values: (P,) its value at each point.

  Returns:
    Thresholds or choices (C,), True for the points on their side (C, P), and True for the
    points that have a value (P,).
  """
  if axis.is_choice:
    # A choice is cut into one of its values and all others. Values are compared by
    # their repr, which also separates 1 from True.
    words = np.array([repr(value) for value in values.tolist()])
    choices = dict(zip(words.tolist(), values.tolist()))
    choices.pop(repr(None), None)
    members = np.array([words == word for word in choices])
    return list(choices.values()), members, words != repr(None)

  # A number is cut halfway between neighbouring values, on the scale of the axis.
  has_value = np.isfinite(values)
  levels = np.unique(values[has_value])
  middles = (levels[1:] + levels[:-1]) / 2
  if axis.log and (levels > 0).all():
    middles = np.sqrt(levels[1:] * levels[:-1])
  rows = np.linspace(0, len(middles) - 1, min(len(middles), MAX_CUTS)).astype(int)
  thresholds = middles[rows]
  return thresholds.tolist(), has_value & (values > thresholds[:, None]), has_value


def _gains(
  sides: np.ndarray, has_value: np.ndarray, permuted: np.ndarray
) -> np.ndarray:
  """Returns (R, C) the gain in log likelihood of one fraction per side over one for both.

  Args:
    sides: (C, P) 1 for the points on one side of each cut.
    has_value: (P,) 1 for the points that have a value of the axis.
    permuted: (R, P, 2) number of runs and of diverged runs of each point.
  """
  # Runs and diverged runs (R, C, 2) on one side. The other side is the rest.
  total = np.tensordot(permuted, has_value, (1, 0))[:, None]
  side = np.moveaxis(np.tensordot(permuted, sides, (1, 1)), 1, 2)
  return _log_likelihood(side) + _log_likelihood(total - side) - _log_likelihood(total)


def _log_likelihood(counts: np.ndarray) -> np.ndarray:
  """Returns the log likelihood of runs and diverged runs (..., 2) at their own fraction."""
  from scipy.special import xlogy

  n = counts[..., 0]
  diverged = counts[..., 1]
  fraction = np.divide(diverged, n, out=np.zeros_like(n), where=n > 0)
  # d log(d / n) + (n - d) log(1 - d / n), with 0 log 0 = 0.
  return xlogy(diverged, fraction) + xlogy(n - diverged, 1 - fraction)
