"""SmolLM 3: Llama in which every fourth layer has no positions.

Source: transformers 5, `models/smollm3`.
"""

from lmhp.hub.families.converters import (
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
  read_layer_types,
)
from lmhp.model.config import ModelConfig


def _read_no_windows(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Checks that no layer has a window, and returns no fields."""
  check_no_windows(reader, read_layer_types(reader, cfg, default=['global']))
  return {}


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
    # Without use_sliding_window, the two ignored keys have no effect.
    accepted_values={'use_sliding_window': (False,)},
    ignored_keys=('sliding_window', 'max_window_layers'),
    converters=(
      LAYERS_WITHOUT_POSITIONS,
      FunctionConverter(_read_no_windows),
      Rotary(2e6),
    ),
  )
)
