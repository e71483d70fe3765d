"""Keys of small models, which `small_checkpoints` combines."""

LLAMA = {
  'vocab_size': 31,
  'hidden_size': 24,
  'intermediate_size': 20,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'head_dim': 6,
  'max_position_embeddings': 32,
  'tie_word_embeddings': False,
  'pad_token_id': 0,
  'bos_token_id': 0,
  'eos_token_id': 0,
  'rms_norm_eps': 1e-6,
}
GPT = {
  'vocab_size': 31,
  'n_embd': 24,
  'n_layer': 3,
  'n_head': 4,
  'n_positions': 32,
  'bos_token_id': 0,
  'eos_token_id': 0,
}
SPECIAL_TOKENS = {'bos_token_id': 0, 'eos_token_id': 0, 'pad_token_id': 0}


def rope(base=1e4, **changes):
  """Returns the key rope_parameters."""
  default = {'rope_type': 'default', 'rope_theta': base}
  return {'rope_parameters': default | changes}


def without(config, *keys):
  """Returns a config without some keys."""
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
LLAMA_WITHOUT_HEAD_DIM = without(LLAMA, 'head_dim')
# Some classes have another name for the epsilon.
LLAMA_WITHOUT_EPS = without(LLAMA, 'rms_norm_eps')
LLAMA_WITHOUT_HEAD_DIM_AND_EPS = without(LLAMA_WITHOUT_EPS, 'head_dim')
# A half or a quarter of a head of size 8 can rotate.
WIDE_LLAMA = LLAMA_WITHOUT_HEAD_DIM_AND_EPS | {'hidden_size': 32}
MULTI_HEAD = {'num_key_value_heads': 4}
MULTI_QUERY = {'num_key_value_heads': 1}
TIED = {'tie_word_embeddings': True}
LAYER_TYPES = {
  'layer_types': ['sliding_attention', 'full_attention', 'full_attention'],
  'sliding_window': 3,
}
GPT_NEOX = {
  'vocab_size': 31,
  'hidden_size': 32,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'intermediate_size': 20,
  'max_position_embeddings': 32,
  **SPECIAL_TOKENS,
}
BLOOM = {
  'vocab_size': 31,
  'hidden_size': 24,
  'n_layer': 3,
  'n_head': 4,
  **SPECIAL_TOKENS,
}
FALCON = {
  'vocab_size': 31,
  'hidden_size': 24,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  **SPECIAL_TOKENS,
}
OPT = {
  'vocab_size': 31,
  'hidden_size': 24,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'ffn_dim': 20,
  'max_position_embeddings': 32,
  'word_embed_proj_dim': 24,
  **SPECIAL_TOKENS,
}
XGLM = {
  'vocab_size': 31,
  'd_model': 24,
  'num_layers': 3,
  'attention_heads': 4,
  'ffn_dim': 20,
  'max_position_embeddings': 32,
  'pad_token_id': 1,
  'bos_token_id': 0,
  'eos_token_id': 0,
}
GPT_NEO = {
  'vocab_size': 31,
  'hidden_size': 24,
  'num_layers': 3,
  'num_heads': 4,
  'max_position_embeddings': 32,
  'window_size': 3,
  'bos_token_id': 0,
  'eos_token_id': 0,
}
MPT = {
  'vocab_size': 31,
  'd_model': 24,
  'n_layers': 3,
  'max_seq_len': 32,
  'no_bias': True,
}
BERT = {
  'vocab_size': 31,
  'hidden_size': 24,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'intermediate_size': 20,
  'max_position_embeddings': 32,
  **SPECIAL_TOKENS,
}
ROBERTA = BERT | {'pad_token_id': 1}
ALBERT = BERT | {'embedding_size': 14}
MODERNBERT = without(BERT, 'layer_norm_eps') | {
  'num_hidden_layers': 5,
  'cls_token_id': 0,
  'sep_token_id': 0,
  'local_attention': 4,
}
T5 = {
  'vocab_size': 31,
  'd_model': 24,
  'd_kv': 6,
  'd_ff': 20,
  'num_layers': 3,
  'num_heads': 4,
  'n_positions': 32,
  'decoder_start_token_id': 0,
  'pad_token_id': 0,
  'eos_token_id': 1,
}
LAYER_NORM_EPS = {'layer_norm_eps': 1e-4}
MIXTRAL = LLAMA | {'num_local_experts': 5, 'num_experts_per_tok': 2}
QWEN3_MOE = LLAMA | {
  'num_experts': 6,
  'num_experts_per_tok': 3,
  'moe_intermediate_size': 10,
}
OLMOE = LLAMA_WITHOUT_HEAD_DIM | {'num_experts': 6, 'num_experts_per_tok': 3}
DEEPSEEK = without(LLAMA, 'head_dim') | {
  'num_key_value_heads': 4,
  'n_routed_experts': 6,
  'num_experts_per_tok': 2,
  'moe_intermediate_size': 10,
  'first_k_dense_replace': 1,
  'kv_lora_rank': 10,
  'q_lora_rank': 11,
  'qk_nope_head_dim': 6,
  'qk_rope_head_dim': 4,
  'v_head_dim': 7,
  'n_shared_experts': 2,
}
YARN_WITH_MSCALE = rope(
  500.0,
  rope_type='yarn',
  factor=4.0,
  original_max_position_embeddings=8,
  mscale=0.7,
  mscale_all_dim=1.3,
)
GPT_OSS = LLAMA | {
  'num_local_experts': 5,
  'num_experts_per_tok': 2,
  'sliding_window': 3,
}
LLAMA4 = LLAMA | {
  'num_local_experts': 5,
  'intermediate_size': 10,
  'intermediate_size_mlp': 20,
  'attention_chunk_size': 4,
  'floor_scale': 2,
  'num_hidden_layers': 4,
}
