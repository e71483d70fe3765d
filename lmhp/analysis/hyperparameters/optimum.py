"""Best value of one hyperparameter, with an interval and the width of its basin.

The loss along one axis is a constant plus a valley
(`lmhp.analysis.hyperparameters.unimodal_fit`). Each valley has a posterior weight, and the
interval is the central part of the weights of the valleys' minima.
`bench/calibration_optimum.py` measures how often the intervals cover the truth.

Dimension key: T runs, K valleys, C columns, R draws.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import math
from typing import Literal

import numpy as np

from lmhp.analysis.hyperparameters.unimodal_fit import (
  SHAPES,
  Valleys,
  rise_of,
  weigh_valleys,
)
from lmhp.errors import ConfigError

CEILING = 6.0
"""Runs are left out if they are higher above the best than this many median heights."""

Triple = tuple[float, float, float]
_UNKNOWN: Triple = (math.nan, math.nan, math.nan)
N_DRAWS = 1000
"""Draws behind the intervals of basin and curvature."""


@dataclasses.dataclass(frozen=True)
class Optimum:
  """Fitted optimum of one axis. If a number cannot be computed it is NaN.

  Attributes:
    value: Posterior median of the best value, within the range that was tried. A bound of
      the range if `at_bound` is set.
    low: Lower end of the interval. If it lies below the values that were tried, it is 0 on a
      log axis, else -inf.
    high: Upper end of the interval. inf if it lies above the values that were tried.
    at_bound: 'low' or 'high' if the optimum is more likely beyond that end of the range than
      inside. The interval is then one-sided. Empty otherwise.
    curvature: Second derivative of the loss at the optimum, per squared e-fold of the axis
      on a log axis, else per squared unit.
    curvature_low: Lower end of the interval of the curvature.
    curvature_high: Upper end of the interval of the curvature.
    curvature_p: p-value of a second derivative of 0 or less, by Student's t of a parabola.
    minimum_p: p-value of "the loss falls all the way to one end" against "there is a minimum
      inside" (Lind and Mehlum 2010).
    basin_low: (estimate, low, high) of the distance below the optimum at which the loss has
      risen by `rise_fraction`. A factor on a log axis, else a difference. inf if it is
      larger than the range.
    basin_high: (estimate, low, high) of the same distance above the optimum.
    loss: Fitted loss at the optimum, with covariates as in the run with the lowest fit.
    noise_sd: Standard deviation of a run around the fit near the optimum, in the unit of the
      losses.
    rise_fraction: Rise of the loss that bounds the basin, as a fraction of the loss.
    confidence: Confidence of all intervals.
    n_runs: Number of runs that were used.
    reason: Reason why there is no interval. Empty if there is one.
  """

  value: float = math.nan
  low: float = math.nan
  high: float = math.nan
  at_bound: str = ''
  curvature: float = math.nan
  curvature_low: float = math.nan
  curvature_high: float = math.nan
  curvature_p: float = math.nan
  minimum_p: float = math.nan
  basin_low: Triple = _UNKNOWN
  basin_high: Triple = _UNKNOWN
  loss: float = math.nan
  noise_sd: float = math.nan
  rise_fraction: float = 0.01
  confidence: float = 0.9
  n_runs: int = 0
  reason: str = ''


def fit_optimum(
  values: np.ndarray,
  losses: np.ndarray,
  *,
  log: bool = True,
  confidence: float = 0.9,
  covariates: np.ndarray | None = None,
  rise_fraction: float = 0.01,
  seed: int = 0,
) -> Optimum:
  """Estimates the best value of one axis, with an interval and the width of its basin.

  Args:
    values: (T,) values of the axis, positive if `log`.
    losses: (T,) losses, less is better. Runs with a loss that is not finite (diverged) are
      left out, and so are runs higher above the best than `CEILING` median heights.
    log: If True, the logarithm of the axis is used.
    confidence: Confidence of the intervals.
    covariates: (T, C) the other axes, best scaled to [0, 1]. Each enters with its square.
      None if all else was equal.
    rise_fraction: Rise above the loss at the optimum that bounds the basin, as a fraction of
      that loss.
    seed: Seed of the draws behind the intervals of basin and curvature.

  Returns:
    An `Optimum`. It has a `reason` and no interval if there are fewer than five distinct
    values, or too few runs for the covariates.

  Raises:
    ConfigError: If values are not positive on a log axis, a fraction or the confidence is
      outside (0, 1), or shapes differ.

  Source: The skewed valley is the linex loss of Varian (1975). Weights by marginal
  likelihood: O'Hagan, Bayesian Inference.

  >>> rates = 10.0 ** np.linspace(-4, -2, 9)
  >>> losses = (
  ...   3
  ...   + 0.1 * np.log(rates / 1e-3) ** 2
  ...   + 0.01 * np.array([1, -1, 0, 1, 0, -1, 1, 0, -1])
  ... )
  >>> optimum = fit_optimum(rates, losses)
  >>> (
  ...   bool(optimum.low < 1e-3 < optimum.high),
  ...   optimum.at_bound,
  ...   optimum.minimum_p < 0.01,
  ... )
  (True, '', True)
  """
  x, y, others = _usable_runs(values, losses, covariates, log)
  if not (0 < rise_fraction < 1 and 0 < confidence < 1):
    raise ConfigError(
      f'rise_fraction, confidence: got {rise_fraction}, {confidence}, expected numbers '
      'between 0 and 1'
    )
  blank = Optimum(rise_fraction=rise_fraction, confidence=confidence, n_runs=len(y))
  # A constant and a parabola in each covariate, without dependent columns.
  fixed = np.column_stack([np.ones(len(y)), others, others**2])
  fixed = fixed[:, _independent_columns(fixed)]
  reason = _reason(x, y, fixed)
  if reason:
    return dataclasses.replace(blank, reason=reason)

  # Scale the axis to -1 to 1.
  middle = (x.max() + x.min()) / 2
  half = np.ptp(x) / 2
  z = (x - middle) / half

  def to_value(unit: float) -> float:
    return float(np.exp(middle + half * unit)) if log else float(middle + half * unit)

  # Test for a minimum, and weigh the valleys that may explain the losses.
  curvature_p, minimum_p = _minimum_test(z, y, fixed)
  rng = np.random.default_rng(seed)
  valleys = weigh_valleys(z, y, fixed, rng)
  place, (low, high), at_bound = _interval(valleys, confidence)

  # Basin: the values at which the loss rises by less than a fraction of its minimum.
  rise = rise_fraction * abs(valleys.bottom)
  quantiles = (0.5, (1 - confidence) / 2, (1 + confidence) / 2)
  basin_low, basin_high, curvature = _basin(valleys, rise, quantiles, half, log, rng)
  return dataclasses.replace(
    blank,
    value=to_value(place),
    low=to_value(low),
    high=to_value(high),
    at_bound=at_bound,
    curvature=curvature[0],
    curvature_low=curvature[1],
    curvature_high=curvature[2],
    curvature_p=curvature_p,
    minimum_p=minimum_p,
    basin_low=basin_low,
    basin_high=basin_high,
    loss=valleys.bottom,
    noise_sd=valleys.noise_sd,
  )


def _usable_runs(
  values: np.ndarray, losses: np.ndarray, covariates: np.ndarray | None, log: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the axis on its own scale, losses and covariates of the runs to fit."""
  x = np.asarray(values, np.float64)
  y = np.asarray(losses, np.float64)
  others = np.zeros(0) if covariates is None else np.asarray(covariates, np.float64)
  others = others.reshape(len(y), -1 if others.size else 0)
  if x.shape != y.shape or x.ndim != 1:
    raise ConfigError(
      f'values: got shape {x.shape}, expected that of the losses, {y.shape}'
    )
  if log and (x <= 0).any():
    raise ConfigError(
      f'values: got {np.nanmin(x):g} on a log axis, expected positive numbers'
    )

  # Keep finite runs, on the scale of the axis.
  rows = np.isfinite(x) & np.isfinite(y) & np.isfinite(others).all(1)
  x = np.log(x[rows]) if log else x[rows]
  y = y[rows]
  others = others[rows]

  # Leave out runs far above the best one.
  height = y - y.min(initial=math.inf)
  ceiling = CEILING * float(np.median(height)) if len(y) else 0.0
  near = height <= (ceiling or math.inf)
  return x[near], y[near], others[near]


def _reason(x: np.ndarray, y: np.ndarray, fixed: np.ndarray) -> str:
  """Returns the reason why no optimum can be fitted, or an empty string."""
  needed = fixed.shape[1] + 5
  n_values = len(np.unique(x))
  if n_values < 5 or len(y) < needed:
    return (
      f'{len(y)} runs at {n_values} values can be used, and {needed} runs at 5 values are '
      'needed'
    )
  is_flat = np.ptp(y) <= 1e-12 * max(1.0, float(np.abs(y).max()))
  return 'all losses are equal' if is_flat else ''


def _independent_columns(matrix: np.ndarray) -> list[int]:
  """Returns the indices of columns that are independent of the columns before them."""
  kept: list[int] = []
  for i in range(matrix.shape[1]):
    if np.linalg.matrix_rank(matrix[:, kept + [i]]) > len(kept):
      kept.append(i)
  return kept


def _minimum_test(
  z: np.ndarray, y: np.ndarray, fixed: np.ndarray
) -> tuple[float, float]:
  """Returns p-values of a parabola's curvature, and of a minimum within -1 to 1."""
  from scipy.special import stdtr

  # Quadratic fit, and the covariance of its slope and curvature.
  design = np.column_stack([z, z**2, fixed])
  freedom = len(y) - design.shape[1]
  coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
  variance = np.sum((y - design @ coefficients) ** 2) / freedom
  # The first two columns are the slope and the curvature.
  covariance = variance * np.linalg.inv(design.T @ design)[:2, :2]

  def p_value(direction: np.ndarray) -> float:
    error = max(math.sqrt(direction @ covariance @ direction), 1e-300)
    return float(stdtr(freedom, -(direction @ coefficients[:2]) / error))

  # The slope is below 0 at -1 and above 0 at 1.
  curvature_p = p_value(np.array([0.0, 1.0]))
  # The slope b + 2 c z is tested at z = -1 and z = 1. Both tests must pass, so the
  # larger p-value counts.
  minimum_p = max(p_value(np.array([-1.0, 2.0])), p_value(np.array([1.0, 2.0])))
  return curvature_p, minimum_p


def _interval(
  valleys: Valleys, confidence: float
) -> tuple[float, tuple[float, float], str]:
  """Returns the optimum on -1 to 1, its interval, and the bound that it lies beyond.

  An end of the interval beyond the values that were tried is infinite.
  """
  # Weighted quantiles of the optimum over all valleys.
  order = np.argsort(valleys.place)
  # Each valley sits in the middle of its own weight.
  below = np.cumsum(valleys.weight[order]) - valleys.weight[order] / 2

  def quantile(p: float) -> float:
    return float(np.interp(p, below, valleys.place[order]))

  place = quantile(0.5)
  # An optimum beyond the range has an interval with one end only.
  is_inside = -1 <= place <= 1
  low = quantile((1 - confidence) / 2 if is_inside else 1 - confidence)
  high = quantile((1 + confidence) / 2 if is_inside else confidence)
  at_bound = ''
  if not is_inside:
    at_bound = 'low' if place < 0 else 'high'

  # An end beyond the values that were tried is unknown.
  low = -math.inf if min(low, place) < -1 else low
  high = math.inf if max(high, place) > 1 else high
  return float(np.clip(place, -1, 1)), (low, high), at_bound


def _basin(
  valleys: Valleys,
  rise: float,
  quantiles: Triple,
  half: float,
  log: bool,
  rng: np.random.Generator,
) -> tuple[Triple, Triple, Triple]:
  """Returns quantiles of the basin below and above the optimum, and of the curvature.

  The draws take a valley by its weight, and its depth from a normal distribution above 0.

  Args:
    valleys: Weighted valleys.
    rise: Rise of the loss that bounds the basin.
    quantiles: Probabilities of the estimate, the lower and the upper end.
    half: Half the width of the range, on the scale of the axis.
    log: True for a log axis.
    rng: Generator of the draws.
  """
  # Draw valleys by their weight, with a random depth of each.
  pick = rng.choice(len(valleys.weight), N_DRAWS, p=valleys.weight)
  shape = valleys.shape[pick]
  skew = valleys.skew[pick]
  tail = valleys.tail[pick]
  depth_error = valleys.depth_sd[pick] * rng.standard_normal(N_DRAWS)
  depth = np.abs(valleys.depth[pick] + depth_error)

  def unit_rise(distance: np.ndarray) -> np.ndarray:
    return np.choose(shape, [rise_of(distance, name, skew, tail) for name in SHAPES])

  def width(side: int) -> np.ndarray:
    # Distance at which a valley has risen enough. Infinite if it does not within 2, the
    # length of the whole axis.
    distance = _bisect(lambda d: depth * unit_rise(side * d) >= rise, N_DRAWS)
    inside = depth * unit_rise(side * np.full(N_DRAWS, 2.0)) >= rise
    widths = np.exp(half * distance) if log else half * distance
    return np.where(inside, widths, math.inf)

  # Second difference of the loss at the optimum.
  step = np.full(N_DRAWS, 0.1)
  curvature = depth * (unit_rise(step) + unit_rise(-step)) / (0.1 * half) ** 2
  return (
    _quantiles(width(-1), quantiles, 'nearest'),
    _quantiles(width(1), quantiles, 'nearest'),
    _quantiles(curvature, quantiles, 'linear'),
  )


def _bisect(is_beyond: Callable[[np.ndarray], np.ndarray], n: int) -> np.ndarray:
  """Returns (n,) the distances between 0 and 2 beyond which a condition holds."""
  near = np.zeros(n)
  far = np.full(n, 2.0)
  for _ in range(30):
    middle = (near + far) / 2
    beyond = is_beyond(middle)
    near = np.where(beyond, near, middle)
    far = np.where(beyond, middle, far)
  return far


def _quantiles(
  values: np.ndarray, probabilities: Triple, method: Literal['nearest', 'linear']
) -> Triple:
  middle, low, high = (
    float(np.quantile(values, p, method=method)) for p in probabilities
  )
  return middle, low, high
