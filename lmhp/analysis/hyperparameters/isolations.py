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
from lmhp.analysis.winner.winner import expected_loss_of_best
from lmhp.errors import ConfigError
from lmhp.statistics.seed_noise import pooled_standard_deviation

MAX_BINS = 6
MIN_FREEDOM = 3
"""Degrees of freedom between seeds, below which the noise is taken from the surface."""
SEEDS = 'seeds'
SURFACE = 'surface'


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
    runs: Table of runs. `Runs.comparable_runs()` are used. A diverged run cannot be the best.
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
  bins = list(_bins(bounded, comparable.values[axis], comparable.point))
  best = [_best_of_bin(comparable, each.members, noise, confidence) for each in bins]
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
    number=np.array([each.number for each in best], int),
    noise=noise.sd,
    noise_source=noise.source,
    confidence=confidence,
  )


# --- best of a bin ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Best:
  """Best point of one bin. NaN if none of its runs is finite."""

  n_points: int
  mean: float = math.nan
  expected: float = math.nan
  low: float = math.nan
  high: float = math.nan
  number: int = -1


def _best_of_bin(
  runs: Runs, members: np.ndarray, noise: _Noise, confidence: float
) -> _Best:
  """Returns the best point of the runs of a bin.

  Args:
    runs: Comparable runs.
    members: (T,) mask of the bin.
    noise: Noise between seeds.
    confidence: Confidence of the interval.
  """
  # A run that diverged is never the best of its bin.
  losses = np.where(runs.status == 'diverged', math.nan, runs.losses)[members]
  points = runs.point[members]
  seeds = runs.seed[members]
  if not np.isfinite(losses).any():
    return _Best(len(np.unique(points)))

  # Points that share several seeds show how much of the noise they have in common.
  use_seeds = noise.source == SEEDS and _share_seeds(points, seeds)
  best = expected_loss_of_best(
    losses,
    points,
    None if use_seeds or math.isnan(noise.sd) else noise.sd,
    confidence=confidence,
    noise_freedom=noise.freedom,
    seeds=seeds if use_seeds else None,
  )
  # The first run of the best point stands for it.
  first = np.flatnonzero(members & (runs.point == best.point))[0]
  return _Best(
    n_points=best.n_points,
    mean=best.mean,
    expected=best.expected,
    low=best.low,
    high=best.high,
    number=int(runs.number[first]),
  )


def _share_seeds(points: np.ndarray, seeds: np.ndarray) -> bool:
  """Returns True if points have several different seeds, and share them."""
  pairs = np.unique(np.stack([points, seeds]), axis=1)
  n_points = len(np.unique(points))
  n_seeds = len(np.unique(seeds))
  return pairs.shape[1] == len(points) > max(n_points, n_seeds) > 1


@dataclasses.dataclass(frozen=True)
class _Noise:
  """Standard deviation between seeds, its degrees of freedom, and its source."""

  sd: float
  freedom: float
  source: str


def _seed_noise(runs: Runs, surface: Surface | None, seed: int) -> _Noise:
  """Returns the noise from points with several seeds, or else from the surface."""
  # Pooled variance of the seeds of each point, if there are enough of them.
  losses = np.where(runs.status == 'diverged', math.nan, runs.losses)
  groups = []
  for rows in runs.rows_by_point().values():
    point_losses = losses[rows]
    groups.append(point_losses[np.isfinite(point_losses)])
  freedom = sum(max(len(group) - 1, 0) for group in groups)
  sd = pooled_standard_deviation(groups)
  if freedom >= MIN_FREEDOM and sd > 0:
    return _Noise(sd, float(freedom), SEEDS)
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
  """Runs of one value or range: a value that names it, its ends, and a mask (T,)."""

  value: object
  edges: tuple[float, float]
  members: np.ndarray


def _bins(axis: Axis, values: np.ndarray, points: np.ndarray) -> Iterator[_Bin]:
  """Yields the bins of an axis. Those of a number have about equally many points."""
  if axis.is_choice:
    for value in dict.fromkeys(values.tolist()):
      members = np.array([each == value for each in values.tolist()], bool)
      yield _Bin(value, (math.nan, math.nan), members)
    return

  levels = np.unique(values)
  # Few values: one bin each.
  if len(levels) <= MAX_BINS:
    for level in levels.tolist():
      yield _Bin(level, (level, level), values == level)
    return

  # Many values: cut at quantiles over points, so that repeated seeds count once.
  first_rows = np.unique(points, return_index=True)[1]
  inner = np.linspace(0, 1, MAX_BINS + 1)[1:-1]
  cuts = np.unique(np.quantile(values[first_rows], inner))
  index = np.searchsorted(cuts, values, side='right')
  for i in np.unique(index):
    bin_values = values[index == i]
    edges = (float(bin_values.min()), float(bin_values.max()))
    yield _Bin(float(np.median(bin_values)), edges, index == i)
