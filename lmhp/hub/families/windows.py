"""Converters for layer types: attention windows, and layers without positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses

from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.model.config import ModelConfig

LAYER_TYPES = {'full_attention': 'global', 'sliding_attention': 'local'}
"""{layer type of Hugging Face transformers: layer type in `attention_pattern`}."""


def shortest_pattern(layers: Sequence[str]) -> tuple[str, ...]:
  """Returns the shortest pattern that gives these layers if it is repeated.

  >>> shortest_pattern(['local', 'global', 'local', 'global', 'local'])
  ('local', 'global')
  """
  # The last repetition of the pattern may be incomplete.
  for period in range(1, len(layers)):
    if all(layer == layers[i % period] for i, layer in enumerate(layers)):
      return tuple(layers[:period])
  return tuple(layers)


def window_fields(
  reader: ConfigReader, layers: Sequence[str], window: int | None
) -> ModelFields:
  """Returns the fields of layers with and without a window.

  Args:
    reader: Reader of the config.json, for error messages.
    layers: 'local' for each layer with a window, 'global' for each one without. One item is
      enough if all layers are equal.
    window: Size of the window in tokens.

  Raises:
    ConfigError: If a layer has a window, and `window` is None or below 1.
  """
  if 'local' not in layers:
    return {'attention_pattern': ('global',)}
  if window is None or window < 1:
    accepted = 'a whole number of at least 1, since some layers have a window'
    raise reader.error('sliding_window', window, accepted)
  return {'attention_pattern': shortest_pattern(layers), 'sliding_window': window}


def read_layer_types(
  reader: ConfigReader,
  cfg: ModelConfig,
  default: list[str],
  names: Mapping[str, str] = LAYER_TYPES,
) -> list[str]:
  """Returns the layer types that the key layer_types lists.

  Args:
    reader: Reader of the config.json.
    cfg: Model, for its number of layers.
    default: Result if the key is absent.
    names: {layer type in the file: 'local' or 'global'}.

  Returns:
    'local' or 'global' for each layer.

  Raises:
    ConfigError: If a layer type is unknown, or if the list has the wrong length.
  """
  # The first None is the default. The second one means that null is accepted too.
  layer_types = reader.take('layer_types', None, list, None)
  if layer_types is None:
    return default
  for layer_type in layer_types:
    is_name = isinstance(layer_type, str) and layer_type in names
    accepted = f'{" or ".join(names)} for each layer'
    reader.require(is_name, 'layer_types', layer_type, accepted)
  has_all = len(layer_types) == cfg.n_layers
  accepted = f'a layer type for each of the {cfg.n_layers} layers'
  reader.require(has_all, 'layer_types', layer_types, accepted)
  return [names[layer_type] for layer_type in layer_types]


def write_layer_types(
  cfg: ModelConfig, local_type: str = 'sliding_attention'
) -> list[str]:
  """Returns the value of the key layer_types. A layer with a window has `local_type`."""
  return ['full_attention' if window is None else local_type for window in cfg.windows]


def _write_window(cfg: ModelConfig) -> ConfigKeys:
  """Returns the key of the window, if a layer has one."""
  return {'sliding_window': cfg.sliding_window} if any(cfg.windows) else {}


def layers_with_positions(n_layers: int, period: int) -> list[bool]:
  """Returns for each layer True if it has positions, and False if it has none.

  Args:
    n_layers: Number of layers.
    period: A layer has no positions if its number is a multiple of `period`. The first layer has
      the number 1. If `period` is 0, all layers have positions.

  >>> layers_with_positions(5, 2)
  [True, False, True, False, True]
  """
  return [not period or number % period != 0 for number in range(1, n_layers + 1)]


def check_no_windows(reader: ConfigReader, layers: Sequence[str]) -> None:
  """Checks that no layer has a window, for a file with use_sliding_window=false."""
  accepted = 'only full_attention, since use_sliding_window is false'
  reader.require('local' not in layers, 'layer_types', 'sliding_attention', accepted)


# --- converters ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class WindowInAllLayers:
  """Converter: all layers have the window `sliding_window`, or none if it is null.

  Mistral, Phi-3 and StarCoder 2 have this form.

  Attributes:
    window: Default window of Hugging Face transformers, in tokens.
  """

  window: int | None = None

  def read(self, reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
    """Returns the fields of the window."""
    window = reader.take('sliding_window', self.window, int, None)
    return window_fields(reader, ['global' if window is None else 'local'], window)

  def write(self, cfg: ModelConfig) -> ConfigKeys:
    """Returns the window of the first layer."""
    return {'sliding_window': cfg.windows[0]}


@dataclasses.dataclass(frozen=True)
class WindowByLayer:
  """Converter: layer_types lists which layers have a window.

  If it is absent, all layers except every n-th one have a window. Gemma 2 and 3, OLMo 3, gpt-oss
  and Command R7B have this form.

  Attributes:
    period: Default of n in Hugging Face transformers.
    window: Default window of Hugging Face transformers, in tokens.
    period_keys: Names of n in older files. The last one that is present is used.
  """

  period: int
  window: int = 4096
  period_keys: tuple[str, ...] = ('sliding_window_pattern', '_sliding_window_pattern')

  def read(self, reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
    """Returns the fields of the windows."""
    period = self.period
    for key in self.period_keys:
      period = reader.take_positive(key, period)

    window = reader.take('sliding_window', self.window, int, None)
    # Layers are numbered from 1 here, so the n-th layer is the first without a window.
    default = ['local' if i % period else 'global' for i in range(1, cfg.n_layers + 1)]
    layers = read_layer_types(reader, cfg, default)
    return window_fields(reader, layers, window)

  def write(self, cfg: ModelConfig) -> ConfigKeys:
    """Returns layer_types, and the window if there is one."""
    return {'layer_types': write_layer_types(cfg), **_write_window(cfg)}


def _read_upper_windows(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  # Read all keys, even if no layer has a window. A key that is not read is an error.
  is_used = reader.take('use_sliding_window', False, bool)
  window = reader.take('sliding_window', 4096, int, None)
  first = reader.take('max_window_layers', 28, int)
  has_window = is_used and window is not None
  default = [
    'local' if has_window and i >= first else 'global' for i in range(cfg.n_layers)
  ]
  layers = read_layer_types(reader, cfg, default)
  if not is_used:
    check_no_windows(reader, layers)
  return window_fields(reader, layers, window)


def _write_upper_windows(cfg: ModelConfig) -> ConfigKeys:
  return {
    'use_sliding_window': any(cfg.windows),
    'layer_types': write_layer_types(cfg),
    **_write_window(cfg),
  }


WINDOW_IN_UPPER_LAYERS = FunctionConverter(_read_upper_windows, _write_upper_windows)
"""Converter: with use_sliding_window, the layers from max_window_layers on have a window.

If layer_types is present, it lists which layers have a window instead. Qwen 2 and 3 have this
form.
"""


def _read_period(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the period of the layers without positions.

  no_rope_layer_interval is the period. no_rope_layers, if present, lists all layers instead: 0 for
  a layer without positions, and 1 for any other layer. Items beyond the last layer are not used.
  """
  period = reader.take('no_rope_layer_interval', 4, int)
  listed = reader.take('no_rope_layers', None, list, None)
  accepted = 'a whole number of at least 0'
  reader.require(period >= 0, 'no_rope_layer_interval', period, accepted)
  if listed is not None:
    listed = listed[: cfg.n_layers]
    # The first layer without positions gives the period. Layers are numbered from 1.
    period = 1 + listed.index(0) if 0 in listed else 0

  # `listed` has 0 and 1, which are equal to False and True.
  periodic = layers_with_positions(cfg.n_layers, period)
  is_periodic = listed in (None, periodic)
  accepted = f'0 for every n-th of the {cfg.n_layers} layers, 1 for the others'
  reader.require(is_periodic, 'no_rope_layers', listed, accepted)
  return {'no_position_every': period}


def _write_period(cfg: ModelConfig) -> ConfigKeys:
  return {'no_rope_layer_interval': cfg.no_position_every}


LAYERS_WITHOUT_POSITIONS = FunctionConverter(_read_period, _write_period)
"""Converter for the layers without rotary positions. SmolLM 3 and Llama 4 have them."""
