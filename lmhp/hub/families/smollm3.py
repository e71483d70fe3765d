"""SmolLM 3: Llama in which every fourth layer has no positions, and may have a window.

Source: transformers 5, `models/smollm3`.
"""

from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.family import register_family
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import (
  LAYERS_WITHOUT_POSITIONS,
  check_no_windows,
  layers_with_positions,
  read_layer_types,
  window_fields,
  write_layer_types,
)
from lmhp.model.config import ModelConfig


def _read_windows(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of the windows. By default, the layers without positions have one."""
  is_used = reader.take('use_sliding_window', False, bool)
  window = reader.take('sliding_window', None, int, None)
  has_window = is_used and window is not None
  default = [
    'global' if has_positions or not has_window else 'local'
    for has_positions in layers_with_positions(cfg.n_layers, cfg.no_position_every)
  ]
  layers = read_layer_types(reader, cfg, default)
  if not is_used:
    check_no_windows(reader, layers)
  return window_fields(reader, layers, window)


def _write_windows(cfg: ModelConfig) -> ConfigKeys:
  return {
    'use_sliding_window': any(cfg.windows),
    'sliding_window': cfg.sliding_window if any(cfg.windows) else None,
    'layer_types': write_layer_types(cfg),
  }


SMOLLM3 = register_family(
  LLAMA.derive(
    'smollm3',
    defaults={
      'vocab_size': 128_256,
      'hidden_size': 2048,
      'num_hidden_layers': 36,
      'num_attention_heads': 16,
      'num_key_value_heads': 4,
      'max_position_embeddings': 32_768,
      'tie_word_embeddings': True,
    },
    nullable_keys=('num_key_value_heads',),
    # The class in transformers does not use max_window_layers.
    ignored_keys=('max_window_layers',),
    converters=(
      LAYERS_WITHOUT_POSITIONS,
      FunctionConverter(_read_windows, _write_windows),
      Rotary(2e6),
    ),
  )
)
