"""Nemotron-4 and Minitron.

The activation is the squared ReLU without a gate, layer normalization multiplies by
1 + scale, and half of each attention head has rotary positions.

Source: transformers 5, `models/nemotron`.
"""

from lmhp.hub.families.family import register_family
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary

NEMOTRON = register_family(
  LLAMA.derive(
    'nemotron',
    defaults={
      'vocab_size': 256_000,
      'hidden_size': 6144,
      'intermediate_size': 24_576,
      'num_attention_heads': 48,
      'hidden_act': 'relu2',
      'max_position_embeddings': 4096,
      'initializer_range': 0.0134,
    },
    without=('rms_norm_eps',),
    fixed_fields={
      'norm': 'layernorm',
      'norm_bias': True,
      'norm_unit_offset': True,
      'gated': False,
    },
    keys={'norm_eps': ('norm_eps', 1e-5)},
    converters=(Rotary(fraction=0.5),),
  )
)
