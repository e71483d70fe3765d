"""Three small configurations for each family, in transformers' words, that turn its odd fields on and off."""

LLAMA = dict(
  vocab_size=31,
  hidden_size=24,
  intermediate_size=20,
  num_hidden_layers=3,
  num_attention_heads=4,
  num_key_value_heads=2,
  head_dim=6,
  max_position_embeddings=32,
  tie_word_embeddings=False,
  pad_token_id=0,
  bos_token_id=0,
  eos_token_id=0,
  rms_norm_eps=1e-6,
)
GPT = dict(
  vocab_size=31,
  n_embd=24,
  n_layer=3,
  n_head=4,
  n_positions=32,
  bos_token_id=0,
  eos_token_id=0,
)
NO_WORDS = dict(bos_token_id=0, eos_token_id=0, pad_token_id=0)


def rope(base=1e4, **more):
  return dict(rope_parameters=dict(dict(rope_type='default', rope_theta=base), **more))


def without(config, *keys):
  return {key: value for key, value in config.items() if key not in keys}


LLAMA3 = rope(
  500.0,
  rope_type='llama3',
  factor=4.0,
  low_freq_factor=1.0,
  high_freq_factor=4.0,
  original_max_position_embeddings=8,
)
YARN = rope(500.0, rope_type='yarn', factor=4.0, original_max_position_embeddings=8)
NO_HEAD_DIM = without(LLAMA, 'head_dim')
LAYER_NORM = without(LLAMA, 'rms_norm_eps')  # classes that name the epsilon otherwise
NEITHER = without(LAYER_NORM, 'head_dim')
WIDER = NEITHER | dict(hidden_size=32)  # of which half a head, or a quarter, can rotate
MHA = dict(num_key_value_heads=4)
MQA = dict(num_key_value_heads=1)
TIED = dict(tie_word_embeddings=True)
LAYERS = dict(
  layer_types=['sliding_attention', 'full_attention', 'full_attention'],
  sliding_window=3,
)
NEOX = dict(
  vocab_size=31,
  hidden_size=32,
  num_hidden_layers=3,
  num_attention_heads=4,
  intermediate_size=20,
  max_position_embeddings=32,
  **NO_WORDS,
)
BLOOM = dict(vocab_size=31, hidden_size=24, n_layer=3, n_head=4, **NO_WORDS)
FALCON = dict(
  vocab_size=31, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, **NO_WORDS
)
OPT = dict(
  vocab_size=31,
  hidden_size=24,
  num_hidden_layers=3,
  num_attention_heads=4,
  ffn_dim=20,
  max_position_embeddings=32,
  word_embed_proj_dim=24,
  **NO_WORDS,
)
XGLM = dict(
  vocab_size=31,
  d_model=24,
  num_layers=3,
  attention_heads=4,
  ffn_dim=20,
  max_position_embeddings=32,
  pad_token_id=1,
  bos_token_id=0,
  eos_token_id=0,
)
NEO = dict(
  vocab_size=31,
  hidden_size=24,
  num_layers=3,
  num_heads=4,
  max_position_embeddings=32,
  window_size=3,
  bos_token_id=0,
  eos_token_id=0,
)
MPT = dict(vocab_size=31, d_model=24, n_layers=3, max_seq_len=32, no_bias=True)
BERT = dict(
  vocab_size=31,
  hidden_size=24,
  num_hidden_layers=3,
  num_attention_heads=4,
  intermediate_size=20,
  max_position_embeddings=32,
  **NO_WORDS,
)
ROBERTA = BERT | dict(pad_token_id=1)
ALBERT = BERT | dict(embedding_size=14)
MODERN = without(BERT, 'layer_norm_eps') | dict(
  num_hidden_layers=5, cls_token_id=0, sep_token_id=0, local_attention=4
)
T5 = dict(
  vocab_size=31,
  d_model=24,
  d_kv=6,
  d_ff=20,
  num_layers=3,
  num_heads=4,
  n_positions=32,
  decoder_start_token_id=0,
  pad_token_id=0,
  eos_token_id=1,
)
LN = dict(layer_norm_eps=1e-4)
MIXTRAL = LLAMA | dict(num_local_experts=5, num_experts_per_tok=2)
QWEN_MOE = LLAMA | dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=10)
OLMOE = NO_HEAD_DIM | dict(num_experts=6, num_experts_per_tok=3)
DEEPSEEK = without(LLAMA, 'head_dim') | dict(
  num_key_value_heads=4,
  n_routed_experts=6,
  num_experts_per_tok=2,
  moe_intermediate_size=10,
  first_k_dense_replace=1,
  kv_lora_rank=10,
  q_lora_rank=11,
  qk_nope_head_dim=6,
  qk_rope_head_dim=4,
  v_head_dim=7,
  n_shared_experts=2,
)
MSCALE = rope(
  500.0,
  rope_type='yarn',
  factor=4.0,
  original_max_position_embeddings=8,
  mscale=0.7,
  mscale_all_dim=1.3,
)
GPT_OSS = LLAMA | dict(num_local_experts=5, num_experts_per_tok=2, sliding_window=3)
LLAMA4 = LLAMA | dict(
  num_local_experts=5,
  intermediate_size=10,
  intermediate_size_mlp=20,
  attention_chunk_size=4,
  floor_scale=2,
  num_hidden_layers=4,
)

CONFIGS = {
  'mixtral': (
    MIXTRAL,
    MIXTRAL | TIED | MQA | dict(sliding_window=4, num_experts_per_tok=1),
    NO_HEAD_DIM
    | rope(50.0)
    | dict(num_local_experts=3, num_experts_per_tok=3, hidden_act='relu'),
  ),
  'qwen3_moe': (
    QWEN_MOE | dict(norm_topk_prob=True),
    QWEN_MOE | TIED | dict(mlp_only_layers=[1], attention_bias=True),
    QWEN_MOE
    | YARN
    | dict(
      decoder_sparse_step=2,
      use_sliding_window=True,
      sliding_window=4,
      max_window_layers=1,
    ),
  ),
  'olmoe': (
    OLMOE,
    OLMOE | TIED | MQA | dict(norm_topk_prob=True, attention_bias=True),
    OLMOE | MHA | rope(50.0) | dict(num_experts_per_tok=1),
  ),
  'deepseek_v2': (
    DEEPSEEK,
    DEEPSEEK | TIED | MSCALE | dict(q_lora_rank=None, routed_scaling_factor=1.7),
    DEEPSEEK
    | dict(
      topk_method='group_limited_greedy',
      n_group=3,
      topk_group=2,
      attention_bias=True,
      first_k_dense_replace=0,
      n_shared_experts=1,
      mlp_bias=False,
    ),
  ),
  'deepseek_v3': (
    DEEPSEEK | dict(n_group=3, topk_group=2),
    DEEPSEEK
    | TIED
    | MSCALE
    | dict(
      q_lora_rank=None,
      n_group=1,
      topk_group=1,
      norm_topk_prob=False,
      rope_interleave=False,
    ),
    DEEPSEEK
    | dict(
      n_group=2,
      topk_group=1,
      attention_bias=True,
      routed_scaling_factor=1.1,
      first_k_dense_replace=2,
      rms_norm_eps=1e-4,
    ),
  ),
  'gpt_oss': (
    GPT_OSS,
    GPT_OSS | TIED | rope(99.0) | dict(swiglu_limit=0.4, num_experts_per_tok=1),
    GPT_OSS | MQA | dict(attention_bias=False, layer_types=['full_attention'] * 3),
  ),
  'llama4_text': (
    LLAMA4,
    LLAMA4 | TIED | dict(moe_layers=[0, 3], num_experts_per_tok=2, use_qk_norm=False),
    LLAMA4
    | MQA
    | LLAMA3
    | dict(
      attn_temperature_tuning=False, no_rope_layer_interval=2, attention_chunk_size=3
    ),
  ),
  'llama': (
    LLAMA | LLAMA3,
    NO_HEAD_DIM | MHA | TIED,
    LLAMA | dict(attention_bias=True, mlp_bias=True) | YARN,
  ),
  'qwen2': (
    LLAMA,
    NO_HEAD_DIM | TIED | rope(50.0),
    LLAMA | dict(use_sliding_window=True, sliding_window=4, max_window_layers=1),
  ),
  'qwen3': (
    LLAMA,
    LLAMA | TIED | dict(attention_bias=True) | rope(50.0),
    LLAMA | dict(use_sliding_window=True, sliding_window=4, max_window_layers=2),
  ),
  'gpt2': (
    GPT,
    GPT | dict(n_inner=20, activation_function='relu'),
    GPT | dict(scale_attn_weights=False, tie_word_embeddings=False),
  ),
  'gemma2': (
    LLAMA
    | TIED
    | LAYERS
    | dict(
      query_pre_attn_scalar=10, attn_logit_softcapping=2.0, final_logit_softcapping=3.0
    ),
    LLAMA
    | TIED
    | dict(attn_logit_softcapping=None, final_logit_softcapping=None, sliding_window=4),
    LLAMA | MQA | TIED | rope(100.0) | dict(attention_bias=True),
  ),
  'gemma3_text': (
    LLAMA
    | TIED
    | LAYERS
    | dict(
      query_pre_attn_scalar=10,
      rope_parameters={
        'full_attention': dict(rope_type='default', rope_theta=300.0),
        'sliding_attention': dict(rope_type='default', rope_theta=50.0),
      },
    ),
    LLAMA | TIED | dict(sliding_window=4, final_logit_softcapping=3.0),
    LLAMA
    | MQA
    | TIED
    | LAYERS
    | dict(
      rope_parameters={
        'full_attention': dict(rope_type='linear', factor=8.0, rope_theta=300.0),
        'sliding_attention': dict(rope_type='default', rope_theta=50.0),
      }
    ),
  ),
  'mistral': (
    LLAMA,
    LLAMA | dict(sliding_window=4),
    NO_HEAD_DIM | TIED | dict(sliding_window=None) | rope(99.0),
  ),
  'gpt_neox': (
    NEOX,
    NEOX | dict(use_parallel_residual=False, rotary_pct=1.0, hidden_act='gelu_new'),
    NEOX | dict(attention_bias=False, rotary_pct=0.5, tie_word_embeddings=True),
  ),
  'opt': (
    OPT,
    OPT | dict(enable_bias=False, activation_function='gelu'),
    OPT | dict(do_layer_norm_before=False, word_embed_proj_dim=14),
  ),
  'gptj': (
    GPT | dict(rotary_dim=4),
    GPT | dict(n_inner=20, rotary_dim=6),
    GPT | dict(rotary_dim=2, activation_function='relu'),
  ),
  'gpt_neo': (
    NEO | dict(attention_types=[[['global', 'local'], 1], [['global'], 1]]),
    NEO | dict(attention_types=[[['global'], 3]], intermediate_size=20),
    NEO | dict(attention_types=[[['local'], 3]], activation_function='gelu'),
  ),
  'bloom': (BLOOM, BLOOM | dict(n_head=6), BLOOM | dict(layer_norm_epsilon=1e-3)),
  'mpt': (
    MPT | dict(n_heads=4),
    MPT | dict(n_heads=6),
    MPT | dict(n_heads=4, attn_config=dict(softmax_scale=0.3)),
  ),
  'falcon': (
    FALCON,
    FALCON | dict(multi_query=False, alibi=True, parallel_attn=False, bias=True),
    FALCON | dict(new_decoder_architecture=True, num_kv_heads=2),
  ),
  'gemma': (
    LLAMA | TIED,
    LLAMA | MQA | TIED | rope(50.0),
    LLAMA | MHA | TIED | dict(attention_bias=True),
  ),
  'phi': (
    WIDER | dict(partial_rotary_factor=0.25),
    WIDER | MHA | dict(qk_layernorm=True),
    WIDER | LN | rope(50.0),
  ),
  'phi3': (
    NO_HEAD_DIM,
    NO_HEAD_DIM | TIED | dict(sliding_window=4),
    NO_HEAD_DIM
    | MHA
    | dict(original_max_position_embeddings=8)
    | rope(
      rope_type='longrope', short_factor=[1.0, 1.5, 2.0], long_factor=[2.0, 3.0, 4.0]
    ),
  ),
  'olmo': (
    LAYER_NORM,
    LAYER_NORM | dict(clip_qkv=0.3),
    NEITHER | MHA | TIED | rope(50.0),
  ),
  'olmo2': (LLAMA, LLAMA | TIED | MQA, NO_HEAD_DIM | MHA | dict(attention_bias=True)),
  'olmo3': (
    LLAMA | LAYERS,
    NO_HEAD_DIM | TIED | dict(sliding_window=4),
    LLAMA
    | MHA
    | LAYERS
    | dict(
      rope_parameters={
        'full_attention': YARN['rope_parameters'],
        'sliding_attention': dict(rope_type='default', rope_theta=500.0),
      }
    ),
  ),
  'stablelm': (
    WIDER | LN,
    WIDER | dict(use_qkv_bias=True, qk_layernorm=True),
    WIDER | MHA | TIED | dict(use_parallel_residual=True, partial_rotary_factor=0.5),
  ),
  'starcoder2': (
    NEITHER | TIED,
    NEITHER | dict(use_bias=False, sliding_window=4),
    NEITHER | MQA | dict(norm_epsilon=1e-3),
  ),
  'nemotron': (
    LAYER_NORM | dict(partial_rotary_factor=0.67),
    NEITHER | MHA | TIED | dict(partial_rotary_factor=1.0),
    LAYER_NORM | dict(attention_bias=True, mlp_bias=True, partial_rotary_factor=0.34),
  ),
  'granite': (
    LLAMA
    | dict(
      embedding_multiplier=3.0,
      residual_multiplier=0.4,
      attention_multiplier=0.2,
      logits_scaling=2.0,
    ),
    NO_HEAD_DIM | TIED,
    LLAMA | dict(attention_bias=True, mlp_bias=True),
  ),
  'cohere': (
    LAYER_NORM | LN | TIED | dict(logit_scale=0.3),
    NEITHER | MHA | TIED | dict(use_qk_norm=True),
    LAYER_NORM | TIED | dict(attention_bias=True, use_qk_norm=True),
  ),
  'cohere2': (
    LAYER_NORM
    | LN
    | TIED
    | dict(
      sliding_window=4,
      layer_types=['sliding_attention', 'full_attention'] * 2,
      num_hidden_layers=4,
    ),
    LAYER_NORM | TIED | dict(sliding_window=4),
    NEITHER | TIED | dict(attention_bias=True, logit_scale=0.5),
  ),
  'smollm3': (
    LLAMA | dict(no_rope_layer_interval=2),
    LLAMA | TIED | dict(attention_bias=True),
    NO_HEAD_DIM | MHA | dict(no_rope_layers=[1, 0, 1]),
  ),
  'glm': (
    LLAMA | dict(partial_rotary_factor=0.67),
    LLAMA | TIED | dict(attention_bias=False, partial_rotary_factor=1.0),
    LLAMA | MHA | dict(partial_rotary_factor=0.34),
  ),
  'glm4': (
    LLAMA | dict(partial_rotary_factor=0.67),
    LLAMA | TIED | dict(attention_bias=True, partial_rotary_factor=1.0),
    LLAMA | MHA | dict(partial_rotary_factor=0.34),
  ),
  'gpt_bigcode': (
    GPT,
    GPT | dict(multi_query=False),
    GPT | dict(n_inner=20, scale_attn_weights=False),
  ),
  'openai-gpt': (GPT, GPT | dict(n_head=6), GPT | dict(afn='relu')),
  'xglm': (
    XGLM,
    XGLM | dict(scale_embedding=False),
    XGLM | dict(activation_function='relu'),
  ),
  'bert': (
    BERT,
    BERT | dict(hidden_act='relu', type_vocab_size=3, layer_norm_eps=1e-5),
    BERT | dict(num_attention_heads=6),
  ),
  'roberta': (
    ROBERTA,
    ROBERTA | dict(hidden_act='relu', type_vocab_size=1),
    ROBERTA | dict(pad_token_id=0),
  ),
  'albert': (
    ALBERT,
    ALBERT | dict(hidden_act='relu', num_attention_heads=6),
    ALBERT | dict(num_hidden_layers=1),
  ),
  'modernbert': (
    MODERN,
    MODERN
    | dict(
      attention_bias=True,
      mlp_bias=True,
      norm_bias=True,
      classifier_bias=True,
      classifier_activation='relu',
      local_attention=6,
    ),
    MODERN
    | dict(
      decoder_bias=False,
      hidden_activation='silu',
      rope_parameters={
        'full_attention': dict(rope_type='default', rope_theta=300.0),
        'sliding_attention': dict(rope_type='default', rope_theta=50.0),
      },
      layer_types=['sliding_attention']
      + ['full_attention'] * 2
      + ['sliding_attention'] * 2,
    ),
  ),
  't5': (
    T5,
    T5
    | dict(
      feed_forward_proj='gated-gelu', tie_word_embeddings=False, num_decoder_layers=2
    ),
    T5
    | dict(
      feed_forward_proj='gated-silu',
      relative_attention_num_buckets=8,
      relative_attention_max_distance=6,
    ),
  ),
}
