"""Registration of the mixer `attention`, multi-head or multi-head latent.

This file imports no jax. Rows of the parameter table for attention are in `lmhp.params`.
"""

from __future__ import annotations

from lmhp.model.attention.counts import (
  latent_parameter_counts,
  latent_weight_flops,
  pair_flops,
  pairs,
  parameter_counts,
  weight_flops,
)
from lmhp.model.config import ModelConfig
from lmhp.model.mixers.registry import CacheArray, MixerSpec, register_mixer


def sequence_flops(
  cfg: ModelConfig, seq_len: int, window: int | None, causal: bool
) -> int:
  """Returns the forward FLOPs of one layer's logits and weighted values, for one sequence."""
  n_pairs = pairs(
    seq_len,
    window,
    causal,
    both_sides=not cfg.is_causal,
    chunked=bool(cfg.attention_chunk),
  )
  return n_pairs * pair_flops(cfg)


def cache_arrays(cfg: ModelConfig) -> tuple[CacheArray, ...]:
  """Returns the cache of one layer: keys and values, and those of an encoder's tokens."""
  shape = (cfg.n_kv_heads, cfg.head_dim)
  arrays = [CacheArray(shape, cfg.dtype, tokens='decoder')] * 2
  if cfg.is_encoder_decoder:
    arrays += [CacheArray(shape, cfg.dtype, tokens='encoder')] * 2
  return tuple(arrays)


def latent_cache_arrays(cfg: ModelConfig) -> tuple[CacheArray, ...]:
  """Returns the cache of one layer: latents, and the rotated part of the keys."""
  assert cfg.kv_latent_dim is not None
  return (
    CacheArray((cfg.kv_latent_dim,), cfg.dtype, tokens='decoder'),
    CacheArray((cfg.rotary_head_dim,), cfg.dtype, tokens='decoder'),
  )


LATENT_ATTENTION = MixerSpec(
  layer='lmhp.model.attention.latent:LatentAttention',
  parameter_counts=latent_parameter_counts,
  weight_flops=latent_weight_flops,
  cache_arrays=latent_cache_arrays,
  sequence_flops=sequence_flops,
)

MULTI_HEAD_ATTENTION = MixerSpec(
  layer='lmhp.model.attention.multi_head:Attention',
  parameter_counts=parameter_counts,
  weight_flops=weight_flops,
  cache_arrays=cache_arrays,
  sequence_flops=sequence_flops,
  needs_decoder=False,
  variant=lambda cfg: (
    LATENT_ATTENTION if cfg.has_latent_attention else MULTI_HEAD_ATTENTION
  ),
)

register_mixer('attention', MULTI_HEAD_ATTENTION)
