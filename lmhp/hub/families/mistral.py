"""Mistral 7B, Nemo and Small: Llama without biases. Version 0.1 of 7B has a window.

Source: transformers 5, `models/mistral`.
"""

from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.registry import register_family
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WindowInAllLayers

MISTRAL = register_family(
  LLAMA.derive(
    'mistral',
    defaults={
      'intermediate_size': 14_336,
      'num_key_value_heads': 8,
      'max_position_embeddings': 131_072,
    },
    without=('attention_bias', 'mlp_bias'),
    accepted_values={'attention_bias': (False,), 'mlp_bias': (False,)},
    converters=(WindowInAllLayers(4096), Rotary()),
  )
)
