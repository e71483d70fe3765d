"""SmolLM 3: Llama in which every fourth layer has no positions.

Source: transformers 5, `models/smollm3`.
"""

from lmhp.hub.families.config_reader import ConfigReader
from lmhp.hub.families.converters import ConfigKeys, FunctionConverter, ModelFields
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.registry import register_family
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import (
  layers_with_positions,
  only_full_attention,
  read_layer_types,
)
from lmhp.model.config import ModelConfig


def _read_period(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the period of the layers without positions.

  no_rope_layers, if present, has 0 for each layer without positions and 1 for each other.
  """
  period = reader.take('no_rope_layer_interval', 4, int)
  listed = reader.take('no_rope_layers', None, list, None)
  if listed is not None:
    # The first layer without positions gives the period. Layers are numbered from 1.
    period = 1 + listed.index(0) if 0 in listed else 0

  periodic = layers_with_positions(cfg.n_layers, period)
  if period < 0 or listed not in (None, periodic):
    accepted = f'0 at every n-th of the {cfg.n_layers} layers, 1 elsewhere'
    value = period if listed is None else listed
    raise reader.error('no_rope_layers', value, accepted)
  return {'no_position_every': period}


def _write_period(cfg: ModelConfig) -> ConfigKeys:
  return {'no_rope_layer_interval': cfg.no_position_every}


def _check_no_windows(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Checks that no layer has a window, and returns no fields."""
  layers = read_layer_types(reader, cfg)
  if layers is not None and 'local' in layers:
    raise only_full_attention(reader)
  return {}


LAYERS_WITHOUT_POSITIONS = FunctionConverter(_read_period, _write_period)
"""Converter for the layers without rotary positions."""

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
    accepted_values={'use_sliding_window': (False,)},
    ignored_keys=('sliding_window', 'max_window_layers'),
    converters=(
      LAYERS_WITHOUT_POSITIONS,
      FunctionConverter(_check_no_windows),
      Rotary(2e6),
    ),
  )
)
