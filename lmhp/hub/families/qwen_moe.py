"""Qwen 3 with experts (30B-A3B, 235B-A22B), and OLMoE: a softmax over all experts before the best are taken."""

from __future__ import annotations

from typing import Any

from lmhp.hub.families.family import Entries, TwoWay
from lmhp.hub.families.olmo import OLMO2
from lmhp.hub.families.qwen import QWEN3
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import fields_of
from lmhp.model.config import ModelConfig

EXPERTS = {
  'experts/router': '.mlp.gate',
  'experts/gate': '.mlp.experts.{e}.gate_proj',
  'experts/up': '.mlp.experts.{e}.up_proj',
  'experts/down': '.mlp.experts.{e}.down_proj',
}


def _layers_of_experts(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """Which layers have experts: every n-th, without those that mlp_only_layers lists."""
  every = entries.take('decoder_sparse_step', 1, int)
  dense = entries.take('mlp_only_layers', None, list, None) or []
  if every < 1:
    raise entries.wrong('decoder_sparse_step', every, 'a whole number of at least 1')
  if not all(
    isinstance(i, int) and not isinstance(i, bool) and 0 <= i < cfg.n_layers
    for i in dense
  ):
    raise entries.wrong(
      'mlp_only_layers', dense, f'numbers of layers below {cfg.n_layers}'
    )
  return {'experts_every': every} | dense_fields(dense)


def dense_fields(layers: list[int]) -> dict[str, Any]:
  """These layers without experts, the first few as a number."""
  layers = sorted(set(layers))
  n = next((i for i, layer in enumerate(layers) if layer != i), len(layers))
  return {'n_dense_layers': n, 'dense_layers': tuple(layers[n:])}


def _write_layers(cfg: ModelConfig) -> dict[str, Any]:
  return {
    'decoder_sparse_step': cfg.experts_every,
    'mlp_only_layers': [*range(cfg.n_dense_layers), *cfg.dense_layers],
  }


def _window(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """With use_sliding_window all layers have one, whatever max_window_layers says."""
  used, window = (
    entries.take('use_sliding_window', False, bool),
    entries.take('sliding_window', 4096, int, None),
  )
  return fields_of(
    entries, ['local' if used and window is not None else 'global'], window
  )


def _write_window(cfg: ModelConfig) -> dict[str, Any]:
  return {'use_sliding_window': cfg.windows[0] is not None} | (
    {'sliding_window': cfg.windows[0]} if cfg.windows[0] else {}
  )


QWEN3_MOE = QWEN3.but(
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
  parts=(
    TwoWay(_layers_of_experts, _write_layers),
    TwoWay(_window, _write_window),
    Rotary(),
  ),
  unused=('output_router_logits', 'max_window_layers'),
  names=EXPERTS,
)

OLMOE = OLMO2.but(
  'olmoe',
  defaults={
    'hidden_size': 2048,
    'intermediate_size': 2048,
    'num_hidden_layers': 16,
    'num_attention_heads': 16,
    'max_position_embeddings': 4096,
  },
  always=dict(norm_placement='pre', qk_norm='full'),
  keys={
    'num_experts': ('n_experts', 64),
    'num_experts_per_tok': ('experts_per_token', 8),
    'norm_topk_prob': ('router_normalize', False),
    'router_aux_loss_coef': ('load_balance_loss', 0.01),
  },
  aliases={'num_local_experts': 'num_experts'},
  only={'clip_qkv': (None,)},
  unused=('output_router_logits',),
  names=EXPERTS,
)
