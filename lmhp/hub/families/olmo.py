"""OLMo 1, 2 and 3.

The normalizations of OLMo 1 have no parameters. OLMo 2 normalizes queries, keys, and the outputs
of the attention and feed-forward parts. OLMo 3 has windows.

Source: transformers 5, `models/olmo`, `models/olmo2` and `models/olmo3`.
"""

from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.registry import register_family
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
