"""A table as it was read from a file: columns of values, and facts about each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import math
import re

import numpy as np

from lmhp.analysis.runs.columns import is_numeric, to_float

Curve = Mapping[str, np.ndarray]
UNKNOWN = 'it is no other column'
"""Reason of the role of a column about which nothing is known."""
_FILE = re.compile(r'\S+\.(png|jpe?g|svg|pdf|pth?|ckpt|h5|keras|pkl|npz|log|gif)')
_DATE = re.compile(
  r'\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?|\d+ days? .*|\d+:\d{2}:\d{2}.*'
)


@dataclasses.dataclass(frozen=True)
class RawTable:
  """Columns of values, and the curves of some rows.

  Attributes:
    columns: {name: values}, one value per row. None is a missing value.
    curves: {row: curve} of the rows that have one.
    roles: {name: role} of the columns whose role the format declares.
    notes: Sentences about cells or rows that could not be read as they stand.
  """

  columns: Mapping[str, Sequence[object]]
  curves: Mapping[int, Curve] = dataclasses.field(default_factory=dict)
  roles: Mapping[str, str] = dataclasses.field(default_factory=dict)
  notes: tuple[str, ...] = ()

  def __len__(self) -> int:
    return len(next(iter(self.columns.values()), ()))

  def rows(self) -> list[dict[str, object]]:
    """Returns {column: value} of each row, without missing values."""
    rows: list[dict[str, object]] = [{} for _ in range(len(self))]
    for name, values in self.columns.items():
      for row, value in zip(rows, values):
        if value is not None:
          row[name] = value
    return rows

  def row_keys(self, names: Sequence[str]) -> list[str]:
    """Returns a text for each row, equal for rows that agree in these columns.

    Numbers agree in 12 digits, because a repeated computation may differ in the last ones.
    """
    columns = [list(map(_rounded, self.columns[name])) for name in names]
    return [repr([column[i] for column in columns]) for i in range(len(self))]

  def select(self, rows: Sequence[int]) -> RawTable:
    """Returns the table of some rows, with their curves."""
    columns = {name: [column[i] for i in rows] for name, column in self.columns.items()}
    curves = {new: self.curves[i] for new, i in enumerate(rows) if i in self.curves}
    return dataclasses.replace(self, columns=columns, curves=curves)


def _rounded(value: object) -> object:
  return float(f'{value:.12g}') if isinstance(value, float) else value


def from_records(records: Sequence[Mapping[str, object]]) -> RawTable:
  """Returns a table with one row per record. A record may lack some columns."""
  columns: dict[str, list[object]] = {}
  for name in dict.fromkeys(name for record in records for name in record):
    columns[name] = [record.get(name) for record in records]
  return RawTable(columns)


def n_distinct(values: Sequence[object]) -> int:
  """Returns the number of different values. A missing value is one."""
  return len(set(map(repr, values)))


# --- columns ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Column:
  """A column with its role.

  Attributes:
    role: One of `ROLES`.
    reason: Why it has this role, in a few words.
  """

  role: str
  reason: str


class ColumnValues:
  """Facts about the values of a column, computed when they are first read."""

  def __init__(self, values: Sequence[object]):
    self.values = values
    self.present = [value for value in values if value is not None]

  @functools.cached_property
  def n_distinct(self) -> int:
    return n_distinct(self.present)

  @functools.cached_property
  def is_text(self) -> bool:
    return bool(self.present) and all(isinstance(v, str) for v in self.present)

  @functools.cached_property
  def is_number(self) -> bool:
    return bool(self.present) and all(map(is_numeric, self.present))

  @functools.cached_property
  def is_positive(self) -> bool:
    """True for numbers above 0 in every row."""
    is_full = self.is_number and len(self.present) == len(self.values)
    return is_full and all(to_float(v) > 0 for v in self.present)

  @functools.cached_property
  def is_bool(self) -> bool:
    return bool(self.present) and all(isinstance(v, bool) for v in self.present)

  @functools.cached_property
  def is_measured_lists(self) -> bool:
    """True for lists of numbers that are not whole."""
    items = [
      each for value in self.present if isinstance(value, tuple) for each in value
    ]
    is_list = bool(items) and all(isinstance(value, tuple) for value in self.present)
    return is_list and not ColumnValues(items).is_whole and all(map(is_numeric, items))

  @functools.cached_property
  def is_whole(self) -> bool:
    return self.is_number and all(float(v).is_integer() for v in self._finite())

  def _finite(self) -> list[float]:
    numbers = [float(v) for v in self.present if isinstance(v, (int, float))]
    return [number for number in numbers if math.isfinite(number)]

  @property
  def is_unique(self) -> bool:
    return self.n_distinct == len(self.present) == len(self.values)

  @property
  def is_consecutive(self) -> bool:
    """True for the numbers 0, 1, 2, ... or 1, 2, 3, ... in any order."""
    if not self.is_whole or not self.is_unique:
      return False
    numbers = sorted(self._finite())
    return numbers[0] in (0, 1) and numbers[-1] - numbers[0] == len(numbers) - 1

  @property
  def is_dates(self) -> bool:
    return self.is_text and all(_DATE.fullmatch(str(v).strip()) for v in self.present)

  @property
  def is_files(self) -> bool:
    return self.is_text and all(_FILE.fullmatch(str(v).strip()) for v in self.present)

  @property
  def largest(self) -> float:
    return max(self._finite(), default=0.0)

  @property
  def mean_length(self) -> float:
    return float(np.mean([len(str(value)) for value in self.present]))


def names_with(roles: Mapping[str, Column], role: str) -> list[str]:
  """Returns the names of the columns with a role."""
  return [name for name, column in roles.items() if column.role == role]
