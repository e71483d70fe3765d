"""Columns and axes from rows, files and configs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from lmhp.analysis.runs.axis import Axis
from lmhp.errors import ConfigError
from lmhp.files import as_path, from_jsonable, read_json
from lmhp.training.history import read_history
from lmhp.typing import JSON, PathLike

SIZE_GAP = 1.1
"""Ratio of two neighbouring sizes above which runs are not compared."""


def base_config(task: Mapping[str, JSON]) -> dict[str, object]:
  """Returns {dotted path: value} of the base config of a study's task.

  A function task has numbers by name instead of sections.
  """
  values = from_jsonable(task)
  if 'hypers' in values:
    return dict(values['hypers'])
  return {
    f'{section}.{key}': value
    for section, keys in values.items()
    if isinstance(keys, Mapping)
    for key, value in keys.items()
  }


def looks_logarithmic(values: np.ndarray | Sequence[float]) -> bool:
  """Returns True if values are spread by ratios.

  They are if all are above 0, and their median is nearer to the geometric mean of the
  smallest and the largest value than to the arithmetic mean.

  >>> looks_logarithmic([1e-4, 1e-3, 1e-2]), looks_logarithmic([0.8, 0.9, 0.99])
  (True, False)
  """
  ordered = np.sort(np.asarray(values, np.float64))
  low = ordered[0]
  high = ordered[-1]
  if low <= 0 or high < 4 * low:
    return False
  middle = float(np.median(ordered))
  return bool(abs(middle - math.sqrt(low * high)) < abs(middle - (low + high) / 2))


def is_numeric(value: object) -> TypeGuard[float]:
  """Returns True for an int or a float. A bool is no number here."""
  return isinstance(value, (int, float)) and not isinstance(value, bool)


def to_float(value: object) -> float:
  """Returns a number as a float, and NaN for anything else."""
  if not isinstance(value, (int, float)):
    return math.nan
  try:
    return float(value)
  except OverflowError:
    # A whole number of more than 308 digits.
    return math.inf if value > 0 else -math.inf


def number_column(values: Sequence[object]) -> np.ndarray:
  """Returns values as numbers (T,) float64, NaN for anything else."""
  return np.array([to_float(value) for value in values], np.float64)


def number_columns(rows: Sequence[Mapping[str, object]]) -> dict[str, np.ndarray]:
  """Returns rows of numbers as columns (T,) float64, NaN if a row has no number."""
  names = dict.fromkeys(name for row in rows for name in row)
  columns = {}
  for name in names:
    columns[name] = number_column([row.get(name) for row in rows])
  return columns


def typed_column(axis: Axis, values: Sequence[object]) -> np.ndarray:
  """Returns values of an axis, None if missing, as its column of a table."""
  if axis.is_choice:
    return object_column(values)
  numbers = [math.nan if value is None else value for value in values]
  try:
    return np.array(numbers, np.float64)
  except (TypeError, ValueError, OverflowError):
    raise ConfigError(
      f'{axis.name}: got a value that is no number, expected only numbers'
    ) from None


def object_column(values: Sequence[object]) -> np.ndarray:
  """Returns values as an array of objects. Tuples stay tuples."""
  column = np.empty(len(values), object)
  for i, value in enumerate(values):
    # An assignment of the whole list would unpack tuples of equal length.
    column[i] = value
  return column


def read_curve(path: PathLike) -> dict[str, np.ndarray]:
  """Reads the curve of a training run from its `metrics.jsonl`."""
  return {
    name: np.asarray(column, np.float64)
    for name, column in read_history(path).items()
    if column.dtype != object
  }


def read_json_object(path: PathLike) -> dict[str, JSON] | None:
  """Reads a JSON object with its numbers. Returns None if there is no file.

  Raises:
    ConfigError: If the file is damaged.
  """
  file = as_path(path)
  if not file.exists():
    return None
  value = read_json(file)
  if not isinstance(value, dict):
    raise ConfigError(f'{path}: is damaged, expected a JSON object')
  return from_jsonable(value)


def axis_and_column(name: str, column: Sequence[object]) -> tuple[Axis, np.ndarray]:
  """Returns the axis and the column of given values.

  The axis is a number if all values are numbers and at least three differ. Else it is a
  choice.
  """
  # More than two different numbers are an axis of numbers. All else is a choice.
  present = [value for value in column if value is not None]
  if present and all(map(is_numeric, present)) and len(set(present)) > 2:
    numbers = number_column(column)
    finite = numbers[np.isfinite(numbers)]
    axis = Axis(
      name,
      low=float(finite.min()),
      high=float(finite.max()),
      log=looks_logarithmic(finite),
      is_integer=all(isinstance(value, int) for value in present),
    )
    return axis, numbers

  # Choices are compared and counted, which a list does not allow.
  hashable = [_hashable(value) for value in column]
  choices = dict.fromkeys(value for value in hashable if value is not None)
  axis = Axis(name, is_choice=True, choices=tuple(choices))
  return axis, object_column(hashable)


def _hashable(value: object) -> object:
  """Returns a value with its lists, and the lists in them, as tuples."""
  if isinstance(value, (list, tuple)):
    return tuple(_hashable(each) for each in value)
  return repr(value) if isinstance(value, Mapping) else value


def point_numbers(values: Mapping[str, np.ndarray], n: int) -> np.ndarray:
  """Numbers the settings of n runs. Runs with the same setting share a number."""
  # Without axes, all runs have the same empty setting.
  settings = list(zip(*(map(repr, column) for column in values.values()))) or [()] * n
  numbers = {setting: i for i, setting in enumerate(dict.fromkeys(settings))}
  return np.array([numbers[setting] for setting in settings], int)


def move_together(a: np.ndarray, b: np.ndarray, n_points: int) -> bool:
  """Returns True if the levels (T,) of two axes belong to each other one by one.

  Levels in the same or the reverse order are enough. Otherwise each level needs two points on
  average, because points that all differ belong to each other by chance.
  """
  if np.array_equal(a, b) or np.array_equal(a, b.max(initial=0) - b):
    return True
  # The cheap conditions stand first: axes are compared in pairs.
  n_levels = len(np.unique(a))
  if 2 * n_levels > n_points or n_levels != len(np.unique(b)):
    return False
  return n_levels == len(np.unique(np.column_stack([a, b]), axis=0))


def groups_of_size(sizes: np.ndarray) -> np.ndarray:
  """Numbers the groups of sizes (T,) that are close to each other. Unknown ones are a group."""
  order = np.argsort(sizes)
  with np.errstate(divide='ignore', invalid='ignore'):
    gaps = np.diff(np.log(sizes[order]))
  groups = np.zeros(len(sizes), int)
  groups[order[1:]] = np.cumsum(~(gaps <= math.log(SIZE_GAP)))
  return np.where(np.isfinite(sizes), groups, -1)


def finite_rows(
  curve: Mapping[str, npt.ArrayLike], name: str
) -> tuple[np.ndarray, np.ndarray]:
  """Returns steps and values of a column at its finite values."""
  steps = np.asarray(curve.get('step', ()), np.float64)
  values = np.asarray(curve.get(name, ()), np.float64)
  if len(values) != len(steps):
    return np.zeros(0), np.zeros(0)
  finite = np.isfinite(values) & np.isfinite(steps)
  return steps[finite], values[finite]
