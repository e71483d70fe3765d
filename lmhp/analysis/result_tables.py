"""Results that are small tables: as text, and as a pandas DataFrame."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmhp.errors import ConfigError

if TYPE_CHECKING:
  import pandas as pd


class ResultTable(abc.ABC):
  """A result with a title and one row for each thing that was estimated."""

  @property
  @abc.abstractmethod
  def title(self) -> str:
    """Title of the summary: the fit and its number of runs."""

  @abc.abstractmethod
  def rows(self) -> list[dict[str, object]]:
    """Returns one {column: value} for each row."""

  def summary(self) -> str:
    """Returns the title and the rows as text, in aligned columns."""
    rows = self.rows()
    lines = [list(rows[0])]
    for row in rows:
      lines.append([_cell(value) for value in row.values()])
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = [self.title]
    for line in lines:
      text.append('  '.join(map(str.rjust, line, widths)))
    return '\n'.join(text)

  def to_pandas(self) -> pd.DataFrame:
    """Returns the rows as a DataFrame.

    Raises:
      ConfigError: If pandas is not installed.
    """
    rows = self.rows()
    return data_frame({name: [row[name] for row in rows] for name in rows[0]})


def data_frame(
  columns: Mapping[str, Sequence[object] | np.ndarray],
) -> pd.DataFrame:
  """Returns columns of one length as a DataFrame.

  Raises:
    ConfigError: If pandas is not installed.
  """
  try:
    import pandas as pd
  except ImportError:
    raise ConfigError(
      'pandas: is not installed, install it with: pip install pandas'
    ) from None
  return pd.DataFrame(dict(columns))


def _cell(value: object) -> str:
  return f'{value:.5g}' if isinstance(value, float) else str(value)
