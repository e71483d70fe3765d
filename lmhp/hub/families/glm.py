"""GLM-4 9B and, with a norm on each side of each part, GLM-4-0414: half of each head rotates, neighbours in pairs."""

from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary

GLM = LLAMA.but(
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
  always=dict(rotary_interleaved=True),
  keys={'attention_bias': ('qkv_bias', True)},
  parts=(Rotary(fraction=0.5),),
  names={'feed_forward/gate feed_forward/up': '.mlp.gate_up_proj'},
)

GLM4 = GLM.but(
  'glm4',
  always=dict(norm_placement='sandwich'),
  names={
    'attention_output_norm': '.post_self_attn_layernorm',
    'feed_forward_output_norm': '.post_mlp_layernorm',
  },
)
