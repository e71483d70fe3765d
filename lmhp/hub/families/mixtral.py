"""Mixtral 8x7B and 8x22B: Mistral with eight experts, two of them for each token.

Source: transformers 5, `models/mixtral`.
"""

from lmhp.hub.families.mistral import MISTRAL
from lmhp.hub.families.registry import register_family
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WindowInAllLayers

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
