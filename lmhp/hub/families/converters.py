"""Reads the keys of a config.json, and converts them to fields of `ModelConfig` and back.

A family maps most keys one by one, in a table. A converter does what a table cannot express,
such as rotary scaling, windows by layer, or a number of heads that depends on a flag.
The converters here are general. `rotary.py` and `windows.py` have more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import json
import reprlib
from typing import Protocol, TypeAlias, TypeVar, overload

from lmhp.errors import ConfigError, suggest
from lmhp.model.config import ModelConfig
from lmhp.typing import JSON

T = TypeVar('T')
U = TypeVar('U')

REQUIRED = object()
"""Argument `default` for a key that must be present, since transformers has no default for it."""

MAX_PRINTED = 80
"""Longest value in an error message, in characters."""

_TYPE_NAMES: dict[type | None, str] = {
  int: 'a whole number',
  float: 'a number',
  bool: 'true or false',
  str: 'a word',
  list: 'a list',
  dict: 'an object',
  None: 'null',
}
"""{type of a JSON value: words for it in an error message}."""


class OutOfRange(float):
  """A number of a file that is not finite, or a whole number that is too large to be exact.

  Its value is infinity.
  """

  _text: str
  """Beginning of the number in the file."""

  def __new__(cls, digits: str) -> OutOfRange:
    number = super().__new__(cls, 'inf')
    number._text = digits[:20]
    return number

  def __repr__(self) -> str:
    return self._text


class ConfigReader:
  """Reads the keys of a JSON object one by one.

  A key that is never read might change what the model computes, so `check_all_read` raises an
  error for it. A key can be read once. After that, it counts as absent.

  Attributes:
    source: Name of the file, for error messages.
    prefix: Dotted path of the object in the file, such as `rope_scaling.`. Empty for the
      outermost object.
    unknown: List to which `check_all_read` adds the keys that were not read. If None, it raises
      an error for them.
  """

  def __init__(
    self,
    config: Mapping[str, object],
    source: str,
    prefix: str = '',
    unknown: list[str] | None = None,
  ):
    self.source = source
    self.prefix = prefix
    self.unknown = unknown
    self._unread = dict(config)
    self._names: list[str] = []

  @overload
  def take(self, key: str, default: object, /) -> object: ...
  @overload
  def take(self, key: str, default: object, kind: type[T], /) -> T: ...
  @overload
  def take(
    self, key: str, default: object, kind: type[T], null: None, /
  ) -> T | None: ...
  @overload
  def take(
    self, key: str, default: object, kind: type[T], other: type[U], /
  ) -> T | U: ...
  def take(self, key: str, default: object, /, *kinds: type | None) -> object:
    """Returns the value of a key, or the default of Hugging Face transformers.

    Args:
      key: Name of the key.
      default: Value if the key is absent. `REQUIRED` if Hugging Face transformers has no
        default.
      *kinds: Accepted types. None means null, and float accepts whole numbers too.
        Without types the value is not checked here.

    Raises:
      ConfigError: If the value has another type, or if the key is absent and required.
    """
    # `check_all_read` suggests one of these names for an unknown key.
    self._names.append(key)
    value = self._unread.pop(key, default)
    if value is REQUIRED:
      raise ConfigError(
        f'{self.source}: {self.prefix}{key}: missing, expected {_TYPE_NAMES[kinds[0]]}'
      )
    number = _out_of_range(value)
    if number is not None:
      accepted = 'finite numbers, and whole numbers of an absolute value up to 2**53'
      raise self.error(key, number, accepted)
    if kinds and not any(has_type(value, kind) for kind in kinds):
      raise self.error(key, value, ' or '.join(_TYPE_NAMES[kind] for kind in kinds))
    return value

  def take_positive(self, key: str, default: int) -> int:
    """Returns a whole number of at least 1, or the default if the key is absent."""
    value = self.take(key, default, int)
    self.require(value >= 1, key, value, 'a whole number of at least 1')
    return value

  def take_object(self, key: str) -> ConfigReader | None:
    """Returns a reader of a nested object. None if the object is absent, null or empty."""
    value = self.take(key, None, dict, None)
    if not value:
      return None
    return ConfigReader(value, self.source, f'{self.prefix}{key}.', self.unknown)

  def has_any(self, keys: Iterable[str]) -> bool:
    """Returns True if at least one of the keys is present and not yet read."""
    return any(key in self._unread for key in keys)

  def copy(self) -> ConfigReader:
    """Returns an independent reader of the keys that are not yet read."""
    return ConfigReader(self._unread, self.source, self.prefix, self.unknown)

  def rename(self, alias: str, key: str) -> None:
    """Renames a key that Hugging Face transformers accepts under two names.

    Args:
      alias: Second name of the key, which may be absent.
      key: Name under which the key is read.

    Raises:
      ConfigError: If both names are present with different values.
    """
    if alias not in self._unread:
      return
    value = self._unread.pop(alias)
    if key in self._unread and self._unread[key] != value:
      same = f'the same as {self.prefix}{key}={self._unread[key]!r}'
      raise self.error(alias, value, same)
    self._unread[key] = value

  def ignore(self, keys: Iterable[str]) -> None:
    """Removes keys that do not change what the model computes."""
    for key in keys:
      self._unread.pop(key, None)

  def check_all_read(self) -> None:
    """Checks that every key was read or ignored. A key that is null counts as absent.

    Raises:
      ConfigError: If a key is left, and `unknown` is None. The message has the first such key.
    """
    for key, value in self._unread.items():
      near = suggest(key, self._names)
      if value is None:
        continue
      if self.unknown is None:
        raise ConfigError(
          f'{self.source}: {self.prefix}{key}: unknown key for this model_type, it may change '
          f'what the model computes{near}'
        )
      self.unknown.append(f'{self.prefix}{key}{near}')

  def require(self, condition: bool, key: str, value: object, accepted: str) -> None:
    """Checks that the value of a key is accepted.

    Args:
      condition: True if the value is accepted.
      key: Name of the key.
      value: Value of the key.
      accepted: Description of the accepted values.

    Raises:
      ConfigError: If `condition` is False.
    """
    if not condition:
      raise self.error(key, value, accepted)

  def error(self, key: str, value: object, accepted: str) -> ConfigError:
    """Builds the error for the value of a key.

    Args:
      key: Name of the key.
      value: Value of the key, which is not accepted.
      accepted: Description of the accepted values.
    """
    # A list or an object may be long, so only its beginning is printed.
    is_python = isinstance(value, (list, dict, tuple, OutOfRange))
    printed = reprlib.repr(value) if is_python else json.dumps(value, default=repr)
    if len(printed) > MAX_PRINTED:
      printed = printed[: MAX_PRINTED - 3] + '...'
    return ConfigError(
      f'{self.source}: {self.prefix}{key}: got {printed}, expected {accepted}'
    )


def _out_of_range(value: object) -> OutOfRange | None:
  """Returns the first number of a value, or of nested lists, that is out of range.

  The numbers of an object are checked when its keys are read.
  """
  if isinstance(value, list):
    return next(filter(None, map(_out_of_range, value)), None)
  return value if isinstance(value, OutOfRange) else None


def has_type(value: object, kind: type | None) -> bool:
  """Returns True if a JSON value has a type.

  Args:
    value: JSON value.
    kind: Type, or None for null. float accepts whole numbers. int and float do not accept
      true and false.
  """
  if value is None:
    return kind is None
  # In Python a bool is an int, in JSON it is not.
  if isinstance(value, bool):
    return kind is bool
  if kind is float:
    return isinstance(value, (int, float))
  return kind is not None and isinstance(value, kind)


# --- converters ---------------------------------------------------------------------

ModelFields: TypeAlias = 'dict[str, object]'
"""{field of `ModelConfig`: value}."""

ConfigKeys: TypeAlias = 'dict[str, JSON]'
"""{key of a config.json: value}."""


class Converter(Protocol):
  """Reads several keys of a config.json, and writes them back."""

  def read(self, reader: ConfigReader, cfg: ModelConfig, /) -> ModelFields:
    """Returns the fields that follow from the keys.

    Args:
      reader: Reader of the config.json.
      cfg: Model with the fields that the table and the earlier converters gave.
    """
    ...

  def write(self, cfg: ModelConfig, /) -> ConfigKeys:
    """Returns the keys of a model. `read` turns them back into the same fields."""
    ...


def write_nothing(cfg: ModelConfig) -> ConfigKeys:
  """Returns no keys, for fields that follow from other keys or are fixed."""
  return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlagConverter:
  """Converter between a flag (true or false) and a field that has one of two values.

  Attributes:
    key: Key of the flag in a config.json.
    default: Default of the flag in Hugging Face transformers.
    field: Field of `ModelConfig`.
    if_true: Value of the field if the flag is true.
    if_false: Value of the field if the flag is false.
    accepts_null: If True, null stands for false. If False, null is an error.
  """

  key: str
  default: bool
  field: str
  if_true: object
  if_false: object
  accepts_null: bool = False

  def read(self, reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
    """Returns the field."""
    kinds = (bool, None) if self.accepts_null else (bool,)
    is_true = reader.take(self.key, self.default, *kinds)
    return {self.field: self.if_true if is_true else self.if_false}

  def write(self, cfg: ModelConfig) -> ConfigKeys:
    """Returns the flag."""
    # `if_true` may be None, which `ModelConfig` replaces by a number. So compare with `if_false`.
    return {self.key: getattr(cfg, self.field) != self.if_false}


@dataclasses.dataclass(frozen=True)
class FunctionConverter:
  """A converter that consists of two functions.

  Attributes:
    read: Returns fields, as `Converter.read` does.
    write: Returns keys, as `Converter.write` does.
  """

  read: Callable[[ConfigReader, ModelConfig], ModelFields]
  write: Callable[[ModelConfig], ConfigKeys] = write_nothing


def _read_tanh_gelu(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  return {'activation': 'gelu_tanh'} if cfg.activation == 'gelu' else {}


TANH_GELU = FunctionConverter(_read_tanh_gelu)
"""Converter for families in which the activation `gelu` of a file is the tanh form of GELU."""
