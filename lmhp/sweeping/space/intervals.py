"""Intervals of numbers: `Float` and `Int`.

The unit value of a number is its place in the interval, from 0 to 1. A search draws unit
values, and `value_at` maps them to numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math
from typing import Self

from lmhp.errors import ConfigError
from lmhp.sections import assign
from lmhp.sweeping.space.domains import (
  MAX_NUMBER,
  Domain,
  Range,
  Value,
  is_number,
  keyword_role,
  round_to_significant,
  to_tuples,
)
from lmhp.typing import Number

MAX_LISTED = 10_000
"""Largest number of values of an `Int` that are listed. More are described by a `Range`."""


MAX_SHOWN = 12
"""Largest number of values of a `Choice` that an error message lists."""


def _choice_of_steps(
  low: object = None, high: object = None, *rest: object, **options: object
) -> str:
  """Returns the Choice that has the values of an interval with a step, as Python code."""
  del rest
  step = options['step']
  low = options.get('low', low)
  high = options.get('high', high)
  unknown = 'lmhp.Choice(LOW, LOW + STEP, ...)'
  if not (is_number(low) and is_number(high) and is_number(step)):
    return unknown
  if not 0 < step <= high - low < math.inf:
    return unknown
  # As in Optuna, the last value is the largest that is at most `high`.
  n_steps = math.floor(round_to_significant((high - low) / step))
  if n_steps >= MAX_SHOWN:
    return f'lmhp.Choice(*({low!r} + {step!r} * i for i in range({n_steps + 1})))'
  values = [round_to_significant(low + step * i) for i in range(n_steps + 1)]
  if isinstance(low, int) and isinstance(step, int):
    values = [int(value) for value in values]
  return f'lmhp.Choice({", ".join(map(repr, values))})'


@dataclasses.dataclass(frozen=True, repr=False)
class _Interval(Domain):
  """An interval of numbers, both ends included.

  Attributes:
    low: Smallest value, in the unit of the path.
    high: Largest value.
    log: If True, the scale is logarithmic, and `low` must be above 0.
    role: 'scientific' or 'nuisance'.
  """

  low: float
  high: float
  log: bool = False
  role: str = 'scientific'

  def __new__(cls, *values: object, **options: object) -> Self:
    """Names the alternative to `step`, an argument of other libraries."""
    if 'step' in options:
      raise ConfigError(
        f'{cls.__name__}: got step={options["step"]!r}, expected no step; write '
        f'{_choice_of_steps(*values, **options)}'
      )
    return super().__new__(cls)

  def __repr__(self) -> str:
    log = ', log=True' if self.log else ''
    name = type(self).__name__
    return f'{name}({self.low!r}, {self.high!r}{log}{keyword_role(self.role)})'

  def _number_of(self, value: Value) -> Number:
    """Returns a value, checked to be in the interval."""
    if not is_number(value) or value not in self:
      raise ValueError(f'{value!r} is not in {self!r}')
    return value

  def _levels(self, n_levels: int) -> list[float]:
    """Returns evenly spaced levels from `low` to `high`, for a grid."""
    low = self.low
    high = self.high
    # A single level is in the middle of the interval.
    is_single = n_levels == 1
    fractions = [0.5] if is_single else [k / (n_levels - 1) for k in range(n_levels)]
    if self.log:
      # Even steps in the logarithm, rounded so that 0.001 does not become 0.00099999.
      log_ratio = math.log(high / low)
      levels = [round_to_significant(low * math.exp(f * log_ratio)) for f in fractions]
    else:
      # Round to 12 significant digits of the width of the interval.
      digits = 12 - math.ceil(math.log10(high - low))
      levels = [round(low + f * (high - low), digits) for f in fractions]
    # Rounding may have moved the ends.
    if not is_single:
      levels[0] = low
      levels[-1] = high
    return levels

  def _check_bounds(self, path: str, number_type: type, word: str) -> None:
    """Checks the bounds.

    Args:
      path: Dotted path, for the error message.
      number_type: Type of a valid bound, float or int.
      word: Kind of a valid number for the error message, 'finite' or 'whole'.
    """
    for bound in (self.low, self.high):
      is_valid = is_number(bound) and abs(bound) <= MAX_NUMBER
      if not is_valid or not isinstance(bound, number_type):
        raise ConfigError(
          f'{path}: got {self!r}, expected {word} numbers as its bounds'
        )
    if not isinstance(self.log, bool):
      raise ConfigError(
        f'{path}: got log={self.log!r} in {type(self).__name__}, expected log=True for a '
        'logarithmic scale or log=False'
      )
    if self.log and self.low <= 0:
      raise ConfigError(
        f'{path}: got {self!r}, expected a lower bound above 0 on a logarithmic scale'
      )
    if self.low >= self.high:
      raise ConfigError(
        f'{path}: got {self!r}, expected a lower bound below the upper bound'
      )


@dataclasses.dataclass(frozen=True, repr=False)
class Float(_Interval):
  """An interval of numbers, both ends included.

  Attributes:
    low: Smallest value, in the unit of the path.
    high: Largest value.
    log: If True, equal ratios are equally likely, and `low` must be above 0. If False, equal
      differences are equally likely.
    role: 'scientific' or 'nuisance'.

  >>> 0.05 in Float(1e-4, 1e-1, log=True)
  True
  """

  def __post_init__(self) -> None:
    # An invalid bound stays as it is. `check` reports it.
    for name in ('low', 'high'):
      bound = to_tuples(getattr(self, name))
      if is_number(bound) and abs(bound) <= MAX_NUMBER:
        bound = float(bound)
      assign(self, **{name: bound})

  def __contains__(self, value: object) -> bool:
    return is_number(value) and self.low <= value <= self.high

  def accepted(self, values: Sequence[Value]) -> tuple[Value, ...]:
    """Returns an empty tuple, because a condition cannot test a Float for single values."""
    return ()

  def values_or_range(self) -> tuple[Value, ...]:
    return Range(self.low, self.high)

  def unit_value(self, value: Value) -> float:
    """Returns the unit value of a number, from 0 to 1.

    Args:
      value: A value of the domain.

    Raises:
      ValueError: If the value is not in the domain.

    >>> Float(1, 100, log=True).unit_value(10)
    0.5
    """
    number = self._number_of(value)
    if self.log:
      # (log x - log low) / (log high - log low). A rounding error may make it larger than 1.
      start = math.log(self.low)
      return min((math.log(number) - start) / (math.log(self.high) - start), 1.0)
    return (number - self.low) / (self.high - self.low)

  def value_at(self, unit_value: float) -> float:
    """Returns the number with a given unit value. It is the inverse of `unit_value`.

    On a logarithmic scale, the number is rounded to 12 digits. So machines whose logarithms
    differ in the last bit return the same number.

    >>> Float(1e-4, 1e-2, log=True).value_at(0.5)
    0.001
    """
    if not self.log:
      return min(self.low + unit_value * (self.high - self.low), self.high)
    # x = low (high / low)^u
    start = math.log(self.low)
    end = math.log(self.high)
    value = round_to_significant(math.exp(start + unit_value * (end - start)))
    return min(max(value, self.low), self.high)

  def grid_values(self, n_levels: int) -> tuple[Value, ...]:
    """Returns the levels of a grid: both ends, and evenly spaced values between them.

    On a logarithmic scale, the levels have equal ratios. They are rounded to 12 digits, so
    that the middle of 1e-4 and 1e-2 is 1e-3. A single level is the middle.

    >>> Float(1e-4, 1e-2, log=True).grid_values(3)
    (0.0001, 0.001, 0.01)
    """
    return tuple(dict.fromkeys(self._levels(n_levels)))

  def perturbed(self, value: Value, factor: float) -> float:
    """Returns a value times a factor, clipped to the interval."""
    moved = round_to_significant(self._number_of(value) * factor)
    return min(max(moved, self.low), self.high)

  def check(self, path: str) -> None:
    self._check_bounds(path, float, 'finite')


@dataclasses.dataclass(frozen=True, repr=False)
class Int(_Interval):
  """Whole numbers, both ends included.

  Attributes:
    low: Smallest value, in the unit of the path.
    high: Largest value.
    log: If True, the probability of a number k is proportional to log((k + 1) / k), and `low`
      must be above 0. If False, all numbers are equally likely.
    role: 'scientific' or 'nuisance'.

  >>> 3.5 in Int(2, 8)
  False
  """

  low: int
  high: int

  def __post_init__(self) -> None:
    for name in ('low', 'high'):
      bound = to_tuples(getattr(self, name))
      if isinstance(bound, float) and bound.is_integer():
        bound = int(bound)
      assign(self, **{name: bound})

  def __contains__(self, value: object) -> bool:
    return (
      isinstance(value, int) and is_number(value) and self.low <= value <= self.high
    )

  def values_or_range(self) -> tuple[Value, ...]:
    if self.high - self.low >= MAX_LISTED:
      return Range(self.low, self.high)
    return tuple(range(self.low, self.high + 1))

  def values_to_check(self) -> tuple[Value, ...]:
    return (self.low, self.high)

  def unit_value(self, value: Value) -> float:
    """Returns the unit value of a number, from 0 to 1: the middle of its bin.

    On a logarithmic scale, the bin of k reaches from log(k) to log(k + 1).

    Args:
      value: A value of the domain.

    Raises:
      ValueError: If the value is not in the domain.

    >>> Int(2, 5).unit_value(2)
    0.125
    """
    number = self._number_of(value)
    if self.log:
      # The middle of the bin, between 0 for log(low) and 1 for log(high + 1).
      middle = 0.5 * (math.log(number) + math.log(number + 1))
      return (middle - math.log(self.low)) / math.log((self.high + 1) / self.low)
    return (number - self.low + 0.5) / (self.high - self.low + 1)

  def value_at(self, unit_value: float) -> int:
    """Returns the number whose bin contains a unit value.

    >>> Int(2, 5).value_at(0.99)
    5
    """
    if self.log:
      # k = floor(low ((high + 1) / low)^u)
      ratio = (self.high + 1) / self.low
      number = int(self.low * math.exp(unit_value * math.log(ratio)))
    else:
      number = self.low + int(unit_value * (self.high - self.low + 1))
    return min(max(number, self.low), self.high)

  def grid_values(self, n_levels: int) -> tuple[Value, ...]:
    """Returns the levels of a grid: all numbers, or at most `n_levels` evenly spaced ones.

    >>> Int(2, 4).grid_values(5), Int(0, 100).grid_values(3)
    ((2, 3, 4), (0, 50, 100))
    """
    if self.high - self.low < n_levels:
      return tuple(range(self.low, self.high + 1))
    return tuple(dict.fromkeys(round(level) for level in self._levels(n_levels)))

  def perturbed(self, value: Value, factor: float) -> int:
    """Returns a number times a factor, rounded, changed by at least 1, and then clipped."""
    moved = math.floor(round_to_significant(self._number_of(value) * factor) + 0.5)
    if moved == value:
      moved += 1 if factor > 1 else -1
    return min(max(moved, self.low), self.high)

  def check(self, path: str) -> None:
    self._check_bounds(path, int, 'whole')
