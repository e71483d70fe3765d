"""OLMo 1, 2 and 3, and OLMoE.

The normalizations of OLMo 1 have no parameters. OLMo 2 normalizes queries, keys, and the outputs
of the attention and feed-forward parts. The queries of all heads are normalized as one vector, and
so are the keys. OLMo 3 is OLMo 2 with windows. OLMoE has experts. Its router computes the softmax
over all experts before it selects the best ones.

Source: transformers 5, `models/olmo`, `models/olmo2`, `models/olmo3` and `models/olmoe`.
"""

from lmhp.hub.families.experts import EXPERT_NAMES
from lmhp.hub.families.family import register_family
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WindowByLayer

OLMO = register_family(
  LLAMA.derive(
    'olmo',
    defaults={'vocab_size': 50_304},
    without=('rms_norm_eps', 'mlp_bias'),
    fixed_fields={'norm': 'layernorm', 'norm_affine': False, 'norm_eps': 1e-5},
    keys={'clip_qkv': ('clip_qkv', None)},
  )
)

OLMO2 = register_family(
  LLAMA.derive(
    'olmo2',
    defaults={'vocab_size': 50_304, 'rms_norm_eps': 1e-5},
    without=('mlp_bias',),
    fixed_fields={'norm_placement': 'output', 'qk_norm': 'full'},
    tensor_names={
      'attention_output_norm': '.post_attention_layernorm',
      'feed_forward_output_norm': '.post_feedforward_layernorm',
    },
  )
)

OLMO3 = register_family(
  OLMO2.derive(
    'olmo3',
    # By default, every 4th layer has no window.
    converters=(WindowByLayer(4), Rotary(500_000.0, scales_only_global_layers=True)),
  )
)

OLMOE = register_family(
  OLMO2.derive(
    'olmoe',
    defaults={
      'hidden_size': 2048,
      'intermediate_size': 2048,
      'num_hidden_layers': 16,
      'num_attention_heads': 16,
      'max_position_embeddings': 4096,
    },
    # Unlike OLMo 2, OLMoE normalizes the inputs of the attention and feed-forward parts.
    fixed_fields={'norm_placement': 'pre', 'qk_norm': 'full'},
    keys={
      'num_experts': ('n_experts', 64),
      'num_experts_per_tok': ('experts_per_token', 8),
      'norm_topk_prob': ('router_normalize', False),
      'router_aux_loss_coef': ('load_balance_loss', 0.01),
      'clip_qkv': ('clip_qkv', None),
    },
    aliases={'num_local_experts': 'num_experts'},
    ignored_keys=('output_router_logits',),
    tensor_names=EXPERT_NAMES,
  )
)
