"""BLOOM: ALiBi, a normalization after the embedding, and a bias in every linear map.

The hidden size of the feed-forward part is always 4 * d_model.

Source: transformers 5, `models/bloom`.
"""

from lmhp.hub.families.family import CheckpointFamily, register_family

# Falcon has the same names.
BLOOM_NAMES = {
  'embedding': 'transformer.word_embeddings',
  'embedding_norm': 'transformer.word_embeddings_layernorm',
  'attention_input_norm': '.input_layernorm',
  'attention/query attention/key attention/value': '.self_attention.query_key_value',
  'attention/output': '.self_attention.dense',
  'feed_forward_input_norm': '.post_attention_layernorm',
  'feed_forward/up': '.mlp.dense_h_to_4h',
  'feed_forward/down': '.mlp.dense_4h_to_h',
  'final_norm': 'transformer.ln_f',
  'output': 'lm_head',
}

BLOOM = register_family(
  CheckpointFamily(
    model_type='bloom',
    fixed_fields={
      'position': 'alibi',
      'activation': 'gelu_tanh',
      'embedding_norm': True,
      'norm_bias': True,
      'qkv_bias': True,
      'attention_output_bias': True,
      'feed_forward_bias': True,
      'init': 'normal',
    },
    keys={
      'vocab_size': ('vocab_size', 250_880),
      'hidden_size': ('d_model', 64),
      'n_layer': ('n_layers', 2),
      'n_head': ('n_heads', 8),
      'seq_length': ('max_seq_len', 2048),
      'layer_norm_epsilon': ('norm_eps', 1e-5),
      'initializer_range': ('init_scale', 0.02),
      'hidden_dropout': ('residual_dropout', 0.0),
      'attention_dropout': ('attention_dropout', 0.0),
      'tie_word_embeddings': ('tie_embeddings', True),
    },
    accepted_values={
      'apply_residual_connection_post_layernorm': (False,),
      'n_inner': (None,),
    },
    ignored_keys=(
      'slow_but_exact',
      'attention_softmax_in_fp32',
      'bias_dropout_fusion',
      'masked_softmax_fusion',
      'offset_alibi',
      'skip_bias_add',
      'skip_bias_add_qkv',
    ),
    aliases={
      'n_embed': 'hidden_size',
      'num_hidden_layers': 'n_layer',
      'num_attention_heads': 'n_head',
    },
    layer_name='transformer.h.{i}',
    tensor_names=BLOOM_NAMES,
    # query_key_value holds the query, key and value rows of each head together.
    has_grouped_qkv=True,
  )
)
