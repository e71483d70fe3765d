"""Spikes: rows of a curve far above what its neighbours say, of a loss or of a gradient norm.

A curve that is logged every tenth step shows one in ten of the spikes of one step; those that last are seen.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.curves.comparison import noise
from lmhp.statistics.smoothing import lowess

FAR = 8.0
"""Standard deviations of a curve's own noise, from its smoothed self, that make a spike: no normal noise has them."""
LEAST_NATS = 0.05
"""A loss must rise by this much to be called a spike, however calm its curve."""
SKIPPED = 0.1
"""Share of the steps at the start that is another matter (a warmup's)."""
FEWEST = 20
"""Rows below which nothing is said."""


@dataclasses.dataclass(frozen=True)
class Spikes:
  """Those of one curve.

  Attributes:
    rows: of the top of each, places in the curve.
    sizes: how far it stands above the smoothed curve, in the curve's unit.
    noise: standard deviation of the curve around its smoothed self; NaN where the curve is too short.
  """

  rows: np.ndarray
  sizes: np.ndarray
  noise: float

  def __len__(self) -> int:
    return len(self.rows)


def spikes(
  values: np.ndarray,
  least: float = LEAST_NATS,
  far: float = FAR,
  skipped: float = SKIPPED,
) -> Spikes:
  """Rows that stand above the smoothed curve by `far` standard deviations of its noise, and by `least`.

  Neighbouring rows are one spike. Noise and smoothing hardly count outliers, so that a spike does not hide itself.

  Args:
    values: (S,) a loss, or the log of a gradient's norm.
    least: in the unit of the values.
    far: in standard deviations.
    skipped: share of the rows, at the start, that is left out.

  >>> calm = 3 + 0.01 * np.random.default_rng(0).standard_normal(60)
  >>> found = spikes(np.where(np.arange(60) == 40, 4.0, calm))
  >>> found.rows.tolist(), found.sizes.round(1).tolist(), len(spikes(calm))
  ([40], [1.0], 0)
  """
  values = np.asarray(values, np.float64)
  there = np.flatnonzero(np.isfinite(values))
  there = there[int(skipped * len(there)) :]
  if len(there) < FEWEST:
    return Spikes(np.zeros(0, int), np.zeros(0), math.nan)
  kept = values[there]
  smoothed = lowess(kept, 15, rounds=1)
  above, scale = kept - smoothed, noise(kept, smoothed=smoothed)
  high = above > np.maximum(far * scale, least)
  group = np.cumsum(np.diff(high.astype(int), prepend=0) == 1)
  tops = [
    rows[np.argmax(above[rows])]
    for g in range(1, group.max(initial=0) + 1)
    if len(rows := np.flatnonzero(high & (group == g)))
  ]
  tops = np.array(tops, int)
  return Spikes(there[tops], above[tops], scale)


def rise(values: np.ndarray) -> tuple[float, int]:
  """The largest rise of a curve above the least that it had before, and the row where it stood highest.

  >>> rise(np.array([5.0, 4.0, 6.5, 3.0]))
  (2.5, 2)
  """
  values = np.asarray(values, np.float64)
  if not np.isfinite(values).any():
    return 0.0, 0
  risen = values - np.fmin.accumulate(values)
  row = int(np.nanargmax(risen))
  return float(risen[row]), row
