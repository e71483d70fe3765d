"""Best value of one hyperparameter, with an interval and its basin.

The loss over all axes is a Gaussian process (`lmhp.analysis.hyperparameters.surface`). Functions
are drawn from its posterior, along one axis with the other axes at their best. The interval is
the central part of their minima. `bench/calibration_optimum.py` measures how often the
intervals cover the truth. A fit of valleys of several shapes along one axis alone was tried: it
is shorter with covariates, but has to assume that they do not interact, and then two fits may
disagree.

Dimension key: T runs, G values of a grid, C covariates, R draws.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.hyperparameters.surface import Surface, fit_surface
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError
from lmhp.statistics.intervals import check_confidence

N_VALUES = 101
N_DRAWS = 500
MIN_VALUES = 5
"""Smallest number of distinct values of an axis with an interval."""


@dataclasses.dataclass(frozen=True)
class Optimum:
  """Fitted optimum of one axis. If a number cannot be computed it is NaN.

  Attributes:
    value: Best value of the fit, within the range that was tried.
    low: Lower end of the interval. If it lies below the values that were tried, it is 0 on a
      log axis, else -inf.
    high: Upper end of the interval. inf if it lies above the values that were tried.
    at_bound: 'low' or 'high' if the loss is more likely lowest at that end of the range than
      inside. Empty otherwise.
    basin: (low, high) values between which the fitted loss is within `rise_fraction` of its
      lowest value. An end of the range if it reaches beyond.
    loss: Fitted loss at the optimum, with the other axes at their best.
    noise_sd: Standard deviation of a run around the fit near the optimum, in the unit of the
      losses.
    rise_fraction: Rise of the loss that bounds the basin, as a fraction of the loss.
    confidence: Confidence of the interval.
    n_runs: Number of runs that were used.
    reason: Reason why there is no interval. Empty if there is one.
  """

  value: float = math.nan
  low: float = math.nan
  high: float = math.nan
  at_bound: str = ''
  basin: tuple[float, float] = (math.nan, math.nan)
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
  """Estimates the best value of one axis, with an interval and its basin.

  Args:
    values: (T,) values of the axis, positive if `log`.
    losses: (T,) losses, less is better. Runs with a loss that is not finite (diverged) are
      left out.
    log: If True, the logarithm of the axis is used.
    confidence: Confidence of the interval.
    covariates: (T, C) the other axes, best scaled to [0, 1]. They may interact with the axis.
      None if all else was equal.
    rise_fraction: Rise above the loss at the optimum that bounds the basin, as a fraction of
      that loss.
    seed: Seed of the draws.

  Returns:
    An `Optimum`, with the covariates at their best. It has a `reason` and no interval if
    there are too few values or runs.

  Raises:
    ConfigError: If values are not positive on a log axis, a fraction or the confidence is
      outside (0, 1), or shapes differ.

  Source: Draws of the minimum of a Gaussian process: Hernandez-Lobato, Hoffman, Ghahramani,
  Predictive Entropy Search (2014).

  >>> rates = 10.0 ** np.linspace(-4, -2, 9)
  >>> losses = (
  ...   3
  ...   + 0.1 * np.log(rates / 1e-3) ** 2
  ...   + 0.01 * np.array([1, -1, 0, 1, 0, -1, 1, 0, -1])
  ... )
  >>> optimum = fit_optimum(rates, losses)
  >>> optimum.low < 1e-3 < optimum.high, optimum.at_bound
  (True, '')
  """
  values = np.asarray(values, np.float64)
  losses = np.asarray(losses, np.float64)
  others = np.zeros((len(values), 0)) if covariates is None else np.asarray(covariates)
  check_confidence(confidence)
  if values.ndim != 1 or values.shape != losses.shape or len(others) != len(values):
    raise ConfigError(
      f'values, losses, covariates: got shapes {values.shape}, {losses.shape} and '
      f'{others.shape}, expected (T,), (T,) and (T, C)'
    )
  if not 0 < rise_fraction < 1:
    raise ConfigError(
      f'rise_fraction: got {rise_fraction}, expected a number between 0 and 1'
    )
  if not np.isfinite(values).all() or not np.isfinite(others).all():
    raise ConfigError('values, covariates: got numbers that are not finite')
  if log and np.any(values <= 0):
    raise ConfigError('values: got a number of 0 or less on a log axis')

  columns = {f'covariate {i}': others[:, i] for i in range(others.shape[1])}
  columns['axis'] = values
  axes = {name: Axis(name, log=log and name == 'axis') for name in columns}
  rows = np.isfinite(losses)
  runs = Runs('', axes, {n: c[rows] for n, c in columns.items()}, losses[rows])
  try:
    surface = fit_surface(runs, seed=seed)
  except ConfigError as error:
    return Optimum(
      confidence=confidence, rise_fraction=rise_fraction, reason=str(error)
    )
  return optimum_on(surface, 'axis', runs, confidence, rise_fraction, seed)


def optimum_on(
  surface: Surface,
  name: str,
  runs: Runs,
  confidence: float = 0.9,
  rise_fraction: float = 0.01,
  seed: int = 0,
) -> Optimum:
  """Returns the optimum of an axis on a fitted surface.

  Args:
    surface: Surface of the runs.
    name: Name of the axis.
    runs: Table of runs, whose values of the axis bound the search.
    confidence: Confidence of the interval.
    rise_fraction: As in `fit_optimum`.
    seed: Seed of the draws.
  """
  blank = Optimum(
    confidence=confidence, rise_fraction=rise_fraction, n_runs=surface.n_points
  )
  if name not in surface.axes:
    return dataclasses.replace(blank, reason=f'{name}: was not varied')
  axis = surface.axes[name]
  if axis.is_choice:
    return dataclasses.replace(blank, reason='a choice has no fitted optimum')
  tried = axis.to_unit(runs.values[name])
  tried = np.unique(tried[np.isfinite(tried)])
  if len(tried) < MIN_VALUES:
    reason = f'it has {len(tried)} values, and {MIN_VALUES} are needed'
    return dataclasses.replace(blank, reason=reason)

  # Minima of functions drawn from the posterior along the axis.
  units_G = np.linspace(tried[0], tried[-1], N_VALUES)
  places = surface.slice(name, units_G)
  minima_R = units_G[np.argmin(surface.sample(places, N_DRAWS, seed), 1)]
  median_G, _ = surface.predict(places)
  best = int(np.argmin(median_G))
  tail = (1 - confidence) / 2
  step = units_G[1] - units_G[0]
  # A minimum on the grid stands for half a step on each side.
  ends = np.quantile(minima_R, (tail, 1 - tail)) + (-step / 2, step / 2)
  low = min(ends[0], units_G[best] - step / 2)
  high = max(ends[1], units_G[best] + step / 2)

  # A minimum at an end of the range may lie beyond it.
  at_low = float(np.mean(minima_R <= units_G[0]))
  at_high = float(np.mean(minima_R >= units_G[-1]))
  at_bound = 'low' if at_low > 0.5 else 'high' if at_high > 0.5 else ''
  low_end, high_end, value = (
    float(v) for v in axis.from_unit([low, high, units_G[best]])
  )
  if at_low > tail:
    low_end = 0.0 if axis.log else -math.inf
  if at_high > tail:
    high_end = math.inf
  return dataclasses.replace(
    blank,
    value=value,
    low=low_end,
    high=high_end,
    at_bound=at_bound,
    basin=_basin(axis, units_G, median_G, best, rise_fraction),
    loss=float(median_G[best]),
    noise_sd=surface.residual_sd,
  )


def _basin(
  axis: Axis, units_G: np.ndarray, median_G: np.ndarray, best: int, rise_fraction: float
) -> tuple[float, float]:
  """Returns the values around the best one, up to the last on each side that is near."""
  is_near = median_G <= median_G[best] + rise_fraction * abs(median_G[best])
  n_below = int(np.logical_and.accumulate(is_near[best::-1]).sum())
  n_above = int(np.logical_and.accumulate(is_near[best:]).sum())
  ends = units_G[[best - n_below + 1, best + n_above - 1]]
  low, high = (float(value) for value in axis.from_unit(ends))
  return low, high
