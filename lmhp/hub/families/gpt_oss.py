"""gpt-oss 20B and 120B: experts with biases and a clipped gate, attention sinks, every other layer windowed."""

from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WindowByLayer

YARN = (
  ('rope_type', 'yarn'),
  ('factor', 32.0),
  ('beta_fast', 32.0),
  ('beta_slow', 1.0),
  ('truncate', False),
  ('original_max_position_embeddings', 4096),
)

GPT_OSS = LLAMA.but(
  'gpt_oss',
  defaults={
    'vocab_size': 201_088,
    'hidden_size': 2880,
    'intermediate_size': 2880,
    'num_hidden_layers': 36,
    'num_attention_heads': 64,
    'num_key_value_heads': 8,
    'head_dim': 64,
    'max_position_embeddings': 131_072,
    'rms_norm_eps': 1e-5,
    'attention_bias': True,
  },
  without=('mlp_bias', 'hidden_act'),
  always=dict(
    activation='quick_gelu',
    gate_offset=1.0,
    feed_forward_bias=True,
    router_bias=True,
    attention_sinks=True,
    router_normalize=True,
  ),
  keys={
    'num_local_experts': ('n_experts', 128),
    'num_experts_per_tok': ('experts_per_token', 4),
    'swiglu_limit': ('gate_clip', 7.0),
    'router_aux_loss_coef': ('load_balance_loss', 0.001),
  },
  # hidden_act is not read: the gate is its own, and its 1.702 the quick GELU's
  only={
    'swiglu_alpha': (1.702,),
    'experts_per_token': (None, 4),
    'initial_context_length': (4096,),
  },
  aliases={'num_experts': 'num_local_experts'},
  parts=(WindowByLayer(2, 128), Rotary(150_000.0, default_scaling=YARN)),
  unused=('output_router_logits', 'hidden_act'),
  interleaved=True,
  names={
    'experts/router': '.mlp.router',
    'experts/gate experts/up': '.mlp.experts.gate_up_proj',
    'experts/down': '.mlp.experts.down_proj',
    'attention/sinks': '.self_attn.sinks',
  },
)
