"""Qwen 1.5, 2 and 2.5 (qwen2), Qwen 3 (qwen3), and Qwen 3 with experts (qwen3_moe).

qwen2 has biases on query, key and value. qwen3 normalizes queries and keys. The router of
qwen3_moe (30B-A3B, 235B-A22B) computes the softmax over all experts before it selects the best.

Source: transformers 5, `models/qwen2`, `models/qwen3` and `models/qwen3_moe`.
"""

from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.experts import EXPERT_NAMES, check_layer_list, dense_layer_fields
from lmhp.hub.families.family import register_family
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WINDOW_IN_UPPER_LAYERS, window_fields
from lmhp.model.config import ModelConfig


def _read_expert_layers(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of the layers with experts.

  Every n-th layer has experts, for n = decoder_sparse_step, except for the layers in
  mlp_only_layers.
  """
  period = reader.take_positive('decoder_sparse_step', 1)
  dense = reader.take('mlp_only_layers', None, list, None) or []
  check_layer_list(reader, 'mlp_only_layers', dense, cfg.n_layers)
  return {'experts_every': period, **dense_layer_fields(dense)}


def _write_expert_layers(cfg: ModelConfig) -> ConfigKeys:
  return {
    'decoder_sparse_step': cfg.experts_every,
    'mlp_only_layers': [*range(cfg.n_dense_layers), *cfg.dense_layers],
  }


def _read_window(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of the window, which all layers of qwen3_moe have, or none has."""
  is_used = reader.take('use_sliding_window', False, bool)
  window = reader.take('sliding_window', 4096, int, None)
  layer = 'local' if is_used and window is not None else 'global'
  return window_fields(reader, [layer], window)


def _write_window(cfg: ModelConfig) -> ConfigKeys:
  window = cfg.windows[0]
  keys: ConfigKeys = {'use_sliding_window': window is not None}
  if window:
    keys['sliding_window'] = window
  return keys


QWEN2 = register_family(
  LLAMA.derive(
    'qwen2',
    defaults={
      'vocab_size': 151_936,
      'intermediate_size': 22_016,
      'num_key_value_heads': 32,
      'max_position_embeddings': 32_768,
    },
    without=('attention_bias', 'mlp_bias'),
    fixed_fields={'qkv_bias': True},
    nullable_keys=('num_key_value_heads',),
    accepted_values={'use_mrope': (False,)},
    converters=(WINDOW_IN_UPPER_LAYERS, Rotary()),
  )
)

QWEN3 = register_family(
  LLAMA.derive(
    'qwen3',
    defaults={
      'vocab_size': 151_936,
      'intermediate_size': 22_016,
      'num_key_value_heads': 32,
      'head_dim': 128,
      'max_position_embeddings': 32_768,
    },
    without=('mlp_bias',),
    accepted_values={'qkv_bias': (False,)},
    fixed_fields={'qk_norm': 'head'},  # with one scale for all heads
    nullable_keys=('num_key_value_heads',),
    converters=(WINDOW_IN_UPPER_LAYERS, Rotary()),
  )
)

QWEN3_MOE = register_family(
  QWEN3.derive(
    'qwen3_moe',
    defaults={
      'hidden_size': 2048,
      'intermediate_size': 6144,
      'num_hidden_layers': 24,
      'num_key_value_heads': 4,
      'head_dim': None,
    },
    keys={
      'num_experts': ('n_experts', 128),
      'num_experts_per_tok': ('experts_per_token', 8),
      'moe_intermediate_size': ('d_ff_expert', 768),
      'norm_topk_prob': ('router_normalize', False),
      'router_aux_loss_coef': ('load_balance_loss', 0.001),
    },
    aliases={'num_local_experts': 'num_experts'},
    nullable_keys=(),
    converters=(
      FunctionConverter(_read_expert_layers, _write_expert_layers),
      FunctionConverter(_read_window, _write_window),
      Rotary(),
    ),
    # The class in transformers does not use max_window_layers.
    ignored_keys=('output_router_logits', 'max_window_layers'),
    tensor_names=EXPERT_NAMES,
  )
)
