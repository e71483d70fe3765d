"""GPT-NeoX and Pythia.

The attention and feed-forward parts are parallel, each with its own normalization. A quarter
of each attention head has rotary positions.

Source: transformers 5, `models/gpt_neox`.
"""

from lmhp.hub.families.family import CheckpointFamily, register_family
from lmhp.hub.families.rotary import Rotary

GPT_NEOX = register_family(
  CheckpointFamily(
    model_type='gpt_neox',
    fixed_fields={'norm_bias': True, 'feed_forward_bias': True, 'init': 'normal'},
    keys={
      'vocab_size': ('vocab_size', 50_432),
      'hidden_size': ('d_model', 6144),
      'num_hidden_layers': ('n_layers', 44),
      'num_attention_heads': ('n_heads', 64),
      'intermediate_size': ('d_ff', 24_576),
      'hidden_act': ('activation', 'gelu'),
      'attention_dropout': ('attention_dropout', 0.0),
      'hidden_dropout': ('embedding_dropout residual_dropout', 0.0),
      'max_position_embeddings': ('max_seq_len', 2048),
      'initializer_range': ('init_scale', 0.02),
      'layer_norm_eps': ('norm_eps', 1e-5),
      'tie_word_embeddings': ('tie_embeddings', False),
      'use_parallel_residual': ('parallel_residual', True),
      'attention_bias': ('qkv_bias attention_output_bias', True),
    },
    # The class in transformers reads rotary_emb_base and rotary_pct instead.
    ignored_keys=('rope_theta', 'partial_rotary_factor'),
    layer_name='gpt_neox.layers.{i}',
    tensor_names={
      'embedding': 'gpt_neox.embed_in',
      'attention_input_norm': '.input_layernorm',
      'attention/query attention/key attention/value': '.attention.query_key_value',
      'attention/output': '.attention.dense',
      'feed_forward_input_norm': '.post_attention_layernorm',
      'feed_forward/up': '.mlp.dense_h_to_4h',
      'feed_forward/down': '.mlp.dense_4h_to_h',
      'final_norm': 'gpt_neox.final_layer_norm',
      'output': 'embed_out',
    },
    # query_key_value holds the query, key and value rows of each head together.
    has_grouped_qkv=True,
    converters=(
      Rotary(base_key='rotary_emb_base', fraction=0.25, fraction_key='rotary_pct'),
    ),
  )
)
