"""Numbers from numbers: smoothing, standard errors, where a run diverged. numpy alone."""

from __future__ import annotations

import numpy as np


def smooth(values: np.ndarray, half_life: float) -> np.ndarray:
  """Exponential moving average along the first axis, without the bias of its start.

  Args:
    values: (S,) float.
    half_life: after how many values a value's weight has halved.

  Returns:
    (S,) float64; where a value is not finite, so is all that follows.

  >>> smooth(np.array([1.0, 3.0]), half_life=1.0).round(3).tolist()
  [1.0, 2.333]
  """
  decay = 0.5 ** (1 / half_life)
  mean, weight, out = 0.0, 0.0, np.empty(len(values))
  for i, value in enumerate(np.asarray(values, np.float64)):
    mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
    out[i] = mean / weight
  return out


def diverged_at(losses: np.ndarray, first_step: int = 0, half_life: float = 20.0) -> int | None:
  """The step at which a run diverged, or None.

  A run diverged at the first step whose loss is not finite, or at the step from which its smoothed loss stays above
  its initial value until the end. The first `half_life` steps are the run's start and decide nothing.

  Args:
    losses: (S,) training loss of every step, nats.
    first_step: number of the first of them.
    half_life: of the smoothing, steps.

  >>> diverged_at(np.array([4.0, 3.0, np.nan, 3.0]))
  2
  """
  losses = np.asarray(losses, np.float64)
  bad = np.flatnonzero(~np.isfinite(losses))
  if bad.size:
    return first_step + int(bad[0])
  if len(losses) <= 2 * half_life:
    return None
  above = smooth(losses, half_life) > losses[0]
  if not above[-1]:
    return None
  below = np.flatnonzero(~above)
  return first_step + (int(below[-1]) + 1 if below.size else 0)


def standard_error(values: np.ndarray, weights: np.ndarray) -> float:
  """Standard error of a weighted mean of independent values.

  Args:
    values: (n,) one mean for each sequence.
    weights: (n,) how much each counts (its tokens); those of weight 0 are left out.

  Returns:
    The ratio estimator's standard error, NaN below two values. Source: Cochran, Sampling Techniques, eq. 2.46.
  """
  values, weights = np.asarray(values, np.float64), np.asarray(weights, np.float64)
  n = int(np.count_nonzero(weights))
  if n < 2:
    return float('nan')
  mean = np.sum(weights * values) / np.sum(weights)
  residuals = weights * (values - mean) / np.mean(weights[weights > 0])
  return float(np.sqrt(np.sum(residuals**2) / (n * (n - 1))))
