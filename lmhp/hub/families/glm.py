"""GLM-4 9B (glm) and GLM-4-0414 (glm4).

Half of each attention head has rotary positions, in pairs of adjacent dimensions. GLM-4-0414
has a normalization before and after each attention and feed-forward part.

Source: transformers 5, `models/glm` and `models/glm4`.
"""

from lmhp.hub.families.family import register_family
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary

GLM = register_family(
  LLAMA.derive(
    'glm',
    defaults={
      'vocab_size': 151_552,
      'intermediate_size': 13_696,
      'num_hidden_layers': 40,
      'num_key_value_heads': 2,
      'head_dim': 128,
      'max_position_embeddings': 131_072,
      'rms_norm_eps': 1.5625e-07,
    },
    without=('attention_bias', 'mlp_bias'),
    fixed_fields={'rotary_interleaved': True},
    # attention_bias has no effect on the output projection, which never has a bias.
    keys={'attention_bias': ('qkv_bias', True)},
    converters=(Rotary(fraction=0.5),),
    tensor_names={'feed_forward/gate feed_forward/up': '.mlp.gate_up_proj'},
  )
)

GLM4 = register_family(
  GLM.derive(
    'glm4',
    fixed_fields={'norm_placement': 'sandwich'},
    tensor_names={
      'attention_output_norm': '.post_self_attn_layernorm',
      'feed_forward_output_norm': '.post_mlp_layernorm',
    },
  )
)
