"""Qwen 3 with experts (30B-A3B, 235B-A22B), and OLMoE.

The router takes the softmax over all experts before it selects the best ones.

Source: transformers 5, `models/qwen3_moe` and `models/olmoe`.
"""

from __future__ import annotations

from lmhp.hub.families.config_reader import ConfigReader
from lmhp.hub.families.converters import ConfigKeys, FunctionConverter, ModelFields
from lmhp.hub.families.experts import (
  EXPERT_NAMES,
  dense_layer_fields,
  is_layer_list,
)
from lmhp.hub.families.olmo import OLMO2
from lmhp.hub.families.qwen import QWEN3
from lmhp.hub.families.registry import register_family
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import window_fields
from lmhp.model.config import ModelConfig


def _read_expert_layers(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of the layers with experts.

  Every n-th layer has experts, except for the layers in mlp_only_layers.
  """
  period = reader.take_positive('decoder_sparse_step', 1)
  dense = reader.take('mlp_only_layers', None, list, None) or []
  if not is_layer_list(dense, cfg.n_layers):
    accepted = f'indices of layers below {cfg.n_layers}'
    raise reader.error('mlp_only_layers', dense, accepted)
  return {'experts_every': period, **dense_layer_fields(dense)}


def _write_expert_layers(cfg: ModelConfig) -> ConfigKeys:
  return {
    'decoder_sparse_step': cfg.experts_every,
    'mlp_only_layers': [*range(cfg.n_dense_layers), *cfg.dense_layers],
  }


def _read_window(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of the window. All layers have it, whatever max_window_layers is."""
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
    converters=(
      FunctionConverter(_read_expert_layers, _write_expert_layers),
      FunctionConverter(_read_window, _write_window),
      Rotary(),
    ),
    ignored_keys=('output_router_logits', 'max_window_layers'),
    tensor_names=EXPERT_NAMES,
  )
)

OLMOE = register_family(
  OLMO2.derive(
    'olmoe',
    defaults={
      'hidden_size': 2048,
      'intermediate_size': 2048,
      'num_hidden_layers': 16,
      'num_attention_heads': 16,
      'max_position_embeddings': 4096,
    },
    # Unlike OLMo 2, it normalizes the inputs of the parts.
    fixed_fields={'norm_placement': 'pre', 'qk_norm': 'full'},
    keys={
      'num_experts': ('n_experts', 64),
      'num_experts_per_tok': ('experts_per_token', 8),
      'norm_topk_prob': ('router_normalize', False),
      'router_aux_loss_coef': ('load_balance_loss', 0.01),
    },
    aliases={'num_local_experts': 'num_experts'},
    accepted_values={'clip_qkv': (None,)},
    ignored_keys=('output_router_logits',),
    tensor_names=EXPERT_NAMES,
  )
)
