"""Noise between seeds, and the part of it that all points share if they have the same seed.

A point is one assignment of values to the parameters of a sweep. It is trained once per seed.

All points of a sweep run the same seeds. With the same seed, they have the same initial parameters
and batches. So a seed that lowers the loss of one point often lowers that of the others, too. This
shared part of the noise has two effects:

- It cancels in comparisons between points, so the best point is more certain than the noise
  suggests.
- It was observed only once per seed and not once per run, so the estimate of the noise has fewer
  degrees of freedom than the number of runs suggests.

Dimension key: T runs, P points, n seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import math
import operator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_LARGEST_CORRELATION = 1 - 1e-6
"""Bound of estimated correlations. Users of the estimate divide by 1 - correlation."""


@dataclasses.dataclass(frozen=True)
class SeedNoise:
  """Noise between seeds, estimated from several points.

  Attributes:
    noise: Standard deviation between seeds, pooled over points. NaN if no point has two
      seeds.
    degrees_of_freedom: Degrees of freedom of the square of the noise.
    correlation: Correlation of the noise of two points with the same seed. 0 if the points
      share no seeds.
  """

  noise: float
  degrees_of_freedom: float
  correlation: float


def seed_noise(
  losses: npt.ArrayLike, points: npt.ArrayLike, seeds: npt.ArrayLike | None = None
) -> SeedNoise:
  """Estimates noise and correlation by an analysis of variance of points by seeds.

  Args:
    losses: (T,) losses, all finite.
    points: (T,) number of the point of each run.
    seeds: (T,) seed of each run. None if points share no seeds. The correlation is estimated
      from the seeds that every point ran once. With fewer than two such seeds, the correlation
      is 0.

  Returns:
    The noise. Let S be the mean square between seeds, with n - 1 degrees of freedom, and R
    the mean square of the residuals, with (P - 1)(n - 1) degrees of freedom. Then

    - the square of the noise is V = (S + (P - 1) R) / P;
    - the correlation is (S - R) / (P V), or 0 if this is negative;
    - the degrees of freedom are Satterthwaite's, (n - 1) (P V)^2 / (S^2 + (P - 1) R^2). They
      are n - 1 if all noise is shared, and P (n - 1) if none is.

  Source: Satterthwaite, Biometrics Bulletin 2 (1946).

  >>> losses = [1.0, 1.2, 3.0, 3.2]  # both points have a higher loss on the second seed
  >>> estimate = seed_noise(losses, points=[0, 0, 1, 1], seeds=[0, 1, 0, 1])
  >>> round(estimate.noise, 4), round(estimate.degrees_of_freedom, 4)
  (0.1414, 1.0)
  >>> round(estimate.correlation, 4)
  1.0
  >>> seed_noise(losses, points=[0, 0, 1, 1]).degrees_of_freedom
  2.0
  """
  losses = np.asarray(losses, np.float64)
  rows = rows_by_point(points)
  noise = pooled_standard_deviation([losses[row] for row in rows.values()])
  freedom = float(len(losses) - len(rows))
  table_Pn = None if seeds is None else _losses_by_seed(losses, rows, np.asarray(seeds))
  if table_Pn is None:
    return SeedNoise(noise, freedom, 0.0)

  # Mean squares: V of all noise, S between seeds, and R of the residuals (computed from V and S).
  n_points = len(table_Pn)
  variance = float(np.mean(np.var(table_Pn, axis=1, ddof=1)))
  between_seeds = n_points * float(np.var(np.mean(table_Pn, axis=0), ddof=1))
  residual = max(0.0, (n_points * variance - between_seeds) / (n_points - 1))
  if not variance > 0:
    return SeedNoise(noise, freedom, 0.0)

  correlation = (between_seeds - residual) / (n_points * variance)
  correlation = float(np.clip(correlation, 0.0, _LARGEST_CORRELATION))
  # Ratio of Satterthwaite's degrees of freedom to P (n - 1).
  ratio = n_points * variance**2 / (between_seeds**2 + (n_points - 1) * residual**2)
  return SeedNoise(noise, freedom * min(1.0, ratio), correlation)


def rows_by_point(points: npt.ArrayLike) -> dict[int, npt.NDArray[np.int64]]:
  """Returns {point: positions of its runs}. Points are in the order of their first runs.

  Args:
    points: (T,) number of the point of each run.

  >>> rows_by_point([7, 3, 7])
  {7: array([0, 2]), 3: array([1])}
  """
  rows: dict[int, list[int]] = {}
  for row, point in enumerate(np.asarray(points).tolist()):
    rows.setdefault(point, []).append(row)
  return {point: np.array(positions) for point, positions in rows.items()}


def _losses_by_seed(
  losses: Floats,
  rows: Mapping[int, npt.NDArray[np.int64]],
  seeds: np.ndarray,
) -> Floats | None:
  """Returns the losses (P, n) of all points on the seeds that every point ran.

  The result is None if there are fewer than two points or fewer than two common seeds. It is
  also None if a point ran a seed twice, because a point and a seed do not identify a run then.
  """
  by_seed = []
  for row in rows.values():
    losses_of_point = dict(zip(seeds[row].tolist(), losses[row].tolist()))
    if len(losses_of_point) < len(row):
      return None
    by_seed.append(losses_of_point)

  shared = set(by_seed[0]).intersection(*by_seed)
  common = [seed for seed in by_seed[0] if seed in shared]
  if len(by_seed) < 2 or len(common) < 2:
    return None
  losses_of_common = operator.itemgetter(*common)
  return np.array([losses_of_common(losses_of_point) for losses_of_point in by_seed])


def pooled_standard_deviation(
  groups: Sequence[Sequence[float]] | Sequence[Floats],
) -> float:
  """Returns the standard deviation of values around the mean of their group.

  All groups are assumed to have the same standard deviation.

  Args:
    groups: Values of each group, such as the losses of the seeds of a point. Values that
      are not finite are left out.

  Returns:
    Root of the mean of the groups' variances, each weighted by its degrees of freedom. NaN if no
    group has two finite values.

  >>> round(pooled_standard_deviation([[1.0, 3.0], [10.0], [5.0, 5.0]]), 6)
  1.0
  """
  finite = []
  for group in groups:
    values = [value for value in group if np.isfinite(value)]
    if values:
      finite.append(values)
  squares = sum(len(group) * float(np.var(group)) for group in finite)
  freedom = sum(len(group) - 1 for group in finite)
  return float(np.sqrt(squares / freedom)) if freedom else math.nan
