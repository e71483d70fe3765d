"""Numbers as text: one number, a column of a table, or any value of a cell."""

from __future__ import annotations

from collections.abc import Sequence
import json
import math
from typing import TypeGuard

import numpy as np

from lmhp.statistics.number_format import MISSING, format_number


def is_number(value: object) -> TypeGuard[float]:
  """Returns True for a finite number. A bool is none."""
  if not isinstance(value, (int, float, np.integer, np.floating)):
    return False
  return not isinstance(value, bool) and math.isfinite(value)


def number(value: object, digits: int = 4) -> str:
  """Returns a value of a table as text, `MISSING` if it is no finite number.

  >>> number(0.000312), number(1234567), number(float('nan')), number('cosine')
  ('0.000312', '1,234,567', '–', '–')
  """
  return format_number(value, digits) if is_number(value) else MISSING


def interval(low: float, high: float) -> str:
  """Returns the ends of a confidence interval, with two significant digits.

  >>> interval(0.00012, 0.0031), interval(0.00012, math.inf)
  ('0.00012 to 0.0031', '0.00012 to no upper bound')
  """
  lower = number(low, 2) if math.isfinite(low) else 'no lower bound'
  upper = number(high, 2) if math.isfinite(high) else 'no upper bound'
  return f'{lower} to {upper}'


def column(values: Sequence[object]) -> list[str]:
  """Returns a column of numbers, with equal decimals if they are of similar size.

  >>> column([3.21234, 3.3, None])
  ['3.212', '3.300', '–']
  >>> column([1e-4, 0.02])
  ['0.0001', '0.02']
  """
  finite = np.array([float(value) for value in values if is_number(value)])
  if finite.size == 0 or np.all(finite == np.round(finite)):
    return [number(value) for value in values]
  sizes = np.abs(finite[finite != 0])
  if sizes.max() >= 1e6 or sizes.max() < 1e-2 or sizes.max() / sizes.min() > 30:
    return [number(value, 3) for value in values]
  decimals = max(0, 3 - math.floor(math.log10(sizes.max())))
  return [f'{v:,.{decimals}f}' if is_number(v) else MISSING for v in values]


def text(value: object) -> str:
  """Returns any value as the text of a cell."""
  if value is None or isinstance(value, float) and math.isnan(value):
    return MISSING
  if isinstance(value, (bool, np.bool_)):
    return 'yes' if value else 'no'
  if is_number(value):
    return number(value)
  if isinstance(value, str):
    return value
  return json.dumps(value, default=str, ensure_ascii=False)
