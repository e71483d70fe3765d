"""What the pictures of a response show: the loss against one axis.

Everything here is numbers; `lmhp.analysis.report` draws them.

Dimension key: T runs, P points (runs that differ in their seed alone are one), G places of a curve, A axes.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.hyperparameters.optimum import Optimum, fit_optimum
from lmhp.analysis.hyperparameters.surface import (
  Surface,
  axis_of,
  columns_of,
  fit_surface,
  merged,
  units_of,
)
from lmhp.analysis.runs.table import Axis, Runs
from lmhp.errors import ConfigError

PLACES = 101
EDGE = 0.03
"""Share of what was tried, at either end, in which a surface's lowest place says that the optimum may lie beyond."""


@dataclasses.dataclass(frozen=True)
class Response:
  """The loss against one axis. Less is better in all of it; `Runs.shown` turns it back.

  Attributes:
    axis: the axis, its bounds what was seen where nobody gave them.
    number: (T,) of the runs.
    values: (T,) float64, or object of a choice.
    losses: (T,) as compared.
    status: (T,) of each run.
    envelope_values: (E,) increasing; or each choice.
    envelope: (E,) the lowest loss there: of the runs whose neighbours on the lower convex hull have none below the line
      between them; of a choice, the best run of each.
    curve_values: (G,) places of the curve; () without a surface.
    curve: (G,) the surface's median there, the other axes where the surface is lowest.
    curve_low: (G,) the band's lower end.
    curve_high: (G,) upper end.
    confidence: of band, optimum and basin.
    optimum: of a number; of a choice `reason` alone. Where the surface is lowest outside the valley's interval, the
      interval reaches to there and the value is the surface's: two fits that disagree are less sure than each.
    basin: (low, high) values of the axis between which the fitted loss is within `optimum.share` of the optimum's; NaN
      where not known, ends of the axis where it reaches beyond.
    rung: step at which the runs are compared; None for their ends.
    reason: why there is no curve, or ''.
    disagree: whether valley and surface have their optimum apart.
  """

  axis: Axis
  number: np.ndarray
  values: np.ndarray
  losses: np.ndarray
  status: np.ndarray
  envelope_values: np.ndarray
  envelope: np.ndarray
  curve_values: np.ndarray
  curve: np.ndarray
  curve_low: np.ndarray
  curve_high: np.ndarray
  confidence: float
  optimum: Optimum
  basin: tuple[float, float]
  rung: int | None = None
  reason: str = ''
  disagree: bool = False


def response(
  runs: Runs,
  axis: str,
  surface: Surface | None = None,
  confidence: float = 0.9,
  seed: int = 0,
) -> Response:
  """The loss against one axis, of the runs that have a value of it.

  Args:
    runs: of which `Runs.for_response()` is used.
    axis: its name.
    surface: of the same runs, where it was fitted before: one serves all axes.
    confidence: of the band and of the optimum.
    seed: of the surface and of the optimum's draws.

  Raises:
    ConfigError: no such axis.

  >>> rng = np.random.default_rng(1)
  >>> x = rng.random(30)
  >>> runs = Runs(
  ...   's',
  ...   {'x': Axis('x', low=0, high=1)},
  ...   {'x': x},
  ...   3 + (x - 0.3) ** 2 + 0.01 * rng.standard_normal(30),
  ... )
  >>> found = response(runs, 'x')
  >>> (
  ...   bool(found.optimum.low < 0.3 < found.optimum.high),
  ...   bool(found.basin[0] < 0.3 < found.basin[1]),
  ...   len(found.curve),
  ... )
  (True, True, 101)
  """
  own = axis_of(runs, axis)
  used, rung = runs.for_response()
  used = used.where(np.isfinite(units_of(used, axis)))
  surface, reason = _surface(used, surface, axis, seed)
  optimum = _optimum(used, own, confidence, seed)
  values = used.values[axis]
  envelope = (
    _best_of_each(values, used.losses)
    if own.kind == 'choice'
    else lower_hull(values, used.losses, own.log)
  )
  blank = np.zeros(0)
  curve = (
    (blank,) * 4 if surface is None else _slice(surface, axis, used, confidence, seed)
  )
  basin = _basin(optimum, own)
  agreed, basin = _with_surface(optimum, basin, own, *curve[:2])
  return Response(
    own,
    used.number,
    values,
    used.losses,
    used.status,
    *envelope,
    *curve,
    confidence,
    agreed,
    basin,
    rung,
    reason,
    agreed is not optimum,
  )


def lower_hull(
  values: np.ndarray, losses: np.ndarray, log: bool = False
) -> tuple[np.ndarray, np.ndarray]:
  """The lower convex hull of points: the envelope of the best, by value.

  Args:
    values: (T,) any order.
    losses: (T,) float; what is not finite is left out.
    log: whether convex in the logarithm of the values.

  Returns:
    (E,) values, increasing, and (E,) losses.

  Source: Andrew 1979, Information Processing Letters 9(5), the lower half.

  >>> [column.tolist() for column in lower_hull([1, 2, 3, 4], [3.0, 1.0, 2.5, 3.0])]
  [[1.0, 2.0, 4.0], [3.0, 1.0, 3.0]]
  """
  values, losses = np.asarray(values, np.float64), np.asarray(losses, np.float64)
  rows = np.isfinite(values) & np.isfinite(losses)
  values, losses = values[rows], losses[rows]
  places = np.log(values) if log else values
  hull: list[int] = []
  for i in np.lexsort((losses, places)):
    if hull and places[i] == places[hull[-1]]:
      continue
    while len(hull) > 1 and _turn(places, losses, hull[-2], hull[-1], i) <= 0:
      hull.pop()
    hull.append(i)
  return values[hull], losses[hull]


def _turn(x: np.ndarray, y: np.ndarray, i: int, j: int, k: int) -> float:
  return (x[j] - x[i]) * (y[k] - y[i]) - (y[j] - y[i]) * (x[k] - x[i])


def _best_of_each(
  values: np.ndarray, losses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  seen = list(dict.fromkeys(values.tolist()))
  place = np.array([seen.index(v) for v in values.tolist()], int)
  return np.array([*seen, None], object)[:-1], np.array(
    [losses[place == i].min() for i in range(len(seen))]
  )


def _surface(
  runs: Runs, surface: Surface | None, axis: str, seed: int
) -> tuple[Surface | None, str]:
  if surface is None:
    try:
      surface = fit_surface(runs, seed=seed)
    except ConfigError as error:
      return None, str(error)
  return (surface, '') if axis in surface.axes else (None, f'{axis}: not varied')


def _optimum(runs: Runs, axis: Axis, confidence: float, seed: int) -> Optimum:
  if axis.kind == 'choice':
    return Optimum(confidence=confidence, reason='a choice has no fitted optimum')
  points, losses = merged(runs)
  if not len(points):
    return Optimum(confidence=confidence, reason='no runs')
  losses = np.where(points.status == 'diverged', math.nan, losses)
  others = [
    columns_of(points, name, square=False)
    for name in points.varied()
    if name != axis.name
  ]
  others = np.column_stack([np.zeros((len(points), 0)), *others])
  found = fit_optimum(
    points.values[axis.name],
    losses,
    log=axis.log,
    confidence=confidence,
    covariates=others,
    seed=seed,
  )
  if found.reason and others.shape[1]:
    return dataclasses.replace(
      found,
      reason=f'{found.reason}, as {others.shape[1]} columns of other axes are fitted',
    )
  return found


def _basin(optimum: Optimum, axis: Axis) -> tuple[float, float]:
  below, above = optimum.basin_low[0], optimum.basin_high[0]
  if not math.isfinite(optimum.value) or math.isnan(below):
    return math.nan, math.nan
  low, high = (
    (optimum.value / below, optimum.value * above)
    if axis.log
    else (optimum.value - below, optimum.value + above)
  )
  return max(low, axis.low), min(high, axis.high)


def _with_surface(
  optimum: Optimum,
  basin: tuple[float, float],
  axis: Axis,
  places: np.ndarray,
  curve: np.ndarray,
) -> tuple[Optimum, tuple[float, float]]:
  """The optimum whose interval, and the basin that, holds the surface's lowest place too; the same where it does."""
  if axis.kind == 'choice' or not len(curve) or not math.isfinite(optimum.value):
    return optimum, basin
  i = int(np.argmin(curve))
  best, inside = float(places[i]), EDGE * len(curve) < i < (1 - EDGE) * (len(curve) - 1)
  if optimum.low <= best <= optimum.high and not (optimum.at_bound and inside):
    return optimum, basin
  low, high = min(optimum.low, best), max(optimum.high, best)
  at_bound = '' if inside else optimum.at_bound
  if not inside:
    return dataclasses.replace(optimum, low=low, high=high, at_bound=at_bound), basin
  # The surface is what is drawn, and it fits each side as it is.
  near = curve <= curve[i] + optimum.share * abs(curve[i])
  below = (
    axis.low
    if near[: i + 1].all()
    else float(places[i - int(np.argmin(near[i::-1])) + 1])
  )
  above = (
    axis.high if near[i:].all() else float(places[i + int(np.argmin(near[i:])) - 1])
  )
  return dataclasses.replace(
    optimum, value=best, low=low, high=high, at_bound=at_bound
  ), (below, above)


def _slice(surface: Surface, name: str, runs: Runs, confidence: float, seed: int):
  """Places on one axis, and the surface's median and band there, the others at the best."""
  axis = surface.axes[name]
  places, values = places_on(axis, units_of(runs, name), PLACES)
  every = np.tile(surface.best(seed), (len(places), 1))
  every[:, list(surface.axes).index(name)] = places
  median, sd = surface.predict(every)
  half = _normal_quantile(confidence) * sd
  return values, median, median - half, median + half


def places_on(
  axis: Axis, units: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
  """Shares of the range between what was tried, or indices of choices; and the values there."""
  if axis.kind == 'choice':
    return np.arange(len(axis.choices), dtype=float), np.array(
      [*axis.choices, None], object
    )[:-1]
  places = np.linspace(np.nanmin(units), np.nanmax(units), most)
  return places, axis.from_unit(places)


def _normal_quantile(confidence: float) -> float:
  from scipy.special import ndtri

  return float(ndtri((1 + confidence) / 2))
