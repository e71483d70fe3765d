"""Training curves: smoothed, their noise, compared at equal amounts, thinned for pictures.

A curve is {name: (S,) float64} of one run: 'step', and such as 'tokens', 'seconds', 'loss_nats', 'eval_loss_nats',
'grad_norm', with NaN where a row has no such value.

Dimension key: T runs, S rows, G amounts, W window.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Mapping

import numpy as np

from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.rung_agreement import RungAgreement, rung_agreement
from lmhp.errors import ConfigError, suggest
from lmhp.statistics.smoothing import lowess

__all__ = [
  'AtEqual',
  'RungAgreement',
  'at_equal',
  'decimate',
  'noise',
  'rung_agreement',
  'step_variance',
  'with_amounts',
]

Curve = Mapping[str, np.ndarray]
AMOUNTS = ('step', 'tokens', 'flops', 'seconds')
_ROBUST_SD = 1.4826  # of a normal's median absolute deviation


def noise(
  values: np.ndarray, window: int = 15, smoothed: np.ndarray | None = None
) -> float:
  """Standard deviation of a curve around its smoothed self, outliers hardly counted; NaN below 4 finite values.

  It holds noise that lasts over a few rows too, of which successive differences see a part alone; of the two measures
  the larger is taken. Its smoothed self may be given, (S,), where it is there already. Source: median absolute
  deviation, Hampel 1974.

  >>> round(noise([3.0, 3.1] * 20), 3) > 0.04
  True
  """
  values = np.asarray(values, np.float64)
  there = np.isfinite(values)
  if there.sum() < 4:
    return math.nan
  values, window = values[there], max(3, min(window, int(there.sum())))
  smoothed = lowess(values, window, rounds=1) if smoothed is None else smoothed[there]
  freedom = 1 - min(0.7, 2.0 / window)  # what a local line takes up itself
  around = _ROBUST_SD * float(np.median(np.abs(values - smoothed))) / math.sqrt(freedom)
  jumps = np.diff(values)
  return max(
    around,
    _ROBUST_SD * float(np.median(np.abs(jumps - np.median(jumps)))) / math.sqrt(2),
  )


def step_variance(losses: np.ndarray) -> float:
  """Variance of a loss from row to row, without its trend, by successive differences.

  Args:
    losses: (S,) nats; those not finite are left out.

  Returns:
    Sum of (x[i + 1] - x[i])^2 over 2 (n - 1), less the part of the mean difference; NaN below 3 values. Of noise that
    lasts from row to row (correlation r) it is the part 1 - r. Source: von Neumann et al. 1941, Annals of Mathematical
    Statistics 12(2).

  >>> step_variance([4.0, 3.0, 2.0, 1.0]), step_variance([1.0, -1.0, 1.0, -1.0, 1.0])
  (0.0, 2.0)
  """
  losses = np.asarray(losses, np.float64)
  jumps = np.diff(losses[np.isfinite(losses)])
  return float(np.mean((jumps - jumps.mean()) ** 2) / 2) if len(jumps) > 1 else math.nan


def decimate(
  x: np.ndarray, y: np.ndarray, points: int
) -> tuple[np.ndarray, np.ndarray]:
  """Fewer points of a curve for a picture: of each stretch its least and its greatest, so that no spike is lost.

  Args:
    x: (S,) in order.
    y: (S,) float; rows that are not finite are left out.
    points: how many at most, 4 or more.

  Returns:
    x and y of the points kept, in order, the first and the last among them. Source: the M4 aggregation of Jugel et al.
    2014, VLDB 7(10), without the ends of each stretch.

  Raises:
    ConfigError: for fewer than 4 points.

  >>> decimate(np.arange(100), np.where(np.arange(100) == 50, 9.0, 0.0), 6)[1].max()
  np.float64(9.0)
  """
  if points < 4:
    raise ConfigError(f'points: got {points}, expected 4 or more')
  x, y = np.asarray(x), np.asarray(y, np.float64)
  there = np.isfinite(y)
  x, y = x[there], y[there]
  if len(y) <= points:
    return x, y
  edges = np.linspace(1, len(y) - 1, (points - 2) // 2 + 1).round().astype(int)
  inner = [
    low + place(y[low:high])
    for low, high in zip(edges[:-1], edges[1:])
    for place in (np.argmin, np.argmax)
  ]
  kept = np.unique([0, *inner, len(y) - 1])
  return x[kept], y[kept]


# --- at equal amounts -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class AtEqual:
  """Runs side by side.

  Attributes:
    amount: of which they had as much: 'tokens', 'flops', 'seconds' or 'step'.
    grid: (G,) amounts.
    numbers: (T,) of the runs.
    losses: (T, G) smoothed; NaN where a run had not begun or had ended.
    ranks: (T, G) from 1 for the least loss, among the runs that are there; NaN of the others.
  """

  amount: str
  grid: np.ndarray
  numbers: tuple[int, ...]
  losses: np.ndarray
  ranks: np.ndarray


def at_equal(
  curves: Mapping[int, Curve],
  amount: str,
  value: str = 'loss_nats',
  points: int = 50,
  window: int = 15,
) -> AtEqual:
  """Compares curves where each had spent as much.

  Args:
    curves: of runs by number; those without the amount or the value are left out. :func:`with_amounts` gives those of a
      study their FLOPs and seconds.
    amount: 'tokens', 'flops', 'seconds' or 'step'.
    value: which column.
    points: G, in equal ratios from the first amount that all reached to the last that any did.
    window: Window of `lmhp.statistics.smoothing.lowess`; at most a third of a curve's rows.

  Raises:
    ConfigError: where no curve has the amount and the value.

  >>> steps = np.arange(1.0, 101)
  >>> found = at_equal(
  ...   {
  ...     0: {'step': steps, 'loss_nats': 3 / steps},
  ...     1: {'step': steps, 'loss_nats': 2 / steps},
  ...   },
  ...   'step',
  ... )
  >>> found.ranks[:, -1].tolist()
  [2.0, 1.0]
  """
  if amount not in AMOUNTS:
    raise ConfigError(
      f'amount: got {amount!r}, expected one of {", ".join(AMOUNTS)}{suggest(amount, AMOUNTS)}'
    )
  known = {
    number: rows
    for number, curve in curves.items()
    if (rows := _pairs(curve, amount, value, window))
  }
  if not known:
    raise ConfigError(
      f'amount: got {amount!r}, expected one that a curve has beside {value!r}'
    )
  first, last = (
    max(x[0] for x, _ in known.values()),
    max(x[-1] for x, _ in known.values()),
  )
  grid = np.geomspace(first, max(first, last), points)
  grid[-1] = max(first, last)  # geomspace may end a rounding above
  losses = np.array(
    [np.interp(grid, x, y, left=math.nan, right=math.nan) for x, y in known.values()]
  )
  return AtEqual(amount, grid, tuple(known), losses, _ranks(losses))


def _pairs(
  curve: Curve, amount: str, value: str, window: int
) -> tuple[np.ndarray, np.ndarray] | None:
  """Amounts, each greater than the one before, and smoothed values; None where there are not two."""
  if amount not in curve or value not in curve:
    return None
  x, y = np.asarray(curve[amount], np.float64), np.asarray(curve[value], np.float64)
  there = np.isfinite(x) & np.isfinite(y) & (x > 0)
  x, y = x[there], y[there]
  fresh = (
    np.concatenate([np.diff(x) > 0, [True]]) if len(x) else there[:0]
  )  # of two at one amount, the later
  x, y = x[fresh], y[fresh]
  return (x, lowess(y, max(3, min(window, len(y) // 3)), x)) if len(x) > 1 else None


def _ranks(losses: np.ndarray) -> np.ndarray:
  from scipy.stats import rankdata  # slow to import, and only here

  return rankdata(losses, axis=0, nan_policy='omit')


def with_amounts(runs: Runs) -> dict[int, dict[str, np.ndarray]]:
  """Curves with FLOPs and seconds where only a run's total is known: in proportion to its tokens, or to its steps."""
  found = {}
  for row, number in enumerate(runs.number.tolist()):
    if number not in runs.curves:
      continue
    curve = dict(runs.curves[number])
    by = 'tokens' if 'tokens' in curve else 'step'
    whole = runs.measured.get('tokens' if by == 'tokens' else 'steps')
    for name in ('flops', 'seconds'):
      if (
        name not in curve
        and name in runs.measured
        and whole is not None
        and whole[row] > 0
      ):
        curve[name] = np.asarray(curve[by], np.float64) * (
          runs.measured[name][row] / whole[row]
        )
    found[number] = curve
  return found
