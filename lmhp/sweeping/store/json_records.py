"""Frozen dataclasses as JSON objects, for records that a study stores.

`from_json` is the inverse of `to_json` for dataclasses whose fields are numbers, strings,
bools, None, tuples, mappings and other dataclasses. NaN and infinity are stored as strings,
as in `lmhp.files`. A field that equals its default is left out, so a record is short. An unknown
field is an error: a newer version of lmhp wrote it, and without it a result could change.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import functools
import pathlib
import types
import typing
from typing import TypeVar, cast

from etils import epath

from lmhp.errors import ConfigError
from lmhp.files import from_jsonable, read_json, to_jsonable, write_json
from lmhp.sweeping.space.domains import to_tuples
from lmhp.typing import JSON

T = TypeVar('T')


def raw_json() -> typing.Any:
  """Declares a field that holds parsed JSON, which is stored and read back unchanged."""
  return dataclasses.field(metadata={'raw': True})


def to_json(record: object) -> dict[str, JSON]:
  """Returns a dataclass as a JSON object, without the fields that equal their default."""
  stored = {}
  for name, (default, hint) in _fields(type(record)).items():
    value = getattr(record, name)
    if value != default:
      stored[name] = value if hint is None else _encode(value)
  return stored


def as_stored(record: T, path: str) -> T:
  """Returns a dataclass as `from_json` returns it: with tuples for lists, and Python numbers.

  A record is converted before it is compared with one that was read.

  Args:
    record: A dataclass.
    path: Dotted place of the object in the stored data, for error messages.
  """
  return from_json(type(record), to_json(record), path)


def from_json(cls: type[T], value: JSON, path: str) -> T:
  """Returns the dataclass that `to_json` has converted to a JSON object.

  Args:
    cls: A dataclass.
    value: Parsed JSON.
    path: Dotted place of the object in the stored data, for error messages, such as
      "manifest.cohorts".

  Raises:
    ConfigError: If the object has a field that `cls` does not have, lacks a required
      field, or has a value of another type.
  """
  if not isinstance(value, Mapping):
    raise _wrong_type(path, value, 'a JSON object')
  fields = _fields(cls)
  # An unknown field could change the meaning of the others.
  arguments = {}
  for name, item in value.items():
    if name not in fields:
      raise ConfigError(
        f'{path}.{name}: unknown field, expected one of {", ".join(fields)}; a newer '
        'version of lmhp wrote this'
      )
    _, hint = fields[name]
    arguments[name] = _decode(hint, item, f'{path}.{name}')

  # A field without a default must be present.
  for name, (default, _) in fields.items():
    if default is dataclasses.MISSING and name not in arguments:
      raise ConfigError(f'{path}.{name}: missing, expected a value')
  return cls(**arguments)


def read_record(cls: type[T], path: pathlib.Path | epath.Path) -> T:
  """Returns the dataclass whose JSON object is in a file.

  Raises:
    ConfigError: For the reasons of `from_json` and of `lmhp.files.read_json`.
  """
  return from_json(cls, read_json(path), str(path))


def write_record(path: pathlib.Path | epath.Path, record: object) -> None:
  """Writes a dataclass as a JSON object with a checksum, atomically."""
  write_json(path, to_json(record), checksum=True)


# --- fields of a dataclass ------------------------------------------------------------


@functools.cache
def _fields(cls: type) -> dict[str, tuple[object, object]]:
  """Returns {name: (default, type)} of the fields of a dataclass.

  The default is `MISSING` if the field has none. The type is None if the field holds raw JSON.
  """
  hints = typing.get_type_hints(cls)
  fields: dict[str, tuple[object, object]] = {}
  for field in dataclasses.fields(cls):
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
      default = field.default_factory()
    hint = None if field.metadata.get('raw') else hints[field.name]
    fields[field.name] = (default, hint)
  return fields


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
  """Returns a JSON value as an instance of a type hint, or unchanged if the hint is None."""
  if hint is None:
    return value
  if hint is object:
    # Any value of a config key.
    return to_tuples(from_jsonable(value))
  origin = typing.get_origin(hint)
  if origin in (types.UnionType, typing.Union):
    # A type such as `int | None`.
    (item_hint,) = (arg for arg in typing.get_args(hint) if arg is not types.NoneType)
    return None if value is None else _decode(item_hint, value, path)
  if origin is tuple:
    if not isinstance(value, list):
      raise _wrong_type(path, value, 'a list')
    item_hint, *_ = typing.get_args(hint)  # the hint is tuple[item_hint, ...]
    return tuple(_decode(item_hint, item, path) for item in value)
  if isinstance(origin, type) and issubclass(origin, Mapping):
    return _decode_mapping(hint, value, path)
  if dataclasses.is_dataclass(hint):
    return from_json(cast(type, hint), value, path)
  return _decode_scalar(hint, value, path)


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
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    # A whole number of more than 308 digits is no float.
    if is_number and (isinstance(number, float) or abs(number) < 1 << 1023):
      return number
    raise _wrong_type(path, value, 'a number')
  # In Python, True is an int.
  expected = cast(type, hint)
  if isinstance(value, expected) and (expected is bool or not isinstance(value, bool)):
    if not isinstance(value, int) or abs(value) < 1 << 1023:
      return value
  raise _wrong_type(path, value, f'a value of type {expected.__name__}')


def _wrong_type(path: str, value: JSON, accepted: str) -> ConfigError:
  return ConfigError(f'{path}: got {value!r:.60}, expected {accepted}')
