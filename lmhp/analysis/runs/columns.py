"""Columns and axes from rows, files and configs."""

from __future__ import annotations

import json
import math
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.runs.table import Axis
from lmhp.errors import ConfigError
from lmhp.files import as_path, from_jsonable
from lmhp.training.history import read_history


def base_values(task: Mapping[str, Any]) -> dict[str, Any]:
  """What the base config had by dotted path, of a study's card; of one's own functions their numbers by name."""
  if 'hypers' in task:
    return dict(from_jsonable(task['hypers']))
  return {
    f'{section}.{key}': value
    for section, keys in from_jsonable(task).items()
    if isinstance(keys, Mapping)
    for key, value in keys.items()
  }


def looks_logarithmic(values: Sequence[float]) -> bool:
  """Whether values are spread by ratios: all above 0, and the middle nearer to the geometric mean of the ends.

  >>> looks_logarithmic([1e-4, 1e-3, 1e-2]), looks_logarithmic([0.8, 0.9, 0.99])
  (True, False)
  """
  values = np.sort(np.asarray(values, np.float64))
  if values[0] <= 0 or values[-1] < 4 * values[0]:
    return False
  middle, low, high = float(np.median(values)), values[0], values[-1]
  return bool(abs(middle - math.sqrt(low * high)) < abs(middle - (low + high) / 2))


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
  """Rows of numbers as columns; NaN where a row has none."""
  names = dict.fromkeys(name for row in rows for name in row)
  return {
    name: np.array([_number(row.get(name)) for row in rows], np.float64)
    for name in names
  }


def _number(value: Any) -> float:
  return float(value) if isinstance(value, (int, float)) else math.nan


def history_of(path: Any) -> dict[str, np.ndarray]:
  """The curve of a training run from its `metrics.jsonl`."""
  rows = read_history(path)
  return {
    name: np.asarray(column, np.float64)
    for name, column in rows.items()
    if column.dtype != object
  }


def json_of(path: Any) -> dict[str, Any] | None:
  """A JSON file's object with its numbers; None where it is not there.

  Raises:
    ConfigError: where it is damaged.
  """
  path = as_path(path)
  if not path.exists():
    return None
  try:
    found = json.loads(path.read_text())
  except ValueError as error:
    raise ConfigError(f'{path}: is damaged: {error}') from None
  if not isinstance(found, dict):
    raise ConfigError(f'{path}: is damaged, expected a JSON object')
  return from_jsonable(found)


def axis_of_values(name: str, column: Sequence[Any]) -> tuple[Axis, np.ndarray]:
  """The axis and the column of given values: numbers where all are, else a choice."""
  known = [v for v in column if v is not None]
  if (
    known
    and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in known)
    and len(set(known)) > 2
  ):
    numbers = np.array([math.nan if v is None else float(v) for v in column])
    finite = numbers[np.isfinite(numbers)]
    return Axis(
      name,
      low=float(finite.min()),
      high=float(finite.max()),
      log=looks_logarithmic(finite),
      whole=all(isinstance(v, int) for v in known),
    ), numbers
  column = [tuple(v) if isinstance(v, list) else v for v in column]
  array = np.empty(len(column), object)
  array[:] = column
  choices = tuple(dict.fromkeys(v for v in column if v is not None))
  return Axis(name, kind='choice', choices=choices), array


def points_of(values: Mapping[str, np.ndarray], n: int) -> np.ndarray:
  """The number of each run's setting; runs of one setting differ in their seeds alone."""
  seen: dict[tuple, int] = {}
  rows = [tuple(repr(column[i]) for column in values.values()) for i in range(n)]
  return np.array([seen.setdefault(row, len(seen)) for row in rows], int)
