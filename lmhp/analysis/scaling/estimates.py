"""Base of all fits: estimates with standard errors and intervals. Columns of usable runs."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from lmhp.analysis.result_tables import ResultTable
from lmhp.errors import ConfigError
from lmhp.statistics.ranks import as_numbers

Interval: TypeAlias = tuple[float, float]
UNKNOWN: Interval = (math.nan, math.nan)


class Estimate(NamedTuple):
  """A value with its confidence interval.

  Attributes:
    value: Best estimate.
    low: Lower end of the interval.
    high: Upper end of the interval.
  """

  value: float
  low: float
  high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit(ResultTable):
  """Base of all fits.

  Attributes:
    intervals: (low, high) of each estimate, by name. NaN if there is no interval.
    confidence: Confidence of all intervals.
    n_runs: Number of runs that were fitted.
    n_left_out: Number of runs that were not used: they diverged, have the weight 0, or have a
      number that is not finite or not above 0.
    reason: Reason why a result is missing. Empty if none is.
  """

  ROWS: ClassVar[str] = 'runs'
  FORMULA: ClassVar[str]
  ESTIMATES: ClassVar[tuple[str, ...]] = ()

  intervals: Mapping[str, Interval] = dataclasses.field(default_factory=dict)
  confidence: float = 0.9
  n_runs: int = 0
  n_left_out: int = 0
  reason: str = ''
  _cov: np.ndarray | None = dataclasses.field(default=None, repr=False, compare=False)

  @property
  def estimates(self) -> dict[str, float]:
    """Estimates by name."""
    return {name: getattr(self, name) for name in self.ESTIMATES}

  @property
  def cov(self) -> np.ndarray:
    """(k, k) covariance of the k `estimates`, in their order. NaN if it is not known."""
    k = len(self.estimates)
    return np.full((k, k), math.nan) if self._cov is None else self._cov

  @property
  def se(self) -> dict[str, float]:
    """Standard error of each estimate, by name. NaN if it is not known."""
    return dict(zip(self.estimates, np.sqrt(np.diag(self.cov)).tolist()))

  @property
  def title(self) -> str:
    """Formula of the model, and the number of runs."""
    text = f'{self.FORMULA}\n{self.n_runs} {self.ROWS}, {self.n_left_out} left out, '
    text += f'{self.confidence:.0%} intervals'
    return f'{text}\n{self.reason}' if self.reason else text

  def rows(self) -> list[dict[str, object]]:
    """Returns a row for each estimate: its name, value, standard error and interval."""
    errors = self.se
    return [
      {
        'name': name,
        'estimate': value,
        'standard_error': errors[name],
        'low': self.intervals.get(name, UNKNOWN)[0],
        'high': self.intervals.get(name, UNKNOWN)[1],
      }
      for name, value in self.estimates.items()
    ]


def usable_rows(
  columns: Mapping[str, npt.ArrayLike | None], n_needed: int
) -> tuple[np.ndarray, int]:
  """Returns (k, n) the rows whose k numbers are finite and above 0, and the number of others.

  Args:
    columns: Columns by name, (n,) or (n, 1) each. None stands for a column of ones. The last
      column before `weights` names the argument in an error message.
    n_needed: Smallest number of usable rows.

  Raises:
    ConfigError: If a value is no number, columns differ in length, or rows are too few.
  """
  given = {name: as_numbers(v, name) for name, v in columns.items() if v is not None}
  shapes = [column.shape for column in given.values()]
  if len(shapes[0]) != 1 or len(set(shapes)) > 1:
    raise ConfigError(
      f'{", ".join(given)}: got shapes {shapes}, expected lists of one length'
    )
  ones = np.ones(shapes[0])
  table = np.stack([given.get(name, ones) for name in columns])

  # Comparisons with NaN are False.
  with np.errstate(invalid='ignore'):
    good = np.all(np.isfinite(table) & (table > 0), axis=0)
  n_good = int(good.sum())
  if n_good < n_needed:
    name = [name for name in columns if name != 'weights'][-1]
    raise ConfigError(
      f'{name}: got {n_good} usable runs of {len(good)}, expected at least {n_needed}'
    )
  return table[:, good], len(good) - n_good
