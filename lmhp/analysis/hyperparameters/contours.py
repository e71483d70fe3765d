"""Contour: the fitted loss over two axes, with the other axes at their best values.

Dimension key: T runs, G values across, H values up.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

import numpy as np

from lmhp.analysis.hyperparameters.design import bounded_axis, unit_values
from lmhp.analysis.hyperparameters.responses import axis_grid
from lmhp.analysis.hyperparameters.surface import Surface, fit_surface
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError

N_VALUES = 41


@dataclasses.dataclass(frozen=True)
class Contour:
  """Loss of the surface over two axes, with the other axes at their best values.

  Attributes:
    x_axis: Axis across.
    y_axis: Axis up.
    x: (G,) values of the axis across, or its choices.
    y: (H,) values of the axis up, or its choices.
    z: (H, G) posterior median of the loss.
    z_sd: (H, G) its standard deviation.
    x_points: (T,) values of the runs. NaN or None if a run has none.
    y_points: (T,) values of the runs on the axis up.
    losses: (T,) losses of the runs, less is better.
    number: (T,) run numbers.
    status: (T,) status of each run.
    best: (x, y) at which the surface is lowest.
    others: Values of the other axes at which the surface is shown, by name.
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
  best: tuple[object, object]
  others: Mapping[str, object]


def contour(
  runs: Runs, a: str, b: str, surface: Surface | None = None, seed: int = 0
) -> Contour:
  """Computes the fitted loss over two axes.

  Args:
    runs: Table of runs. Those that can be compared at one step (`Runs.comparable_runs()`) are
      used.
    a: Name of the axis across.
    b: Name of the axis up.
    surface: Surface of the same runs. None fits one.
    seed: Seed of the surface.

  Raises:
    ConfigError: If there is no such axis, one was not varied, both names are equal, or there
      are too few points for a surface.

  >>> rng = np.random.default_rng(0)
  >>> x, y = rng.random((2, 40))
  >>> axes = {'x': Axis('x', low=0, high=1), 'y': Axis('y', low=0, high=1)}
  >>> runs = Runs('s', axes, {'x': x, 'y': y}, 3 + (x - 0.3) ** 2 + (y - 0.6) ** 2)
  >>> result = contour(runs, 'x', 'y')
  >>> result.z.shape, bool(np.abs(np.array(result.best) - [0.3, 0.6]).max() < 0.1)
  ((41, 41), True)
  """
  if a == b:
    raise ConfigError(f'axes: got {a!r} twice, expected two that differ')
  x_axis = bounded_axis(runs, a)
  y_axis = bounded_axis(runs, b)
  comparable, _ = runs.comparable_runs()
  surface = surface or fit_surface(comparable, seed=seed)
  names = list(surface.axes)
  for name in (a, b):
    if name not in names:
      raise ConfigError(
        f'axes: got {name!r}, which was not varied, expected two of {sorted(names)}'
      )

  # Evaluate the surface on a grid, with the other axes at their best values.
  x_units, x = axis_grid(surface.axes[a], unit_values(comparable, a), N_VALUES)
  y_units, y = axis_grid(surface.axes[b], unit_values(comparable, b), N_VALUES)
  best_place = surface.best()
  places = np.tile(best_place, (len(y) * len(x), 1))
  places[:, names.index(a)] = np.tile(x_units, len(y))
  places[:, names.index(b)] = np.repeat(y_units, len(x))
  z, z_sd = surface.predict(places)

  # Best values of all axes, in their own units.
  best = {
    name: axis.choices[int(place)] if axis.is_choice else float(axis.from_unit(place))
    for (name, axis), place in zip(surface.axes.items(), best_place)
  }
  return Contour(
    x_axis=x_axis,
    y_axis=y_axis,
    x=x,
    y=y,
    z=z.reshape(len(y), len(x)),
    z_sd=z_sd.reshape(len(y), len(x)),
    x_points=comparable.values[a],
    y_points=comparable.values[b],
    losses=comparable.losses,
    number=comparable.number,
    status=comparable.status,
    best=(best[a], best[b]),
    others={name: value for name, value in best.items() if name not in (a, b)},
  )
