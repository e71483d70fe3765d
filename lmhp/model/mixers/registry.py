"""Token mixers by name: what mixes tokens in a layer, what it counts, what it remembers between tokens."""

from __future__ import annotations

from collections import Counter
from typing import Any, Callable

import jax
import jax.numpy as jnp

from lmhp.model.attention import latent as latent_attention
from lmhp.model.attention import multi_head as attention
from lmhp.model.config import ModelConfig
from lmhp.model.mixers import convolution, recurrent, state_space
from lmhp.params import matches

MODULES = {
  'attention': attention.Attention,
  'convolution': convolution.ShortConvolution,
  'lstm': recurrent.LSTM,
  'gru': recurrent.GRU,
  'mingru': recurrent.MinGRU,
  'rglru': recurrent.RGLRU,
  'mamba2': state_space.Mamba2,
}


def mixer(cfg: ModelConfig, name: str) -> Callable[..., Any]:
  """The module of a mixer; its parameters stand under the mixer's name."""
  if name == 'attention' and cfg.latent:
    return latent_attention.LatentAttention(cfg, name=name)
  return MODULES[name](cfg, name=name)


def parameter_counts(cfg: ModelConfig, name: str) -> Counter:
  """Parameters by kind of one layer's mixer."""
  if name in ('lstm', 'gru', 'mingru', 'rglru'):
    return recurrent.parameter_counts(cfg, name)
  return _module(cfg, name).parameter_counts(cfg)


def weight_flops(cfg: ModelConfig, name: str) -> Counter:
  """Forward FLOPs by kind of the products of one layer's mixer with weights, for one token."""
  if name in ('lstm', 'gru', 'mingru', 'rglru'):
    return recurrent.weight_flops(cfg, name)
  return _module(cfg, name).weight_flops(cfg)


def _module(cfg: ModelConfig, name: str):
  if name == 'attention':
    return latent_attention if cfg.latent else attention
  return {'convolution': convolution, 'mamba2': state_space}[name]


def init_mixer_cache(
  cfg: ModelConfig, name: str, n: int, batch: int, length: int, encoder_length: int
) -> tuple[jax.Array, ...]:
  """What n layers of a mixer remember of no token: keys and values (N, B, M, G, K), or a state without a length."""
  if name == 'attention' and cfg.latent:
    shapes = tuple(
      ((length, width), cfg.dtype) for width in (cfg.kv_latent_dim, cfg.rotary_head_dim)
    )
  elif name == 'attention':
    lengths = (
      (length, length, encoder_length, encoder_length)
      if cfg.is_encoder_decoder
      else (length, length)
    )
    shapes = tuple(((m, cfg.n_kv_heads, cfg.head_dim), cfg.dtype) for m in lengths)
  elif name in ('convolution', 'mamba2'):
    shapes = _module(cfg, name).empty_state(cfg)
  else:
    shapes = recurrent.empty_state(cfg, name)
  return tuple(jnp.zeros((n, batch, *shape), dtype) for shape, dtype in shapes)


CUSTOM_INITS = {
  '**/lstm/input/bias': recurrent.initial_gates,
  '**/mamba2/skip': lambda key, shape: jnp.ones(shape, jnp.float32),
  '**/rglru/decay': recurrent.initial_decay,
  '**/mamba2/log_decay': state_space.initial_log_decay,
  '**/mamba2/step_bias': state_space.initial_step_bias,
}
"""Vectors that start by a law of their own: `(key, shape) -> array`."""
BY_FAN_IN = (
  '**/convolution/kernel',
  '**/recurrent/kernel',
  '**/rglru/recurrence_gate/kernel',
  '**/rglru/input_gate/kernel',
)
"""Weights that start at fan_in ** -0.5 under every `init`: few inputs, or a state that feeds itself."""


def custom_init(path: str, key: jax.Array, shape: tuple[int, ...]) -> jax.Array | None:
  """Such a leaf at step 0; None of any other."""
  law = next(
    (law for pattern, law in CUSTOM_INITS.items() if matches(pattern, path)), None
  )
  return None if law is None else law(key, shape)


def uses_fan_in_init(path: str) -> bool:
  """Whether a weight is one of `BY_FAN_IN`."""
  return any(matches(pattern, path) for pattern in BY_FAN_IN)
