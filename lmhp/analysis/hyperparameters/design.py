"""Axes as columns of numbers: on a scale from 0 to 1, and for least squares.

Dimension key: T runs, P points, C columns.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError, suggest


def bounded_axis(runs: Runs, name: str) -> Axis:
  """Returns an axis, with the range of its values as bounds if it has none.

  Raises:
    ConfigError: If the runs have no such axis.
  """
  if name not in runs.axes:
    raise ConfigError(
      f'axis: got {name!r}, expected one of {sorted(runs.axes)}{suggest(name, runs.axes)}'
    )
  axis = runs.axes[name]
  if axis.is_choice:
    # Add the values of the runs that the axis does not list.
    values = [v for v in dict.fromkeys(runs.values[name].tolist()) if v is not None]
    new = tuple(value for value in values if value not in axis.choices)
    return dataclasses.replace(axis, choices=tuple(axis.choices) + new)

  values = runs.values[name][np.isfinite(runs.values[name])]
  low = axis.low
  high = axis.high
  if not math.isfinite(low):
    low = float(values.min()) if len(values) else math.nan
  if not math.isfinite(high):
    high = float(values.max()) if len(values) else math.nan
  return dataclasses.replace(
    axis, low=float(low), high=float(high), log=axis.log and bool(low > 0)
  )


def unit_values(runs: Runs, name: str) -> np.ndarray:
  """Returns (T,) numbers on a scale from 0 to 1, or choices as their index.

  A missing value is NaN.
  """
  axis = bounded_axis(runs, name)
  if axis.is_number:
    return axis.to_unit(runs.values[name])
  indices = [
    axis.choices.index(value) if value is not None else math.nan
    for value in runs.values[name].tolist()
  ]
  return np.array(indices, float)


def design_columns(runs: Runs, name: str, square: bool = True) -> np.ndarray:
  """Returns (T, C) an axis as columns for least squares.

  A number gives itself and its square, a choice an indicator of each value except the
  first. A missing number is set to the middle, with an indicator column. Constant columns
  are left out.

  Args:
    runs: Table of runs.
    name: Name of the axis.
    square: If True, a number with more than two values gives its square too.
  """
  units = unit_values(runs, name)
  axis = bounded_axis(runs, name)
  is_missing = ~np.isfinite(units)
  if axis.is_choice:
    # The first choice is the baseline, with zeros in all columns.
    columns = [(units == i).astype(float) for i in range(1, len(axis.choices))]
  else:
    # A missing value counts as the middle, and has a column that marks it.
    centred = np.where(is_missing, 0.5, units) - 0.5
    columns = [centred]
    if square and len(np.unique(units[~is_missing])) > 2:
      columns.append(centred**2)
  columns.append(is_missing.astype(float))

  # A constant column cannot be told from the intercept.
  columns = [column for column in columns if len(column) and np.ptp(column) > 0]
  return np.column_stack(columns) if columns else np.zeros((len(runs), 0))


def average_seeds(runs: Runs) -> tuple[Runs, np.ndarray]:
  """Returns the first run of each point, and (P,) the mean loss of each point's runs.

  A diverged run counts with its loss.
  """
  points = list(runs.rows_by_point().values())
  first_rows = [int(rows[0]) for rows in points]
  losses = np.array([runs.losses[rows].mean() for rows in points])
  return runs.select(first_rows), losses
