"""Causal depthwise convolution: by itself between two gates, as a token mixer, and as a part of recurrent ones.

Dimension key besides the model's: I inner width, C channels, W taps.
"""

from __future__ import annotations

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.attention.multi_head import LayerFlags, LayerInputs
from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, parameter_count
from lmhp.model.projection import Projection, project


class CausalConvolution(nn.Module):
  """Each channel's last W inputs, weighted: y_t = sum_j kernel_j x_(t - j) + bias, nothing before a text's beginning.

  W shifted products instead of a convolution of XLA, which on CPU is many times slower where channels stand alone.
  """

  cfg: ModelConfig
  channels: int

  @nn.compact
  def __call__(self, x_BLC: jax.Array, scene: LayerInputs, past=None):
    """(B, L, C) float32, and the last W - 1 inputs where `past`, those before, was given."""
    n_taps = self.cfg.conv_width
    kernel_CW = self.param(
      'kernel', nn.initializers.zeros_init(), (self.channels, n_taps)
    )  # last tap: the token itself
    before = (
      jnp.zeros((x_BLC.shape[0], n_taps - 1, self.channels), x_BLC.dtype)
      if past is None
      else past
    )
    x_BTC = jnp.concatenate([before.astype(x_BLC.dtype), x_BLC], axis=1)
    length, y_BLC = x_BLC.shape[1], 0.0
    for back in range(n_taps):
      shifted = x_BTC[:, n_taps - 1 - back : n_taps - 1 - back + length]
      if scene.document_start_BL is not None and back:
        shifted = shifted * _same_text(scene.document_start_BL, back)[..., None]
      y_BLC = y_BLC + shifted * jnp.broadcast_to(
        kernel_CW[:, n_taps - 1 - back], shifted.shape
      )
    if self.cfg.conv_bias:
      bias_C = self.param('bias', nn.initializers.zeros_init(), (self.channels,))
      y_BLC = y_BLC + jnp.broadcast_to(bias_C, y_BLC.shape)
    return y_BLC, None if past is None else x_BTC[:, length:].astype(past.dtype)


def _same_text(document_start_BL: jax.Array, back: int) -> jax.Array:
  """Whether the token that many places back is of the same text, float32 (B, L)."""
  text_BL = jnp.cumsum(document_start_BL, axis=1)
  return (
    text_BL
    == jnp.pad(text_BL, ((0, 0), (back, 0)), constant_values=-1)[:, : text_BL.shape[1]]
  ).astype(jnp.float32)


class ShortConvolution(nn.Module):
  """`output(gate x * convolution(write x * input x))`.

  Source: arXiv:2302.10866 for gates around a convolution; LFM2 (https://huggingface.co/LiquidAI) for short taps alone.
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD, layer: LayerFlags, scene: LayerInputs, cache=None):
    """(B, L, D) float32, and the cache: the last W - 1 inputs of the convolution."""
    cfg, inner = self.cfg, self.cfg.mixer_dim
    write, gate, x_BLI = project(
      x_BLD,
      [
        Projection(cfg, (cfg.d_model,), (inner,), cfg.mixer_bias, name=name)
        for name in ('write', 'gate', 'input')
      ],
    )
    y_BLI, past = CausalConvolution(cfg, inner, name='convolution')(
      write * x_BLI, scene, cache and cache[0]
    )
    out = Projection(cfg, (inner,), (cfg.d_model,), cfg.mixer_bias, name='output')
    return out(gate * y_BLI), None if cache is None else (past,)


def parameters_of_taps(cfg: ModelConfig, channels: int) -> int:
  """Parameters of a causal convolution."""
  return channels * (cfg.conv_width + cfg.conv_bias)


def parameter_counts(cfg: ModelConfig) -> Counter:
  """Parameters by kind of one layer's short convolution."""
  inner = cfg.mixer_dim
  return Counter(
    other=3 * parameter_count(cfg.d_model, inner, cfg.mixer_bias)
    + parameters_of_taps(cfg, inner)
    + parameter_count(inner, cfg.d_model, cfg.mixer_bias)
  )


def weight_flops(cfg: ModelConfig) -> Counter:
  """Forward matrix-product FLOPs by kind of one layer, for one token; taps are no matrix product."""
  return Counter(other=4 * matmul_flops(cfg.d_model, cfg.mixer_dim))


def empty_state(cfg: ModelConfig) -> tuple[tuple[tuple[int, ...], str], ...]:
  """Shape (without the batch) and dtype of what one layer remembers."""
  return (((cfg.conv_width - 1, cfg.mixer_dim), cfg.dtype),)
