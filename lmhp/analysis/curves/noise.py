"""Noise of training curves from row to row, and spikes far above the smoothed curve.

A curve that is logged every tenth step shows one in ten of the spikes that last one step.

Dimension key: S rows.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from lmhp.statistics.smoothing import lowess

MAD_TO_SD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
MIN_SDS = 8.0
"""Standard deviations of a curve's own noise that make a spike. Normal noise has none."""
MIN_NATS = 0.05
"""Smallest rise of a loss that is a spike, however small the noise is."""
SKIPPED = 0.1
"""Fraction of the rows at the start that is left out, because of the warmup."""
MIN_ROWS = 20
WINDOW = 15
"""Number of rows to which each line of the smoothing is fitted."""


def noise_sd(values: npt.ArrayLike) -> float:
  """Returns the standard deviation of a curve around its smoothed curve, robustly.

  Successive differences miss a part of the noise that lasts over several rows. The larger of
  the two measures is returned.

  Args:
    values: (S,) values.

  Returns:
    The standard deviation. NaN if there are fewer than 4 finite values.

  Source: Median absolute deviation, Hampel 1974.

  >>> noise_sd([3.0, 3.1] * 20) > 0.04
  True
  """
  y = np.asarray(values, np.float64)
  y = y[np.isfinite(y)]
  if len(y) < 4:
    return math.nan
  # Robust deviation around the smoothed curve: the median absolute deviation, scaled to
  # the standard deviation of a normal distribution. A local line takes up a part of the
  # degrees of freedom.
  freedom = 1 - 2 / min(WINDOW, len(y))
  height = y - lowess(y, WINDOW, rounds=1)
  around = MAD_TO_SD * float(np.median(np.abs(height))) / math.sqrt(freedom)
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


# --- spikes -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Spikes:
  """Spikes of one curve.

  Attributes:
    rows: Rows of the highest value of each spike.
    sizes: Height of each above the smoothed curve, in the unit of the curve.
    noise: Standard deviation of the curve around its smoothed curve. NaN if the curve is too
      short.
  """

  rows: np.ndarray
  sizes: np.ndarray
  noise: float

  def __len__(self) -> int:
    return len(self.rows)


def find_spikes(values: npt.ArrayLike, min_rise: float = MIN_NATS) -> Spikes:
  """Finds rows that are far above the smoothed curve.

  Neighbouring rows are one spike. The noise and the smoothed curve have low weights for
  outliers, so that a spike does not hide itself.

  Args:
    values: (S,) losses, or logarithms of gradient norms.
    min_rise: Smallest height of a spike, in the unit of the values.

  >>> calm = 3 + 0.01 * np.random.default_rng(0).standard_normal(60)
  >>> spikes = find_spikes(np.where(np.arange(60) == 40, 4.0, calm))
  >>> spikes.rows.tolist(), spikes.sizes.round(1).tolist(), len(find_spikes(calm))
  ([40], [1.0], 0)
  """
  curve = np.asarray(values, np.float64)
  finite = np.flatnonzero(np.isfinite(curve))
  # Leave out the start, because of the warmup.
  finite = finite[int(SKIPPED * len(finite)) :]
  if len(finite) < MIN_ROWS:
    return Spikes(np.zeros(0, int), np.zeros(0), math.nan)
  kept = curve[finite]
  noise = noise_sd(kept)
  # Rows above the smoothed curve by many deviations, and by more than the least rise.
  height = kept - lowess(kept, WINDOW, rounds=1)
  is_high = height > max(MIN_SDS * noise, min_rise)

  # Number the groups of neighbouring rows, and take the highest row of each.
  group = np.where(is_high, np.cumsum(np.diff(is_high.astype(int), prepend=0) == 1), 0)
  tops = [
    int(np.argmax(np.where(group == number, height, -math.inf)))
    for number in range(1, group.max() + 1)
  ]
  return Spikes(finite[tops], height[tops], noise)
