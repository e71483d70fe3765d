"""Numbers, lists and settings as text: in a sentence, a caption or a cell."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math
from typing import TypeGuard

import numpy as np

from lmhp.analysis.runs.columns import is_numeric, to_float
from lmhp.statistics.number_format import MISSING, format_number, format_to_width


def shortened(text: str, length: int) -> str:
  """Returns a text, cut to a length."""
  return text if len(text) <= length else f'{text[: length - 1]}…'


def sentence(text: str) -> str:
  """Returns a text as a sentence, with a capital letter and a period.

  >>> sentence('there is one seed')
  'There is one seed.'
  """
  return f'{text[:1].upper()}{text[1:]}.'


def amount(value: float | None) -> str:
  """Returns a number for a sentence.

  >>> amount(0.00031234), amount(1228800.0), amount(None), amount(float('inf'))
  ('0.000312', '1,228,800', 'unknown', 'no bound')
  """
  return format_number(value, missing='unknown', infinite='no bound')


def quantity(value: float, unit: str = 'nats') -> str:
  """Returns a number with its unit.

  >>> quantity(0.5142), quantity(0.2, '')
  ('0.514 nats', '0.2')
  """
  return f'{amount(value)} {unit}'.strip()


def flops_text(flops: float) -> str:
  """Returns a number of FLOPs for a sentence.

  >>> flops_text(2.39e13)
  '2.4e13 FLOPs'
  """
  return f'{flops:.2g} FLOPs'.replace('e+', 'e')


def interval_text(low: float, high: float, confidence: float) -> str:
  """Returns a confidence interval for a sentence.

  >>> interval_text(0.1, 0.25, 0.9), interval_text(0.1, math.inf, 0.9)
  ('90% interval 0.1 to 0.25', '90% interval 0.1 to no upper bound')
  """
  lower = 'no lower bound' if math.isinf(low) else amount(low)
  upper = 'no upper bound' if math.isinf(high) else amount(high)
  return f'{confidence:.0%} interval {lower} to {upper}'


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A number with its interval, for a sentence. Its digits follow the interval's width.

  Attributes:
    value: The number.
    low: Lower end of the interval.
    high: Upper end of the interval.
    confidence: Confidence of the interval.
    unit: Unit of the number. Empty if it has none.

  >>> str(Estimate(0.00081634, 0.0008161, 0.0008165, 0.9, 'nats'))
  '0.00081634 nats (90% interval 0.00081610 to 0.00081650)'
  """

  value: float
  low: float
  high: float
  confidence: float
  unit: str = ''

  def __str__(self) -> str:
    width = self.high - self.low
    if not math.isfinite(width):
      interval = interval_text(self.low, self.high, self.confidence)
      return f'{quantity(self.value, self.unit)} ({interval})'
    value, low, high = (
      format_to_width(each, width) for each in (self.value, self.low, self.high)
    )
    return (
      f'{value} {self.unit}'.strip()
      + f' ({self.confidence:.0%} interval {low} to {high})'
    )


def listed(words: Sequence[str], most: int | None = None) -> str:
  """Returns words as a list in a sentence.

  Args:
    words: The words.
    most: Largest number of words that are listed. None lists all.

  >>> listed(['a']), listed(['a', 'b', 'c']), listed(['a', 'b', 'c'], 1)
  ('a', 'a, b and c', 'a and 2 more')
  """
  if most is not None and len(words) > most:
    words = [*words[:most], f'{len(words) - most} more']
  if len(words) < 2:
    return ''.join(words)
  return f'{", ".join(words[:-1])} and {words[-1]}'


def counted(n: int, singular: str, plural: str = '') -> str:
  """Returns a number with its noun.

  >>> counted(1, 'run'), counted(12, 'run')
  ('1 run', '12 runs')
  """
  return f'{n:,} {singular if n == 1 else plural or singular + "s"}'


def p_text(p: float) -> str:
  """Returns a p-value for a sentence.

  >>> p_text(0.0002), p_text(0.0314)
  ('p < 0.001', 'p = 0.031')
  """
  return 'p < 0.001' if p < 0.001 else f'p = {p:.2g}'


def setting(value: object) -> str:
  """Returns a hyperparameter's value for a sentence.

  >>> setting(0.0003), setting('cosine'), setting((1, 2))
  ('0.0003', 'cosine', '(1, 2)')
  """
  return amount(to_float(value)) if is_numeric(value) else str(value)


def rung_note(rung: int | None) -> str:
  """Returns a sentence that names the rung at which runs are compared, or nothing."""
  if rung is None:
    return ''
  return (
    f' Runs are compared at step {rung:,}, because most trials were stopped early. The '
    'result at the end of training may differ.'
  )


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
