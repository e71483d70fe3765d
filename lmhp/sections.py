"""Sections of the config: frozen dataclasses whose keys are declared and checked.

An entry of a registry (an optimizer, a schedule, a mixer, a search method) declares its keys
in a class made by `keys`, and `add_keys` adds them to a section.

This file imports no jax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
import dataclasses
import functools
import typing
from typing import Any, ClassVar, TypeVar

from lmhp.declarations import check_value, declared
from lmhp.errors import ConfigError, wrong_value

T = TypeVar('T')
S = TypeVar('S', bound='Section')

_version = 0
"""Number of calls of `add_keys` that added a key. If it has changed, caches are out of date."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
  """Base class of the sections of a config.

  Attributes:
    SECTION: Name of the section, the first part of the dotted paths of its keys.
  """

  SECTION: ClassVar[str] = ''

  def __post_init__(self) -> None:
    # Check each key, and replace its value by the converted one, such as 1 by 1.0 for a float.
    types_by_name = types_of(type(self))
    for name, declaration in declared(self).items():
      value = getattr(self, name)
      value = check_value(path_of(self, name), value, types_by_name[name], declaration)
      object.__setattr__(self, name, value)
    self.resolve()

  def resolve(self) -> None:
    """Fills in derived keys with `assign`, and checks conditions on several keys.

    A derived key is one whose default None stands for a value that is computed. `resolve` is
    called after each key was checked against its declaration.
    """


@typing.dataclass_transform(kw_only_default=True, frozen_default=True)
def section(name: str):
  """Returns a class decorator that makes a section of the config.

  The class becomes a frozen dataclass with keyword arguments only. Each of its keys is
  checked against its declaration.

  Args:
    name: Name of the section, the first part of the dotted paths of its keys.
  """

  def decorate(cls: type[S]) -> type[S]:
    cls.SECTION = name
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)

  return decorate


@functools.cache
def types_of(cls: type) -> dict[str, object]:
  """Returns {key: type} for a class made by `section` or by `keys`.

  The type of a derived key includes None, although its annotation does not.
  """
  types = typing.get_type_hints(cls)
  for name, declaration in declared(cls).items():
    if declaration.derived:
      types[name] = types[name] | None
  return types


def assign(frozen: object, **values: object) -> None:
  """Sets fields of a frozen dataclass. Only for use inside `resolve` and constructors."""
  for name, value in values.items():
    object.__setattr__(frozen, name, value)


def path_of(cfg: Section, field: str) -> str:
  """Returns the dotted path of a key, as the user writes it."""
  return f'{cfg.SECTION}.{field}'


def wrong(
  cfg: Section, field: str, accepted: str, names: Iterable[object] = ()
) -> ConfigError:
  """Returns the error for a value of a key that is not accepted.

  Args:
    cfg: Section with the value.
    field: Name of the key, without the section.
    accepted: Description of the accepted values, such as 'an even number'.
    names: Valid names, if the value is a name. The message suggests the nearest one.
  """
  return wrong_value(path_of(cfg, field), getattr(cfg, field), accepted, names)


def require(cfg: Section, condition: bool, field: str, accepted: str) -> None:
  """Checks a condition on the value of a key.

  Args:
    cfg: Section with the value.
    condition: True if the value is accepted.
    field: Name of the key, without the section.
    accepted: Description of the accepted values, such as 'an even number'.

  Raises:
    ConfigError: If the condition is False.
  """
  if not condition:
    raise wrong(cfg, field, accepted)


def require_all(cfg: Section, *checks: tuple[bool, str, str]) -> None:
  """Checks several conditions in turn.

  Args:
    cfg: Section with the values.
    *checks: Tuples (condition, field, accepted), as in `require`.

  Raises:
    ConfigError: If a condition is False.
  """
  for condition, field, accepted in checks:
    require(cfg, condition, field, accepted)


# --- keys that have an effect only with some values of another key ---------------------


@dataclasses.dataclass(frozen=True)
class ReadRule:
  """A condition under which keys have an effect.

  Attributes:
    paths: Dotted paths of the keys.
    decider: Dotted path of the key that decides.
    accepts: Returns True for a value of the decider with which the keys have an effect.
    accepted: Description of these values.
  """

  paths: tuple[str, ...]
  decider: str
  accepts: Callable[[Any], bool]
  accepted: str


def read_if(
  section: str,
  names: str,
  decider: str,
  accepts: Callable[[Any], bool],
  accepted: str,
) -> ReadRule:
  """Returns a rule for keys of one section.

  Args:
    section: Name of the section.
    names: Names of the keys, separated by spaces.
    decider: Name of the key of this section that decides.
    accepts: As in `ReadRule`.
    accepted: As in `ReadRule`.
  """
  paths = tuple(f'{section}.{name}' for name in names.split())
  return ReadRule(paths, f'{section}.{decider}', accepts, accepted)


def is_one_of(*values: object) -> Callable[[object], bool]:
  """Returns a function that is True for each of some values."""
  return lambda value: value in values


def is_none_of(*values: object) -> Callable[[object], bool]:
  """Returns a function that is True for any value except some."""
  return lambda value: value not in values


# --- keys of registry entries --------------------------------------------------------


@typing.dataclass_transform(kw_only_default=True, frozen_default=True)
def keys(cls: type[T]) -> type[T]:
  """Class decorator for the keys that an entry of a registry adds to a section.

  The class becomes a frozen dataclass with keyword arguments only. `add_keys` copies its fields.
  """
  return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


def keys_of(cfg: Section, keys_class: type[T]) -> T:
  """Returns the section itself, typed as a class of keys that were added to it.

  A type checker does not know the added keys. With this type, it finds and checks them.
  """
  return typing.cast(T, cfg)


def keys_version() -> int:
  """Returns a number that changes whenever `add_keys` adds a key to any section."""
  return _version


_GENERATED = (
  '__init__',
  '__repr__',
  '__eq__',
  '__hash__',
  '__setattr__',
  '__delattr__',
  '__replace__',
  '__match_args__',
  '__dataclass_params__',
)
"""Attributes that `dataclasses.dataclass` writes into a class."""


def add_keys(section_class: type[Section], keys_class: type) -> None:
  """Adds the keys of a registry entry to a section.

  The class of the section is changed in place, so that modules that imported it earlier have the
  new keys. Two entries may share a key if they declare it identically.

  Args:
    section_class: Class made by `section`.
    keys_class: Class made by `keys`.

  Raises:
    ConfigError: If the section has a key of that name with another declaration.
  """
  global _version
  # Find the keys that the section does not have yet.
  fields = {field.name: field for field in dataclasses.fields(section_class)}
  hints = typing.get_type_hints(keys_class)
  new = {}
  for field in dataclasses.fields(keys_class):
    if field.name not in fields:
      new[field.name] = field
    elif fields[field.name].metadata != field.metadata:
      raise ConfigError(
        f'{section_class.SECTION}.{field.name}: {keys_class.__name__} declares this key, '
        'which exists with another declaration; expected another name'
      )
  if not new:
    return

  # `dataclass` has replaced field objects by default values, and has generated methods. So
  # restore the field objects, add the new ones, delete the generated methods, and apply
  # `dataclass` again. Fields that are inherited from a base class stay there.
  own_names = section_class.__dict__.get('__annotations__', {})
  own_fields = {name: fields[name] for name in fields if name in own_names}
  for name, field in {**own_fields, **new}.items():
    copy = dataclasses.field(
      default=field.default,
      default_factory=field.default_factory,
      metadata=field.metadata,
    )
    setattr(section_class, name, copy)
    if name in new:
      section_class.__annotations__[name] = hints[name]
  for name in _GENERATED:
    if name in section_class.__dict__:
      delattr(section_class, name)
  dataclasses.dataclass(frozen=True, kw_only=True)(section_class)
  types_of.cache_clear()
  _version += 1
