"""Response of the loss to one axis: runs, envelope, fitted curve, optimum and basin.

Dimension key: T runs, P points (one per setting, seeds averaged), G values of a curve, E
values of an envelope.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.hyperparameters.design import (
  bounded_axis,
  unit_values,
)
from lmhp.analysis.hyperparameters.optimum import Optimum, optimum_on
from lmhp.analysis.hyperparameters.surface import Surface, fit_surface
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.columns import object_column
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError

N_VALUES = 101


@dataclasses.dataclass(frozen=True)
class Response:
  """Response of the loss to one axis. Less is better, as in `Runs.losses`.

  Attributes:
    axis: The axis, with the range of its values as bounds if it has none.
    number: (T,) run numbers.
    values: (T,) float64, or object for a choice.
    losses: (T,) losses that are compared.
    status: (T,) status of each run.
    envelope_values: (E,) values of the envelope, rising, or each choice.
    envelope: (E,) losses of the lower convex hull of the runs. For a choice, the lowest loss
      of each value.
    curve: Slice of the surface. None without a surface.
    confidence: Confidence of band, optimum and basin.
    optimum: Optimum of a number. A choice has only a `reason`. Its basin also holds the runs
      whose own loss is within `optimum.rise_fraction` of the lowest.
    rung: Step at which the runs are compared. None stands for the end of training.
    reason: Reason why there is no curve. Empty if there is one.
  """

  axis: Axis
  number: np.ndarray
  values: np.ndarray
  losses: np.ndarray
  status: np.ndarray
  envelope_values: np.ndarray
  envelope: np.ndarray
  curve: ResponseCurve | None
  confidence: float
  optimum: Optimum
  rung: int | None = None
  reason: str = ''


@dataclasses.dataclass(frozen=True)
class ResponseCurve:
  """Slice of a surface along one axis, with the other axes at their best values.

  Attributes:
    values: (G,) values of the axis, or its choices.
    median: (G,) posterior median of the loss.
    low: (G,) lower end of the band.
    high: (G,) upper end of the band.
  """

  values: np.ndarray
  median: np.ndarray
  low: np.ndarray
  high: np.ndarray


def response(
  runs: Runs,
  axis: str,
  surface: Surface | None = None,
  confidence: float = 0.9,
  seed: int = 0,
) -> Response:
  """Computes the response of the loss to one axis.

  Args:
    runs: Table of runs. Those that can be compared at one step (`Runs.comparable_runs()`) and
      have a value of the axis are used.
    axis: Name of the axis.
    surface: Surface of the same runs. None fits one.
    confidence: Confidence of the band and the optimum.
    seed: Seed of the surface and of the draws behind the optimum.

  Raises:
    ConfigError: If there is no such axis.

  >>> rng = np.random.default_rng(1)
  >>> x = rng.random(30)
  >>> runs = Runs(
  ...   's',
  ...   {'x': Axis('x', low=0, high=1)},
  ...   {'x': x},
  ...   3 + (x - 0.3) ** 2 + 0.01 * rng.standard_normal(30),
  ... )
  >>> result = response(runs, 'x')
  >>> bool(result.optimum.low < 0.3 < result.optimum.high)
  True
  >>> low, high = result.optimum.basin
  >>> bool(low < 0.3 < high), len(result.curve.values)
  (True, 101)
  """
  bounded = bounded_axis(runs, axis)
  comparable, rung = runs.comparable_runs()
  comparable = comparable.select(np.isfinite(unit_values(comparable, axis)))
  reason = ''
  if surface is None:
    try:
      surface = fit_surface(comparable, seed=seed)
    except ConfigError as error:
      reason = str(error)
  if surface is not None and axis not in surface.axes:
    surface = None
    reason = f'{axis}: was not varied'

  optimum = Optimum(confidence=confidence, reason=reason)
  curve = None
  if surface is not None:
    curve = _slice(surface, axis, comparable, confidence)
    optimum = optimum_on(surface, axis, comparable, confidence, seed=seed)
    optimum = _with_near_runs(optimum, comparable.values[axis], comparable.losses)

  # Envelope: best loss of each choice, or lower convex hull over a number.
  values = comparable.values[axis]
  if bounded.is_choice:
    envelope_values, envelope = _best_of_each(values, comparable.losses)
  else:
    envelope_values, envelope = lower_hull(values, comparable.losses, bounded.log)
  return Response(
    axis=bounded,
    number=comparable.number,
    values=values,
    losses=comparable.losses,
    status=comparable.status,
    envelope_values=envelope_values,
    envelope=envelope,
    curve=curve,
    confidence=confidence,
    optimum=optimum,
    rung=rung,
    reason=reason,
  )


# --- envelope ---------------------------------------------------------------------------


def lower_hull(
  values: np.ndarray, losses: np.ndarray, log: bool = False
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the lower convex hull of points, by value.

  Args:
    values: (T,) values in any order.
    losses: (T,) losses. Those that are not finite are left out.
    log: If True, the hull is convex in the logarithm of the values.

  Returns:
    (E,) values, rising, and (E,) losses.

  Source: The lower half of Andrew 1979, Information Processing Letters 9(5).

  >>> hull = lower_hull(np.array([1, 2, 3, 4]), np.array([3.0, 1.0, 2.5, 3.0]))
  >>> [column.tolist() for column in hull]
  [[1.0, 2.0, 4.0], [3.0, 1.0, 3.0]]
  """
  values = np.asarray(values, np.float64)
  losses = np.asarray(losses, np.float64)
  rows = np.isfinite(values) & np.isfinite(losses)
  values = values[rows]
  losses = losses[rows]

  # Go through the points from left to right. A point on the hull is removed if the next
  # point makes the hull bend the wrong way.
  x = np.log(values) if log else values
  hull: list[int] = []
  for i in np.lexsort((losses, x)).tolist():
    # Points of one value are sorted by loss, so the first is the best.
    if hull and x[i] == x[hull[-1]]:
      continue
    while len(hull) > 1 and _cross_product(x, losses, hull[-2], hull[-1], i) <= 0:
      hull.pop()
    hull.append(i)
  return values[hull], losses[hull]


def _cross_product(x: np.ndarray, y: np.ndarray, i: int, j: int, k: int) -> float:
  """Returns a number above 0 if the path i, j, k turns left."""
  return (x[j] - x[i]) * (y[k] - y[i]) - (y[j] - y[i]) * (x[k] - x[i])


def _best_of_each(
  values: np.ndarray, losses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the choices, and the lowest loss of each."""
  best: dict[object, float] = {}
  for value, loss in zip(values.tolist(), losses.tolist()):
    best[value] = min(loss, best.get(value, math.inf))
  return object_column(list(best)), np.array(list(best.values()))


# --- optimum and curve ------------------------------------------------------------------


def _with_near_runs(
  optimum: Optimum, values: np.ndarray, losses: np.ndarray
) -> Optimum:
  """Extends the basin to the runs whose own loss lies within it."""
  if not math.isfinite(optimum.value):
    return optimum
  best = float(losses.min())
  near = values[losses <= best + optimum.rise_fraction * abs(best)]
  low = min(optimum.basin[0], float(near.min()))
  high = max(optimum.basin[1], float(near.max()))
  return dataclasses.replace(optimum, basin=(low, high))


def _slice(surface: Surface, name: str, runs: Runs, confidence: float) -> ResponseCurve:
  """Returns the surface along one axis, with the other axes at their best values."""
  from scipy.special import ndtri

  units, values = axis_grid(surface.axes[name], unit_values(runs, name), N_VALUES)
  median, sd = surface.predict(surface.slice(name, units))
  half = float(ndtri((1 + confidence) / 2)) * sd
  return ResponseCurve(values, median, median - half, median + half)


def axis_grid(
  axis: Axis, units: np.ndarray, n_values: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns unit values over the range that was tried, and the values there.

  For a choice, returns the indices of its values, and the values.

  Args:
    axis: The axis.
    units: (T,) unit values of the runs.
    n_values: Number of values of a number.
  """
  if axis.is_choice:
    return np.arange(len(axis.choices), dtype=float), object_column(axis.choices)
  grid = np.linspace(np.nanmin(units), np.nanmax(units), n_values)
  return grid, axis.from_unit(grid)
