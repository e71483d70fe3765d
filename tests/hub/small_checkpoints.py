"""Three small models for each family, which switch its unusual fields on and off."""

from small_configs import (
  ALBERT,
  BERT,
  BLOOM,
  DEEPSEEK,
  FALCON,
  GPT,
  GPT_NEO,
  GPT_NEOX,
  GPT_OSS,
  LAYER_NORM_EPS,
  LAYER_TYPES,
  LLAMA,
  LLAMA3,
  LLAMA4,
  LLAMA_WITHOUT_EPS,
  LLAMA_WITHOUT_HEAD_DIM,
  LLAMA_WITHOUT_HEAD_DIM_AND_EPS,
  MIXTRAL,
  MODERNBERT,
  MPT,
  MULTI_HEAD,
  MULTI_QUERY,
  OLMOE,
  OPT,
  QWEN3_MOE,
  ROBERTA,
  T5,
  TIED,
  WIDE_LLAMA,
  XGLM,
  YARN,
  YARN_WITH_MSCALE,
  rope,
)

CONFIGS = {
  'mixtral': (
    MIXTRAL,
    MIXTRAL | TIED | MULTI_QUERY | {'sliding_window': 4, 'num_experts_per_tok': 1},
    LLAMA_WITHOUT_HEAD_DIM
    | rope(50.0)
    | {'num_local_experts': 3, 'num_experts_per_tok': 3, 'hidden_act': 'relu'},
  ),
  'qwen3_moe': (
    QWEN3_MOE | {'norm_topk_prob': True},
    QWEN3_MOE | TIED | {'mlp_only_layers': [1], 'attention_bias': True},
    QWEN3_MOE
    | YARN
    | {
      'decoder_sparse_step': 2,
      'use_sliding_window': True,
      'sliding_window': 4,
      'max_window_layers': 1,
    },
  ),
  'olmoe': (
    OLMOE,
    OLMOE | TIED | MULTI_QUERY | {'norm_topk_prob': True, 'attention_bias': True},
    OLMOE | MULTI_HEAD | rope(50.0) | {'num_experts_per_tok': 1},
  ),
  'deepseek_v2': (
    DEEPSEEK,
    DEEPSEEK
    | TIED
    | YARN_WITH_MSCALE
    | {'q_lora_rank': None, 'routed_scaling_factor': 1.7},
    DEEPSEEK
    | {
      'topk_method': 'group_limited_greedy',
      'n_group': 3,
      'topk_group': 2,
      'attention_bias': True,
      'first_k_dense_replace': 0,
      'n_shared_experts': 1,
      'mlp_bias': False,
    },
  ),
  'deepseek_v3': (
    DEEPSEEK | {'n_group': 3, 'topk_group': 2},
    DEEPSEEK
    | TIED
    | YARN_WITH_MSCALE
    | {
      'q_lora_rank': None,
      'n_group': 1,
      'topk_group': 1,
      'norm_topk_prob': False,
      'rope_interleave': False,
    },
    DEEPSEEK
    | {
      'n_group': 2,
      'topk_group': 1,
      'attention_bias': True,
      'routed_scaling_factor': 1.1,
      'first_k_dense_replace': 2,
      'rms_norm_eps': 1e-4,
    },
  ),
  'gpt_oss': (
    GPT_OSS,
    GPT_OSS | TIED | rope(99.0) | {'swiglu_limit': 0.4, 'num_experts_per_tok': 1},
    GPT_OSS
    | MULTI_QUERY
    | {'attention_bias': False, 'layer_types': ['full_attention'] * 3},
  ),
  'llama4_text': (
    LLAMA4,
    LLAMA4
    | TIED
    | {'moe_layers': [0, 3], 'num_experts_per_tok': 2, 'use_qk_norm': False},
    LLAMA4
    | MULTI_QUERY
    | LLAMA3
    | {
      'attn_temperature_tuning': False,
      'no_rope_layer_interval': 2,
      'attention_chunk_size': 3,
    },
  ),
  'llama': (
    LLAMA | LLAMA3,
    LLAMA_WITHOUT_HEAD_DIM | MULTI_HEAD | TIED,
    LLAMA | {'attention_bias': True, 'mlp_bias': True} | YARN,
  ),
  'qwen2': (
    LLAMA,
    LLAMA_WITHOUT_HEAD_DIM | TIED | rope(50.0),
    LLAMA | {'use_sliding_window': True, 'sliding_window': 4, 'max_window_layers': 1},
  ),
  'qwen3': (
    LLAMA,
    LLAMA | TIED | {'attention_bias': True} | rope(50.0),
    LLAMA | {'use_sliding_window': True, 'sliding_window': 4, 'max_window_layers': 2},
  ),
  'gpt2': (
    GPT,
    GPT | {'n_inner': 20, 'activation_function': 'relu'},
    GPT | {'scale_attn_weights': False, 'tie_word_embeddings': False},
  ),
  'gemma2': (
    LLAMA
    | TIED
    | LAYER_TYPES
    | {
      'query_pre_attn_scalar': 10,
      'attn_logit_softcapping': 2.0,
      'final_logit_softcapping': 3.0,
    },
    LLAMA
    | TIED
    | {
      'attn_logit_softcapping': None,
      'final_logit_softcapping': None,
      'sliding_window': 4,
    },
    LLAMA | MULTI_QUERY | TIED | rope(100.0) | {'attention_bias': True},
  ),
  'gemma3_text': (
    LLAMA
    | TIED
    | LAYER_TYPES
    | {
      'query_pre_attn_scalar': 10,
      'rope_parameters': {
        'full_attention': {'rope_type': 'default', 'rope_theta': 300.0},
        'sliding_attention': {'rope_type': 'default', 'rope_theta': 50.0},
      },
    },
    LLAMA | TIED | {'sliding_window': 4, 'final_logit_softcapping': 3.0},
    LLAMA
    | MULTI_QUERY
    | TIED
    | LAYER_TYPES
    | {
      'rope_parameters': {
        'full_attention': {'rope_type': 'linear', 'factor': 8.0, 'rope_theta': 300.0},
        'sliding_attention': {'rope_type': 'default', 'rope_theta': 50.0},
      }
    },
  ),
  'mistral': (
    LLAMA,
    LLAMA | {'sliding_window': 4},
    LLAMA_WITHOUT_HEAD_DIM | TIED | {'sliding_window': None} | rope(99.0),
  ),
  'gpt_neox': (
    GPT_NEOX,
    GPT_NEOX
    | {'use_parallel_residual': False, 'rotary_pct': 1.0, 'hidden_act': 'gelu_new'},
    GPT_NEOX
    | {'attention_bias': False, 'rotary_pct': 0.5, 'tie_word_embeddings': True},
  ),
  'opt': (
    OPT,
    OPT | {'enable_bias': False, 'activation_function': 'gelu'},
    OPT | {'do_layer_norm_before': False, 'word_embed_proj_dim': 14},
  ),
  'gptj': (
    GPT | {'rotary_dim': 4},
    GPT | {'n_inner': 20, 'rotary_dim': 6},
    GPT | {'rotary_dim': 2, 'activation_function': 'relu'},
  ),
  'gpt_neo': (
    GPT_NEO | {'attention_types': [[['global', 'local'], 1], [['global'], 1]]},
    GPT_NEO | {'attention_types': [[['global'], 3]], 'intermediate_size': 20},
    GPT_NEO | {'attention_types': [[['local'], 3]], 'activation_function': 'gelu'},
  ),
  'bloom': (BLOOM, BLOOM | {'n_head': 6}, BLOOM | {'layer_norm_epsilon': 1e-3}),
  'mpt': (
    MPT | {'n_heads': 4},
    MPT | {'n_heads': 6},
    MPT | {'n_heads': 4, 'attn_config': {'softmax_scale': 0.3}},
  ),
  'falcon': (
    FALCON,
    FALCON
    | {'multi_query': False, 'alibi': True, 'parallel_attn': False, 'bias': True},
    FALCON | {'new_decoder_architecture': True, 'num_kv_heads': 2},
  ),
  'gemma': (
    LLAMA | TIED,
    LLAMA | MULTI_QUERY | TIED | rope(50.0),
    LLAMA | MULTI_HEAD | TIED | {'attention_bias': True},
  ),
  'phi': (
    WIDE_LLAMA | {'partial_rotary_factor': 0.25},
    WIDE_LLAMA | MULTI_HEAD | {'qk_layernorm': True},
    WIDE_LLAMA | LAYER_NORM_EPS | rope(50.0),
  ),
  'phi3': (
    LLAMA_WITHOUT_HEAD_DIM,
    LLAMA_WITHOUT_HEAD_DIM | TIED | {'sliding_window': 4},
    LLAMA_WITHOUT_HEAD_DIM
    | MULTI_HEAD
    | {'original_max_position_embeddings': 8}
    | rope(
      rope_type='longrope', short_factor=[1.0, 1.5, 2.0], long_factor=[2.0, 3.0, 4.0]
    ),
  ),
  'olmo': (
    LLAMA_WITHOUT_EPS,
    LLAMA_WITHOUT_EPS | {'clip_qkv': 0.3},
    LLAMA_WITHOUT_HEAD_DIM_AND_EPS | MULTI_HEAD | TIED | rope(50.0),
  ),
  'olmo2': (
    LLAMA,
    LLAMA | TIED | MULTI_QUERY,
    LLAMA_WITHOUT_HEAD_DIM | MULTI_HEAD | {'attention_bias': True},
  ),
  'olmo3': (
    LLAMA | LAYER_TYPES,
    LLAMA_WITHOUT_HEAD_DIM | TIED | {'sliding_window': 4},
    LLAMA
    | MULTI_HEAD
    | LAYER_TYPES
    | {
      'rope_parameters': {
        'full_attention': YARN['rope_parameters'],
        'sliding_attention': {'rope_type': 'default', 'rope_theta': 500.0},
      }
    },
  ),
  'stablelm': (
    WIDE_LLAMA | LAYER_NORM_EPS,
    WIDE_LLAMA | {'use_qkv_bias': True, 'qk_layernorm': True},
    WIDE_LLAMA
    | MULTI_HEAD
    | TIED
    | {'use_parallel_residual': True, 'partial_rotary_factor': 0.5},
  ),
  'starcoder2': (
    LLAMA_WITHOUT_HEAD_DIM_AND_EPS | TIED,
    LLAMA_WITHOUT_HEAD_DIM_AND_EPS | {'use_bias': False, 'sliding_window': 4},
    LLAMA_WITHOUT_HEAD_DIM_AND_EPS | MULTI_QUERY | {'norm_epsilon': 1e-3},
  ),
  'nemotron': (
    LLAMA_WITHOUT_EPS | {'partial_rotary_factor': 0.67},
    LLAMA_WITHOUT_HEAD_DIM_AND_EPS | MULTI_HEAD | TIED | {'partial_rotary_factor': 1.0},
    LLAMA_WITHOUT_EPS
    | {'attention_bias': True, 'mlp_bias': True, 'partial_rotary_factor': 0.34},
  ),
  'granite': (
    LLAMA
    | {
      'embedding_multiplier': 3.0,
      'residual_multiplier': 0.4,
      'attention_multiplier': 0.2,
      'logits_scaling': 2.0,
    },
    LLAMA_WITHOUT_HEAD_DIM | TIED,
    LLAMA | {'attention_bias': True, 'mlp_bias': True},
  ),
  'cohere': (
    LLAMA_WITHOUT_EPS | LAYER_NORM_EPS | TIED | {'logit_scale': 0.3},
    LLAMA_WITHOUT_HEAD_DIM_AND_EPS | MULTI_HEAD | TIED | {'use_qk_norm': True},
    LLAMA_WITHOUT_EPS | TIED | {'attention_bias': True, 'use_qk_norm': True},
  ),
  'cohere2': (
    LLAMA_WITHOUT_EPS
    | LAYER_NORM_EPS
    | TIED
    | {
      'sliding_window': 4,
      'layer_types': ['sliding_attention', 'full_attention'] * 2,
      'num_hidden_layers': 4,
    },
    LLAMA_WITHOUT_EPS | TIED | {'sliding_window': 4},
    LLAMA_WITHOUT_HEAD_DIM_AND_EPS
    | TIED
    | {'attention_bias': True, 'logit_scale': 0.5},
  ),
  'smollm3': (
    LLAMA | {'no_rope_layer_interval': 2},
    LLAMA | TIED | {'attention_bias': True},
    LLAMA_WITHOUT_HEAD_DIM | MULTI_HEAD | {'no_rope_layers': [1, 0, 1]},
  ),
  'glm': (
    LLAMA | {'partial_rotary_factor': 0.67},
    LLAMA | TIED | {'attention_bias': False, 'partial_rotary_factor': 1.0},
    LLAMA | MULTI_HEAD | {'partial_rotary_factor': 0.34},
  ),
  'glm4': (
    LLAMA | {'partial_rotary_factor': 0.67},
    LLAMA | TIED | {'attention_bias': True, 'partial_rotary_factor': 1.0},
    LLAMA | MULTI_HEAD | {'partial_rotary_factor': 0.34},
  ),
  'gpt_bigcode': (
    GPT,
    GPT | {'multi_query': False},
    GPT | {'n_inner': 20, 'scale_attn_weights': False},
  ),
  'openai-gpt': (GPT, GPT | {'n_head': 6}, GPT | {'afn': 'relu'}),
  'xglm': (
    XGLM,
    XGLM | {'scale_embedding': False},
    XGLM | {'activation_function': 'relu'},
  ),
  'bert': (
    BERT,
    BERT | {'hidden_act': 'relu', 'type_vocab_size': 3, 'layer_norm_eps': 1e-5},
    BERT | {'num_attention_heads': 6},
  ),
  'roberta': (
    ROBERTA,
    ROBERTA | {'hidden_act': 'relu', 'type_vocab_size': 1},
    ROBERTA | {'pad_token_id': 0},
  ),
  'albert': (
    ALBERT,
    ALBERT | {'hidden_act': 'relu', 'num_attention_heads': 6},
    ALBERT | {'num_hidden_layers': 1},
  ),
  'modernbert': (
    MODERNBERT,
    MODERNBERT
    | {
      'attention_bias': True,
      'mlp_bias': True,
      'norm_bias': True,
      'classifier_bias': True,
      'classifier_activation': 'relu',
      'local_attention': 6,
    },
    MODERNBERT
    | {
      'decoder_bias': False,
      'hidden_activation': 'silu',
      'rope_parameters': {
        'full_attention': {'rope_type': 'default', 'rope_theta': 300.0},
        'sliding_attention': {'rope_type': 'default', 'rope_theta': 50.0},
      },
      'layer_types': ['sliding_attention']
      + ['full_attention'] * 2
      + ['sliding_attention'] * 2,
    },
  ),
  't5': (
    T5,
    T5
    | {
      'feed_forward_proj': 'gated-gelu',
      'tie_word_embeddings': False,
      'num_decoder_layers': 2,
    },
    T5
    | {
      'feed_forward_proj': 'gated-silu',
      'relative_attention_num_buckets': 8,
      'relative_attention_max_distance': 6,
    },
  ),
}
