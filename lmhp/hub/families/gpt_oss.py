"""gpt-oss 20B and 120B.

Experts have biases and a clipped gate. Each attention head has a sink: a learned logit that is
part of the softmax, but belongs to no token. Every second layer has a window.

Source: transformers 5, `models/gpt_oss`.
"""

from lmhp.hub.families.family import register_family
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WindowByLayer

YARN = {
  'rope_type': 'yarn',
  'factor': 32.0,
  'beta_fast': 32.0,
  'beta_slow': 1.0,
  'truncate': False,
  'original_max_position_embeddings': 4096,
}
"""Rotary scaling if a config.json has neither rope_scaling nor rope_parameters."""

GPT_OSS = register_family(
  LLAMA.derive(
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
    fixed_fields={
      'activation': 'quick_gelu',
      'gate_offset': 1.0,  # activation(gate) * (up + 1)
      'feed_forward_bias': True,
      'router_bias': True,
      'attention_sinks': True,
      'router_normalize': True,
    },
    keys={
      'num_local_experts': ('n_experts', 128),
      'num_experts_per_tok': ('experts_per_token', 4),
      'swiglu_limit': ('gate_clip', 7.0),
      'router_aux_loss_coef': ('load_balance_loss', 0.001),
    },
    # The class in transformers does not use hidden_act. Its activation is x * sigmoid(alpha x).
    # With alpha = 1.702, this is quick_gelu. The class does not use experts_per_token and
    # initial_context_length either, which published files repeat under other names.
    accepted_values={'swiglu_alpha': (1.702,)},
    aliases={'num_experts': 'num_local_experts'},
    converters=(WindowByLayer(2, 128), Rotary(150_000.0, default_scaling=YARN)),
    ignored_keys=(
      'output_router_logits',
      'hidden_act',
      'experts_per_token',
      'initial_context_length',
    ),
    # The columns of gate_up_proj alternate between the gate and the up projection.
    has_interleaved_gates=True,
    tensor_names={
      'experts/router': '.mlp.router',
      'experts/gate experts/up': '.mlp.experts.gate_up_proj',
      'experts/down': '.mlp.experts.down_proj',
      'attention/sinks': '.self_attn.sinks',
    },
  )
)
