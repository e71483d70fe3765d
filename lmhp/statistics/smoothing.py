"""Smoothing of series of numbers, such as a loss curve. Shapes: S values, W neighbors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmhp.errors import ConfigError

Floats = npt.NDArray[np.float64]


def exponential_moving_average(values: npt.ArrayLike, half_life: float) -> Floats:
  """Returns the exponential moving average of a series, with bias correction.

  Args:
    values: (S,) float.
    half_life: Number of values after which the weight of a value has halved.

  Returns:
    (S,) float64. At and after a value that is not finite, the results are not finite.

  >>> exponential_moving_average([1.0, 3.0], half_life=1.0).round(3).tolist()
  [1.0, 2.333]
  """
  values = np.asarray(values, np.float64)
  # `mean` starts at 0, so it is too close to 0 at first. `weight` is the same average of a
  # series of ones. It is too close to 0 by the same factor, so the quotient has no bias.
  decay = 0.5 ** (1 / half_life)
  mean = 0.0
  weight = 0.0
  averages = np.empty(len(values))
  for i, value in enumerate(values):
    mean = decay * mean + (1 - decay) * value
    weight = decay * weight + (1 - decay)
    averages[i] = mean / weight
  return averages


def lowess(
  values: npt.ArrayLike,
  window: int,
  steps: npt.ArrayLike | None = None,
  rounds: int = 3,
) -> Floats:
  """Smooths a series by local linear regression (LOWESS).

  Each result is the value of a line that is fitted to the nearest values. Near values weigh
  more, and outliers weigh little. A moving average lags behind a falling curve, and one spike
  raises all later averages. A local line does not lag, even at the ends of the series.

  Args:
    values: (S,) float. Values that are not finite are left out.
    window: Number of values to which a line is fitted, at least 3. If the series has fewer
      finite values, the line is fitted to all of them.
    steps: (S,) increasing positions of the values. If None, the positions are 0, 1, 2, ...
    rounds: Number of further fits that give outliers less weight. With 0, the weights depend
      on distance alone.

  Returns:
    (S,) float64. NaN for a value that is not finite.

  Raises:
    ConfigError: If `window` is below 3.

  Source: Cleveland 1979, JASA 74(368): tricube weights by distance, bisquare weights by
  residual.

  >>> line_with_a_spike = [5.0, 4.0, 3.0, 9.0, 1.0, 0.0]
  >>> lowess(line_with_a_spike, window=6).round(1).tolist()
  [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
  """
  if window < 3:
    raise ConfigError(f'window: got {window}, expected at least 3')
  values = np.asarray(values, np.float64)
  smoothed = np.full(len(values), np.nan)
  finite = np.flatnonzero(np.isfinite(values))
  if len(finite) < 3:
    # A line passes through one or two values exactly.
    smoothed[finite] = values[finite]
    return smoothed

  x = np.arange(len(values)) if steps is None else np.asarray(steps)
  x = x[finite].astype(np.float64)
  window = min(int(window), len(finite))
  smoothed[finite] = _fit_local_lines(x, values[finite], window, rounds)
  return smoothed


def _fit_local_lines(x: Floats, y: Floats, window: int, rounds: int) -> Floats:
  """Returns the local line of each position in `x`, evaluated at this position, (S,).

  A line is fitted to the `window` values of `y` that are nearest to its position.
  """
  neighbors = _nearest(x, window)

  # Tricube weights: (1 - (distance / radius)^3)^3. The radius is slightly above the largest
  # distance, so that the farthest neighbor has a weight above 0.
  offsets = x[neighbors] - x[:, None]
  radius = np.maximum(np.abs(offsets).max(axis=1, keepdims=True) * (1 + 1e-3), 1e-300)
  weights_by_distance = (1 - np.abs(offsets / radius) ** 3) ** 3

  weights_by_residual = np.ones(len(y))
  fitted = y
  for _ in range(rounds + 1):
    # If all neighbors of a position are outliers, they are weighted by distance alone.
    weights = weights_by_distance * weights_by_residual[neighbors]
    has_weight = weights.sum(axis=1, keepdims=True) > 1e-6
    weights = np.where(has_weight, weights, weights_by_distance)

    # Fit each line by weighted least squares, and evaluate it at offset 0. If the neighbors
    # with weight are all at one position, the line is flat.
    total = weights.sum(axis=1)
    mean_x = (weights * offsets).sum(axis=1) / total
    mean_y = (weights * y[neighbors]).sum(axis=1) / total
    centered = offsets - mean_x[:, None]
    variance = (weights * centered**2).sum(axis=1)
    covariance = (weights * centered * y[neighbors]).sum(axis=1)
    varies = variance > 1e-12 * total * radius[:, 0] ** 2
    slope = np.where(varies, covariance / np.maximum(variance, 1e-300), 0.0)
    fitted = mean_y - slope * mean_x

    # Bisquare weights: (1 - (residual / (6 * median residual))^2)^2.
    residuals = np.abs(y - fitted)
    scale = 6 * np.median(residuals)
    # If most lines pass through their values, the scale is 0, and no outlier can be detected.
    if not scale > 1e-12 * np.abs(y).max():
      break
    weights_by_residual = np.maximum(1 - (residuals / scale) ** 2, 0.0) ** 2
  return fitted


def _nearest(x: Floats, window: int) -> npt.NDArray[np.int64]:
  """Returns for each position the indices of the W = `window` nearest positions, (S, W).

  The positions `x` increase, so the nearest ones are consecutive.
  """
  n = len(x)
  # Start with the window that ends at the position itself.
  first = np.clip(np.arange(n) - window + 1, 0, n - window)
  # Move a window to the right while its next value is nearer than its first.
  for _ in range(window):
    following = np.minimum(first + window, n - 1)
    moves = (first + window < n) & (x[following] - x < x - x[first])
    if not moves.any():
      break
    first = first + moves
  return first[:, None] + np.arange(window)
