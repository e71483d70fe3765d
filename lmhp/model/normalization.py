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
"""Arrays saved for the backward pass, as (input, mean, inverse, scale).

The shapes are (..., D), (..., 1), (..., 1) and (D,). inverse is 1 / sqrt(variance + eps). For
rmsnorm, the mean is 0, so the variance is the mean square.
"""


def normalize(x: jax.Array, kind: str, eps: float) -> jax.Array:
  """Normalizes the last axis.

    layernorm: (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps)
    rmsnorm: x / sqrt(mean(x^2) + eps)

  Args:
    x: (..., D) float32.
    kind: 'layernorm' or 'rmsnorm'.
    eps: Number added to the variance (layernorm) or to the mean square (rmsnorm).

  Source: arXiv:1607.06450 equation 3; arXiv:1910.07467 equation 4.
  """
  return scaled_normalize(x, jnp.ones(x.shape[-1], x.dtype), kind, eps)


# `custom_gradient` is `jax.custom_vjp`, but keeps the type of the result. Arguments 2 and 3
# (`kind` and `eps`) are not arrays.
@custom_gradient(static_argnums=(2, 3))
def scaled_normalize(
  x: jax.Array, scale_D: jax.Array, kind: str, eps: float
) -> jax.Array:
  """Returns `normalize(x, kind, eps) * scale_D`.

  To use less memory, the normalized array is not saved for the backward pass. It is computed again
  from the input, the mean and 1 / sqrt(variance + eps).

  Args:
    x: (..., D) float32.
    scale_D: (D,) float32.
    kind: 'layernorm' or 'rmsnorm'.
    eps: Number added to the variance (layernorm) or to the mean square (rmsnorm).
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

  With g the gradient of the output, y the normalized input, and h = g * scale:

    dx = (h - y mean(h y) - mean(h)) / sqrt(variance + eps)
    dscale = sum(g y)

  Means are over the last axis, the sum is over all other axes. For rmsnorm, dx has no term
  mean(h).
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
  """A layer normalization or root-mean-square normalization of the last axis.

  It has a learned scale if `cfg.norm_affine`, and a learned bias if `cfg.norm_bias`.

  Attributes:
    cfg: Config of the model.
    width: Size of the last axis.
    groups: Number of equal parts of the last axis (such as heads). Each part is normalized
      separately.
    bias: If False, there is no bias, even if `cfg.norm_bias`.
    eps: Number added to the variance or mean square. None stands for `cfg.norm_eps`.
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
      # With `norm_unit_offset` (Gemma), the parameter starts at 0, and 1 is added to it here.
      # Without it, the parameter starts at 1. `lmhp.model.transformer.init_param` sets these
      # initial values, and replaces the zeros below.
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

  Each of the two parts of a block (token mixer and feed-forward) has one, or two in a sandwich
  block (before and after the part). With `shared_norm`, both parts share one. Those of a
  cross-attention are not included.
  """
  return (4 if cfg.norm_placement == 'sandwich' else 2) - cfg.shared_norm


def parameter_counts(cfg: ModelConfig) -> Counter[str]:
  """Returns the number of parameters of each kind in the norms of the residual stream.

  The normalization of the embedding is included. Three others are counted elsewhere: those of
  queries and keys with the attention, those inside other token mixers with the mixers, and that of
  the head with the head.
  """
  n_norms = _stack_norms(cfg, cfg.n_layers)
  if cfg.is_encoder_decoder:
    n_norms += _stack_norms(cfg, cfg.n_encoder_layers)
    # Each layer of the decoder also has the norms of its cross-attention.
    n_cross = 2 if cfg.norm_placement == 'sandwich' else 1
    n_norms += n_cross * (1 if cfg.share_layers else cfg.n_layers)
  embedding = cfg.embedding_norm * norm_size(cfg, cfg.table_width)
  return Counter(normalization=n_norms * norm_size(cfg, cfg.d_model) + embedding)


def _stack_norms(cfg: ModelConfig, n_layers: int) -> int:
  """Returns the number of normalizations of one stack, the final one included."""
  n_distinct = 1 if cfg.share_layers else n_layers
  # ModernBERT: the first layer has no normalization before its attention.
  n_absent = 0 if cfg.first_attention_norm else 1
  return n_distinct * block_norms(cfg) + cfg.final_norm - n_absent
