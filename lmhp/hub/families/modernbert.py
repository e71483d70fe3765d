"""ModernBERT: an encoder with rotary positions, gates, norms before the parts, and windows in two layers of three."""

from typing import Any

from lmhp.hub.families.family import CheckpointFamily, Entries, TwoWay
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import fields_of, listed_layers, words_of_layers
from lmhp.model.config import ModelConfig


def _windows(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """local_attention is the width of the window, half of it on each side of the token itself."""
  width = entries.take('local_attention', 128, int)
  every = entries.take('global_attn_every_n_layers', 3, int)
  if every < 1:
    raise entries.wrong(
      'global_attn_every_n_layers', every, 'a whole number of at least 1'
    )
  layers = listed_layers(entries, cfg) or [
    'local' if i % every else 'global' for i in range(cfg.n_layers)
  ]
  return fields_of(entries, layers, width // 2 + 1)


def _write_windows(cfg: ModelConfig) -> dict[str, Any]:
  width = {'local_attention': 2 * (cfg.sliding_window - 1)} if any(cfg.windows) else {}
  return {'layer_types': words_of_layers(cfg)} | width


MODERNBERT = CheckpointFamily(
  model_type='modernbert',
  always=dict(
    architecture='encoder',
    gated=True,
    embedding_norm=True,
    first_attention_norm=False,
    head_transform=True,
    init='normal',
  ),
  keys={
    'vocab_size': ('vocab_size', 50_368),
    'hidden_size': ('d_model', 768),
    'intermediate_size': ('d_ff', 1152),
    'num_hidden_layers': ('n_layers', 22),
    'num_attention_heads': ('n_heads', 12),
    'hidden_activation': ('activation', 'gelu'),
    'max_position_embeddings': ('max_seq_len', 8192),
    'initializer_range': ('init_scale', 0.02),
    'norm_eps': ('norm_eps', 1e-5),
    'norm_bias': ('norm_bias', False),
    'attention_bias': ('qkv_bias attention_output_bias', False),
    'mlp_bias': ('feed_forward_bias', False),
    'embedding_dropout': ('embedding_dropout', 0.0),
    'classifier_bias': ('head_transform_bias', False),
    'classifier_activation': ('head_activation', 'gelu'),
    'decoder_bias': ('head_bias', True),
    'tie_word_embeddings': ('tie_embeddings', True),
  },
  only={'attention_dropout': (0.0,), 'mlp_dropout': (0.0,)},
  unused=(
    'cls_token_id',
    'classifier_pooling',
    'classifier_dropout',
    'deterministic_flash_attn',
    'layer_norm_eps',
    'initializer_cutoff_factor',
    'sparse_prediction',
    'sparse_pred_ignore_index',
    'reference_compile',
    'repad_logits_with_grad',
    'position_embedding_type',
  ),
  parts=(
    TwoWay(_windows, _write_windows),
    Rotary(
      160_000.0,
      'global_rope_theta',
      base_local=10_000.0,
      base_local_key='local_rope_theta',
    ),
  ),
  layers='model.layers.{i}',
  names={
    'embedding': 'model.embeddings.tok_embeddings',
    'embedding_norm': 'model.embeddings.norm',
    'attention_input_norm': '.attn_norm',
    'attention/query attention/key attention/value': '.attn.Wqkv',
    'attention/output': '.attn.Wo',
    'feed_forward_input_norm': '.mlp_norm',
    'feed_forward/gate feed_forward/up': '.mlp.Wi',
    'feed_forward/down': '.mlp.Wo',
    'final_norm': 'model.final_norm',
    'output/transform': 'head.dense',
    'output/transform_norm': 'head.norm',
    'output': 'decoder',
  },
)
