"""Mistral 7B, Nemo and Small (mistral), and Mixtral 8x7B and 8x22B (mixtral).

Mistral is Llama without biases. Mistral 7B v0.1 has a window in all layers. Mixtral is Mistral
with eight experts, of which each token uses two.

Source: transformers 5, `models/mistral` and `models/mixtral`.
"""

from lmhp.hub.families.family import register_family
from lmhp.hub.families.llama import LLAMA
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

MIXTRAL = register_family(
  MISTRAL.derive(
    'mixtral',
    defaults={'rms_norm_eps': 1e-5},
    keys={
      'num_local_experts': ('n_experts', 8),
      'num_experts_per_tok': ('experts_per_token', 2),
      'router_aux_loss_coef': ('load_balance_loss', 0.001),
    },
    accepted_values={'router_jitter_noise': (0.0,)},
    aliases={'num_experts': 'num_local_experts'},
    converters=(WindowInAllLayers(), Rotary(1e6)),
    ignored_keys=('output_router_logits',),
    tensor_names={
      'experts/router': '.block_sparse_moe.gate',
      'experts/gate': '.block_sparse_moe.experts.{e}.w1',
      'experts/down': '.block_sparse_moe.experts.{e}.w2',
      'experts/up': '.block_sparse_moe.experts.{e}.w3',
    },
  )
)
