"""Frozen dataclasses as JSON objects, for records that a study stores.

`from_json` is the inverse of `to_json` for dataclasses whose fields are numbers, strings,
bools, None, tuples, mappings and other dataclasses. NaN and infinity are stored as strings,
as in `lmhp.files`. A field that equals its default is left out, so a record is short. A
field that the dataclass does not have is an error. A newer version of lmhp wrote it, and
ignoring it could change a result.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import functools
import types
import typing
from typing import TypeVar, cast

from lmhp.errors import ConfigError
from lmhp.files import from_jsonable, to_jsonable
from lmhp.sweeping.space.domains import to_tuples
from lmhp.typing import JSON

T = TypeVar('T')


def raw_json() -> typing.Any:
  """Declares a field that holds parsed JSON, which is stored and read back unchanged."""
  return dataclasses.field(metadata={'raw': True})


def to_json(record: object) -> dict[str, JSON]:
  """Returns a dataclass as a JSON object, without the fields that equal their default."""
  stored = {}
  for name, (default, raw) in _defaults(type(record)).items():
    value = getattr(record, name)
    if value != default:
      stored[name] = value if raw else _encode(value)
  return stored


def from_json(cls: type[T], value: JSON, path: str) -> T:
  """Returns the dataclass that `to_json` has converted to a JSON object.

  Args:
    cls: A dataclass.
    value: Parsed JSON.
    path: Place of the object, for error messages, such as "manifest.cohorts".

  Raises:
    ConfigError: If the object has a field that `cls` does not have, lacks a required
      field, or has a value of another type.
  """
  if not isinstance(value, Mapping):
    raise _wrong_type(path, value, 'a JSON object')
  hints = _hints(cls)
  # An unknown field could change the meaning of the others.
  arguments = {}
  for name, item in value.items():
    if name not in hints:
      raise ConfigError(
        f'{path}.{name}: unknown field, expected one of {", ".join(hints)}; a newer '
        'version of lmhp wrote this'
      )
    arguments[name] = _decode(hints[name], item, f'{path}.{name}')

  # A field without a default must be present.
  for name, (default, _) in _defaults(cls).items():
    if default is dataclasses.MISSING and name not in arguments:
      raise ConfigError(f'{path}.{name}: missing, expected a value')
  return cls(**arguments)


# --- fields of a dataclass ------------------------------------------------------------


@functools.cache
def _defaults(cls: type) -> dict[str, tuple[object, bool]]:
  """Returns the default of each field, or MISSING, and True for raw JSON."""
  defaults: dict[str, tuple[object, bool]] = {}
  for field in dataclasses.fields(cls):
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
      default = field.default_factory()
    defaults[field.name] = (default, bool(field.metadata.get('raw')))
  return defaults


@functools.cache
def _hints(cls: type) -> dict[str, object]:
  """Returns the type of each field. Raw JSON has the type None."""
  hints = typing.get_type_hints(cls)
  return {
    name: None if raw else hints[name] for name, (_, raw) in _defaults(cls).items()
  }


# --- values ---------------------------------------------------------------------------


def _encode(value: object) -> JSON:
  if dataclasses.is_dataclass(value):
    return to_json(value)
  if isinstance(value, tuple):
    return [_encode(item) for item in value]
  if isinstance(value, Mapping):
    return {str(key): _encode(item) for key, item in value.items()}
  return to_jsonable(value)


def _decode(hint: object, value: JSON, path: str) -> object:
  """Returns a JSON value as an instance of a type hint."""
  if hint is None:
    return value
  if hint is object:
    return to_tuples(from_jsonable(value))
  origin = typing.get_origin(hint)
  if origin in (types.UnionType, typing.Union):
    return _decode_optional(hint, value, path)
  if origin is tuple:
    if not isinstance(value, list):
      raise _wrong_type(path, value, 'a list')
    item_hint = typing.get_args(hint)[0]
    return tuple(_decode(item_hint, item, path) for item in value)
  if isinstance(origin, type) and issubclass(origin, Mapping):
    return _decode_mapping(hint, value, path)
  if dataclasses.is_dataclass(hint):
    return from_json(cast(type, hint), value, path)
  return _decode_scalar(hint, value, path)


def _decode_optional(hint: object, value: JSON, path: str) -> object:
  """Returns a value of a type such as `int | None`."""
  if value is None:
    return None
  (item_hint,) = (arg for arg in typing.get_args(hint) if arg is not types.NoneType)
  return _decode(item_hint, value, path)


def _decode_mapping(hint: object, value: JSON, path: str) -> dict[object, object]:
  if not isinstance(value, Mapping):
    raise _wrong_type(path, value, 'a JSON object')
  key_type, item_hint = typing.get_args(hint)
  try:
    return {
      key_type(key): _decode(item_hint, item, path) for key, item in value.items()
    }
  except ValueError:
    raise _wrong_type(path, value, f'keys of type {key_type.__name__}') from None


def _decode_scalar(hint: object, value: JSON, path: str) -> object:
  if hint is float:
    # JSON may hold a whole number, or a word for NaN or infinity.
    number = from_jsonable(value)
    if isinstance(number, (int, float)) and not isinstance(number, bool):
      return number
    raise _wrong_type(path, value, 'a number')
  # In Python, True is an int.
  expected = cast(type, hint)
  if isinstance(value, expected) and (expected is bool or not isinstance(value, bool)):
    return value
  raise _wrong_type(path, value, f'a value of type {expected.__name__}')


def _wrong_type(path: str, value: JSON, accepted: str) -> ConfigError:
  return ConfigError(f'{path}: got {value!r:.60}, expected {accepted}')
