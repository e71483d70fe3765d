"""Numbers from numbers: smoothing, errors, divergence, ranks, differences. numpy, and one quantile of scipy."""

from __future__ import annotations

from typing import Sequence

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


def diverged_at(
  losses: np.ndarray, first_step: int = 0, half_life: float = 20.0
) -> int | None:
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


# --- comparing ------------------------------------------------------------------------------------------------------


def spearman(a: np.ndarray, b: np.ndarray) -> float:
  """Spearman's rank correlation; ties share the mean of their ranks, infinities are the first and the last.

  Args:
    a: (n,) float.
    b: (n,) float.

  Returns:
    -1 to 1; NaN where one side is all equal, or something is NaN.

  >>> spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0])
  0.5
  """
  a, b = _alike(a, b)
  if np.isnan(a).any() or np.isnan(b).any():
    return float('nan')
  a, b = (
    (ranks - ranks.mean() for ranks in (_ranks(a), _ranks(b))) if a.size else (a, b)
  )
  scale = np.sqrt(np.sum(a**2) * np.sum(b**2))
  return float(np.clip(np.sum(a * b) / scale, -1, 1)) if scale else float('nan')


def _ranks(values: np.ndarray) -> np.ndarray:
  """From 1 up; of equal values, the mean of theirs."""
  _, place, count = np.unique(values, return_inverse=True, return_counts=True)
  return (np.cumsum(count) - (count - 1) / 2)[place]


def _alike(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  if a.shape != b.shape or a.ndim != 1:
    raise ValueError(
      f'expected two lists of one length, got shapes {a.shape} and {b.shape}'
    )
  return a, b


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
  a, b = _alike(a, b)
  with np.errstate(invalid='ignore'):  # infinity from infinity
    return mean_interval(a - b, confidence)


def trial_noise(groups: Sequence[Sequence[float]]) -> float:
  """The standard deviation from seed to seed, pooled over settings.

  Args:
    groups: of each setting, its seeds' values; those not finite are left out.

  Returns:
    The root of the mean variance, weighted by degrees of freedom; NaN where no group has two values.

  >>> round(trial_noise([[1.0, 3.0], [10.0], [5.0, 5.0]]), 6)
  1.0
  """
  finite = [[value for value in group if np.isfinite(value)] for group in groups]
  squares = sum(len(group) * float(np.var(group)) for group in finite if group)
  freedom = sum(len(group) - 1 for group in finite if group)
  return float(np.sqrt(squares / freedom)) if freedom else float('nan')
