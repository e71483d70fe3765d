"""The noise from seed to seed, and how much of it all points of a seed have in common.

A sweep gives its points the same seeds, and so the same initial parameters and batches: a lucky seed is lucky for many
points at once. That part of the noise decides nothing between points, so that the winner is less lucky than it looks;
and it was seen only as often as there are seeds, so that the noise is less well known than the number of runs says.

Dimension key: T runs, P points, n seeds.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Sequence

import numpy as np

_MOST = 1 - 1e-6


@dataclasses.dataclass(frozen=True)
class SeedNoise:
  """What the seeds of several points say of the noise.

  Attributes:
    noise: standard deviation from seed to seed, pooled over points; NaN where no point has two seeds.
    freedom: degrees of freedom of its square.
    correlation: between the noise of two points on one seed; 0 where there are no seeds in common to see it from.
  """

  noise: float
  freedom: float
  correlation: float


def seed_noise(
  losses: np.ndarray, points: np.ndarray, seeds: np.ndarray | None = None
) -> SeedNoise:
  """Noise, its degrees of freedom and the correlation between points, by the analysis of variance of points by seeds.

  Args:
    losses: (T,) all finite.
    points: (T,) which runs are one point.
    seeds: (T,) which runs had one seed; None where points share no seeds. Those that every point ran once, two or more,
      are looked at; without such, the correlation is taken for 0.

  Returns:
    The noise. With S the mean square between seeds and R that of the rest, (n - 1) and (P - 1)(n - 1) degrees of
    freedom, the noise has the square V = (S + (P - 1) R) / P, the correlation is (S - R) / (P V), not below 0, and the
    degrees of freedom are Satterthwaite's, (n - 1) (P V)^2 / (S^2 + (P - 1) R^2): n - 1 where seeds are everything,
    P (n - 1) where they are nothing. Source: Satterthwaite, Biometrics Bulletin 2 (1946).

  >>> found = seed_noise(
  ...   [1.0, 1.2, 3.0, 3.2], [0, 0, 1, 1], [0, 1, 0, 1]
  ... )  # both points are worse on the second seed
  >>> round(found.noise, 4), round(found.freedom, 4), round(found.correlation, 4)
  (0.1414, 1.0, 1.0)
  >>> seed_noise([1.0, 1.2, 3.0, 3.2], [0, 0, 1, 1]).freedom
  2.0
  """
  losses, rows = np.asarray(losses, np.float64), rows_of(points)
  noise, freedom = (
    trial_noise([losses[own] for own in rows.values()]),
    float(len(losses) - len(rows)),
  )
  table = None if seeds is None else _table(losses, rows, np.asarray(seeds))
  if table is None:
    return SeedNoise(noise, freedom, 0.0)
  n_points, variance = len(table), float(np.mean(np.var(table, axis=1, ddof=1)))
  between = n_points * float(np.var(np.mean(table, axis=0), ddof=1))
  rest = max(0.0, (n_points * variance - between) / (n_points - 1))
  if not variance > 0:
    return SeedNoise(noise, freedom, 0.0)
  correlation = float(np.clip((between - rest) / (n_points * variance), 0.0, _MOST))
  kept = n_points * variance**2 / (between**2 + (n_points - 1) * rest**2)
  return SeedNoise(noise, freedom * min(1.0, kept), correlation)


def rows_of(points: np.ndarray) -> dict[Any, np.ndarray]:
  """Places of the runs of each point, in the order of their first.

  >>> rows_of(['b', 'a', 'b'])
  {'b': array([0, 2]), 'a': array([1])}
  """
  found: dict[Any, list[int]] = {}
  for row, point in enumerate(np.asarray(points).tolist()):
    found.setdefault(point, []).append(row)
  return {point: np.array(rows) for point, rows in found.items()}


def _table(
  losses: np.ndarray, rows: dict[Any, np.ndarray], seeds: np.ndarray
) -> np.ndarray | None:
  """(P, n) losses of the seeds that every point ran once; None below two points or two such seeds."""
  by_seed = [
    dict(zip(seeds[own].tolist(), losses[own].tolist())) for own in rows.values()
  ]
  if any(
    len(one) < len(own) for one, own in zip(by_seed, rows.values())
  ):  # a seed twice: numbers that mean nothing
    return None
  common = [seed for seed in by_seed[0] if all(seed in one for one in by_seed)]
  if len(by_seed) < 2 or len(common) < 2:
    return None
  return np.array([[one[seed] for seed in common] for one in by_seed])


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
