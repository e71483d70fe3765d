"""Layer normalization and root-mean-square normalization.

Both are computed in float32 for any compute dtype.
"""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.counts import norm_size
from lmhp.model.projection import custom_gradient

Saved: TypeAlias = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
"""Input (..., D), its mean (..., 1), the inverse of its deviation (..., 1), scale (D,)."""


def normalize(x: jax.Array, kind: str, eps: float) -> jax.Array:
  """Normalizes the last axis.

    layernorm: (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps)
    rmsnorm: x / sqrt(mean(x^2) + eps)

  Args:
    x: (..., D) float32.
    kind: 'layernorm' or 'rmsnorm'.
    eps: Number added to the variance or to the mean square.

  Source: arXiv:1607.06450 equation 3; arXiv:1910.07467 equation 4.
  """
  return scaled_normalize(x, jnp.ones(x.shape[-1], x.dtype), kind, eps)


# `custom_gradient` is `jax.custom_vjp` with the type of the result.
@custom_gradient(static_argnums=(2, 3))
def scaled_normalize(
  x: jax.Array, scale_D: jax.Array, kind: str, eps: float
) -> jax.Array:
  """Returns `normalize(x, kind, eps) * scale_D`.

  For the backward pass, the input and two numbers for each row are saved, but not the output.

  Args:
    x: (..., D) float32.
    scale_D: (D,) float32.
    kind: 'layernorm' or 'rmsnorm'.
    eps: Number added to the variance or to the mean square.
  """
  return _scaled_forward(x, scale_D, kind, eps)[0]


def _scaled_forward(
  x: jax.Array, scale_D: jax.Array, kind: str, eps: float
) -> tuple[jax.Array, Saved]:
  if kind == 'layernorm':
    mean = jnp.mean(x, axis=-1, keepdims=True)
  else:
    mean = jnp.zeros((*x.shape[:-1], 1), x.dtype)
  # mean(x^2) - mean(x)^2 would be imprecise if the mean is large, so the mean is subtracted
  # first.
  variance = jnp.mean(jnp.square(x - mean), axis=-1, keepdims=True)
  inverse = jax.lax.rsqrt(variance + eps)
  y = (x - mean) * inverse * jnp.broadcast_to(scale_D, x.shape)
  return y, (x, mean, inverse, scale_D)


def _scaled_backward(
  kind: str, eps: float, saved: Saved, g: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the gradients of the input and of the scale.

  With y the normalized input and h = g * scale:

    dx = (h - y mean(h y) - mean(h)) / sqrt(variance + eps)
    dscale = sum(g y)

  mean(h) is absent for rmsnorm.
  """
  x, mean, inverse, scale_D = saved
  y = (x - mean) * inverse
  h = g * jnp.broadcast_to(scale_D, g.shape)
  dx = h - y * jnp.mean(h * y, axis=-1, keepdims=True)
  if kind == 'layernorm':
    dx = dx - jnp.mean(h, axis=-1, keepdims=True)
  dscale_D = jnp.sum((g * y).reshape(-1, scale_D.shape[0]), axis=0)
  return dx * inverse, dscale_D


scaled_normalize.defvjp(_scaled_forward, _scaled_backward)


class Normalization(nn.Module):
  """A normalization with a learned scale and bias, if the config has them.

  Attributes:
    cfg: Config of the model.
    width: Size of the last axis.
    groups: Number of equal parts of the last axis. Each part is normalized separately.
    bias: If False, there is no bias, even if the config has it.
    eps: Number added to the variance. None stands for `cfg.norm_eps`.
  """

  cfg: ModelConfig
  width: int
  groups: int = 1
  bias: bool = True
  eps: float | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Returns the normalized array, (..., width) float32."""
    cfg = self.cfg
    eps = cfg.norm_eps if self.eps is None else self.eps
    scale = jnp.ones(self.width, x.dtype)
    if cfg.norm_affine:
      # The initial scale is 0 with the unit offset, and 1 without it (see `init_param` in
      # `lmhp.model.transformer`).
      scale = self.param('scale', nn.initializers.zeros_init(), (self.width,))
      scale = scale + float(cfg.norm_unit_offset)

    if self.groups == 1:
      y = scaled_normalize(x, scale, cfg.norm, eps)
    else:
      parts = x.reshape(*x.shape[:-1], self.groups, -1)
      y = normalize(parts, cfg.norm, eps).reshape(x.shape)
      y = y * jnp.broadcast_to(scale, x.shape)

    if cfg.norm_bias and self.bias:
      bias = self.param('bias', nn.initializers.zeros_init(), (self.width,))
      y = y + jnp.broadcast_to(bias, y.shape)
    return y


# --- counts -------------------------------------------------------------------------


def block_norms(cfg: ModelConfig) -> int:
  """Returns the number of normalizations of width d_model in one block.

  A normalization before the attention to an encoder is not included.
  """
  return (4 if cfg.norm_placement == 'sandwich' else 2) - cfg.shared_norm


def parameter_counts(cfg: ModelConfig) -> Counter[str]:
  """Returns the number of parameters of each kind in the norms of the residual stream.

  The normalizations inside the attention (of queries and keys) and inside mixers are counted
  there.
  """
  n_norms = _stack_norms(cfg, cfg.n_layers)
  if cfg.is_encoder_decoder:
    n_norms += _stack_norms(cfg, cfg.n_encoder_layers)
    # Each layer of the decoder also has the norms of its attention to the encoder.
    n_cross = 2 if cfg.norm_placement == 'sandwich' else 1
    n_norms += n_cross * (1 if cfg.share_layers else cfg.n_layers)
  embedding = cfg.embedding_norm * norm_size(cfg, cfg.table_width)
  return Counter(normalization=n_norms * norm_size(cfg, cfg.d_model) + embedding)


def _stack_norms(cfg: ModelConfig, n_layers: int) -> int:
  """Returns the number of normalizations of one stack, with the one at its end."""
  n_distinct = 1 if cfg.share_layers else n_layers
  n_absent = 0 if cfg.first_attention_norm else 1
  return n_distinct * block_norms(cfg) + cfg.final_norm - n_absent
