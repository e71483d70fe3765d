"""Llama 1 to 3.2, and the models that use its class (SmolLM 2, DeepSeek LLM, Yi, TinyLlama).

Source: transformers 5, `models/llama`.
"""

from lmhp.hub.families.family import CheckpointFamily, register_family
from lmhp.hub.families.rotary import Rotary

# Rows for modules that Llama lacks, such as the norm of queries, are for derived families.
LLAMA_NAMES = {
  'embedding': 'model.embed_tokens',
  'attention_input_norm': '.input_layernorm',
  'attention/query': '.self_attn.q_proj',
  'attention/key': '.self_attn.k_proj',
  'attention/value': '.self_attn.v_proj',
  'attention/output': '.self_attn.o_proj',
  'attention/query_norm': '.self_attn.q_norm',
  'attention/key_norm': '.self_attn.k_norm',
  'feed_forward_input_norm': '.post_attention_layernorm',
  'feed_forward/gate': '.mlp.gate_proj',
  'feed_forward/up': '.mlp.up_proj',
  'feed_forward/down': '.mlp.down_proj',
  'final_norm': 'model.norm',
  'output': 'lm_head',
}

LLAMA = register_family(
  CheckpointFamily(
    model_type='llama',
    fixed_fields={'norm': 'rmsnorm', 'gated': True, 'init': 'normal'},
    keys={
      'vocab_size': ('vocab_size', 32_000),
      'hidden_size': ('d_model', 4096),
      'intermediate_size': ('d_ff', 11_008),
      'num_hidden_layers': ('n_layers', 32),
      'num_attention_heads': ('n_heads', 32),
      'num_key_value_heads': ('n_kv_heads', None),
      'head_dim': ('head_dim', None),
      'hidden_act': ('activation', 'silu'),
      'max_position_embeddings': ('max_seq_len', 2048),
      'initializer_range': ('init_scale', 0.02),
      'rms_norm_eps': ('norm_eps', 1e-6),
      'tie_word_embeddings': ('tie_embeddings', False),
      'attention_bias': ('qkv_bias attention_output_bias', False),
      'attention_dropout': ('attention_dropout', 0.0),
      'mlp_bias': ('feed_forward_bias', False),
    },
    converters=(Rotary(),),
    layer_name='model.layers.{i}',
    tensor_names=LLAMA_NAMES,
    # In files of SmolLM 2, rope_interleaved is false. The class of transformers never
    # interleaves.
    accepted_values={'rope_interleaved': (False,)},
  )
)
