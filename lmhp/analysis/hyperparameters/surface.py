"""Gaussian process of the loss over all axes, fitted to the runs near the best one.

In most spaces the loss explodes on one side, and its values there carry no information about
the optimum. Losses are therefore compressed first. With c the median height above the best
loss,

  t = c log(1 + (loss - best) / c),

which is nearly the identity close to the best loss, logarithmic far from it, and constant
above `CEILING` times c. The model of t is a constant, a Matern-5/2 process with one length
scale per axis, and a nugget for seed noise and lack of fit.

Dimension key: P points, A axes, C columns, M places where the surface is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import functools
import math

import numpy as np

from lmhp.analysis.hyperparameters.design import (
  average_seeds,
  bounded_axis,
  comparable_losses,
  unit_values,
)
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError

LENGTH = math.log(0.7)
"""Prior mean of a log length scale."""
LENGTH_SD = 1.0
NOISE = math.log(0.05)
"""Prior mean of the log ratio of noise variance to signal variance."""
NOISE_SD = 1.5
MIN_POINTS = 5
CEILING = 20.0


@dataclasses.dataclass(frozen=True)
class Surface:
  """A fitted Gaussian process.

  Attributes:
    axes: The A axes that it covers, by name.
    lengths: Length scale of each axis, as a fraction of its range.
    residual_sd: Standard deviation of the nugget, which holds seed noise and lack of fit
      near the best loss. In the unit of the losses.
    signal_sd: Standard deviation of the process, on compressed losses.
    n_points: Number of points that it was fitted to.
  """

  axes: Mapping[str, Axis]
  lengths: Mapping[str, float]
  residual_sd: float
  signal_sd: float
  n_points: int
  _columns: np.ndarray
  _group: np.ndarray
  _factor: np.ndarray
  _weights: np.ndarray
  _mean: float
  _best: float
  _scale: float
  _seed: int

  def predict(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predicts the loss without seed noise.

    Args:
      places: (M, A) unit value of a number or index of a choice, for each axis in order.
        NaN stands for the middle of the range.

    Returns:
      (M,) posterior median and (M,) standard deviation, in the unit of the losses.
    """
    _, cross = self._covariance_with_points(places)
    compressed = self._mean + cross @ self._weights
    explained = np.sum(self._whitened(cross) ** 2, 0)
    sd = np.sqrt(np.maximum(self.signal_sd**2 - explained, 0))

    # Undo the compression. The derivative of its inverse scales the standard deviation.
    growth = np.exp(np.minimum(compressed / self._scale, 50))
    return self._best + self._scale * (growth - 1), sd * growth

  def sample(self, places: np.ndarray, n_draws: int, seed: int = 0) -> np.ndarray:
    """Draws functions from the posterior.

    Args:
      places: (M, A) as in `predict`.
      n_draws: Number R of draws.
      seed: Seed of the draws.

    Returns:
      (R, M) compressed losses, which are lowest where the losses are.
    """
    columns, cross = self._covariance_with_points(places)
    part = self._whitened(cross)
    prior = self.signal_sd**2 * _matern(_distance(columns, columns))
    # The covariance has eigenvalues of about 0, which rounding may make negative.
    values, vectors = np.linalg.eigh(prior - part.T @ part)
    root = vectors * np.sqrt(np.maximum(values, 0))
    noise = np.random.default_rng(seed).standard_normal((n_draws, len(places)))
    return self._mean + cross @ self._weights + noise @ root.T

  def slice(self, name: str, units: np.ndarray) -> np.ndarray:
    """Returns places (G, A) along one axis, with the other axes at their best."""
    places = np.tile(self.best(), (len(units), 1))
    places[:, list(self.axes).index(name)] = units
    return places

  def _covariance_with_points(
    self, places: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns scaled columns (M, C) of places, and (M, P) covariances with the points."""
    lengths = np.array(list(self.lengths.values()))[self._group]
    columns = _encode(np.asarray(places, np.float64), self.axes)[0] / lengths
    distance = _distance(columns, self._columns / lengths)
    return columns, self.signal_sd**2 * _matern(distance)

  def _whitened(self, cross: np.ndarray) -> np.ndarray:
    """Returns (P, M) covariances with the points, divided by the points' Cholesky factor."""
    from scipy.linalg import solve_triangular

    return solve_triangular(self._factor, cross.T, lower=True)

  def best(self) -> np.ndarray:
    """Returns (A,) the place of the lowest predicted loss."""
    return self._best_place

  @functools.cached_property
  def _best_place(self) -> np.ndarray:
    """The place of `best`. It is found once, because each slice needs it.

    The search starts from random places, and then draws around the best place with a width
    that shrinks.
    """
    # Random positions on all axes.
    rng = np.random.default_rng(self._seed)
    n_axes = len(self.axes)
    sizes = np.array(
      [len(axis.choices) if axis.is_choice else 0 for axis in self.axes.values()]
    )
    choices = np.floor(rng.random((2048, n_axes)) * np.maximum(sizes, 1))
    places = np.where(sizes > 0, choices, rng.random((2048, n_axes)))
    place = places[np.argmin(self.predict(places)[0])]

    # Search around the best one, in a neighbourhood that shrinks.
    width = 0.25
    for _ in range(12):
      moved = place + width * rng.standard_normal((256, n_axes))
      near = np.where(sizes > 0, place, np.clip(moved, 0, 1))
      near = np.vstack([place, near])
      place = near[np.argmin(self.predict(near)[0])]
      width = width * 0.7
    return place


def fit_surface(runs: Runs, *, max_points: int = 400, seed: int = 0) -> Surface:
  """Fits the surface to the finished runs of a search, over the axes that were varied.

  Args:
    runs: Table of runs.
    max_points: Largest number of points to fit. If there are more, half of them are the
      best points and the others are drawn at random.
    seed: Seed of that draw, and of the search for the best place.

  Raises:
    ConfigError: If there are fewer than `MIN_POINTS` points, no varied axis, or only equal
      losses.

  Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, algorithm 2.1,
  equations 4.17 and 5.9.

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
  points, losses = average_seeds(runs.finished_runs())
  losses = comparable_losses(points, losses)
  axes = {name: bounded_axis(points, name) for name in points.varied_axes()}
  if len(points) < MIN_POINTS or not axes or np.ptp(losses) == 0:
    raise ConfigError(
      f'surface: got {len(points)} points over {len(axes)} varied axes, expected at least '
      f'{MIN_POINTS} points, a varied axis, and losses that differ'
    )
  rows = _subset(losses, max_points, np.random.default_rng(seed))
  units = np.column_stack([unit_values(points, name) for name in axes])[rows]
  columns, group = _encode(units, axes)

  # Compress the losses.
  height = losses[rows] - losses.min()
  scale = float(np.median(height)) or float(height.max())
  target = scale * np.log1p(np.minimum(height / scale, CEILING))

  # Fit the hyperparameters of the process to a target of unit variance.
  unit = target.std()
  lengths, signal, noise = _fit(columns, group, target / unit, len(axes))
  signal = signal * unit
  noise = noise * unit

  # Solve for the constant and the weights. Algorithm 2.1.
  scaled = columns / lengths[group]
  covariance = signal**2 * _matern(_distance(scaled, scaled))
  jitter = noise**2 + 1e-8 * signal**2
  factor = np.linalg.cholesky(covariance + jitter * np.eye(len(target)))

  def solve(vector: np.ndarray) -> np.ndarray:
    return np.linalg.solve(factor.T, np.linalg.solve(factor, vector))

  # Generalized least squares of the constant: 1 K^-1 y / 1 K^-1 1.
  mean = float(np.sum(solve(target)) / np.sum(solve(np.ones(len(target)))))
  return Surface(
    axes=axes,
    lengths=dict(zip(axes, lengths.tolist())),
    residual_sd=float(noise),
    signal_sd=float(signal),
    n_points=len(target),
    _columns=columns,
    _group=group,
    _factor=factor,
    _weights=solve(target - mean),
    _mean=mean,
    _best=float(losses.min()),
    _scale=scale,
    _seed=seed,
  )


def _subset(
  losses: np.ndarray, max_points: int, rng: np.random.Generator
) -> np.ndarray:
  order = np.argsort(losses, kind='stable')
  if len(order) <= max_points:
    return order
  best = order[: max_points // 2]
  others = rng.choice(order[max_points // 2 :], max_points - max_points // 2, False)
  return np.concatenate([best, others])


def _encode(
  places: np.ndarray, axes: Mapping[str, Axis]
) -> tuple[np.ndarray, np.ndarray]:
  """Returns (M, C) columns of places, and (C,) the axis index of each column.

  A number is one column. A choice is one column per value, scaled so that two values have
  a distance of 1.
  """
  columns: list[np.ndarray] = []
  group: list[int] = []
  for i, axis in enumerate(axes.values()):
    # A missing number counts as the middle of its axis.
    place = places[:, i]
    encoded = [np.where(np.isfinite(place), place, 0.5)]
    # A choice has one column per value, at distance 1 from each other.
    if axis.is_choice:
      encoded = [(place == j) / math.sqrt(2) for j in range(len(axis.choices))]
    columns += encoded
    group += [i] * len(encoded)
  return np.column_stack(columns), np.array(group)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Returns (M, P) the Euclidean distances between rows."""
  squares = np.sum(a**2, 1)[:, None] + np.sum(b**2, 1) - 2 * a @ b.T
  return np.sqrt(np.maximum(squares, 0))


def _matern(distance: np.ndarray) -> np.ndarray:
  """Returns the Matern correlation with nu = 5/2. Equation 4.17."""
  s = math.sqrt(5) * distance
  return (1 + s + s**2 / 3) * np.exp(-s)


# --- hyperparameters of the process -----------------------------------------------------


def _fit(
  columns: np.ndarray, group: np.ndarray, target: np.ndarray, n_axes: int
) -> tuple[np.ndarray, float, float]:
  """Returns lengths (A,), signal and noise of maximum posterior, from two starts."""
  from scipy.optimize import minimize

  # Squared distances along each axis, (A, T, T).
  along = [columns[:, group == i] for i in range(n_axes)]
  square = np.stack([_distance(each, each) ** 2 for each in along])

  # Maximize the posterior from two starts, with much and with little noise.
  results = [
    minimize(
      _negative_log_posterior,
      [LENGTH] * n_axes + [0.0, math.log(noise_ratio)],
      args=(square, target),
      jac=True,
      method='L-BFGS-B',
      bounds=[(-3, 3)] * n_axes + [(-3, 3), (-12, 3)],
      options={'maxiter': 60},
    )
    for noise_ratio in (0.3, 0.03)
  ]
  # theta holds log lengths, log signal variance, and log of noise over signal variance.
  theta = min(results, key=lambda result: result.fun).x
  signal = math.exp(theta[-2] / 2)
  noise = math.exp(sum(theta[-2:]) / 2)
  return np.exp(theta[:n_axes]), signal, noise


def _negative_log_posterior(
  theta: np.ndarray, square: np.ndarray, target: np.ndarray
) -> tuple[float, np.ndarray]:
  """Returns the negative log posterior and its gradient. Equation 5.9.

  Args:
    theta: (A + 2,) log lengths, log signal variance, log ratio of noise to signal variance.
    square: (A, P, P) squared distances along each axis.
    target: (P,) compressed losses of unit variance.
  """
  n = len(target)
  lengths = np.exp(theta[:-2])
  signal = math.exp(theta[-2])
  ratio = math.exp(theta[-1])

  # Covariance, and its inverse applied to the target without its constant.
  # Matern kernel with nu = 5/2: (1 + s + s^2 / 3) exp(-s), with s = sqrt(5) r.
  s = math.sqrt(5) * np.sqrt(np.tensordot(lengths**-2, square, 1))
  decay = np.exp(-s)
  total = signal * ((1 + s + s**2 / 3) * decay + (ratio + 1e-8) * np.eye(n))
  factor = np.linalg.cholesky(total)
  inverse = np.linalg.inv(total)
  weights = inverse @ target
  ones = inverse.sum(1)
  weights = weights - ones * (weights.sum() / ones.sum())

  # Likelihood and its gradient.
  value = 0.5 * target @ weights + np.sum(np.log(np.diag(factor)))
  outer = inverse - np.outer(weights, weights)
  # d k / d log l_i = 5/3 signal (1 + s) exp(-s) (x_i - y_i)^2 / l_i^2.
  slope = 5 / 3 * signal * (1 + s) * decay
  pull = (outer * slope).ravel()
  gradient = [
    0.5 * (pull @ square[i].ravel()) / lengths[i] ** 2 for i in range(len(lengths))
  ]
  gradient += [0.5 * np.sum(outer * total), 0.5 * signal * ratio * np.trace(outer)]

  # Normal priors. That of the signal has a standard deviation of 2.
  prior = 0.5 * np.sum((theta[:-2] - LENGTH) ** 2) / LENGTH_SD**2 + theta[-2] ** 2 / 8
  prior_gradient = np.concatenate(
    [
      (theta[:-2] - LENGTH) / LENGTH_SD**2,
      [theta[-2] / 4],
      [(theta[-1] - NOISE) / NOISE_SD**2],
    ]
  )
  objective = value + prior + 0.5 * (theta[-1] - NOISE) ** 2 / NOISE_SD**2
  return objective, np.array(gradient) + prior_gradient
