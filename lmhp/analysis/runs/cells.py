"""Cells of text tables as values: numbers as people write them, flags, JSON and words."""

from __future__ import annotations

from collections.abc import Sequence
import json
import math
import re

MISSING_WORDS = frozenset(
  {'', '-', '--', '?', 'na', 'n/a', '<na>', 'null', 'none', 'missing', 'unknown'}
)
"""Cells that hold no number. Some, such as 'none', are values in a column of words."""

FAILURE_WORDS = frozenset(
  'crash crashed fail failed error oom diverged timeout killed pruned'.split()
)
"""Cells that stand for the result of a run that has none."""

SUFFIXES = {'k': 1e3, 'm': 1e6, 'b': 1e9, 'g': 1e9, 't': 1e12}
"""Factors of a letter after a number, as in 1.4B."""

_NUMBER = re.compile(
  r"""
  [-+]?
  ( \d{1,3} ( , \d{3} )+ ( \. \d* )?    # 1,000 and 1,000.5
  | \d [\d_]* ( \. \d* )?               # 3, 3. and 1_000
  | \. \d+                              # .5
  )
  ( [eE] [-+]? \d+ )?
  """,
  re.VERBOSE,
)
_DECIMAL_COMMA = re.compile(r'[-+]?\d+,\d+([eE][-+]?\d+)?')
_SPREAD = re.compile(r'(.+?)\s*(?:±|\+/-|\+-)\s*(.+)')
_NOT_FINITE = {'nan': math.nan, 'inf': math.inf, 'infinity': math.inf}


def parse_number(text: str, decimal_comma: bool = False) -> float | int | None:
  """Returns the number in a cell, or None if it holds none.

  Args:
    text: The cell.
    decimal_comma: True if a comma is the decimal point.

  >>> parse_number('3e-4'), parse_number('1.4B'), parse_number('1,000')
  (0.0003, 1400000000.0, 1000)
  >>> parse_number('88%'), parse_number('0,5', decimal_comma=True), parse_number('adam')
  (88, 0.5, None)
  """
  text = text.strip().removeprefix('$').removesuffix('%').strip()
  if not text:
    return None
  sign = -1.0 if text[0] == '-' else 1.0
  if text.lstrip('+-').lower() in _NOT_FINITE:
    return sign * _NOT_FINITE[text.lstrip('+-').lower()]

  if decimal_comma and _DECIMAL_COMMA.fullmatch(text):
    text = text.replace(',', '.')
  factor = SUFFIXES.get(text[-1].lower())
  digits = text if factor is None else text[:-1].strip()
  if not _NUMBER.fullmatch(digits):
    return None
  digits = digits.replace(',', '').replace('_', '')
  if factor is not None:
    return float(digits) * factor
  try:
    return int(digits)
  except ValueError:
    return float(digits)


def parse_column(cells: Sequence[str], decimal_comma: bool = False) -> list[object]:
  """Returns the values of a column of text.

  A column is read as a whole, so that 'none' is a missing number among numbers, and a choice
  among words.

  Args:
    cells: Text of each cell.
    decimal_comma: True if a comma is the decimal point.

  Returns:
    A bool, int, float, tuple, dict or str for each cell, and None for a missing one.

  >>> parse_column(['0.1', 'none', '3']), parse_column(['rope', 'none', ''])
  ([0.1, None, 3], ['rope', 'none', None])
  >>> parse_column(['[1, 2]', '']), parse_column(['True', 'false'])
  ([(1, 2), None], [True, False])
  """
  texts = [cell.strip() for cell in cells]
  numbers = [parse_number(text, decimal_comma) for text in texts]
  others = [
    text
    for text, number in zip(texts, numbers)
    if number is None and text.lower() not in MISSING_WORDS | FAILURE_WORDS
  ]
  # A few words among numbers, such as 'diverged', stay words beside the numbers.
  n_numbers = sum(number is not None for number in numbers)
  if n_numbers > 2 * len(others) or n_numbers and not others:
    return [
      number if number is not None else _word_or_none(text)
      for text, number in zip(texts, numbers)
    ]
  return [_parse_word(text) for text in texts]


def split_spread(cells: Sequence[str]) -> tuple[list[str], list[str]] | None:
  """Splits cells such as '3.28 ± 0.01' into means and spreads.

  Returns:
    Two lists, or None if not every cell that is not empty has this form.

  >>> split_spread(['3.28 ± 0.01', '3.30 +/- 0.02'])
  (['3.28', '3.30'], ['0.01', '0.02'])
  """
  means = []
  spreads = []
  for cell in cells:
    match = _SPREAD.fullmatch(cell.strip())
    if match is None and cell.strip():
      return None
    means.append(match.group(1) if match else '')
    spreads.append(match.group(2) if match else '')
  return (means, spreads) if any(means) else None


def _word_or_none(text: str) -> str | None:
  return None if text.lower() in MISSING_WORDS else text


def _parse_word(text: str) -> object:
  """Returns a cell of a column of words as a flag, a list, an object or a word."""
  if not text:
    return None
  if text.lower() in ('true', 'false'):
    return text.lower() == 'true'
  if text[0] in '[{':
    return _parse_json(text)
  return text


def _parse_json(text: str) -> object:
  # Python's repr of an object is not JSON, but its quotes can be replaced.
  for candidate in (text, text.replace("'", '"')):
    try:
      value = json.loads(candidate)
    except ValueError:
      continue
    return tuple(value) if isinstance(value, list) else value
  return text
