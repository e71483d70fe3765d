"""Confidence intervals of a scaling law's parameters, from score tests.

An interval contains all values v of a quantity that the score test does not reject:
1. Fit the law with the quantity held at v.
2. Take the Huber scores psi(r) of the residuals.
3. Take the derivative of the law by the quantity, without its projection on the derivatives by
   the other parameters.
4. Reject v if the two correlate.

The test needs no estimate of the density of the noise at zero. (The Huber
width of 1e-3 is far below most noise, so the fit is nearly one of absolute deviations.) It
follows the law's curvature, and does not depend on the parametrization.

Source: Rao's score test. For M-estimators Hampel et al., Robust Statistics (1986), chapter 7.
Inverted as in Koenker, Quantile Regression (2005), section 3.5.

Dimension key: R fits, n runs.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.scaling.estimates import UNKNOWN, Interval
from lmhp.analysis.scaling.huber_fit import (
  ALPHA,
  BETA,
  EXPONENT_BOUNDS,
  Fits,
  LogRuns,
  fit,
  log_law,
)
from lmhp.statistics.intervals import student_quantile

QUANTITIES = ('E', 'A', 'B', 'alpha', 'beta', 'a')
"""Quantities with an interval. a = beta / (alpha + beta) is the exponent of the
compute-optimal N."""
OPTIMAL_EXPONENT = 5
N_EXPANSIONS = 14
N_BISECTIONS = 10


def law_intervals(
  theta: np.ndarray, runs: LogRuns, confidence: float
) -> tuple[dict[str, Interval], str]:
  """Returns the interval of each quantity, and the reason why one is missing or infinite.

  A fixed parameter has no interval.

  Args:
    theta: (5,) best fit.
    runs: Runs that were fitted.
    confidence: Confidence of the intervals.
  """
  # The exponent a needs both alpha and beta.
  fitted = np.flatnonzero([*runs.free, runs.free[ALPHA] and runs.free[BETA]])
  names = [QUANTITIES[i] for i in fitted]
  reason = _reason_without(theta, runs)
  if reason:
    return dict.fromkeys(names, UNKNOWN), reason
  # All ends at once: two rows per quantity, for its lower and its upper end.
  which = np.repeat(fitted, 2)
  side = np.tile([-1.0, 1.0], len(fitted))
  repeated = dataclasses.replace(runs, y=np.repeat(runs.y[None], len(which), 0))
  many = np.repeat(theta[None], len(which), axis=0)
  try:
    bounds = score_bounds(many, repeated, confidence, which, side)
  except np.linalg.LinAlgError:
    reason = 'the runs do not determine the parameters of the law'
    return dict.fromkeys(names, UNKNOWN), reason
  # E, A and B were bounded as logs. exp(700) does not overflow yet.
  ends = np.where(which < 3, np.exp(np.minimum(bounds, 700)), np.maximum(bounds, 0))
  ends = np.where(np.isinf(ends) | (ends > 1e300), np.inf, ends)
  # beta / (alpha + beta) is between 0 and 1.
  ends = np.where(which == OPTIMAL_EXPONENT, np.clip(ends, 0, 1), ends)
  intervals = dict(zip(names, zip(ends[::2].tolist(), ends[1::2].tolist())))
  unbounded = [
    name
    for name, (low, high) in intervals.items()
    if low == 0 or high == math.inf or (name == 'a' and high == 1)
  ]
  return intervals, f'the runs do not bound {", ".join(unbounded)}' if unbounded else ''


def _reason_without(theta: np.ndarray, runs: LogRuns) -> str:
  """Returns the reason why there are no intervals, or an empty string."""
  n = len(runs.y)
  n_needed = 2 * int(runs.free.sum())
  if n < n_needed:
    return f'there are {n} runs, and intervals need {n_needed}'
  exponents = np.flatnonzero(runs.free[ALPHA:])
  sizes = np.stack([runs.x, runs.z])[exponents]
  if min(len(np.unique(size)) for size in sizes) < 3:
    return 'there are two values of a size, and its exponent needs three'
  low, high = EXPONENT_BOUNDS
  fitted = theta[ALPHA + exponents]
  if fitted.max() > 0.999 * high or fitted.min() < 1.001 * low:
    shown = ' and '.join(f'{exponent:.3g}' for exponent in fitted)
    return f'the runs do not show all terms of the law (exponents {shown})'
  if len(sizes) > 1 and abs(np.corrcoef(sizes)[0, 1]) > 0.999:
    return 'N and D grow together in all runs, so their effects cannot be separated'
  return ''


# --- score test -------------------------------------------------------------------------


def score_bounds(
  theta: np.ndarray,
  runs: LogRuns,
  confidence: float,
  which: np.ndarray,
  side: np.ndarray,
) -> np.ndarray:
  """Returns (R,) ends of confidence intervals: values that are only just not rejected.

  Args:
    theta: (R, 5) fits.
    runs: Runs that were fitted, with losses (R, n).
    confidence: Confidence of the intervals.
    which: (R,) index of the quantity in `QUANTITIES`.
    side: (R,) 1 for the upper end, -1 for the lower one.

  Returns:
    The ends. For E, A and B they are of the logarithm. Infinite if nothing is rejected.
  """
  critical = critical_correlation(len(runs.x) - int(runs.free.sum()), confidence)
  # Distances from the fitted value are measured in standard errors.
  middle = quantities(theta, runs.centre)[which, np.arange(len(theta))]
  unit = _standard_errors(theta, runs, which, middle)
  inside = np.zeros(len(theta))
  outside = np.full(len(theta), np.inf)
  reached = theta.copy()

  # Expand until a value is rejected, then bisect between it and the last that is not.
  for turn in range(N_EXPANSIONS + N_BISECTIONS):
    # An end is open until one value has been rejected.
    is_open = np.isinf(outside)
    todo = np.flatnonzero(is_open if turn < N_EXPANSIONS else ~is_open)
    if not len(todo):
      continue
    expanded = np.maximum(1.6, 1.6 * inside)
    distance = np.where(is_open, expanded, 0.5 * (inside + outside))[todo]
    value = middle[todo] + (side * unit)[todo] * distance
    # Refit with the quantity held at the value, from the last fit that was not
    # rejected.
    normal, level = constraint(which[todo], value, runs.centre)
    start = _project(reached[todo], runs, normal, level)
    fits = fit(start, runs.select(todo), basis=complement(normal))
    rejected = np.abs(score_correlation(fits, runs, normal)) > critical
    outside[todo[rejected]] = distance[rejected]
    inside[todo[~rejected]] = distance[~rejected]
    reached[todo[~rejected]] = fits.theta[~rejected]
  # An end that was never rejected is unbounded.
  reach = np.where(np.isinf(outside), np.inf, 0.5 * (inside + outside))
  return middle + side * unit * reach


def score_correlation(fits: Fits, runs: LogRuns, normal: np.ndarray) -> np.ndarray:
  """Returns (R,) the partial correlation of the scores with the direction that was held.

  Args:
    fits: Fits with normal . theta held.
    runs: Runs that were fitted.
    normal: (R, 5) direction that was held.
  """
  jacobian = runs.slopes(fits.term_fractions)
  # Derivative of the log loss of each run along the held direction.
  along = (normal[:, None] @ jacobian)[:, 0]

  # Project out what the other parameters can do.
  others = complement(normal).transpose(0, 2, 1) @ jacobian
  projection = np.linalg.solve(_gram(others), others @ along[..., None])
  along = along - (others.transpose(0, 2, 1) @ projection)[..., 0]

  # Correlation of the rest with the scores, the derivatives of the Huber loss.
  scores = np.clip(fits.residuals, -runs.delta, runs.delta)
  size = np.sqrt(np.sum(along**2, axis=1) * np.sum(scores**2, axis=1))
  return np.sum(along * scores, axis=1) / np.maximum(size, 1e-300)


def complement(normal: np.ndarray) -> np.ndarray:
  """Returns (R, 5, 4) an orthonormal basis of the directions that keep normal . theta."""
  return np.linalg.svd(normal[:, None])[2][:, 1:].transpose(0, 2, 1)


def critical_correlation(freedom: int, confidence: float) -> float:
  """Returns the partial correlation of scores above which the test rejects.

  It is that of Student's t.

  Args:
    freedom: Number of runs minus the number of fitted parameters.
    confidence: Confidence of the interval.
  """
  t = student_quantile((1 + confidence) / 2, freedom)
  return t / math.sqrt(t**2 + freedom)


def quantities(theta: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
  """Returns (6, R) the `QUANTITIES` of each theta. E, A and B as logarithms.

  Args:
    theta: (R, 5) parameters.
    centre: Means that were subtracted from log N and log D.
  """
  # Undo the centring of log N and log D.
  log_e, log_a, log_b, alpha, beta = theta.T
  return np.stack(
    [
      log_e,
      log_a + alpha * centre[0],
      log_b + beta * centre[1],
      alpha,
      beta,
      beta / (alpha + beta),
    ]
  )


def constraint(
  which: np.ndarray, value: np.ndarray, centre: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
  """Returns normal (R, 5) and level (R,) of the constraint that holds a quantity at a value.

  The constraint is normal . theta = level.

  Args:
    which: (R,) int index of the quantity.
    value: (R,) value of the quantity.
    centre: Means that were subtracted from log N and log D.
  """
  normals = np.zeros((len(QUANTITIES), len(value), 5))
  # To hold a quantity at a value is a linear constraint on theta, for a = beta / (alpha + beta)
  # too.
  normals[[0, 1, 2, 3, 4], :, [0, 1, 2, 3, 4]] = 1
  normals[1, :, ALPHA] = centre[0]
  normals[2, :, BETA] = centre[1]
  # v alpha = (1 - v) beta
  normals[OPTIMAL_EXPONENT, :, ALPHA] = value
  normals[OPTIMAL_EXPONENT, :, BETA] = value - 1
  normal = normals[which, np.arange(len(value))]
  return normal, np.where(which == OPTIMAL_EXPONENT, 0.0, value)


def _standard_errors(
  theta: np.ndarray, runs: LogRuns, which: np.ndarray, values: np.ndarray
) -> np.ndarray:
  """Returns (R,) rough standard errors of the quantities at values, for normal noise."""
  expected, term_fractions = log_law(theta, runs.x, runs.z)
  normal, _ = constraint(which, values, runs.centre)
  spread = 1.5 * np.median(np.abs(runs.residuals(expected)), axis=1)
  variance = np.einsum('rk,rk->r', normal, _solve_gram(term_fractions, runs, normal))
  is_exponent = which == OPTIMAL_EXPONENT
  scale = np.where(is_exponent, 1 / (theta[:, ALPHA] + theta[:, BETA]), 1.0)
  return np.maximum(spread * np.sqrt(np.maximum(variance, 0)) * scale, 1e-9)


def _project(
  theta: np.ndarray, runs: LogRuns, normal: np.ndarray, level: np.ndarray
) -> np.ndarray:
  """Moves theta (R, 5) to normal . theta = level so that log L changes least."""
  direction = _solve_gram(log_law(theta, runs.x, runs.z)[1], runs, normal)
  distance = level - np.sum(normal * theta, axis=1)
  return theta + direction * (distance / np.sum(normal * direction, axis=1))[:, None]


def _solve_gram(
  term_fractions: np.ndarray, runs: LogRuns, normal: np.ndarray
) -> np.ndarray:
  """Returns (R, 5) the vector (J J^T)^-1 normal, with J the slopes of log L."""
  return np.linalg.solve(_gram(runs.slopes(term_fractions)), normal[..., None])[..., 0]


def _gram(jacobian: np.ndarray) -> np.ndarray:
  """Returns (R, k, k) J J^T of (R, k, n) J, with a small diagonal that keeps it solvable."""
  gram = jacobian @ jacobian.transpose(0, 2, 1)
  largest = np.einsum('rkk->rk', gram).max(axis=1)[:, None, None]
  return gram + 1e-13 * largest * np.eye(gram.shape[1])
