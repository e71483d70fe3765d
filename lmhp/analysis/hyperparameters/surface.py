"""A smooth surface of the loss over all axes: a Gaussian process, fitted to the runs near the best.

The loss explodes on one side of most spaces, and what it does there says nothing of the optimum. So losses are first
compressed above the best, t = c log(1 + (loss - best) / c), c being the median height over the best: unchanged near it,
logarithmic far away, and all alike above `CEILING` times c. On t lies a constant, a Matern-5/2 process with a length
for each axis, and a nugget, which is seed noise and lack of fit together.

Dimension key: T runs, P points (runs that differ in their seed alone are one), A axes, C columns, M places asked for.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Mapping

import numpy as np

from lmhp.analysis.runs.table import Axis, Runs
from lmhp.errors import ConfigError, suggest

LENGTH, LENGTH_SD = math.log(0.7), 1.0
NOISE, NOISE_SD = math.log(0.05), 1.5
FEWEST = 5
CEILING = 20.0


def axis_of(runs: Runs, name: str) -> Axis:
  """The axis of a name, its bounds what was seen where nobody gave them.

  Raises:
    ConfigError: for a name that the runs do not have.
  """
  if name not in runs.axes:
    raise ConfigError(
      f'axis: got {name!r}, expected one of {sorted(runs.axes)}{suggest(name, runs.axes)}'
    )
  axis = runs.axes[name]
  if axis.kind == 'choice':
    seen = [v for v in dict.fromkeys(runs.values[name].tolist()) if v is not None]
    return dataclasses.replace(
      axis,
      choices=tuple(axis.choices) + tuple(v for v in seen if v not in axis.choices),
    )
  values = runs.values[name][np.isfinite(runs.values[name])]
  low = (
    axis.low if np.isfinite(axis.low) else (values.min() if len(values) else math.nan)
  )
  high = (
    axis.high if np.isfinite(axis.high) else (values.max() if len(values) else math.nan)
  )
  return dataclasses.replace(
    axis, low=float(low), high=float(high), log=axis.log and bool(low > 0)
  )


def units_of(runs: Runs, name: str) -> np.ndarray:
  """(T,) a number's place in its range, 0 to 1, or the index of a choice; NaN where a run has none."""
  axis = axis_of(runs, name)
  if axis.kind == 'choice':
    return np.array(
      [
        axis.choices.index(v) if v is not None else math.nan
        for v in runs.values[name].tolist()
      ],
      float,
    )
  return axis.unit(runs.values[name])


def columns_of(runs: Runs, name: str, square: bool = True) -> np.ndarray:
  """(T, C) an axis as columns for least squares: a number and its square, or an indicator of each choice but one.

  A value that a run lacks is the middle, with an indicator of its own. Columns that are all equal are left out.
  """
  units, axis = units_of(runs, name), axis_of(runs, name)
  lacks = ~np.isfinite(units)
  if axis.kind == 'choice':
    columns = [(units == i).astype(float) for i in range(1, len(axis.choices))]
  else:
    filled = np.where(lacks, 0.5, units) - 0.5
    columns = (
      [filled, filled**2] if square and len(np.unique(units[~lacks])) > 2 else [filled]
    )
  columns = [
    column
    for column in [*columns, lacks.astype(float)]
    if len(column) and np.ptp(column) > 0
  ]
  return np.column_stack(columns) if columns else np.zeros((len(runs), 0))


def merged(runs: Runs) -> tuple[Runs, np.ndarray]:
  """One row for each point: of its first run, and (P,) the mean loss of its runs; a diverged run counts as it is."""
  points = list(runs.points().values())
  return runs.where([rows[0] for rows in points]), np.array(
    [runs.losses[rows].mean() for rows in points]
  )


@dataclasses.dataclass(frozen=True)
class Surface:
  """A fitted surface.

  Attributes:
    axes: those that it is over, by name: A of them.
    lengths: of each axis, over how much of its range the loss changes, in shares of the range.
    residual_sd: the nugget: noise from seed to seed and lack of fit, near the best, of the losses' unit.
    signal_sd: of the compressed losses.
    used: number of points it was fitted to.
  """

  axes: Mapping[str, Axis]
  lengths: Mapping[str, float]
  residual_sd: float
  signal_sd: float
  used: int
  _columns: np.ndarray
  _group: np.ndarray
  _factor: np.ndarray
  _weights: np.ndarray
  _mean: float
  _best: float
  _scale: float

  def predict(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loss without noise at some places.

    Args:
      places: (M, A) for each axis in order the share of its range, or the index of a choice; NaN is the middle.

    Returns:
      (M,) posterior median and (M,) standard deviation, of the losses' unit.
    """
    from scipy.linalg import solve_triangular

    columns = _encoded(np.asarray(places, np.float64), self.axes)[0]
    lengths = np.array(list(self.lengths.values()))[self._group]
    cross = self.signal_sd**2 * _matern(
      _distance(columns / lengths, self._columns / lengths)
    )
    flat = self._mean + cross @ self._weights
    part = solve_triangular(self._factor, cross.T, lower=True)
    sd = np.sqrt(np.maximum(self.signal_sd**2 - np.sum(part**2, 0), 0))
    growth = np.exp(np.minimum(flat / self._scale, 50))
    return self._best + self._scale * (growth - 1), sd * growth

  def best(self, seed: int = 0) -> np.ndarray:
    """(A,) the place of the lowest predicted loss: among many random ones and the runs', then ever nearer to it."""
    rng, names = np.random.default_rng(seed), list(self.axes)
    sizes = np.array(
      [len(self.axes[n].choices) if self.axes[n].kind == 'choice' else 0 for n in names]
    )
    draw = lambda m: np.where(
      sizes > 0,
      np.floor(rng.random((m, len(names))) * np.maximum(sizes, 1)),
      rng.random((m, len(names))),
    )
    places = draw(2048)
    place, width = places[np.argmin(self.predict(places)[0])], 0.25
    for _ in range(12):
      near = np.where(
        sizes > 0,
        place,
        np.clip(place + width * rng.standard_normal((256, len(names))), 0, 1),
      )
      near = np.vstack([place, near])
      place, width = near[np.argmin(self.predict(near)[0])], width * 0.7
    return place


def fit_surface(runs: Runs, *, most: int = 400, seed: int = 0) -> Surface:
  """Fits the surface to the runs of the search that ended or diverged, over the axes that were varied.

  Args:
    runs: the table.
    most: points that the lengths and the noise are fitted to, and the surface passes near; of more, half are the best
      and the others are drawn.
    seed: of that draw.

  Raises:
    ConfigError: with fewer than `FEWEST` points, no axis that was varied, or losses that are all equal.

  Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, algorithm 2.1, eq. 4.17 and 5.9.

  >>> rng = np.random.default_rng(0)
  >>> x = rng.random(40)
  >>> runs = Runs(
  ...   's',
  ...   {'x': Axis('x', low=0, high=1)},
  ...   {'x': x},
  ...   3 + (x - 0.3) ** 2 + 0.01 * rng.standard_normal(40),
  ... )
  >>> surface = fit_surface(runs)
  >>> bool(abs(surface.best()[0] - 0.3) < 0.1), bool(0.005 < surface.residual_sd < 0.02)
  (True, True)
  """
  points, losses = merged(runs.ended())
  axes = (
    {name: axis_of(points, name) for name in points.varied()} if len(points) else {}
  )
  if len(points) < FEWEST or not axes or np.ptp(losses) == 0:
    raise ConfigError(
      f'surface: got {len(points)} points over {len(axes)} varied axes, expected at least {FEWEST} '
      'points, an axis that was varied, and losses that differ'
    )
  rows = _subset(losses, most, np.random.default_rng(seed))
  columns, group = _encoded(
    np.column_stack([units_of(points, name) for name in axes])[rows], axes
  )
  height = losses[rows] - losses.min()
  scale = float(np.median(height)) or float(height.max())
  target = scale * np.log1p(np.minimum(height / scale, CEILING))
  lengths, signal, noise = _fit(columns, group, target / target.std(), len(axes))
  signal, noise = signal * target.std(), noise * target.std()
  covariance = signal**2 * _matern(
    _distance(columns / lengths[group], columns / lengths[group])
  )
  factor = np.linalg.cholesky(
    covariance + (noise**2 + 1e-8 * signal**2) * np.eye(len(target))
  )
  solve = lambda b: np.linalg.solve(factor.T, np.linalg.solve(factor, b))
  mean = float(np.sum(solve(target)) / np.sum(solve(np.ones(len(target)))))
  return Surface(
    axes,
    dict(zip(axes, lengths.tolist())),
    float(noise),
    float(signal),
    len(target),
    columns,
    group,
    factor,
    solve(target - mean),
    mean,
    float(losses.min()),
    scale,
  )


def _subset(losses: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
  order = np.argsort(losses, kind='stable')
  return (
    order
    if len(order) <= most
    else np.concatenate(
      [order[: most // 2], rng.choice(order[most // 2 :], most - most // 2, False)]
    )
  )


def _encoded(
  places: np.ndarray, axes: Mapping[str, Axis]
) -> tuple[np.ndarray, np.ndarray]:
  """(M, C) columns and (C,) the axis of each: a number is one, a choice one for each value, 1 apart from each other."""
  columns, group = [], []
  for i, axis in enumerate(axes.values()):
    place, lacks = places[:, i], ~np.isfinite(places[:, i])
    if axis.kind == 'choice':
      own = [(place == j) / math.sqrt(2) for j in range(len(axis.choices))]
    else:
      own = [np.where(lacks, 0.5, place)]
    columns += own
    group += [i] * len(own)
  return np.column_stack(columns), np.array(group)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """(M, P) Euclidean distance of rows."""
  return np.sqrt(
    np.maximum(np.sum(a**2, 1)[:, None] + np.sum(b**2, 1) - 2 * a @ b.T, 0)
  )


def _matern(r: np.ndarray) -> np.ndarray:
  """Matern's correlation with nu = 5/2; eq. 4.17."""
  s = math.sqrt(5) * r
  return (1 + s + s**2 / 3) * np.exp(-s)


def _fit(
  columns: np.ndarray, group: np.ndarray, target: np.ndarray, n_axes: int
) -> tuple[np.ndarray, float, float]:
  """Lengths (A,), signal and noise by maximum posterior, from two starts; target of unit variance."""
  from scipy.optimize import minimize

  square = np.stack(
    [
      np.sum((columns[:, None, group == i] - columns[None, :, group == i]) ** 2, -1)
      for i in range(n_axes)
    ]
  )
  starts = [[LENGTH] * n_axes + [0.0, math.log(v)] for v in (0.3, 0.03)]
  found = min(
    (
      minimize(
        _negative,
        start,
        args=(square, target),
        jac=True,
        method='L-BFGS-B',
        bounds=[(-3, 3)] * n_axes + [(-3, 3), (-12, 3)],
        options={'maxiter': 60},
      )
      for start in starts
    ),
    key=lambda f: f.fun,
  )
  lengths, signal, noise = (
    np.exp(found.x[:n_axes]),
    math.exp(found.x[-2] / 2),
    math.exp(sum(found.x[-2:]) / 2),
  )
  return lengths, signal, noise


def _negative(
  theta: np.ndarray, square: np.ndarray, target: np.ndarray
) -> tuple[float, np.ndarray]:
  """Negative log posterior of (log lengths, log variance, log share of noise), and its gradient; eq. 5.9."""
  n, lengths, signal, ratio = (
    len(target),
    np.exp(theta[:-2]),
    math.exp(theta[-2]),
    math.exp(theta[-1]),
  )
  s = math.sqrt(5) * np.sqrt(np.tensordot(lengths**-2, square, 1))
  decay = np.exp(-s)
  total = signal * ((1 + s + s**2 / 3) * decay + (ratio + 1e-8) * np.eye(n))
  factor = np.linalg.cholesky(total)
  inverse = np.linalg.inv(total)
  weights, ones = inverse @ target, inverse.sum(1)
  weights = weights - ones * (weights.sum() / ones.sum())
  value = 0.5 * target @ weights + np.sum(np.log(np.diag(factor)))
  outer = inverse - np.outer(weights, weights)
  slope = 5 / 3 * signal * (1 + s) * decay
  gradient = [
    0.5 * np.sum(outer * slope * square[i]) / lengths[i] ** 2
    for i in range(len(lengths))
  ]
  gradient += [0.5 * np.sum(outer * total), 0.5 * signal * ratio * np.trace(outer)]
  gaps = np.concatenate(
    [
      (theta[:-2] - LENGTH) / LENGTH_SD**2,
      [theta[-2] / 4],
      [(theta[-1] - NOISE) / NOISE_SD**2],
    ]
  )
  prior = 0.5 * np.sum((theta[:-2] - LENGTH) ** 2) / LENGTH_SD**2 + theta[-2] ** 2 / 8
  return value + prior + 0.5 * (theta[-1] - NOISE) ** 2 / NOISE_SD**2, np.array(
    gradient
  ) + gaps
