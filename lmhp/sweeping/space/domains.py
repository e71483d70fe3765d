"""Domains: the values that one hyperparameter may take.

A domain is one value (`Fixed`), a list (`Choice`), or an interval (`Float` and `Int`, in
`lmhp.sweeping.space.intervals`). A space (`lmhp.sweeping.space`) has a domain for each dotted
path.

The unit value of a value is its place in the domain, from 0 to 1. A Choice and an Int divide
the interval from 0 to 1 into bins, one for each value.

The role of a domain is one of the three roles of the tuning playbook. A *scientific*
hyperparameter is the subject of the study. A *nuisance* hyperparameter is tuned so that the
comparison is fair. A *fixed* one has the same value in all points.

Source: google-research/tuning_playbook, "Identifying scientific, nuisance, and fixed
hyperparameters".
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
import dataclasses
import sys
from typing import NamedTuple, TypeAlias, TypeGuard

import numpy as np

from lmhp.errors import ConfigError
from lmhp.sections import assign
from lmhp.typing import Number

Value: TypeAlias = 'None | bool | int | float | str | tuple[Value, ...]'
"""A value that a config key can take."""

ROLES = ('scientific', 'nuisance', 'fixed')
MAX_NUMBER = sys.float_info.max
"""Largest absolute value of the bound of an interval."""

_SIGNIFICANT_DIGITS = 12
"""Digits of rounded values. Machines differ only in later digits of a logarithm."""


def to_tuples(value: object) -> object:
  """Returns a value with NumPy scalars as Python numbers, and lists and arrays as tuples."""
  if isinstance(value, (np.ndarray, np.generic)):
    value = value.tolist()
  if isinstance(value, (list, tuple)):
    return tuple(to_tuples(item) for item in value)
  return value


def is_number(value: object) -> TypeGuard[Number]:
  """Returns True for an int or a float. A bool is no number.

  >>> is_number(0.5)
  True
  >>> is_number(True)
  False
  """
  return isinstance(value, (int, float)) and not isinstance(value, bool)


def round_to_significant(number: float) -> float:
  """Returns a number rounded to 12 significant digits."""
  return float(f'{number:.{_SIGNIFICANT_DIGITS}g}')


def keyword_role(role: str) -> str:
  """Returns the role as an argument in a repr, such as ", role='nuisance'", or ''."""
  return '' if role == 'scientific' else f', role={role!r}'


class Range(NamedTuple):
  """An interval, both ends included."""

  low: Number
  high: Number


class Domain(abc.ABC):
  """Values that a parameter may take. `value in domain` tests one.

  Attributes:
    role: 'scientific', 'nuisance' or 'fixed'.
  """

  role: str

  @abc.abstractmethod
  def __contains__(self, value: object) -> bool: ...

  def accepted(self, values: Sequence[Value]) -> tuple[Value, ...]:
    """Returns the values of the domain with which a condition on `values` holds."""
    return tuple(value for value in values if value in self)

  @abc.abstractmethod
  def values_or_range(self) -> tuple[Value, ...]:
    """Returns all values, or a `Range` if there are too many to list."""

  def values_to_check(self) -> tuple[Value, ...]:
    """Returns the values to check against a config key: all values, or both ends."""
    return self.values_or_range()

  def check(self, path: str) -> None:
    """Checks what does not depend on the key, such as `low < high`. Raises a ConfigError.

    A domain that has nothing to check inherits this method.

    Args:
      path: Dotted path, for the error message.
    """
    del path


@dataclasses.dataclass(frozen=True, repr=False, init=False)
class Choice(Domain):
  """One of a list of values: words, numbers, None, or tuples of these.

  A search assumes no order between the values.

  Attributes:
    values: Values to choose from. They are the positional arguments.
    role: 'scientific' or 'nuisance'.

  >>> Choice('cosine', 'constant').values
  ('cosine', 'constant')
  """

  values: tuple[Value, ...]
  role: str

  def __init__(self, *values: object, role: str = 'scientific'):
    assign(self, values=to_tuples(values), role=role)

  def __repr__(self) -> str:
    return f'Choice({", ".join(map(repr, self.values))}{keyword_role(self.role)})'

  def __contains__(self, value: object) -> bool:
    return value in self.values

  def accepted(self, values: Sequence[Value]) -> tuple[Value, ...]:
    return tuple(value for value in self.values if value in values)

  def values_or_range(self) -> tuple[Value, ...]:
    return self.values

  def unit_value(self, value: Value) -> float:
    """Returns the unit value of a value, from 0 to 1: the middle of its bin.

    Args:
      value: A value of the domain.

    Raises:
      ValueError: If the value is not in the domain.

    >>> Choice('a', 'b').unit_value('b')
    0.75
    """
    if value not in self:
      raise ValueError(f'{value!r} is not in {self!r}')
    return (self.values.index(value) + 0.5) / len(self.values)

  def value_at(self, unit_value: float) -> Value:
    """Returns the value whose bin contains a unit value. All bins have equal width.

    >>> Choice('a', 'b').value_at(0.5)
    'b'
    """
    n = len(self.values)
    return self.values[min(int(unit_value * n), n - 1)]

  def grid_values(self, n_levels: int) -> tuple[Value, ...]:
    """Returns the values of a grid: all of them, whatever `n_levels` is."""
    del n_levels
    return self.values

  def perturbed(self, value: Value, factor: float) -> Value:
    """Returns the next greater (factor above 1) or smaller number of the list, if there is one.

    The value is unchanged if the list has items that are not numbers.
    """
    numbers = [item for item in self.values if is_number(item)]
    if len(numbers) < len(self.values) or not is_number(value):
      return value
    ordered = sorted(numbers)
    index = ordered.index(value) + (1 if factor > 1 else -1)
    return ordered[min(max(index, 0), len(ordered) - 1)]

  def check(self, path: str) -> None:
    if not self.values:
      raise ConfigError(f'{path}: got Choice(), expected at least one value')
    for i, value in enumerate(self.values):
      if value in self.values[:i]:
        raise ConfigError(
          f'{path}: got {value!r} twice in {self!r}, expected different values'
        )


@dataclasses.dataclass(frozen=True, repr=False, init=False)
class Fixed(Domain):
  """One value that all points have. A plain value in a space means the same.

  Attributes:
    value: The value.

  >>> 3 in Fixed(3), Fixed([1, 2]).values_or_range()
  (True, ((1, 2),))
  """

  value: Value
  role = 'fixed'

  def __init__(self, value: object):
    assign(self, value=to_tuples(value))

  def __repr__(self) -> str:
    return f'Fixed({self.value!r})'

  def __contains__(self, value: object) -> bool:
    return value == self.value

  def values_or_range(self) -> tuple[Value, ...]:
    return (self.value,)
