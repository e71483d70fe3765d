"""Noise of training curves from row to row.

Dimension key: S rows.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lmhp.statistics.smoothing import lowess

MAD_TO_SD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


def noise_sd(
  values: npt.ArrayLike, window: int = 15, smoothed: np.ndarray | None = None
) -> float:
  """Returns the standard deviation of a curve around its smoothed curve, robustly.

  Successive differences miss a part of the noise that lasts over several rows. The larger of
  the two measures is returned.

  Args:
    values: (S,) values.
    window: Window of `lowess`.
    smoothed: (S,) smoothed values. None computes them.

  Returns:
    The standard deviation. NaN if there are fewer than 4 finite values.

  Source: Median absolute deviation, Hampel 1974.

  >>> noise_sd([3.0, 3.1] * 20) > 0.04
  True
  """
  y = np.asarray(values, np.float64)
  rows = np.isfinite(y)
  if rows.sum() < 4:
    return math.nan
  y = y[rows]
  window = max(3, min(window, int(rows.sum())))
  curve = lowess(y, window, rounds=1) if smoothed is None else smoothed[rows]
  # A local line takes up a part of the degrees of freedom.
  freedom = 1 - min(0.7, 2.0 / window)
  # Robust deviation around the smoothed curve: the median absolute deviation, scaled to
  # the standard deviation of a normal distribution.
  around = MAD_TO_SD * float(np.median(np.abs(y - curve))) / math.sqrt(freedom)
  # The difference of two independent rows has sqrt(2) times their deviation. The larger
  # estimate is used.
  jumps = np.diff(y)
  deviations = np.abs(jumps - np.median(jumps))
  return max(around, MAD_TO_SD * float(np.median(deviations)) / math.sqrt(2))


def step_variance(losses: npt.ArrayLike) -> float:
  """Returns the variance of a loss from row to row, without its trend.

  With x the losses and d their differences, it is

    mean((d - mean(d))^2) / 2.

  For noise with correlation r between rows, it is 1 - r times the variance.

  Args:
    losses: (S,) losses in nats. Those that are not finite are left out.

  Returns:
    The variance. NaN if there are fewer than 3 finite values.

  Source: von Neumann et al. 1941, Annals of Mathematical Statistics 12(2).

  >>> step_variance([4.0, 3.0, 2.0, 1.0]), step_variance([1.0, -1.0, 1.0, -1.0, 1.0])
  (0.0, 2.0)
  """
  values = np.asarray(losses, np.float64)
  jumps = np.diff(values[np.isfinite(values)])
  return float(np.mean((jumps - jumps.mean()) ** 2) / 2) if len(jumps) > 1 else math.nan
