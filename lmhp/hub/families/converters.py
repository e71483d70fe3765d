"""Converters between several keys of a config.json and fields of `ModelConfig`.

A family maps most keys one by one, in a table. A converter does what a table cannot express,
such as rotary scaling, windows by layer, or a number of heads that depends on a flag.
The classes here are general. `rotary.py` and `windows.py` have more.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from typing import Protocol, TypeAlias

from lmhp.hub.families.config_reader import ConfigReader
from lmhp.model.config import ModelConfig
from lmhp.typing import JSON

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
  del cfg
  return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlagConverter:
  """Converter between a flag and a field that has one of two values.

  Attributes:
    key: Key of the flag.
    default: Default of the flag in Hugging Face transformers.
    field: Field of `ModelConfig`.
    if_true: Value of the field if the flag is true.
    if_false: Value of the field if the flag is false.
    accepts_null: If True, null stands for false.
  """

  key: str
  default: bool
  field: str
  if_true: object
  if_false: object
  accepts_null: bool = False

  def read(self, reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
    """Returns the field."""
    del cfg
    kinds = (bool, None) if self.accepts_null else (bool,)
    is_true = reader.take(self.key, self.default, *kinds)
    return {self.field: self.if_true if is_true else self.if_false}

  def write(self, cfg: ModelConfig) -> ConfigKeys:
    """Returns the flag."""
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
  del reader
  return {'activation': 'gelu_tanh'} if cfg.activation == 'gelu' else {}


TANH_GELU = FunctionConverter(_read_tanh_gelu)
"""Converter for families whose class computes the tanh form of GELU under the name gelu."""
