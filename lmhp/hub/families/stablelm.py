"""StableLM 3B and StableLM 2: Llama with layer normalization and optional biases.

A quarter of each attention head has rotary positions.

Source: transformers 5, `models/stablelm`.
"""

from lmhp.hub.families.converters import (
  FlagConverter,
)
from lmhp.hub.families.family import register_family
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary

STABLELM = register_family(
  LLAMA.derive(
    'stablelm',
    defaults={
      'vocab_size': 50_304,
      'intermediate_size': 6912,
      'hidden_size': 2560,
      'num_key_value_heads': 32,
      'max_position_embeddings': 4096,
    },
    without=('rms_norm_eps', 'attention_bias', 'mlp_bias', 'head_dim'),
    fixed_fields={'norm': 'layernorm', 'norm_bias': True},
    keys={
      'layer_norm_eps': ('norm_eps', 1e-5),
      'use_qkv_bias': ('qkv_bias', False),
      # Parallel parts share one normalization.
      'use_parallel_residual': ('parallel_residual shared_norm', False),
    },
    accepted_values={'hidden_dropout': (0.0,)},
    tensor_names={
      'attention/query_norm': '.self_attn.q_layernorm.norms.{h}',
      'attention/key_norm': '.self_attn.k_layernorm.norms.{h}',
    },
    converters=(
      # StableLM 2 12B normalizes queries and keys, with a separate scale for each head.
      FlagConverter(
        key='qk_layernorm',
        default=False,
        field='qk_norm',
        if_true='each_head',
        if_false='none',
      ),
      Rotary(fraction=0.25),
    ),
  )
)
