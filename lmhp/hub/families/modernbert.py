"""ModernBERT: an encoder with rotary positions and a gated feed-forward part.

A normalization precedes each feed-forward part, and each attention part except the first one. Two
of three layers have a window.

Source: transformers 5, `models/modernbert`.
"""

from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.family import CheckpointFamily, register_family
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import (
  read_layer_types,
  window_fields,
  write_layer_types,
)
from lmhp.model.config import ModelConfig


def _read_windows(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of the windows.

  local_attention is the full width of a window: half of it is on each side of the token.
  `sliding_window` is the token and one side: 65 for local_attention=128.
  """
  width = reader.take('local_attention', 128, int)
  period = reader.take_positive('global_attn_every_n_layers', 3)
  # The first layer has the index 0, so it has no window.
  default = ['local' if i % period else 'global' for i in range(cfg.n_layers)]
  layers = read_layer_types(reader, cfg, default)
  return window_fields(reader, layers, width // 2 + 1)


def _write_windows(cfg: ModelConfig) -> ConfigKeys:
  keys: ConfigKeys = {'layer_types': write_layer_types(cfg)}
  if cfg.sliding_window is not None and any(cfg.windows):
    keys['local_attention'] = 2 * (cfg.sliding_window - 1)
  return keys


MODERNBERT = register_family(
  CheckpointFamily(
    model_type='modernbert',
    fixed_fields={
      'architecture': 'encoder',
      'gated': True,
      'embedding_norm': True,
      # The first attention needs no normalization, because the embedding is normalized.
      'first_attention_norm': False,
      'head_transform': True,
      'init': 'normal',
    },
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
    accepted_values={'attention_dropout': (0.0,), 'mlp_dropout': (0.0,)},
    ignored_keys=(
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
    converters=(
      FunctionConverter(_read_windows, _write_windows),
      Rotary(
        160_000.0,
        'global_rope_theta',
        base_local=10_000.0,
        base_local_key='local_rope_theta',
      ),
    ),
    layer_name='model.layers.{i}',
    tensor_names={
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
)
