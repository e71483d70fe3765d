"""Declarations of config keys. Each key, and so each hyperparameter, is static or traced.

A static key is part of the structure of the compiled program: another value compiles another
program. A traced key is a number that the program gets as an array: one program serves all
values. A key is declared once, with `static` or `traced`. The declaration determines how a value
is checked (`check_value`), which trials a sweep can train in one program, and the text of
`--help_config`.

This file imports no jax, so that a study can be planned and read on a laptop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
import dataclasses
import math
import sys
import types
import typing
from typing import Any

import numpy as np

from lmhp.errors import ConfigError, wrong_value
from lmhp.typing import Number

_METADATA_KEY = 'lmhp'


@dataclasses.dataclass(frozen=True)
class Declaration:
  """Facts about one config key, stated once.

  Attributes:
    doc: One line about the effect of the value.
    traced: True if the value reaches the program as an array. False if another value
      compiles another program.
    unit: Unit of the number. Empty if it has none. 'seed' marks a random seed.
    low: Smallest allowed value.
    high: Largest allowed value.
    open_low: If True, `low` itself is not allowed.
    open_high: If True, `high` itself is not allowed.
    choices: Allowed values. A traced choice reaches the program as its index in `choices`, so
      a new choice must be added at the end.
    derived: If True, None stands for a value that follows from other keys, the data or the
      machine. It is filled in before a program reads the key, so the annotation of the key
      leaves None out.
    neutral: Value that switches the hyperparameter off, such as infinity for a clip norm.
    static_when_neutral: If True, a program does not contain the operation (such as dropout) if
      the value is neutral for all trials that it trains together.
    aliases: Names of this key in other libraries.
    converted_aliases: {name in another library: formula for the value of this key}, for names
      whose value has another meaning. Error messages show the formula.
    value_aliases: {value in another library: value of lmhp with the same effect}. Error
      messages show the value of lmhp, which is written as text.
    source: Paper or code that the definition or the default comes from.
  """

  doc: str = ''
  traced: bool = False
  unit: str = ''
  low: Number | None = None
  high: Number | None = None
  open_low: bool = False
  open_high: bool = False
  choices: Collection[object] | None = None
  derived: bool = False
  neutral: object = None
  static_when_neutral: bool = False
  aliases: tuple[str, ...] = ()
  converted_aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
  value_aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
  source: str = ''

  @property
  def bounds(self) -> str:
    """The bounds in words, such as "above 0 and at most 1". Empty if there are none."""
    parts = []
    if self.low is not None:
      parts.append(f'above {self.low}' if self.open_low else f'at least {self.low}')
    if self.high is not None:
      parts.append(f'below {self.high}' if self.open_high else f'at most {self.high}')
    return ' and '.join(parts)


def static(default: Any, doc: str, **declaration: Any) -> Any:
  """Declares a static key. Another value compiles another program.

  Args:
    default: Default value of the key.
    doc: One line for `--help_config`.
    **declaration: Other fields of `Declaration`.
  """
  return _field(default, Declaration(doc=doc, traced=False, **declaration))


def traced(default: Any, doc: str, **declaration: Any) -> Any:
  """Declares a traced key. Another value uses the same compiled program.

  Args:
    default: Default value of the key.
    doc: One line for `--help_config`.
    **declaration: Other fields of `Declaration`.
  """
  return _field(default, Declaration(doc=doc, traced=True, **declaration))


def _field(default: Any, declaration: Declaration) -> Any:
  return dataclasses.field(default=default, metadata={_METADATA_KEY: declaration})


def declared(cls: Any) -> dict[str, Declaration]:
  """Returns {name of a key: declaration} of a section, or of a class made by `sections.keys`."""
  return {
    field.name: field.metadata[_METADATA_KEY]
    for field in dataclasses.fields(cls)
    if _METADATA_KEY in field.metadata
  }


# --- checks -------------------------------------------------------------------------

_TYPE_WORDS = {
  int: 'a whole number',
  float: 'a number',
  str: 'a word',
  bool: 'True or False',
  type(None): 'None',
}


def check_value(
  path: str, value: object, value_type: Any, declaration: Declaration
) -> Any:
  """Checks a value against its declaration, and converts it to the declared type.

  A float without a fraction is accepted for an int, an int for a float, a list for a tuple,
  and a single value for a tuple.

  Args:
    path: Dotted path of the key, for the error message.
    value: Value that the user gave.
    value_type: Type of the key, which includes None for a derived key.
    declaration: Declaration of the key.

  Returns:
    The converted value.

  Raises:
    ConfigError: If the value has a wrong type, is none of the choices, or is out of bounds.
  """
  try:
    converted = _convert(value, value_type)
    if not _matches(converted, value_type):
      accepted = _describe_type(value_type)
      # In other libraries, None or False may switch off what a number switches off here.
      if converted is None or converted is False:
        accepted += _switch_off(declaration)
      raise wrong_value(path, converted, accepted)
    items = converted if isinstance(converted, tuple) else (converted,)
    for item in items:
      _check_item(path, converted, item, declaration)
  except OverflowError:
    # The value is an int that no float can hold.
    accepted = f'a number of size at most {sys.float_info.max:.2g}'
    raise wrong_value(path, value, accepted) from None
  return converted


def _check_item(
  path: str, value: object, item: object, declaration: Declaration
) -> None:
  """Checks an item of a tuple, or a single value, against the choices and bounds.

  `value` is the whole value, for the error message.
  """
  if item is None:
    return
  if declaration.choices is not None and item not in declaration.choices:
    raise _wrong_choice(path, value, item, declaration)
  if isinstance(item, (int, float)) and not isinstance(item, bool):
    # Raises OverflowError for an int that no float can hold.
    if not is_within_bounds(float(item), declaration):
      bounds = declaration.bounds or 'a finite number'
      raise wrong_value(path, value, f'{bounds}{_switch_off(declaration)}')


def _switch_off(declaration: Declaration) -> str:
  neutral = declaration.neutral
  return '' if neutral is None else f' ({neutral} switches it off)'


def _wrong_choice(
  path: str, value: object, item: object, declaration: Declaration
) -> ConfigError:
  choices = [str(choice) for choice in declaration.choices or ()]
  accepted = 'one of ' + ', '.join(choices)
  word = str(item).lower()
  if word in declaration.value_aliases:
    error = wrong_value(path, value, accepted)
    return ConfigError(f'{error}; {item!r} is {declaration.value_aliases[word]} here')
  return wrong_value(path, value, accepted, choices)


def is_within_bounds(number: float, declaration: Declaration) -> bool:
  """Returns True if the bounds of a declaration allow a number."""
  low = -math.inf if declaration.low is None else declaration.low
  high = math.inf if declaration.high is None else declaration.high
  # NaN is never accepted. Infinity is accepted only if it is the value that switches a key off.
  is_number = -math.inf < number < math.inf or number == declaration.neutral
  is_on_open_end = (declaration.open_low and number == low) or (
    declaration.open_high and number == high
  )
  return is_number and low <= number <= high and not is_on_open_end


# --- types --------------------------------------------------------------------------


def options_of(hint: Any) -> tuple[Any, ...]:
  """Returns the members of a union such as `float | None`. For any other type, returns (type,)."""
  return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _convert(value: Any, hint: Any) -> Any:
  """Converts a value to a type if nothing is lost. Otherwise, returns the value unchanged."""
  options = options_of(hint)
  if isinstance(value, np.generic):
    value = value.item()
  if isinstance(value, list):
    value = tuple(value)

  # A single value is accepted for a tuple.
  tuple_types = [option for option in options if typing.get_origin(option) is tuple]
  is_single = not isinstance(value, tuple) and value is not None
  if tuple_types and is_single and not _matches(value, hint):
    value = (value,)
  if tuple_types and isinstance(value, tuple):
    item_type = typing.get_args(tuple_types[0])[0]
    return tuple(_convert(item, item_type) for item in value)

  # A bool is an int in Python, but not a number here.
  if isinstance(value, bool):
    return value
  # 1 becomes 1.0 for a float, and 1.0 becomes 1 for an int.
  if isinstance(value, int) and float in options and int not in options:
    return float(value)
  if isinstance(value, float) and value.is_integer():
    if int in options and float not in options:
      return int(value)
  return value


def _matches(value: object, hint: Any) -> bool:
  """Returns True if a value has one of the types of a union."""
  return any(_matches_one(value, option) for option in options_of(hint))


def _matches_one(value: object, option: Any) -> bool:
  if typing.get_origin(option) is tuple:
    item_type = typing.get_args(option)[0]
    return isinstance(value, tuple) and all(_matches(item, item_type) for item in value)
  # A bool is an int in Python, but not a number here.
  is_type = option in _TYPE_WORDS and isinstance(value, option)
  return is_type and (option is bool or not isinstance(value, bool))


def _describe_type(hint: Any) -> str:
  """Returns a type in words, such as "a number or None"."""
  words = []
  for option in options_of(hint):
    if typing.get_origin(option) is tuple:
      # 'a number' becomes 'a tuple of numbers'.
      item = _describe_type(typing.get_args(option)[0]).replace('a ', '', 1)
      words.append(f'a tuple of {item}s')
    else:
      words.append(_TYPE_WORDS.get(option, str(option)))
  return ' or '.join(words)
