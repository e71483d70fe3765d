"""Rows and cells of text tables: headers, numbers as people write them, flags, JSON, words."""

from __future__ import annotations

import ast
from collections.abc import Sequence
import json
import math
import re

DELIMITERS = ',\t;|'

MISSING_WORDS = frozenset(
  {
    '',
    '-',
    '--',
    '—',
    '–',
    '?',
    'na',
    'n/a',
    '<na>',
    'null',
    'none',
    'missing',
    'unknown',
  }
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


# --- rows -------------------------------------------------------------------------------


def without_comments(lines: list[str]) -> list[str]:
  """Leaves out empty lines and comments before the header.

  A line `#_layers,lr,loss` above numbers is the header.
  """
  start = 0
  while start < len(lines) and (not lines[start].strip() or lines[start][0] == '#'):
    start += 1
  if not 0 < start < len(lines):
    return lines[start:]
  header = lines[start - 1]
  for delimiter in DELIMITERS:
    cells = lines[start].split(delimiter)
    has_number = any(parse_number(cell) is not None for cell in cells)
    if has_number and header.count(delimiter) == len(cells) - 1 > 0:
      return [header.removeprefix('# '), *lines[start:]]
  return lines[start:]


def joined_rows(rows: list[list[str]]) -> list[list[str]]:
  """Joins rows that a line break inside an empty cell has cut in two."""
  joined = [rows[0]]
  for row in rows[1:]:
    before = joined[-1]
    is_rest = len(before) + len(row) == len(rows[0]) + 1 and len(before) < len(rows[0])
    if is_rest and not before[-1] and not row[0]:
      joined[-1] = [*before, *row[1:]]
    else:
      joined.append(row)
  return joined


def one_header(rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
  """Returns the header and the rows of a file to which several tables were appended.

  A later row that begins as the header, and has most of its names, is the header of the rows
  below it.
  """
  header = list(rows[0])
  places: list[int] = []
  cells = []
  for row in rows[1:]:
    if row[0] == rows[0][0] and 2 * len(set(row) & set(rows[0])) > len(rows[0]):
      header += [name for name in row if name not in header]
      places = [header.index(name) for name in row]
    elif len(row) != len(places):
      cells.append(row)
    else:
      moved = dict(zip(places, row))
      cells.append([moved.get(i, '') for i in range(len(header))])
  return header, cells


def joined_headers(rows: list[list[str]]) -> list[list[str]]:
  """Joins a header of two lines, in which a group of columns shares a cell of the first line.

  >>> joined_headers(
  ...   [['run', 'A', '', 'B'], ['', 'acc', 'f1', 'acc'], ['x', '1', '2', '3']]
  ... )
  [['run', 'A.acc', 'A.f1', 'B.acc'], ['x', '1', '2', '3']]
  """
  first = rows[0]
  # A column without a name, such as an index, is no group.
  gaps = [i for i in range(1, len(first)) if not first[i]]
  if len(rows) < 3 or not gaps or any(len(row) != len(first) for row in rows[1:3]):
    return rows
  has_numbers = [
    parse_number(row[i] or 'x') is not None for row in rows[1:3] for i in gaps
  ]
  if has_numbers != [False] * len(gaps) + [True] * len(gaps):
    return rows
  header = []
  group = ''
  for above, below in zip(first, rows[1]):
    group = above or group
    header.append('.'.join(filter(None, (group, below))))
  return [header, *rows[2:]]


def rows_that_fit(
  header: Sequence[str], cells: list[list[str]]
) -> tuple[list[list[str]], list[str]]:
  """Returns the rows whose cells can be told to belong to the header, and notes.

  A row of another number of cells has lost its header if it has words in a column of numbers.

  Raises:
    ValueError: If most rows have lost their header.
  """
  whole = [row for row in cells if len(row) == len(header)]
  numbers = [
    i
    for i in range(len(header))
    if whole and all(parse_number(row[i] or '0') is not None for row in whole)
  ]
  kept = []
  for row in cells:
    found = {row[i] for i in numbers if i < len(row)}
    words = {cell.lower() for cell in found if parse_number(cell or '0') is None}
    if len(row) == len(header) or words <= MISSING_WORDS | FAILURE_WORDS:
      kept.append(row)

  left_out = (
    f'{len(cells) - len(kept)} of {len(cells)} rows have other cells than the header'
  )
  if 2 * len(kept) < len(cells):
    raise ValueError(left_out)
  notes = []
  n_long = sum(len(row) > len(header) and any(row[len(header) :]) for row in kept)
  n_short = sum(len(row) < len(header) for row in kept)
  if len(kept) < len(cells):
    notes.append(f'{left_out}; they were left out.')
  if n_long:
    notes.append(
      f'{n_long} of {len(cells)} rows have more cells than the header; the rest was left out.'
    )
  if n_short:
    notes.append(
      f'{n_short} of {len(cells)} rows have fewer cells than the header; those are missing.'
    )
  return kept, notes


# --- cells ------------------------------------------------------------------------------


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
  # Python's repr of an object is not JSON: it has single quotes, None and True.
  for parse in (json.loads, ast.literal_eval):
    try:
      value = parse(text)
    except (ValueError, SyntaxError):
      continue
    if isinstance(value, (list, dict)):
      return tuple(value) if isinstance(value, list) else value
  return text
