"""Isolation: the best loss over all other hyperparameters, for each value of one.

A scientific hyperparameter is judged by it.

Dimension key: T runs, B bins.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import math

import numpy as np

from lmhp.analysis.hyperparameters.design import bounded_axis, unit_values
from lmhp.analysis.hyperparameters.surface import Surface, fit_surface
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.columns import object_column
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.contenders import has_finite_point
from lmhp.analysis.winner.winner import Winner, expected_loss_of_best
from lmhp.errors import ConfigError
from lmhp.statistics.seed_noise import seed_noise

MAX_BINS = 6
MIN_FREEDOM = 3
"""Degrees of freedom between seeds, below which the noise is taken from the surface."""
SEEDS = 'seeds'
SURFACE = 'surface'
NO_POINT = -1


@dataclasses.dataclass(frozen=True)
class Isolation:
  """Best loss over the other axes, for each value of one axis.

  Attributes:
    axis: Name of the axis.
    values: (B,) values or choices. The median of each bin for a range with many values.
    edges: (B, 2) smallest and largest value of each bin. NaN for a choice.
    best: (B,) mean loss of the best point. It is too low on average, because the point was
      selected.
    expected: (B,) expected loss of that point on a fresh seed.
    low: (B,) lower end of its interval, conditional on being the best. NaN if the noise is
      unknown.
    high: (B,) upper end of the interval.
    n_points: (B,) number of points that could have been the best. A fair comparison has the
      same number for each value.
    number: (B,) number of a run of the best point, or -1.
    noise: Standard deviation between seeds that was used. NaN if unknown.
    noise_source: 'seeds' if the noise comes from points with several seeds, 'surface' if it
      is the residual of the surface (which holds lack of fit too), or empty.
    confidence: Confidence of the intervals.
  """

  axis: str
  values: np.ndarray
  edges: np.ndarray
  best: np.ndarray
  expected: np.ndarray
  low: np.ndarray
  high: np.ndarray
  n_points: np.ndarray
  number: np.ndarray
  noise: float
  noise_source: str
  confidence: float


def isolation(
  runs: Runs,
  axis: str,
  surface: Surface | None = None,
  confidence: float = 0.9,
  seed: int = 0,
) -> Isolation:
  """Computes the best loss over all other axes, for each value of one axis.

  Args:
    runs: Table of runs. Those that can be compared at one step (`Runs.comparable_runs()`) are
      used. A diverged run cannot be the best.
    axis: Name of the axis. A number with more than `MAX_BINS` values is cut at quantiles into
      `MAX_BINS` bins.
    surface: Surface of the same runs, for the noise if no point has several seeds. None fits
      one if it is needed.
    confidence: Confidence of the intervals.
    seed: Seed of the surface.

  Raises:
    ConfigError: If there is no such axis.

  Source: Isolation plots of google-research/tuning_playbook.
  `lmhp.analysis.winner.winner` for the intervals.

  >>> runs = Runs(
  ...   's',
  ...   {'d': Axis('d')},
  ...   {'d': np.array([1.0, 1, 2, 2])},
  ...   np.array([3.0, 3.2, 2.9, 3.5]),
  ... )
  >>> result = isolation(runs, 'd')
  >>> result.values.tolist(), result.best.tolist(), result.n_points.tolist()
  ([1.0, 2.0], [3.0, 2.9], [2, 2])
  """
  bounded = bounded_axis(runs, axis)
  comparable, _ = runs.comparable_runs()
  comparable = comparable.select(np.isfinite(unit_values(comparable, axis)))
  noise = _seed_noise(comparable, surface, seed)

  # Divide the axis into bins, and find the best point of each.
  bins = list(_bins(bounded, comparable))
  best = [_best_of_bin(each.runs, noise, confidence) for each in bins]
  values = [each.value for each in bins]
  return Isolation(
    axis=axis,
    values=object_column(values) if bounded.is_choice else np.array(values, np.float64),
    edges=np.array([each.edges for each in bins], np.float64).reshape(-1, 2),
    best=np.array([each.mean for each in best], np.float64),
    expected=np.array([each.expected for each in best], np.float64),
    low=np.array([each.low for each in best], np.float64),
    high=np.array([each.high for each in best], np.float64),
    n_points=np.array([each.n_points for each in best], int),
    number=np.array(
      [
        each.runs.first_run(one.point) if one.point != NO_POINT else -1
        for each, one in zip(bins, best)
      ],
      int,
    ),
    noise=noise.sd,
    noise_source=noise.source,
    confidence=confidence,
  )


# --- best of a bin ----------------------------------------------------------------------


def _best_of_bin(runs: Runs, noise: _Noise, confidence: float) -> Winner:
  """Returns the best point of the runs of a bin, `NO_POINT` if a run of each diverged."""
  losses = _losses(runs)
  if not has_finite_point(losses, runs.point).any():
    n_points = len(np.unique(runs.point))
    return Winner(NO_POINT, n_points, 0, math.nan, math.inf, confidence)

  # Points that share several seeds show how much of the noise they have in common.
  use_seeds = noise.source == SEEDS and _share_seeds(runs.point, runs.seed)
  return expected_loss_of_best(
    losses,
    runs.point,
    None if use_seeds or math.isnan(noise.sd) else noise.sd,
    confidence=confidence,
    noise_freedom=noise.freedom,
    seeds=runs.seed if use_seeds else None,
  )


def _losses(runs: Runs) -> np.ndarray:
  """Returns (T,) losses. A run that diverged is never the best of its bin."""
  return np.where(runs.status == 'diverged', math.nan, runs.losses)


def _share_seeds(points: np.ndarray, seeds: np.ndarray) -> bool:
  """Returns True if points have several different seeds, and share them."""
  n_pairs = np.unique(np.stack([points, seeds]), axis=1).shape[1]
  n_alone = max(len(np.unique(points)), len(np.unique(seeds)))
  return n_pairs == len(points) > n_alone > 1


@dataclasses.dataclass(frozen=True)
class _Noise:
  """Standard deviation between seeds, its degrees of freedom, and its source."""

  sd: float
  freedom: float
  source: str


def _seed_noise(runs: Runs, surface: Surface | None, seed: int) -> _Noise:
  """Returns the noise from points with several seeds, or else from the surface."""
  # Pooled variance of the seeds of each point, if there are enough of them.
  losses = _losses(runs)
  finite = np.isfinite(losses)
  between = seed_noise(losses[finite], runs.point[finite])
  if between.degrees_of_freedom >= MIN_FREEDOM and between.noise > 0:
    return _Noise(between.noise, between.degrees_of_freedom, SEEDS)
  # Otherwise the residuals of the fitted surface, which also contain its lack of fit.
  if surface is None:
    try:
      surface = fit_surface(runs, seed=seed)
    except ConfigError:
      return _Noise(math.nan, math.inf, '')
  # As if the surface had a constant and two parameters per axis.
  freedom = max(surface.n_points - 2.0 * len(surface.axes) - 1, 1.0)
  return _Noise(surface.residual_sd, freedom, SURFACE)


# --- bins -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Bin:
  """Runs of one value or range, a value that names it, and its ends."""

  value: object
  edges: tuple[float, float]
  runs: Runs


def _bins(axis: Axis, runs: Runs) -> Iterator[_Bin]:
  """Yields the bins of an axis. Those of a number have about equally many points."""
  values = runs.values[axis.name]
  # A choice, or few values: one bin each.
  tried = values.tolist()
  levels = list(dict.fromkeys(tried)) if axis.is_choice else np.unique(values).tolist()
  if axis.is_choice or len(levels) <= MAX_BINS:
    for level in levels:
      end = math.nan if axis.is_choice else level
      yield _Bin(level, (end, end), runs.select([each == level for each in tried]))
    return

  # Many values: cut at quantiles over points, so that repeated seeds count once.
  first_rows = np.unique(runs.point, return_index=True)[1]
  inner = np.linspace(0, 1, MAX_BINS + 1)[1:-1]
  cuts = np.unique(np.quantile(values[first_rows], inner))
  index = np.searchsorted(cuts, values, side='right')
  for i in np.unique(index):
    bin_values = values[index == i]
    edges = (float(bin_values.min()), float(bin_values.max()))
    yield _Bin(float(np.median(bin_values)), edges, runs.select(index == i))
