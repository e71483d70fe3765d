"""Bounds of a hyperparameter: those that its key declares, or else those of its sign."""

from __future__ import annotations

import dataclasses
import math

from lmhp.analysis.runs.axis import Axis


@dataclasses.dataclass(frozen=True)
class KeyBounds:
  """Smallest and largest value of a hyperparameter.

  Attributes:
    low: Smallest value.
    high: Largest value.
    open_low: If True, `low` itself is not allowed.
    open_high: If True, `high` itself is not allowed.
  """

  low: float = -math.inf
  high: float = math.inf
  open_low: bool = False
  open_high: bool = False


def bounds_of_axis(axis: Axis) -> KeyBounds:
  """Returns the bounds of a hyperparameter.

  A config key has the bounds of its declaration. Any other axis keeps its sign.

  >>> bounds = bounds_of_axis(Axis('optimizer.b2', low=0.9, high=0.99))
  >>> bounds.low, bounds.high, bounds.open_high
  (0.0, 1.0, True)
  >>> bounds_of_axis(Axis('width', low=16, high=64, is_integer=True)).low
  1.0
  """
  # The declarations load jax, which the analysis must not need, so they are imported only to
  # propose a range for a config key.
  if '.' in axis.name:
    from lmhp.config_keys import keys

    declaration = keys().get(axis.name)
    if declaration is not None:
      return KeyBounds(
        low=-math.inf if declaration.low is None else float(declaration.low),
        high=math.inf if declaration.high is None else float(declaration.high),
        open_low=declaration.open_low,
        open_high=declaration.open_high,
      )
  # Without a declaration, the sign of the values is kept.
  if axis.is_integer and axis.low >= 1:
    return KeyBounds(low=1.0)
  return KeyBounds(low=0.0 if axis.low >= 0 else -math.inf)


def round_to_digits(value: float, digits: int = 2) -> float:
  """Rounds a number to significant digits.

  >>> round_to_digits(0.00123456), round_to_digits(3.0)
  (0.0012, 3.0)
  """
  return float(f'{value:.{digits}g}') if math.isfinite(value) else value


def rounded_range(axis: Axis, low: float, high: float) -> tuple[float, float]:
  """Rounds a range, and cuts it to the bounds of a hyperparameter.

  An end that would reach a bound that is not allowed is put halfway between the axis and the
  bound. It is rounded by its distance to the bound.

  >>> rounded_range(Axis('optimizer.b2', low=0.9, high=0.99), 0.945, 1.035)
  (0.94, 0.995)
  """
  bounds = bounds_of_axis(axis)
  low = max(low, bounds.low)
  high = min(high, bounds.high)
  if axis.is_integer:
    return round(low), round(high)
  return (
    _rounded_end(low, bounds.low, bounds.open_low, axis.low),
    _rounded_end(high, bounds.high, bounds.open_high, axis.high),
  )


def _rounded_end(end: float, bound: float, is_open: bool, axis_end: float) -> float:
  # An open bound itself is not allowed. Go half the way from the axis's end to it.
  if is_open and end == bound:
    return bound + round_to_digits((axis_end - bound) / 2)
  return round_to_digits(end)
