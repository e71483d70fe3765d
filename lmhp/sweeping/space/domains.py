"""What one hyperparameter may take: an interval, whole numbers, a list, or one value.

A domain says nothing of where it applies; a space (`lmhp.sweeping.space`) puts it on a dotted path. Its role is what
the tuning playbook calls it: *scientific*, the question; *nuisance*, to be tuned for a fair comparison; *fixed*.

Source: google-research/tuning_playbook, "Identifying scientific, nuisance, and fixed hyperparameters".
"""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any

import numpy as np

ROLES = ('scientific', 'nuisance', 'fixed')
MOST = sys.float_info.max
_DIGITS = 12


def to_tuples(value: Any) -> Any:
  """A value as Python has it: numpy's scalars as its own, lists and arrays as tuples."""
  if isinstance(value, (np.ndarray, np.generic)):
    value = value.tolist()
  return (
    tuple(to_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value
  )


def is_number(value: Any) -> bool:
  """Whether a value is an int or a float, and no truth value."""
  return isinstance(value, (int, float)) and not isinstance(value, bool)


class Domain:
  """What a parameter may take; `value in domain` asks."""

  role: str


@dataclasses.dataclass(frozen=True, repr=False)
class Float(Domain):
  """An interval, both ends included.

  Attributes:
    low: smallest value, in the unit of the path.
    high: largest value.
    log: equal ratios are equally likely, instead of equal differences; low must be above 0.
    role: scientific or nuisance.
  """

  low: float
  high: float
  log: bool = False
  role: str = 'scientific'

  def __post_init__(self):
    for name in ('low', 'high'):
      value = to_tuples(getattr(self, name))
      object.__setattr__(
        self, name, float(value) if is_number(value) and abs(value) <= MOST else value
      )

  def __repr__(self) -> str:
    return f'Float({self.low!r}, {self.high!r}{_log(self)}{keyword_role(self)})'

  def __contains__(self, value: Any) -> bool:
    return is_number(value) and self.low <= value <= self.high


@dataclasses.dataclass(frozen=True, repr=False)
class Int(Domain):
  """Whole numbers, both ends included.

  Attributes:
    low: smallest value, in the unit of the path.
    high: largest value.
    log: k is as likely as log((k + 1) / k), instead of all alike; low must be above 0.
    role: scientific or nuisance.
  """

  low: int
  high: int
  log: bool = False
  role: str = 'scientific'

  def __post_init__(self):
    for name in ('low', 'high'):
      value = to_tuples(getattr(self, name))
      whole = isinstance(value, float) and value.is_integer()
      object.__setattr__(self, name, int(value) if whole else value)

  def __repr__(self) -> str:
    return f'Int({self.low!r}, {self.high!r}{_log(self)}{keyword_role(self)})'

  def __contains__(self, value: Any) -> bool:
    return (
      isinstance(value, int)
      and not isinstance(value, bool)
      and self.low <= value <= self.high
    )


@dataclasses.dataclass(frozen=True, repr=False, init=False)
class Choice(Domain):
  """One of a list of values: words, numbers, None, or tuples of these. No order between them is assumed.

  Attributes:
    values: what may be taken; `Choice('a', 'b')` has `('a', 'b')`.
    role: scientific or nuisance.
  """

  values: tuple
  role: str

  def __init__(self, *values: Any, role: str = 'scientific'):
    object.__setattr__(self, 'values', to_tuples(values))
    object.__setattr__(self, 'role', role)

  def __repr__(self) -> str:
    return f'Choice({", ".join([*map(repr, self.values)])}{keyword_role(self)})'

  def __contains__(self, value: Any) -> bool:
    return value in self.values


@dataclasses.dataclass(frozen=True, repr=False)
class Fixed(Domain):
  """One value, set in every point and never drawn. A plain value in a space is the same."""

  value: Any
  role = 'fixed'

  def __post_init__(self):
    object.__setattr__(self, 'value', to_tuples(self.value))

  def __repr__(self) -> str:
    return f'Fixed({self.value!r})'

  def __contains__(self, value: Any) -> bool:
    return value == self.value


def _log(domain: Float | Int) -> str:
  return ', log=True' if domain.log else ''


def keyword_role(x: Any) -> str:
  """The role as a repr shows it: not at all where it is scientific."""
  return '' if x.role == 'scientific' else f', role={x.role!r}'


# --- to the unit interval and back ----------------------------------------------------------------------------------


def unit(domain: Domain, value: Any) -> float:
  """Where a value lies in its domain, from 0 to 1; of an Int or a Choice, the middle of the value's bin.

  Args:
    domain: a Float, Int or Choice.
    value: in the domain.

  Raises:
    ValueError: where it is not.

  >>> unit(Float(1, 100, log=True), 10), unit(Int(2, 5), 2), unit(Choice('a', 'b'), 'b')
  (0.5, 0.125, 0.75)
  """
  if value not in domain:
    raise ValueError(f'{value!r} is not in {domain!r}')
  if isinstance(domain, Choice):
    return (domain.values.index(value) + 0.5) / len(domain.values)
  low, high = domain.low, domain.high
  if isinstance(domain, Int):
    if domain.log:  # the bin of k is [k, k + 1)
      return (0.5 * (math.log(value) + math.log(value + 1)) - math.log(low)) / math.log(
        (high + 1) / low
      )
    return (value - low + 0.5) / (high - low + 1)
  if domain.log:
    return min(
      (math.log(value) - math.log(low)) / (math.log(high) - math.log(low)), 1.0
    )
  return (value - low) / (high - low)


def from_unit(domain: Domain, u: float) -> Any:
  """The value that lies at u in a domain: the inverse of :func:`unit`.

  A logarithmic Float is rounded to 12 digits, so that machines whose logarithms differ in the last bit agree.

  Args:
    domain: a Float, Int or Choice; of these last each value has a bin of [0, 1), all as wide (an Int's with `log`: as
      wide as their logarithms say).
    u: from 0 to 1.

  >>> (
  ...   from_unit(Float(1e-4, 1e-2, log=True), 0.5),
  ...   from_unit(Int(2, 5), 0.99),
  ...   from_unit(Choice('a', 'b'), 0.5),
  ... )
  (0.001, 5, 'b')
  """
  if isinstance(domain, Choice):
    return domain.values[min(int(u * len(domain.values)), len(domain.values) - 1)]
  low, high = domain.low, domain.high
  if isinstance(domain, Int):
    whole = (
      int(low * math.exp(u * math.log((high + 1) / low)))
      if domain.log
      else low + int(u * (high - low + 1))
    )
    return min(max(whole, low), high)
  if not domain.log:
    return min(low + u * (high - low), high)
  start, end = math.log(low), math.log(high)
  return min(max(round_to_significant(math.exp(start + u * (end - start))), low), high)


def round_to_significant(x: float) -> float:
  """A number rounded to 12 digits."""
  return float(f'{x:.{_DIGITS}g}')
