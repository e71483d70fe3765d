"""Falcon 7B (one key and value head, one normalization), 40B and 180B (new_decoder_architecture: several, two)."""

from typing import Any

from lmhp.hub.families.bloom import BLOOM
from lmhp.hub.families.family import CheckpointFamily, Entries, TwoWay
from lmhp.hub.families.rotary import Rotary
from lmhp.model.config import ModelConfig


def _heads_and_norms(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """num_kv_heads counts only without multi_query or in the new architecture, whose parallel parts may share a norm."""
  new = entries.take('new_decoder_architecture', False, bool, None)
  multi_query = entries.take('multi_query', True, bool, None)
  parallel = bool(entries.take('parallel_attn', True, bool, None))
  norms = entries.take('num_ln_in_parallel_attn', None, int, None)
  kv_heads = entries.take('num_kv_heads', None, int, None) or cfg.n_heads
  if new and not parallel:
    raise entries.wrong(
      'parallel_attn', False, 'true where new_decoder_architecture is'
    )
  if norms not in ((None, 1, 2) if new else (None, 1)):
    raise entries.wrong(
      'num_ln_in_parallel_attn', norms, '1, or 2 where new_decoder_architecture is true'
    )
  return {
    'n_kv_heads': kv_heads if new or not multi_query else 1,
    'parallel_residual': parallel,
    'shared_norm': parallel and not (new and norms in (None, 2)),
  }


def _positions(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """Falcon-RW has ALiBi, which it divides by sqrt(K) with the logits; the others rotate."""
  rotary = Rotary()(entries, cfg)
  if not entries.take('alibi', False, bool, None):
    return rotary
  return {'position': 'alibi', 'alibi_scale': cfg.head_dim**-0.5}


def _write_heads_and_norms(cfg: ModelConfig) -> dict[str, Any]:
  two_norms = cfg.parallel_residual and not cfg.shared_norm
  new = two_norms or cfg.n_kv_heads not in (1, cfg.n_heads)
  norms = {'num_ln_in_parallel_attn': 2 if two_norms else 1} if new else {}
  return {
    'new_decoder_architecture': new,
    'multi_query': cfg.n_kv_heads == 1,
    'num_kv_heads': cfg.n_kv_heads,
    'parallel_attn': cfg.parallel_residual,
  } | norms


def _write_positions(cfg: ModelConfig) -> dict[str, Any]:
  return {'alibi': cfg.position == 'alibi'} | Rotary().write(cfg)


def _names(cfg: ModelConfig) -> dict[str, str]:
  """BLOOM's, but two parallel norms have names of their own."""
  if cfg.parallel_residual and not cfg.shared_norm:
    return BLOOM.names | {
      'attention_input_norm': '.ln_attn',
      'feed_forward_input_norm': '.ln_mlp',
    }
  return BLOOM.names


FALCON = CheckpointFamily(
  model_type='falcon',
  always=dict(norm_bias=True, init='normal'),
  keys={
    'vocab_size': ('vocab_size', 65_024),
    'hidden_size': ('d_model', 4544),
    'num_hidden_layers': ('n_layers', 32),
    'num_attention_heads': ('n_heads', 71),
    'ffn_hidden_size': ('d_ff', None),
    'activation': ('activation', 'gelu'),
    'max_position_embeddings': ('max_seq_len', 2048),
    'layer_norm_epsilon': ('norm_eps', 1e-5),
    'initializer_range': ('init_scale', 0.02),
    'bias': ('qkv_bias attention_output_bias feed_forward_bias', False),
    'tie_word_embeddings': ('tie_embeddings', True),
  },
  # transformers' class uses its dropout rates at other places than ours
  only={
    'hidden_dropout': (0.0,),
    'attention_dropout': (0.0,),
    'apply_residual_connection_post_layernorm': (False,),
    'ff_factor': (4,),
  },
  aliases={'n_embed': 'hidden_size'},
  parts=(
    TwoWay(_heads_and_norms, _write_heads_and_norms),
    TwoWay(_positions, _write_positions),
  ),
  layers=BLOOM.layers,
  names=_names,
  grouped=True,
)
