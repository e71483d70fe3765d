"""One hyperparameter of a table of runs: its range or choices, and its role."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

SIZE = 'size'
"""Role of an axis that is no free choice, but the size of the runs."""
LEARNING_RATE_NAMES = ('learning_rate', 'lr', 'base_lr', 'peak_lr', 'max_lr')
"""Names of the learning rate: the key `optimizer.learning_rate` and its declared aliases. A
test compares the two, because the declaration cannot be imported without jax."""


@dataclasses.dataclass(frozen=True)
class Axis:
  """A hyperparameter that was varied.

  Attributes:
    name: Name of its column. A dotted path if it is a key of a config.
    is_choice: True if its values are words or other objects, False if they are numbers.
    low: Smallest value that the search could take. NaN if unknown, or for a choice.
    high: Largest value that the search could take. NaN if unknown, or for a choice.
    log: True if equal ratios are equal distances.
    choices: Possible values of a choice. A number may have them too, as on a grid.
    role: 'scientific', 'nuisance' or 'fixed', as in google-research/tuning_playbook, or `SIZE`.
    base_value: Value in the base config. None if unknown.
    is_integer: True if only whole numbers are allowed.
  """

  name: str
  is_choice: bool = False
  low: float = math.nan
  high: float = math.nan
  log: bool = False
  choices: tuple[object, ...] = ()
  role: str = 'scientific'
  base_value: object = None
  is_integer: bool = False

  @property
  def is_number(self) -> bool:
    """True if the values are numbers."""
    return not self.is_choice

  @property
  def is_learning_rate(self) -> bool:
    """True if the axis is a learning rate, by its name."""
    return self.is_number and self.name.rpartition('.')[2] in LEARNING_RATE_NAMES

  def to_unit(self, values: np.ndarray | Sequence[float]) -> np.ndarray:
    """Maps numbers to the unit interval: 0 at `low`, 1 at `high`. NaN stays NaN.

    >>> Axis('lr', low=1e-4, high=1e-2, log=True).to_unit([1e-4, 1e-3]).round(
    ...   6
    ... ).tolist()
    [0.0, 0.5]
    """
    values = np.asarray(values, np.float64)
    low = self.low
    high = self.high
    if self.log:
      with np.errstate(divide='ignore', invalid='ignore'):
        values = np.log(values)
      low = math.log(low)
      high = math.log(high)
    # An axis of a single value has no length.
    return (values - low) / (high - low) if high > low else np.zeros_like(values)

  def from_unit(self, units: np.ndarray | Sequence[float] | float) -> np.ndarray:
    """Maps numbers of the unit interval to values. The inverse of `to_unit`."""
    units = np.asarray(units, np.float64)
    if self.log:
      return np.exp(
        math.log(self.low) + units * (math.log(self.high) - math.log(self.low))
      )
    return self.low + units * (self.high - self.low)
