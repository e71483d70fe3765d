"""The language model of Llama 4: experts whose input is scaled, chunks of attention, some layers without positions."""

from __future__ import annotations

from typing import Any

from lmhp.hub.families.family import Entries, TwoWay
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.qwen_moe import dense_fields
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.smollm3 import layers_without_positions
from lmhp.hub.families.windows import shortest
from lmhp.model.config import ModelConfig

_WORDS = {'full_attention': 'global', 'chunked_attention': 'local'}


def _layers_of_experts(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """Every n-th layer has experts, or those that moe_layers lists."""
  every, listed = (
    entries.take('interleave_moe_layer_step', 1, int),
    entries.take('moe_layers', None, list, None),
  )
  if every < 1:
    raise entries.wrong(
      'interleave_moe_layer_step', every, 'a whole number of at least 1'
    )
  if listed is None or listed == list(range(every - 1, cfg.n_layers, every)):
    return {'experts_every': every}
  if not all(
    isinstance(i, int) and not isinstance(i, bool) and 0 <= i < cfg.n_layers
    for i in listed
  ):
    raise entries.wrong('moe_layers', listed, f'numbers of layers below {cfg.n_layers}')
  return dense_fields([i for i in range(cfg.n_layers) if i not in listed])


def _chunks(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """Layers with positions see the tokens of their own chunk; the others see all, some with warmer queries."""
  chunk, listed = (
    entries.take('attention_chunk_size', 8192, int, None),
    entries.take('layer_types', None, list, None),
  )
  layers = [
    'local' if positioned and chunk else 'global' for positioned in _positioned(cfg)
  ]
  if listed is not None:
    if len(listed) != cfg.n_layers or not all(
      isinstance(one, str) and one in _WORDS for one in listed
    ):
      raise entries.wrong(
        'layer_types',
        listed,
        f'full_attention or chunked_attention for each of {cfg.n_layers} layers',
      )
    layers = [_WORDS[one] for one in listed]
  tuned, floor = (
    entries.take('attn_temperature_tuning', True, bool, int),
    entries.take('floor_scale', 8192, int),
  )
  scale = entries.take('attn_scale', 0.1, float)
  fields = (
    {'attention_temperature': float(scale), 'temperature_floor': floor} if tuned else {}
  )
  if 'local' in layers:
    if not chunk:
      raise entries.wrong(
        'attention_chunk_size',
        chunk,
        'a whole number of at least 1, as some layers have chunks',
      )
    fields |= {'attention_pattern': shortest(layers), 'attention_chunk': chunk}
  return fields


def _positioned(cfg: ModelConfig) -> list[bool]:
  return [
    not (cfg.no_position_every and (i + 1) % cfg.no_position_every == 0)
    for i in range(cfg.n_layers)
  ]


def _write_chunks(cfg: ModelConfig) -> dict[str, Any]:
  words = {ours: theirs for theirs, ours in _WORDS.items()}
  return {
    'attention_chunk_size': cfg.attention_chunk,
    'attn_temperature_tuning': cfg.attention_temperature > 0,
    'layer_types': [
      words['global' if window is None else 'local'] for window in cfg.windows
    ],
    'floor_scale': cfg.temperature_floor,
    'attn_scale': cfg.attention_temperature or 0.1,
  }


def _write_norm(cfg: ModelConfig) -> dict[str, Any]:
  return {'use_qk_norm': cfg.qk_norm == 'l2'}


LLAMA4_TEXT = LLAMA.but(
  'llama4_text',
  defaults={
    'vocab_size': 202_048,
    'hidden_size': 5120,
    'num_hidden_layers': 48,
    'num_attention_heads': 40,
    'num_key_value_heads': 8,
    'head_dim': 128,
    'max_position_embeddings': 131_072,
    'rms_norm_eps': 1e-5,
  },
  without=('mlp_bias', 'intermediate_size'),
  always=dict(
    rotary_interleaved=True,
    router_score='sigmoid',
    router_normalize=False,
    expert_input_scaled=True,
    n_shared_experts=1,
  ),
  keys={
    'intermediate_size': ('d_ff_expert', 8192),
    'intermediate_size_mlp': ('d_ff', 16_384),
    'num_local_experts': ('n_experts', 16),
    'num_experts_per_tok': ('experts_per_token', 1),
    'router_aux_loss_coef': ('load_balance_loss', 0.001),
  },
  only={'router_jitter_noise': (0.0,), 'for_llm_compressor': (False,)},
  parts=(
    TwoWay(
      _layers_of_experts,
      lambda cfg: {
        'moe_layers': [i for i in range(cfg.n_layers) if cfg.has_experts([i])]
      },
    ),
    TwoWay(
      layers_without_positions,
      lambda cfg: {'no_rope_layer_interval': cfg.no_position_every},
    ),
    TwoWay(_chunks, _write_chunks),
    TwoWay(
      lambda entries, cfg: {
        'qk_norm': 'l2' if entries.take('use_qk_norm', True, bool) else 'none'
      },
      _write_norm,
    ),
    Rotary(500_000.0),
  ),
  unused=('output_router_logits',),
  names={
    'feed_forward/gate': '.feed_forward.gate_proj',
    'feed_forward/up': '.feed_forward.up_proj',
    'feed_forward/down': '.feed_forward.down_proj',
    'experts/router': '.feed_forward.router',
    'experts/gate experts/up': '.feed_forward.experts.gate_up_proj',
    'experts/down': '.feed_forward.experts.down_proj',
    'experts/shared/gate': '.feed_forward.shared_expert.gate_proj',
    'experts/shared/up': '.feed_forward.shared_expert.up_proj',
    'experts/shared/down': '.feed_forward.shared_expert.down_proj',
  },
)
