"""Numbers as text: plain numbers, sizes with a unit, and durations."""

from __future__ import annotations

from collections.abc import Sequence
import math

MISSING = '–'
"""Text for a number that is not known."""

DECIMAL_UNITS = ('', 'k', 'M', 'G', 'T', 'P', 'E')
"""Units with a ratio of 1,000, from the smallest."""

BINARY_UNITS = ('', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')
"""Units of bytes with a ratio of 1,024, from the smallest. `format_bytes` writes '' as 'B'."""

_SECONDS_PER_UNIT = (
  (365.25 * 86400, 'years'),
  (86400, 'days'),
  (3600, 'hours'),
  (60, 'minutes'),
)
"""(seconds in one unit, name of the unit), from the largest unit."""


def format_number(
  value: float | None,
  digits: int = 4,
  missing: str = MISSING,
  infinite: str | None = None,
) -> str:
  """Returns a number as text.

  Whole numbers below 1e12 keep all digits. Other numbers have an exponent if they are at least
  1e5 or below 1e-4 in size.

  Args:
    value: The number. None and NaN stand for a number that is not known.
    digits: Number of significant digits. Numbers below 1, and those with an exponent, have at
      most three.
    missing: Text for a number that is not known.
    infinite: Text for infinity of either sign. If None, it is the text `missing`.

  >>> format_number(1228800.0), format_number(1.84595), format_number(-0.5142)
  ('1,228,800', '1.846', '-0.514')
  >>> format_number(0.00031234), format_number(1.5e-7), format_number(1.84595, digits=2)
  ('0.000312', '1.5e-7', '1.8')
  """
  if value is None or math.isnan(value):
    return missing
  if math.isinf(value):
    return missing if infinite is None else infinite

  size = abs(value)
  if float(value).is_integer() and size < 1e12:
    return f'{value:,.0f}'
  if 1 <= size < 1e5:
    return f'{value:,.{max(0, digits - 1 - int(math.log10(size)))}f}'

  digits = min(digits, 3)
  if size >= 1e5 or size < 1e-4:
    mantissa, exponent = f'{value:.{digits - 1}e}'.split('e')
    mantissa = mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa
    return f'{mantissa}e{int(exponent)}'
  decimals = digits - 1 - math.floor(math.log10(size))
  return f'{value:.{decimals}f}'.rstrip('0').rstrip('.')


def format_to_width(value: float, width: float) -> str:
  """Returns a number with as many digits as an interval of a width supports.

  The last digit is the second significant digit of the width.

  Args:
    value: The number.
    width: Width of its interval. If it is not finite or 0, `format_number` decides.

  >>> format_to_width(3.27893, 0.0008), format_to_width(3.27893, 0.5)
  ('3.27893', '3.28')
  >>> format_to_width(81643e-8, 1.2e-6), format_to_width(123456.0, 2000)
  ('0.0008164', '123,500')
  """
  if not math.isfinite(value) or not math.isfinite(width) or not width > 0:
    return format_number(value)
  decimals = 1 - math.floor(math.log10(width))
  rounded = round(value, decimals)
  if rounded and not 1e-4 <= abs(rounded) < 1e9:
    digits = max(0, decimals + math.floor(math.log10(abs(rounded))))
    mantissa, exponent = f'{rounded:.{digits}e}'.split('e')
    return f'{mantissa}e{int(exponent)}'
  return f'{rounded:,.{max(0, decimals)}f}'


def format_with_unit(
  value: float, base: int = 1000, units: Sequence[str] = DECIMAL_UNITS
) -> str:
  """Returns a number with the unit that leaves one to three digits before the point.

  Args:
    value: The number.
    base: Ratio of each unit to the one before.
    units: Names of the units, from the smallest. The first may be empty.

  >>> format_with_unit(1_720_576), format_with_unit(999)
  ('1.72 M', '999')
  >>> format_with_unit(1010 * 1024, 1024, BINARY_UNITS)
  '1,010 KiB'
  """
  position = 0
  while abs(value) >= base and position + 1 < len(units):
    value = value / base
    position += 1
  if position == 0 and value == int(value):
    return f'{int(value):,}'
  # Numbers from 1,000 to 1,023 of a binary unit have four digits.
  text = f'{value:.3g}' if abs(value) < 999.5 else f'{value:,.0f}'
  return f'{text} {units[position]}'.rstrip()


def format_bytes(n_bytes: float) -> str:
  """Returns a number of bytes with a binary unit.

  >>> format_bytes(3 * 1024), format_bytes(17)
  ('3 KiB', '17 B')
  """
  text = format_with_unit(n_bytes, 1024, BINARY_UNITS)
  return text if n_bytes >= 1024 else f'{text} B'


def format_value(value: object) -> str:
  """Returns the value of a config key as text: a float by `format_number`, others by `str`.

  >>> format_value(0.00031234), format_value('cosine'), format_value((1, 2))
  ('0.000312', 'cosine', '(1, 2)')
  """
  return format_number(value) if isinstance(value, float) else str(value)


def format_long_duration(seconds: float) -> str:
  """Returns a duration in the largest unit in which it is at least 2, from seconds to years.

  >>> format_long_duration(7200), format_long_duration(45)
  ('2 hours', '45 seconds')
  """
  for size, unit in _SECONDS_PER_UNIT:
    if seconds >= 2 * size:
      return f'{seconds / size:,.3g} {unit}'
  return f'{seconds:,.3g} seconds'
