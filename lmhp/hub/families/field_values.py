"""Values of single fields: conversion between a config.json and `ModelConfig`."""

from __future__ import annotations

from lmhp.errors import suggest
from lmhp.hub.families.converters import ConfigReader, has_type
from lmhp.typing import JSON

ACTIVATIONS = {
  'relu': 'relu',
  'sigmoid': 'sigmoid',
  'tanh': 'tanh',
  'quick_gelu': 'quick_gelu',
  'relu2': 'relu_squared',
  'silu': 'silu',
  'swish': 'silu',
  'linear': 'identity',
  'gelu': 'gelu',
  'gelu_python': 'gelu',
  'gelu_new': 'gelu_tanh',
  'gelu_fast': 'gelu_tanh',
  'gelu_accurate': 'gelu_tanh',
  'gelu_pytorch_tanh': 'gelu_tanh',
  'gelu_python_tanh': 'gelu_tanh',
}
"""{name of an activation in Hugging Face transformers: name in lmhp}.

Transformers has several names for one function.
"""

ACTIVATION_FIELDS = ('activation', 'head_activation')
"""Fields of `ModelConfig` whose value is an activation."""

INIT_STD = 0.02
"""Standard deviation of the initialization if `ModelConfig.init_scale` is 1."""

_MAX_STRING = 80
"""Longest accepted string, in characters."""


def read_value(reader: ConfigReader, key: str, field: str, value: object) -> object:
  """Converts the value of a key to the value of a field.

  Most values are unchanged, and `ModelConfig` checks them.

  Args:
    reader: Reader of the config.json, for error messages.
    key: Name of the key.
    field: Field of `ModelConfig`.
    value: Value of the key.

  Raises:
    ConfigError: If the value is a list, an object, or a string of more than 80 characters. Also
      if an activation is unknown, or if the value for `init_scale` is not a number of at least 0.
  """
  is_long = isinstance(value, str) and len(value) > _MAX_STRING
  if is_long or isinstance(value, (list, dict)):
    raise reader.error(key, value, 'a single value')

  if field in ACTIVATION_FIELDS:
    if not isinstance(value, str) or value not in ACTIVATIONS:
      near = suggest(value, ACTIVATIONS)
      raise reader.error(key, value, f'one of {", ".join(ACTIVATIONS)}{near}')
    return ACTIVATIONS[value]

  if field == 'init_scale':
    # `has_type` refuses true and false, which `isinstance` accepts as int.
    if not isinstance(value, (int, float)) or not has_type(value, float) or value < 0:
      raise reader.error(key, value, 'a number of at least 0')
    return value / INIT_STD
  return value


def write_value(field: str, value: JSON, default: JSON) -> JSON:
  """Converts the value of a field to the value of a key. The inverse of `read_value`.

  Args:
    field: Field of `ModelConfig`.
    value: Value of the field.
    default: Default of the key in this family. For an activation with several names, such as
      gelu_new and gelu_fast, the default is returned if it is one of them.
  """
  if field in ACTIVATION_FIELDS:
    if isinstance(default, str) and ACTIVATIONS.get(default) == value:
      return default
    return activation_name(str(value))
  if field == 'init_scale' and isinstance(value, (int, float)):
    return float(value) * INIT_STD
  return list(value) if isinstance(value, tuple) else value


def activation_name(activation: str) -> str:
  """Returns the first name that Hugging Face transformers has for an activation of lmhp.

  An activation without a name in Hugging Face transformers is returned unchanged.

  >>> activation_name('gelu_tanh')
  'gelu_new'
  """
  for name, lmhp_name in ACTIVATIONS.items():
    if lmhp_name == activation:
      return name
  return activation
