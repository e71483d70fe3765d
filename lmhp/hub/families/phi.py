"""Phi 1, 1.5 and 2 (phi), and Phi 3, 3.5 and 4 (phi3).

phi has parallel attention and feed-forward parts, and a bias in every linear map. phi3 is Llama
with dropout, windows and longrope, a scaling of rotary positions for long contexts.

Source: transformers 5, `models/phi` and `models/phi3`.
"""

from lmhp.hub.families.converters import FlagConverter
from lmhp.hub.families.family import CheckpointFamily, register_family
from lmhp.hub.families.llama import LLAMA, LLAMA_NAMES
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WindowInAllLayers

PHI = register_family(
  CheckpointFamily(
    model_type='phi',
    fixed_fields={
      'norm': 'layernorm',
      'norm_bias': True,
      'parallel_residual': True,
      'shared_norm': True,
      'qkv_bias': True,
      'attention_output_bias': True,
      'feed_forward_bias': True,
      'head_bias': True,
      'init': 'normal',
    },
    keys={
      'vocab_size': ('vocab_size', 51_200),
      'hidden_size': ('d_model', 2048),
      'intermediate_size': ('d_ff', 8192),
      'num_hidden_layers': ('n_layers', 24),
      'num_attention_heads': ('n_heads', 32),
      'num_key_value_heads': ('n_kv_heads', None),
      'hidden_act': ('activation', 'gelu_new'),
      'max_position_embeddings': ('max_seq_len', 2048),
      'initializer_range': ('init_scale', 0.02),
      'layer_norm_eps': ('norm_eps', 1e-5),
      'tie_word_embeddings': ('tie_embeddings', False),
      'embd_pdrop': ('embedding_dropout', 0.0),
      'attention_dropout': ('attention_dropout', 0.0),
      'resid_pdrop': ('residual_dropout', 0.0),
    },
    converters=(
      FlagConverter(
        key='qk_layernorm',
        default=False,
        field='qk_norm',
        if_true='head',  # with one scale for all heads
        if_false='none',
      ),
      Rotary(fraction=0.5),
    ),
    layer_name=LLAMA.layer_name,
    tensor_names={
      **LLAMA_NAMES,
      'attention/output': '.self_attn.dense',
      'attention/query_norm': '.self_attn.q_layernorm',
      'attention/key_norm': '.self_attn.k_layernorm',
      'feed_forward/up': '.mlp.fc1',
      'feed_forward/down': '.mlp.fc2',
      'final_norm': 'model.final_layernorm',
    },
  )
)

PHI3 = register_family(
  LLAMA.derive(
    'phi3',
    defaults={
      'vocab_size': 32_064,
      'hidden_size': 3072,
      'intermediate_size': 8192,
      'max_position_embeddings': 4096,
      'rms_norm_eps': 1e-5,
    },
    without=('attention_bias', 'mlp_bias'),
    keys={'resid_pdrop': ('residual_dropout', 0.0)},
    accepted_values={
      'embd_pdrop': (0.0,),
      'attention_bias': (False,),
      'mlp_bias': (False,),
      'lm_head_bias': (False,),
      'full_attn_mod': (1,),
      'interpolate_factor': (1,),
    },
    tensor_names={
      'attention/query attention/key attention/value': '.self_attn.qkv_proj',
      'feed_forward/gate feed_forward/up': '.mlp.gate_up_proj',
    },
    converters=(
      WindowInAllLayers(),
      # Older files of Phi 3 call longrope 'su' or 'yarn'. They do not mean the type yarn of
      # other families.
      Rotary(
        fraction=1.0, original_length=4096, longrope_names=('longrope', 'su', 'yarn')
      ),
    ),
  )
)
