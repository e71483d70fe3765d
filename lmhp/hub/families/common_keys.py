"""Keys that a config.json of any model type may have."""

IGNORED_KEYS = frozenset(
  """
  model_type architectures auto_map transformers_version _name_or_path name_or_path
  _commit_hash torch_dtype dtype use_cache bos_token_id eos_token_id pad_token_id
  unk_token_id sep_token_id mask_token_id decoder_start_token_id forced_bos_token_id
  forced_eos_token_id begin_suppress_tokens suppress_tokens bad_words_ids prefix
  tokenizer_class tokenizer_type id2label label2id num_labels problem_type finetuning_task
  task_specific_params classifier_dropout output_hidden_states output_attentions
  output_scores return_dict return_dict_in_generate torchscript use_bfloat16
  tf_legacy_loss gradient_checkpointing chunk_size_feed_forward is_decoder
  cross_attention_hidden_size tie_encoder_decoder encoder_no_repeat_ngram_size
  diversity_penalty do_sample early_stopping length_penalty max_length min_length
  no_repeat_ngram_size num_beam_groups num_beams num_return_sequences
  remove_invalid_values repetition_penalty temperature top_k top_p typical_p
  exponential_decay_length_penalty cache_implementation attn_implementation
  _attn_implementation _attn_implementation_autoset _attn_implementation_internal
  _experts_implementation_internal _flash_attn_2_enabled pretraining_tp
  tie_last_hidden_states unsloth_fixed unsloth_version
  transformers.js_config quantization_config quantization compression_config
  attention_probs_dropout_prob hidden_dropout_prob summary_dropout
  use_flash_attention use_flash_attention_2 use_flash_attn use_return_dict
  tokenizer_name max_sequence_length model_max_length is_llama_config
  """.split()
)
"""Keys about storage, labels, tokens, sampling or training.

Classes of transformers that do not list such a key do not read it. A family that reads one, such
as the dropout rate of BERT, reads it before this list is used. quantization_config describes how
the weights are stored, which `lmhp.hub.pretrained` refuses.
"""

QUANTIZATION_KEYS = ('quantization_config', 'quantization', 'compression_config')
"""Keys of quantized weights: of transformers, of MLX and of compressed-tensors."""

ACCEPTED_VALUES = {
  'is_encoder_decoder': (False,),
  # Embedding models with False attend to later tokens too.
  'is_causal': (True,),
  'add_cross_attention': (False,),
  'pruned_heads': ({}, None),
}
"""{key: accepted values}, which do not change the model. The first value is the default."""

SUMMARY_KEYS = (
  'summary_type',
  'summary_use_proj',
  'summary_activation',
  'summary_proj_to_labels',
  'summary_first_dropout',
)
"""Keys of the classification head of GPT-2, GPT-J and GPT-Neo. Language models ignore them."""
