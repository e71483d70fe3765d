"""Qwen 1.5, 2 and 2.5 (qwen2), and Qwen 3 without experts (qwen3).

Qwen 2 has biases on query, key and value. Qwen 3 normalizes queries and keys.

Source: transformers 5, `models/qwen2` and `models/qwen3`.
"""

from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.registry import register_family
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WINDOW_IN_UPPER_LAYERS

QWEN2 = register_family(
  LLAMA.derive(
    'qwen2',
    defaults={
      'vocab_size': 151_936,
      'intermediate_size': 22_016,
      'num_key_value_heads': 32,
      'max_position_embeddings': 32_768,
    },
    without=('attention_bias', 'mlp_bias'),
    fixed_fields={'qkv_bias': True},
    accepted_values={'use_mrope': (False,)},
    converters=(WINDOW_IN_UPPER_LAYERS, Rotary()),
  )
)

QWEN3 = register_family(
  LLAMA.derive(
    'qwen3',
    defaults={
      'vocab_size': 151_936,
      'intermediate_size': 22_016,
      'num_key_value_heads': 32,
      'head_dim': 128,
      'max_position_embeddings': 32_768,
    },
    without=('mlp_bias',),
    fixed_fields={'qk_norm': 'head'},
    converters=(WINDOW_IN_UPPER_LAYERS, Rotary()),
  )
)
