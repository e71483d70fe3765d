"""Numbers as a reader takes them in: of one column alike, with as many digits as tell its values apart."""

from __future__ import annotations

import json
import math
from typing import Any, Sequence

import numpy as np

from lmhp.statistics.number_format import MISSING, format_number


def is_number(value: Any) -> bool:
  """Whether a value is a finite number."""
  return (
    isinstance(value, (int, float, np.integer, np.floating))
    and not isinstance(value, bool)
    and math.isfinite(value)
  )


def number(value: Any, digits: int = 4) -> str:
  """Returns a value of a table as text, `MISSING` if it is no finite number.

  >>> number(0.000312), number(1234567), number(float('nan')), number('cosine')
  ('0.000312', '1,234,567', '–', '–')
  """
  return format_number(value, digits) if is_number(value) else MISSING


def column(values: Sequence[Any]) -> list[str]:
  """A column's numbers: with the same decimals where they are of one size, else each on its own.

  >>> column([3.21234, 3.3, None])
  ['3.212', '3.300', '–']
  >>> column([1e-4, 0.02])
  ['0.0001', '0.02']
  """
  finite = np.array([float(v) for v in values if is_number(v)])
  if finite.size == 0 or np.all(finite == np.round(finite)):
    return [number(v) for v in values]
  sizes = np.abs(finite[finite != 0])
  if sizes.max() >= 1e6 or sizes.max() < 1e-2 or sizes.max() / sizes.min() > 30:
    return [number(v, 3) for v in values]
  decimals = max(0, 3 - math.floor(math.log10(sizes.max())))
  return [f'{v:,.{decimals}f}' if is_number(v) else MISSING for v in values]


def text(value: Any) -> str:
  """Any value as a cell of a table shows it."""
  if value is None or isinstance(value, float) and math.isnan(value):
    return MISSING
  if isinstance(value, (bool, np.bool_)):
    return 'yes' if value else 'no'
  if is_number(value):
    return number(value)
  return (
    value
    if isinstance(value, str)
    else json.dumps(value, default=str, ensure_ascii=False)
  )
