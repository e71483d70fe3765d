"""The best over all other hyperparameters, for each value of one: how a scientific hyperparameter is judged.

Dimension key: T runs, B bins.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Iterator

import numpy as np

from lmhp.analysis.hyperparameters.surface import (
  Surface,
  axis_of,
  fit_surface,
  units_of,
)
from lmhp.analysis.runs.table import Axis, Runs
from lmhp.analysis.winner.winner import expected_loss_of_best
from lmhp.errors import ConfigError
from lmhp.statistics.seed_noise import pooled_standard_deviation

BINS = 6
FEWEST_FREEDOM = 3
"""Degrees of freedom between seeds of one point, below which the noise is taken from the surface."""
SEEDS = 'seeds of one point'


@dataclasses.dataclass(frozen=True)
class Isolation:
  """The best loss over the nuisances, for each value of a scientific axis.

  Attributes:
    axis: its name.
    values: (B,) each choice or value; of a range with many values the median of each bin.
    edges: (B, 2) smallest and largest value of each bin; NaN of a choice.
    best: (B,) mean loss of the best point: what was seen, too good on average.
    expected: (B,) that point's expected loss on a fresh seed.
    low: (B,) of its interval, conditional on having won; NaN where the noise is not known.
    high: (B,) the upper end.
    points: (B,) how many could have won: a fair comparison has as many for each value.
    number: (B,) of a run of the best point.
    noise: standard deviation from seed to seed that was used; NaN where not known.
    noise_from: 'seeds of one point', 'fit of the surface', which holds its lack of fit too, or ''.
    confidence: of the intervals.
  """

  axis: str
  values: np.ndarray
  edges: np.ndarray
  best: np.ndarray
  expected: np.ndarray
  low: np.ndarray
  high: np.ndarray
  points: np.ndarray
  number: np.ndarray
  noise: float
  noise_from: str
  confidence: float


def isolation(
  runs: Runs,
  axis: str,
  surface: Surface | None = None,
  confidence: float = 0.9,
  seed: int = 0,
) -> Isolation:
  """The best over all other axes, by the value of one: what a scientific hyperparameter is judged by.

  Args:
    runs: of which `Runs.for_response()` is used; a diverged run cannot be best.
    axis: its name. A number of more than `BINS` values is cut at quantiles into `BINS` bins.
    surface: of the same runs, for the noise where no point has several seeds.
    confidence: of the intervals.
    seed: of the surface.

  Raises:
    ConfigError: no such axis.

  Source: google-research/tuning_playbook, 'isolation plots'; `lmhp.analysis.winner.winner` for the intervals.

  >>> runs = Runs(
  ...   's',
  ...   {'d': Axis('d')},
  ...   {'d': np.array([1.0, 1, 2, 2])},
  ...   np.array([3.0, 3.2, 2.9, 3.5]),
  ... )
  >>> found = isolation(runs, 'd')
  >>> found.values.tolist(), found.best.tolist(), found.points.tolist()
  ([1.0, 2.0], [3.0, 2.9], [2, 2])
  """
  own = axis_of(runs, axis)
  used, _ = runs.for_response()
  used = used.where(np.isfinite(units_of(used, axis)))
  noise, freedom, noise_from = _noise(used, surface, seed)
  losses = np.where(used.status == 'diverged', math.nan, used.losses)
  rows = []
  for value, edges, members in _bins(own, used.values[axis], used.point):
    if not np.isfinite(losses[members]).any():
      rows.append(
        (value, edges, *(math.nan,) * 4, len(np.unique(used.point[members])), -1)
      )
      continue
    several = noise_from == SEEDS and _share_seeds(
      used.point[members], used.seed[members]
    )
    won = expected_loss_of_best(  # noise that points have in common with their seeds is seen where they share several
      losses[members],
      used.point[members],
      None if several or math.isnan(noise) else noise,
      confidence=confidence,
      noise_freedom=freedom,
      seeds=used.seed[members] if several else None,
    )
    first = np.flatnonzero(members & (used.point == won.point))[0]
    rows.append(
      (
        value,
        edges,
        won.mean,
        won.expected,
        won.low,
        won.high,
        won.n_points,
        int(used.number[first]),
      )
    )
  columns = [[row[i] for row in rows] for i in range(8)]
  values = (
    np.array([*columns[0], None], object)[:-1]
    if own.kind == 'choice'
    else np.array(columns[0], np.float64)
  )
  return Isolation(
    axis,
    values,
    np.array(columns[1], np.float64).reshape(-1, 2),
    *(np.array(column, np.float64) for column in columns[2:6]),
    np.array(columns[6], int),
    np.array(columns[7], int),
    noise,
    noise_from,
    confidence,
  )


def _share_seeds(points: np.ndarray, seeds: np.ndarray) -> bool:
  """Whether points have several seeds, each its own, and have them in common."""
  pairs = np.unique(np.stack([points, seeds]), axis=1)
  return (
    pairs.shape[1]
    == len(points)
    > max(len(np.unique(points)), len(np.unique(seeds)))
    > 1
  )


def _noise(runs: Runs, surface: Surface | None, seed: int) -> tuple[float, float, str]:
  """Standard deviation from seed to seed, its degrees of freedom, and where it is from."""
  losses = np.where(runs.status == 'diverged', math.nan, runs.losses)
  groups = [losses[rows][np.isfinite(losses[rows])] for rows in runs.points().values()]
  freedom = sum(max(len(group) - 1, 0) for group in groups)
  if freedom >= FEWEST_FREEDOM and pooled_standard_deviation(groups) > 0:
    return pooled_standard_deviation(groups), float(freedom), SEEDS
  try:
    surface = surface or fit_surface(runs, seed=seed)
  except ConfigError:
    return math.nan, math.inf, ''
  return (
    surface.residual_sd,
    max(surface.used - 2.0 * len(surface.axes) - 1, 1.0),
    'fit of the surface',
  )


def _bins(
  axis: Axis, values: np.ndarray, points: np.ndarray
) -> Iterator[tuple[Any, tuple[float, float], np.ndarray]]:
  """A value to name each bin by, its ends, and its runs (T,), as a mask; of a number about as many points in each."""
  if axis.kind == 'choice':
    for value in dict.fromkeys(values.tolist()):
      yield (
        value,
        (math.nan, math.nan),
        np.array([v == value for v in values.tolist()], bool),
      )
    return
  levels = np.unique(values)
  if len(levels) <= BINS:
    for value in levels:
      yield float(value), (float(value), float(value)), values == value
    return
  first = np.unique(points, return_index=True)[1]
  cuts = np.unique(np.quantile(values[first], np.linspace(0, 1, BINS + 1)[1:-1]))
  place = np.searchsorted(cuts, values, side='right')
  for i in np.unique(place):
    own = values[place == i]
    yield float(np.median(own)), (float(own.min()), float(own.max())), place == i
