"""Law 1: a hyperparameter is static or traced, never both.

Each section of the config is one frozen dataclass made by :func:`section`. Each field is declared once, with
:func:`static` (structure: part of the compile key) or :func:`traced` (a number that reaches the program as an array).
:func:`split` takes a config apart into the two halves, and everything else that must know which is which (what a sweep
may pack, what the help lists, what the report calls it) reads the declaration through :func:`declared`.

This file imports no jax, so that a study can be planned and read on a laptop.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import types
import typing
from typing import Any, Iterable, Mapping

import numpy as np

from lmhp.errors import path_of, wrong

_KEY = 'lmhp'
Number = int | float


class _Traced:
  """Stands in a structure where a traced number was taken out; using it as a number is a bug, and fails."""

  _instance = None

  def __new__(cls):
    if cls._instance is None:  # not `or`: its truth is an error
      cls._instance = super().__new__(cls)
    return cls._instance

  def __repr__(self) -> str:
    return 'TRACED'

  def __reduce__(self):
    return (_Traced, ())

  def __bool__(self) -> bool:
    raise TypeError(
      'a traced hyperparameter was read from the structure; it lives in Hypers'
    )


TRACED = _Traced()


@dataclasses.dataclass(frozen=True)
class Declaration:
  """What a section says once about one of its fields.

  Attributes:
    doc: what the number multiplies or the word chooses, in one line.
    traced: whether the value reaches the program as an array (True) or is part of the compile key (False).
    unit: the unit of the number, '' where it has none.
    low: smallest value allowed (inclusive unless `open_low`).
    high: largest value allowed, inclusive unless `open_high`.
    open_low: the bound `low` itself is not allowed.
    open_high: the bound `high` itself is not allowed.
    choices: the words allowed. A traced choice travels as its position in this tuple, so it is append-only.
    neutral: the value that switches the hyperparameter off (clip norm: infinity).
    static_when_neutral: the program leaves the part out where the value is neutral in every member (dropout alone).
    aliases: names of the same thing elsewhere.
    source: paper or code that the definition or the default comes from.
  """

  doc: str = ''
  traced: bool = False
  unit: str = ''
  low: Number | None = None
  high: Number | None = None
  open_low: bool = False
  open_high: bool = False
  choices: tuple | None = None
  neutral: Any = None
  static_when_neutral: bool = False
  aliases: tuple[str, ...] = ()
  source: str = ''


def static(default: Any, doc: str, **declaration) -> Any:
  """Declares a field that is structure: changing it compiles another program."""
  return dataclasses.field(
    default=default, metadata={_KEY: Declaration(doc=doc, traced=False, **declaration)}
  )


def traced(default: Any, doc: str, **declaration) -> Any:
  """Declares a field that is a number of `Hypers`: changing it reuses the compiled program."""
  return dataclasses.field(
    default=default, metadata={_KEY: Declaration(doc=doc, traced=True, **declaration)}
  )


@typing.dataclass_transform(
  kw_only_default=True, frozen_default=True, field_specifiers=(static, traced)
)
def section(name: str):
  """Class decorator: a frozen, keyword-only dataclass whose fields are checked against their declarations.

  The class may define `resolve(self)`, which fills in derived values with :func:`assign` and checks what involves
  several fields; it runs after the check of each field.

  Args:
    name: the section's name in the config, the first part of its fields' dotted paths.
  """

  def decorate(cls):
    def __post_init__(self):
      check_fields(self)
      if hasattr(self, 'resolve'):
        self.resolve()

    cls.__post_init__ = __post_init__
    cls.SECTION = name
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)

  return decorate


def assign(cfg: Any, **values) -> None:
  """Sets derived values on a frozen section, from inside its `resolve` alone."""
  for name, value in values.items():
    object.__setattr__(cfg, name, value)


def declared(cls: Any) -> dict[str, Declaration]:
  """The declarations of a section's fields, by name, in order."""
  return {
    f.name: f.metadata[_KEY] for f in dataclasses.fields(cls) if _KEY in f.metadata
  }


# --- checking one field against its declaration ---------------------------------------------------------------------


def check_fields(cfg: Any) -> None:
  """Checks each declared field: type, choices, bounds. A whole float is taken where an int is due, an int for a float.

  Raises:
    ConfigError: with the dotted path, the value and what is accepted.
  """
  hints = _type_hints(type(cfg))
  for name, declaration in declared(cfg).items():
    try:
      _check_field(cfg, name, hints[name], declaration)
    except OverflowError:  # an int that no float holds
      raise wrong(
        cfg, name, f'a number of size at most {sys.float_info.max:.2g}'
      ) from None


def _check_field(cfg: Any, name: str, hint: Any, declaration: Declaration) -> None:
  value = _coerce(getattr(cfg, name), hint)
  object.__setattr__(cfg, name, value)
  if not _is_a(value, hint):
    raise wrong(cfg, name, _describe(hint))
  for one in value if isinstance(value, tuple) else (value,):
    _check_value(cfg, name, one, declaration)


def _check_value(cfg: Any, name: str, value: Any, declaration: Declaration) -> None:
  if value is None:
    return
  if declaration.choices is not None and value not in declaration.choices:
    raise wrong(
      cfg,
      name,
      'one of ' + ', '.join(map(str, declaration.choices)),
      map(str, declaration.choices),
    )
  if isinstance(value, (int, float)) and not isinstance(value, bool):
    low, high = declaration.low, declaration.high
    ok = not math.isnan(value)
    ok = ok and (low is None or (value > low if declaration.open_low else value >= low))
    ok = ok and (
      high is None or (value < high if declaration.open_high else value <= high)
    )
    ok = ok and (math.isfinite(value) or declaration.neutral == value)
    if not ok:
      raise wrong(cfg, name, _describe_bounds(declaration))


_type_hints = functools.cache(typing.get_type_hints)


def _options(hint: Any) -> tuple:
  return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _coerce(value: Any, hint: Any) -> Any:
  options = _options(hint)
  if isinstance(value, np.generic):
    value = value.item()
  if isinstance(value, list):
    value = tuple(value)
  tuples = [o for o in options if typing.get_origin(o) is tuple]
  if (
    tuples
    and not isinstance(value, tuple)
    and value is not None
    and not _is_a(value, hint)
  ):
    value = (value,)
  if tuples and isinstance(value, tuple):
    return tuple(_coerce(v, typing.get_args(tuples[0])[0]) for v in value)
  if isinstance(value, bool):
    return value
  if isinstance(value, int) and float in options and int not in options:
    return float(value)
  if (
    isinstance(value, float)
    and value.is_integer()
    and int in options
    and float not in options
  ):
    return int(value)
  return value


def _is_a(value: Any, hint: Any) -> bool:
  for option in _options(hint):
    if option is type(None) and value is None:
      return True
    if typing.get_origin(option) is tuple:
      if isinstance(value, tuple) and all(
        _is_a(v, typing.get_args(option)[0]) for v in value
      ):
        return True
    elif option is bool and isinstance(value, bool):
      return True
    elif (
      option in (int, float, str)
      and isinstance(value, option)
      and not isinstance(value, bool)
    ):
      return True
  return False


_WORDS = {
  int: 'a whole number',
  float: 'a number',
  str: 'a word',
  bool: 'True or False',
  type(None): 'None',
}


def _describe(hint: Any) -> str:
  words = []
  for option in _options(hint):
    if typing.get_origin(option) is tuple:
      words.append(
        'a tuple of ' + _describe(typing.get_args(option)[0]).replace('a ', '', 1) + 's'
      )
    else:
      words.append(_WORDS.get(option, str(option)))
  return ' or '.join(words)


def bounds_in_words(d: Declaration) -> str:
  """'above 0 and at most 1'; '' where there are no bounds."""
  low = '' if d.low is None else f'above {d.low}' if d.open_low else f'at least {d.low}'
  high = (
    '' if d.high is None else f'below {d.high}' if d.open_high else f'at most {d.high}'
  )
  return ' and '.join(x for x in (low, high) if x)


def _describe_bounds(d: Declaration) -> str:
  bounds = bounds_in_words(d) or 'a finite number'
  return bounds if d.neutral is None else f'{bounds} ({d.neutral} switches it off)'


# --- the split ------------------------------------------------------------------------------------------------------


def split(cfg: Any, present: Iterable[str] = ()) -> tuple[Any, dict[str, Any]]:
  """Takes a config (a section, or a dataclass of sections) apart into structure and numbers.

  Args:
    cfg: a section, or a frozen dataclass whose fields are sections.
    present: dotted paths of `static_when_neutral` fields that are traced although neutral here, because another
      member of the same population uses them.

  Returns:
    `(structure, hypers)`: the same dataclass, hashable, with `TRACED` in place of each traced number; and a dict by
    section of dicts by field of numpy scalars (float32; int32 for choices and ints; uint32 for seeds) or, for a tuple
    of numbers, a float32 vector.
  """
  present = frozenset(present)
  if not hasattr(cfg, 'SECTION'):
    values, numbers = {}, {}
    for f in dataclasses.fields(cfg):
      values[f.name] = value = getattr(cfg, f.name)
      if hasattr(value, 'SECTION'):
        values[f.name], numbers[value.SECTION] = split(value, present)
    return _rebuild(cfg, values), {k: v for k, v in numbers.items() if v}
  values = {f.name: getattr(cfg, f.name) for f in dataclasses.fields(cfg)}
  numbers = {}
  for name, declaration in declared(cfg).items():
    if not declaration.traced:
      continue
    neutral = declaration.static_when_neutral and values[name] == declaration.neutral
    if neutral and path_of(cfg, name) not in present:
      continue
    numbers[name] = encode(values[name], declaration)
    values[name] = TRACED
  return _rebuild(cfg, values), numbers


def encode(value: Any, declaration: Declaration) -> np.ndarray:
  """A traced value as the numpy scalar or vector that reaches the program."""
  if declaration.choices is not None:
    return np.int32(declaration.choices.index(value))
  if isinstance(value, tuple):
    return np.asarray(value, np.float32)
  if isinstance(value, int):
    return np.uint32(value) if declaration.unit == 'seed' else np.int32(value)
  return np.float32(value)


def _rebuild(cfg: Any, values: Mapping[str, Any]) -> Any:
  """A copy of a frozen dataclass with other values and no checks: a structure is not a config."""
  copy = object.__new__(type(cfg))
  for name, value in values.items():
    object.__setattr__(copy, name, value)
  return copy


def flatten(cfg: Any) -> dict[str, Any]:
  """All values of a config by dotted path, sections in order."""
  if hasattr(cfg, 'SECTION'):
    return {path_of(cfg, f.name): getattr(cfg, f.name) for f in dataclasses.fields(cfg)}
  out = {}
  for f in dataclasses.fields(cfg):
    value = getattr(cfg, f.name)
    out.update(flatten(value) if hasattr(value, 'SECTION') else {f.name: value})
  return out
