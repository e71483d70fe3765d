"""GPT-2 and its kin: GPT-BigCode (SantaCoder, StarCoder: one key and value head) and GPT-1 (norms after the parts)."""

from typing import Any

from lmhp.hub.families.family import CheckpointFamily, Entries, TwoWay
from lmhp.model.config import ModelConfig

_SUMMARY = (
  'summary_type',
  'summary_use_proj',
  'summary_activation',
  'summary_proj_to_labels',
  'summary_first_dropout',
)


def _attention_scale(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  return (
    {} if entries.take('scale_attn_weights', True, bool) else {'attention_scale': 1.0}
  )


def _one_key_head(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  return {'n_kv_heads': 1 if entries.take('multi_query', True, bool) else cfg.n_heads}


def _first_gelu(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """GPT-1's class calls the tanh form gelu."""
  return {'activation': 'gelu_tanh'} if cfg.activation == 'gelu' else {}


def _write_scale(cfg: ModelConfig) -> dict[str, Any]:
  return {'scale_attn_weights': cfg.attention_scale != 1.0}


GPT2 = CheckpointFamily(
  model_type='gpt2',
  always=dict(
    position='learned',
    norm_bias=True,
    qkv_bias=True,
    attention_output_bias=True,
    feed_forward_bias=True,
    init='gpt2',
  ),
  keys={
    'vocab_size': ('vocab_size', 50_257),
    'n_positions': ('max_seq_len', 1024),
    'n_embd': ('d_model', 768),
    'n_layer': ('n_layers', 12),
    'n_head': ('n_heads', 12),
    'n_inner': ('d_ff', None),
    'activation_function': ('activation', 'gelu_new'),
    'embd_pdrop': ('embedding_dropout', 0.1),
    'attn_pdrop': ('attention_dropout', 0.1),
    'resid_pdrop': ('residual_dropout', 0.1),
    'layer_norm_epsilon': ('norm_eps', 1e-5),
    'initializer_range': ('init_scale', 0.02),
    'tie_word_embeddings': ('tie_embeddings', True),
  },
  only={'scale_attn_by_inverse_layer_idx': (False,)},
  unused=('n_ctx', 'reorder_and_upcast_attn', *_SUMMARY),
  aliases={
    'hidden_size': 'n_embd',
    'max_position_embeddings': 'n_positions',
    'num_attention_heads': 'n_head',
    'num_hidden_layers': 'n_layer',
  },
  parts=(TwoWay(_attention_scale, _write_scale),),
  layers='transformer.h.{i}',
  names={
    'embedding': 'transformer.wte',
    'positional': 'transformer.wpe',
    'attention_input_norm': '.ln_1',
    'attention/query attention/key attention/value': '.attn.c_attn',
    'attention/output': '.attn.c_proj',
    'feed_forward_input_norm': '.ln_2',
    'feed_forward/up': '.mlp.c_fc',
    'feed_forward/down': '.mlp.c_proj',
    'final_norm': 'transformer.ln_f',
    'output': 'lm_head',
  },
  transposed=True,
)

GPT_BIGCODE = GPT2.but(
  'gpt_bigcode',
  defaults={'activation_function': 'gelu_pytorch_tanh'},
  unused=GPT2.unused
  + (
    'attention_softmax_in_fp32',
    'scale_attention_softmax_in_fp32',
    'inference_runner',
    'max_batch_size',
    'max_sequence_length',
    'pad_key_length',
    'pre_allocate_kv_cache',
    'validate_runner_input',
    'num_key_value_heads',
  ),
  parts=(
    TwoWay(_attention_scale, _write_scale),
    TwoWay(_one_key_head, lambda cfg: {'multi_query': cfg.n_kv_heads == 1}),
  ),
  grouped=True,
  transposed=False,
)

OPENAI_GPT = GPT2.but(
  'openai-gpt',
  defaults={'vocab_size': 40_478, 'n_positions': 512},
  without=('activation_function', 'n_inner'),
  always=dict(norm_placement='post', init='normal'),
  keys={'afn': ('activation', 'gelu')},
  unused=GPT2.unused + ('n_special', 'predict_special_tokens'),
  parts=(_first_gelu,),
  names={
    'embedding': 'transformer.tokens_embed',
    'positional': 'transformer.positions_embed',
    'attention_residual_norm': '.ln_1',
    'feed_forward_residual_norm': '.ln_2',
  },
)
