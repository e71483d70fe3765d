"""Where the best value of a hyperparameter lies, how sure that is, and how far one may be off.

The loss along one axis is a constant plus a valley (`lmhp.analysis.hyperparameters.unimodal_fit`), and each valley has its weight. The
interval is the central part of the weights of the valleys' bottoms. `bench/calibration_optimum.py` measures how often
the intervals hold the truth.

Dimension key: T runs, K valleys, C columns.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from lmhp.analysis.hyperparameters.unimodal_fit import (
  KINDS,
  Valleys,
  rise_of,
  weigh_valleys,
)
from lmhp.errors import ConfigError

CEILING = 6.0
"""Runs higher over the best than this many times the median height are left out."""


@dataclasses.dataclass(frozen=True)
class Optimum:
  """The fitted optimum of one axis. Numbers that cannot be said are NaN, and `reason` says why.

  Attributes:
    value: posterior median of the best value, within the range that was tried; a bound where `at_bound`.
    low: the interval's lower end; 0 on a log axis, else -inf, where it lies below what was tried.
    high: the upper end; inf where it lies above.
    at_bound: '' or 'low' or 'high': the optimum is more likely beyond that end of the range than not, and the interval
      is one-sided.
    curvature: second derivative of the loss at the optimum, per squared e-fold (or unit) of the axis.
    curvature_low: its interval.
    curvature_high: its interval.
    curvature_p: of a parabola's second derivative against 0 or less, Student's t.
    minimum_p: of 'the loss falls all the way to one end' against 'there is a minimum inside' (Lind and Mehlum 2010).
    basin_low: (estimate, low, high): the factor below the optimum (a difference, if not log) at which the loss has
      risen by `share`; inf beyond the width of the range.
    basin_high: the same above it.
    loss: fitted loss at the optimum, covariates as in the run with the lowest fit.
    noise_sd: of a run near the bottom around the fit, of the losses' unit.
    share: of the loss, by which the basin is bounded.
    confidence: of all intervals.
    used: number of runs used.
    reason: why there is no interval, or ''.
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
  basin_low: tuple[float, float, float] = (math.nan,) * 3
  basin_high: tuple[float, float, float] = (math.nan,) * 3
  loss: float = math.nan
  noise_sd: float = math.nan
  share: float = 0.01
  confidence: float = 0.9
  used: int = 0
  reason: str = ''


def fit_optimum(
  values: np.ndarray,
  losses: np.ndarray,
  *,
  log: bool = True,
  confidence: float = 0.9,
  covariates: np.ndarray | None = None,
  share: float = 0.01,
  seed: int = 0,
) -> Optimum:
  """The optimum of one axis, with an interval, and the width of its basin.

  Args:
    values: (T,) the axis's values, positive if `log`.
    losses: (T,) less is better; runs with a loss that is not finite (diverged) are left out, and so are those above
      `CEILING` times the median height over the best.
    log: whether the axis is to be read in logarithms.
    confidence: of the intervals.
    covariates: (T, C) the other axes, best in [0, 1]; each enters with its square. None where all else was equal.
    share: rise over the optimum's loss that bounds the basin.
    seed: of the draws behind the intervals of basin and curvature.

  Returns:
    An `Optimum`; with a `reason` and no interval below five distinct values or too few runs for the covariates.

  Raises:
    ConfigError: for values that are not positive on a log axis, shares or confidences outside (0, 1), shapes that
      differ.

  Source: the skewed valley is Varian's linex loss (1975); weights by marginal likelihood, O'Hagan, Bayesian Inference.

  >>> rates = 10.0 ** np.linspace(-4, -2, 9)
  >>> losses = (
  ...   3
  ...   + 0.1 * np.log(rates / 1e-3) ** 2
  ...   + 0.01 * np.array([1, -1, 0, 1, 0, -1, 1, 0, -1])
  ... )
  >>> found = fit_optimum(rates, losses)
  >>> bool(found.low < 1e-3 < found.high), found.at_bound, found.minimum_p < 0.01
  (True, '', True)
  """
  x, y, others = _checked(values, losses, covariates, log, confidence, share)
  blank = Optimum(share=share, confidence=confidence, used=len(y))
  fixed = np.column_stack([np.ones(len(y)), others, others**2])
  fixed = fixed[:, _independent(fixed)]
  if len(np.unique(x)) < 5 or len(y) < fixed.shape[1] + 5:
    return dataclasses.replace(
      blank,
      reason=f'{len(y)} usable runs at {len(np.unique(x))} values; needs 5 values and '
      f'{fixed.shape[1] + 5} runs',
    )
  if np.ptp(y) <= 1e-12 * max(1.0, float(np.abs(y).max())):
    return dataclasses.replace(blank, reason='all losses are equal')
  middle, half = (x.max() + x.min()) / 2, np.ptp(x) / 2
  z = (x - middle) / half
  curvature_p, minimum_p = _minimum_test(z, y, fixed)
  rng = np.random.default_rng(seed)
  valleys = weigh_valleys(z, y, fixed, rng)
  place, ends, at_bound = _interval(valleys, confidence)
  back = (
    (lambda u: float(np.exp(middle + half * u)))
    if log
    else (lambda u: float(middle + half * u))
  )
  return dataclasses.replace(
    blank,
    value=back(place),
    low=back(ends[0]),
    high=back(ends[1]),
    at_bound=at_bound,
    curvature_p=curvature_p,
    minimum_p=minimum_p,
    noise_sd=valleys.noise_sd,
    loss=valleys.bottom,
    **_basin(valleys, share, confidence, half, log, rng),
  )


def _checked(values, losses, covariates, log, confidence, share):
  """The usable rows, the axis on its own scale: (n,), (n,), (n, C)."""
  x, y = np.asarray(values, np.float64), np.asarray(losses, np.float64)
  others = (
    np.zeros((len(y), 0))
    if covariates is None
    else np.asarray(covariates, np.float64).reshape(len(y), -1)
  )
  if x.shape != y.shape or x.ndim != 1:
    raise ConfigError(
      f'values: got shape {x.shape}, expected that of the losses, {y.shape}'
    )
  if not (0 < share < 1 and 0 < confidence < 1):
    raise ConfigError(
      f'share, confidence: got {share}, {confidence}, expected numbers between 0 and 1'
    )
  if log and (x <= 0).any():
    raise ConfigError(
      f'values: got {np.nanmin(x):g} on a log axis, expected positive numbers'
    )
  rows = np.isfinite(x) & np.isfinite(y) & np.isfinite(others).all(1)
  x, y, others = (np.log(x[rows]) if log else x[rows]), y[rows], others[rows]
  height = y - y.min() if len(y) else y
  near = (
    height <= CEILING * np.median(height)
    if len(y) and np.median(height) > 0
    else np.ones(len(y), bool)
  )
  return x[near], y[near], others[near]


def _independent(matrix: np.ndarray) -> list[int]:
  """Columns that add to those before them."""
  kept: list[int] = []
  for i in range(matrix.shape[1]):
    if np.linalg.matrix_rank(matrix[:, kept + [i]]) > len(kept):
      kept.append(i)
  return kept


def _minimum_test(
  z: np.ndarray, y: np.ndarray, fixed: np.ndarray
) -> tuple[float, float]:
  """Of a parabola fitted by least squares: p of its curvature, and of a minimum within -1 to 1."""
  from scipy.special import stdtr

  design = np.column_stack([z, z**2, fixed])
  freedom = len(y) - design.shape[1]
  coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
  variance = np.sum((y - design @ coefficients) ** 2) / freedom
  covariance = variance * np.linalg.inv(design.T @ design)[:2, :2]
  p = lambda c: float(
    stdtr(freedom, -(c @ coefficients[:2]) / max(math.sqrt(c @ covariance @ c), 1e-300))
  )
  return p(np.array([0.0, 1.0])), max(p(np.array([-1.0, 2.0])), p(np.array([1.0, 2.0])))


def _interval(
  valleys: Valleys, confidence: float
) -> tuple[float, tuple[float, float], str]:
  """The optimum on -1 to 1, its interval (infinite past what was tried), and the bound it lies beyond."""
  order = np.argsort(valleys.place)
  below = np.cumsum(valleys.weight[order]) - valleys.weight[order] / 2
  quantile = lambda p: float(np.interp(p, below, valleys.place[order]))
  place = quantile(0.5)
  at_bound = 'low' if place < -1 else 'high' if place > 1 else ''
  if at_bound:
    ends = (
      (-math.inf, quantile(confidence))
      if at_bound == 'low'
      else (quantile(1 - confidence), math.inf)
    )
  else:
    ends = (quantile((1 - confidence) / 2), quantile((1 + confidence) / 2))
  low, high = (
    (-math.inf if ends[0] < -1 else ends[0]),
    (math.inf if ends[1] > 1 else ends[1]),
  )
  return float(np.clip(place, -1, 1)), (low, high), at_bound


def _basin(
  valleys: Valleys, share: float, confidence: float, half: float, log: bool, rng
) -> dict[str, Any]:
  """Width and curvature over draws of the valleys: a valley by its weight, its depth normal above 0."""
  draws = 1000
  pick = rng.choice(len(valleys.weight), draws, p=valleys.weight)
  kind, skew, tail = (getattr(valleys, name)[pick] for name in ('kind', 'skew', 'tail'))
  depth = np.abs(
    valleys.depth[pick] + valleys.depth_sd[pick] * rng.standard_normal(draws)
  )
  rise = lambda d: np.select(
    [kind == i for i in range(len(KINDS))],
    [rise_of(d, name, skew, tail) for name in KINDS],
  )
  levels = [(1 - confidence) / 2, (1 + confidence) / 2]
  out: dict[str, Any] = {}
  for name, side in (('basin_low', -1), ('basin_high', 1)):
    near, far = np.zeros(draws), np.full(draws, 2.0)
    inside = depth * rise(side * far) >= share * abs(valleys.bottom)
    for _ in range(30):
      middle = (near + far) / 2
      over = depth * rise(side * middle) >= share * abs(valleys.bottom)
      near, far = np.where(over, near, middle), np.where(over, middle, far)
    width = np.where(inside, np.exp(half * far) if log else half * far, math.inf)
    out[name] = tuple(
      float(np.quantile(width, q, method='nearest')) for q in (0.5, *levels)
    )
  bend = (
    depth * (rise(np.full(draws, 0.1)) + rise(np.full(draws, -0.1))) / (0.1 * half) ** 2
  )
  out['curvature'], out['curvature_low'], out['curvature_high'] = map(
    float, np.quantile(bend, [0.5, *levels])
  )
  return out
