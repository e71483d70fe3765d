"""Qwen 1.5, 2, 2.5 (one class, biases on query, key and value) and the dense Qwen 3 (normalized queries and keys)."""

from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import window_above

QWEN2 = LLAMA.but(
  'qwen2',
  defaults={
    'vocab_size': 151_936,
    'intermediate_size': 22_016,
    'num_key_value_heads': 32,
    'max_position_embeddings': 32_768,
  },
  without=('attention_bias', 'mlp_bias'),
  always=dict(qkv_bias=True),
  only={'use_mrope': (False,)},
  parts=(window_above, Rotary()),
)

QWEN3 = LLAMA.but(
  'qwen3',
  defaults={
    'vocab_size': 151_936,
    'intermediate_size': 22_016,
    'num_key_value_heads': 32,
    'head_dim': 128,
    'max_position_embeddings': 32_768,
  },
  without=('mlp_bias',),
  always=dict(qk_norm='head'),
  parts=(window_above, Rotary()),
)
