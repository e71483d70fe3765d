"""The split of a config into structure (static) and traced numbers.

The structure is the part of a config that is compiled into a program. Traced numbers, such as
the learning rate, are arguments of the program, so that one program serves all their values.
Their type in other files is `Hypers`: {section: {key: number}}, such as
{'optimizer': {'learning_rate': 0.001}}.

This file imports no jax.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import dataclasses
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lmhp.declarations import Declaration, declared
from lmhp.sections import Section, path_of
from lmhp.typing import PyTree

if TYPE_CHECKING:
  from _typeshed import DataclassInstance

T = TypeVar('T', bound='DataclassInstance')
Cfg = TypeVar('Cfg', bound=Section)


class _Traced:
  """Placeholder in a structure for a traced number.

  Arithmetic with the placeholder raises a TypeError, and so does a test of its truth value
  (`if cfg.attention_dropout:`). The placeholder is not equal to any number:
  `cfg.attention_dropout == 0` is False if the rate is traced.
  """

  def __repr__(self) -> str:
    return 'TRACED'

  def __reduce__(self) -> str:
    # A copy or a pickle refers to the one instance below by its name.
    return 'TRACED'

  def __bool__(self) -> bool:
    raise TypeError(
      'a traced hyperparameter was read from the structure; read it from Hypers'
    )


TRACED = _Traced()


def split(cfg: T, present: Iterable[str] = ()) -> tuple[T, dict[str, PyTree]]:
  """Splits a section, or a frozen dataclass of sections, into structure and numbers.

  Args:
    cfg: Section, or frozen dataclass whose fields are sections.
    present: Dotted paths of keys that stay traced even if `cfg` switches them off, such as
      'model.attention_dropout' with a rate of 0, because another member of the same population
      uses them. Only keys declared with `static_when_neutral` are affected.

  Returns:
    The structure and the traced numbers. The structure is the same dataclass, hashable, with
    `TRACED` in place of each traced number. The numbers of a section are {key: value}. A
    value is a numpy scalar (float32, int32 for choices and ints, uint32 for seeds), or a
    float32 vector for a tuple of numbers. The numbers of a dataclass of sections are
    {section: {key: value}}.
  """
  present = frozenset(present)
  if isinstance(cfg, Section):
    return _split_section(cfg, present)

  sections = {}
  numbers = {}
  for field in dataclasses.fields(cfg):
    section, section_numbers = _split_section(getattr(cfg, field.name), present)
    sections[field.name] = section
    # A section without traced numbers has no entry.
    if section_numbers:
      numbers[section.SECTION] = section_numbers
  return _copy_unchecked(cfg, sections), numbers


def _split_section(
  cfg: Cfg, present: frozenset[str]
) -> tuple[Cfg, dict[str, np.generic | np.ndarray]]:
  values = {field.name: getattr(cfg, field.name) for field in dataclasses.fields(cfg)}
  numbers = {}
  for name, declaration in declared(cfg).items():
    # A dropout rate of 0 stays in the structure, so that the program has no dropout.
    is_off = declaration.static_when_neutral and values[name] == declaration.neutral
    is_static = is_off and path_of(cfg, name) not in present
    # A traced value leaves the structure, so that one program serves all its values.
    if declaration.traced and not is_static:
      numbers[name] = encode(values[name], declaration)
      values[name] = TRACED
  return _copy_unchecked(cfg, values), numbers


def encode(
  value: float | str | bool | tuple[float, ...], declaration: Declaration
) -> np.generic | np.ndarray:
  """Returns a traced value as the numpy scalar or vector that reaches the program."""
  if declaration.choices is not None:
    # A traced choice reaches the program as its position among the choices.
    return np.int32(list(declaration.choices).index(value))
  if isinstance(value, tuple):
    return np.asarray(value, np.float32)
  if isinstance(value, int):
    return np.uint32(value) if declaration.unit == 'seed' else np.int32(value)
  return np.float32(value)


def _copy_unchecked(cfg: T, values: Mapping[str, object]) -> T:
  """Returns a copy of a frozen dataclass with other values, without any check.

  The checks of a config would fail for a structure, whose traced fields hold no numbers.
  """
  copy = object.__new__(type(cfg))
  for name, value in values.items():
    object.__setattr__(copy, name, value)
  return copy


def flatten(cfg: DataclassInstance) -> dict[str, PyTree]:
  """Returns {dotted path: value} of a section, or of a dataclass of sections."""
  values = {field.name: getattr(cfg, field.name) for field in dataclasses.fields(cfg)}
  if isinstance(cfg, Section):
    return {path_of(cfg, name): value for name, value in values.items()}
  return dict(item for section in values.values() for item in flatten(section).items())


def differences(a: T, b: T) -> dict[str, tuple[object, object]]:
  """Returns {dotted path: (value in a, value in b)} for the keys that differ."""
  values_a = flatten(a)
  values_b = flatten(b)
  return {
    path: (values_a[path], values_b[path])
    for path in values_a
    if values_a[path] != values_b[path]
  }
