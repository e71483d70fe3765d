"""What the picture of two axes shows: the fitted loss over both, all others where it is lowest.

Dimension key: T runs, G places across, H places up.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from lmhp.analysis.hyperparameters.responses import places_on
from lmhp.analysis.hyperparameters.surface import (
  Surface,
  axis_of,
  fit_surface,
  units_of,
)
from lmhp.analysis.runs.table import Axis, Runs
from lmhp.errors import ConfigError

CONTOUR_PLACES = 41


@dataclasses.dataclass(frozen=True)
class Contour:
  """The surface's loss over two axes, all others where it is lowest.

  Attributes:
    x_axis: the one axis.
    y_axis: the other.
    x: (G,) values of the one; a choice's are its choices.
    y: (H,) of the other.
    z: (H, G) median of the loss; a row for each value of the other.
    z_sd: (H, G) its standard deviation.
    x_points: (T,) values of the runs; NaN or None where a run has none.
    y_points: (T,) the same of the other.
    losses: (T,) of the runs, less is better.
    number: (T,) of the runs.
    status: (T,)
    best: (x, y) where the surface is lowest.
    held: the other axes' values that the surface is shown at.
  """

  x_axis: Axis
  y_axis: Axis
  x: np.ndarray
  y: np.ndarray
  z: np.ndarray
  z_sd: np.ndarray
  x_points: np.ndarray
  y_points: np.ndarray
  losses: np.ndarray
  number: np.ndarray
  status: np.ndarray
  best: tuple[Any, Any]
  held: dict[str, Any]


def contour(
  runs: Runs, a: str, b: str, surface: Surface | None = None, seed: int = 0
) -> Contour:
  """The loss over two axes.

  Args:
    runs: of which `Runs.for_response()` is used.
    a: name of the axis across.
    b: of the axis up.
    surface: of the same runs, where it was fitted before.
    seed: of the surface.

  Raises:
    ConfigError: no such axis, one that was not varied, twice the same, or too few points for a surface.

  >>> rng = np.random.default_rng(0)
  >>> x, y = rng.random((2, 40))
  >>> axes = {'x': Axis('x', low=0, high=1), 'y': Axis('y', low=0, high=1)}
  >>> found = contour(
  ...   Runs('s', axes, {'x': x, 'y': y}, 3 + (x - 0.3) ** 2 + (y - 0.6) ** 2), 'x', 'y'
  ... )
  >>> (
  ...   found.z.shape,
  ...   bool(abs(found.best[0] - 0.3) < 0.1),
  ...   bool(abs(found.best[1] - 0.6) < 0.1),
  ... )
  ((41, 41), True, True)
  """
  if a == b:
    raise ConfigError(f'axes: got {a!r} twice, expected two that differ')
  axes = [axis_of(runs, name) for name in (a, b)]
  used, _ = runs.for_response()
  surface = surface or fit_surface(used, seed=seed)
  names = list(surface.axes)
  for name in (a, b):
    if name not in names:
      raise ConfigError(
        f'axes: got {name!r}, which was not varied, expected two of {sorted(names)}'
      )
  (x_places, x), (y_places, y) = (
    places_on(surface.axes[n], units_of(used, n), CONTOUR_PLACES) for n in (a, b)
  )
  best = surface.best(seed)
  every = np.tile(best, (len(y) * len(x), 1))
  every[:, names.index(a)] = np.tile(x_places, len(y))
  every[:, names.index(b)] = np.repeat(y_places, len(x))
  z, z_sd = (flat.reshape(len(y), len(x)) for flat in surface.predict(every))
  at = {name: value_at(surface.axes[name], best[i]) for i, name in enumerate(names)}
  held = {name: value for name, value in at.items() if name not in (a, b)}
  return Contour(
    *axes,
    x,
    y,
    z,
    z_sd,
    used.values[a],
    used.values[b],
    used.losses,
    used.number,
    used.status,
    (at[a], at[b]),
    held,
  )


def value_at(axis: Axis, place: float) -> Any:
  """The value of an axis at a surface's place: a share of the range, or the index of a choice."""
  return (
    axis.choices[int(place)] if axis.kind == 'choice' else float(axis.from_unit(place))
  )
