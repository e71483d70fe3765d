"""OLMo 1 (layer normalization without weights), 2 (norms on the outputs, on queries and keys) and 3 (windows)."""

from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WindowByLayer

OLMO = LLAMA.but(
  'olmo',
  defaults={'vocab_size': 50_304},
  without=('rms_norm_eps', 'mlp_bias'),
  always=dict(norm='layernorm', norm_affine=False, norm_eps=1e-5),
  keys={'clip_qkv': ('clip_qkv', None)},
)

OLMO2 = LLAMA.but(
  'olmo2',
  defaults={'vocab_size': 50_304, 'rms_norm_eps': 1e-5},
  without=('mlp_bias',),
  always=dict(norm_placement='output', qk_norm='full'),
  names={
    'attention_output_norm': '.post_attention_layernorm',
    'feed_forward_output_norm': '.post_feedforward_layernorm',
  },
)

OLMO3 = OLMO2.but(
  'olmo3', parts=(WindowByLayer(4), Rotary(500_000.0, scales_global_alone=True))
)
