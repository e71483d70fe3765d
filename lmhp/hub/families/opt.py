"""OPT and Galactica (learned positions from row 2 on) and XGLM (sinusoidal ones)."""

from typing import Any

from lmhp.hub.families.family import CheckpointFamily, Entries, TwoWay
from lmhp.model.config import ModelConfig


def _norms(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """OPT-350M alone normalizes after the parts, and then has no final normalization."""
  before = entries.take('do_layer_norm_before', True, bool)
  removed = entries.take('_remove_final_layer_norm', False, bool)
  affine = entries.take('layer_norm_elementwise_affine', True, bool)
  return {
    'norm_placement': 'pre' if before else 'post',
    'final_norm': before and not removed,
    'norm_affine': affine,
    'norm_bias': affine,
  }


def _write_norms(cfg: ModelConfig) -> dict[str, Any]:
  before = cfg.norm_placement == 'pre'
  return {
    'do_layer_norm_before': before,
    '_remove_final_layer_norm': before and not cfg.final_norm,
    'layer_norm_elementwise_affine': cfg.norm_affine,
  }


def _embedding_scale(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  return (
    {'embedding_scale': cfg.d_model**0.5}
    if entries.take('scale_embedding', True, bool)
    else {}
  )


OPT = CheckpointFamily(
  model_type='opt',
  always=dict(position='learned', position_offset=2, init='normal'),
  keys={
    'vocab_size': ('vocab_size', 50_272),
    'hidden_size': ('d_model', 768),
    'word_embed_proj_dim': ('embedding_dim', None),
    'num_hidden_layers': ('n_layers', 12),
    'num_attention_heads': ('n_heads', 12),
    'ffn_dim': ('d_ff', 3072),
    'activation_function': ('activation', 'relu'),
    'max_position_embeddings': ('max_seq_len', 2048),
    'dropout': ('residual_dropout', 0.1),
    'attention_dropout': ('attention_dropout', 0.0),
    'init_std': ('init_scale', 0.02),
    'enable_bias': ('qkv_bias attention_output_bias feed_forward_bias', True),
    'tie_word_embeddings': ('tie_embeddings', True),
  },
  only={'layerdrop': (0.0,), 'activation_dropout': (0.0,)},
  parts=(TwoWay(_norms, _write_norms),),
  layers='model.decoder.layers.{i}',
  names={
    'embedding': 'model.decoder.embed_tokens',
    'embedding/project': 'model.decoder.project_in',
    'positional': 'model.decoder.embed_positions',
    'attention_input_norm': '.self_attn_layer_norm',
    'attention_residual_norm': '.self_attn_layer_norm',
    'attention/query': '.self_attn.q_proj',
    'attention/key': '.self_attn.k_proj',
    'attention/value': '.self_attn.v_proj',
    'attention/output': '.self_attn.out_proj',
    'feed_forward_input_norm': '.final_layer_norm',
    'feed_forward_residual_norm': '.final_layer_norm',
    'feed_forward/up': '.fc1',
    'feed_forward/down': '.fc2',
    'final_norm': 'model.decoder.final_layer_norm',
    'output/project': 'model.decoder.project_out',
    'output': 'lm_head',
  },
)

XGLM = CheckpointFamily(
  model_type='xglm',
  always=dict(
    position='sinusoidal',
    position_offset=2,
    norm_bias=True,
    qkv_bias=True,
    attention_output_bias=True,
    feed_forward_bias=True,
    init='normal',
  ),
  keys={
    'vocab_size': ('vocab_size', 256_008),
    'd_model': ('d_model', 1024),
    'num_layers': ('n_layers', 24),
    'attention_heads': ('n_heads', 16),
    'ffn_dim': ('d_ff', 4096),
    'activation_function': ('activation', 'gelu'),
    'max_position_embeddings': ('max_seq_len', 2048),
    'dropout': ('embedding_dropout residual_dropout', 0.1),
    'attention_dropout': ('attention_dropout', 0.1),
    'init_std': ('init_scale', 0.02),
    'tie_word_embeddings': ('tie_embeddings', True),
  },
  only={'layerdrop': (0.0,), 'activation_dropout': (0.0,)},
  aliases={
    'hidden_size': 'd_model',
    'num_attention_heads': 'attention_heads',
    'num_hidden_layers': 'num_layers',
  },
  parts=(
    TwoWay(
      _embedding_scale, lambda cfg: {'scale_embedding': cfg.embedding_scale != 1.0}
    ),
  ),
  layers='model.layers.{i}',
  names=OPT.names
  | {'embedding': 'model.embed_tokens', 'final_norm': 'model.layer_norm'},
)
