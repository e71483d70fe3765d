"""Standard errors and confidence intervals of means and differences."""

from __future__ import annotations

import numpy as np

from lmhp.statistics.ranks import paired_arrays


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


def mean_interval(
  values: np.ndarray, confidence: float = 0.95
) -> tuple[float, float, float]:
  """The mean of independent values and Student's interval around it.

  Args:
    values: (n,) float, n at least 1.
    confidence: how often such intervals hold the true mean, if the values are normal.

  Returns:
    Mean, low, high; the interval is NaN for one value, and where something is not finite. Source: Student 1908.
  """
  values = np.asarray(values, np.float64)
  mean = float(np.mean(values))
  if len(values) < 2 or not np.isfinite(values).all():
    return mean, float('nan'), float('nan')
  from scipy.special import stdtrit  # slow to import, and only here

  half = float(
    stdtrit(len(values) - 1, (1 + confidence) / 2)
    * np.std(values, ddof=1)
    / np.sqrt(len(values))
  )
  return mean, mean - half, mean + half


def paired_difference(
  a: np.ndarray, b: np.ndarray, confidence: float = 0.95
) -> tuple[float, float, float]:
  """The mean of a - b, pair by pair, and its interval: what the pairs have in common (a seed) cancels.

  Args:
    a: (n,) float.
    b: (n,) float, in the same order.
    confidence: as of :func:`mean_interval`.

  Returns:
    Mean, low, high, as :func:`mean_interval`.
  """
  a, b = paired_arrays(a, b)
  with np.errstate(invalid='ignore'):  # infinity from infinity
    return mean_interval(a - b, confidence)
