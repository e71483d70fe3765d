"""A table as it was read from a file, before its columns have roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

Curve = Mapping[str, np.ndarray]


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
    return [
      {
        name: values[i]
        for name, values in self.columns.items()
        if values[i] is not None
      }
      for i in range(len(self))
    ]


def from_records(records: Sequence[Mapping[str, object]]) -> RawTable:
  """Returns a table with one row per record. A record may lack some columns."""
  names = dict.fromkeys(name for record in records for name in record)
  return RawTable({name: [record.get(name) for record in records] for name in names})
