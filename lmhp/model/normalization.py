"""Layer and root-mean-square normalization, in float32 whatever the compute dtype."""

from __future__ import annotations

from collections import Counter
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.counts import norm_size


def normalize(x: jax.Array, kind: str, eps: float) -> jax.Array:
  """Normalizes the last axis.

  Args:
    x: (..., D) float32.
    kind: 'layernorm' subtracts the mean and divides by the standard deviation; 'rmsnorm' divides by the root mean square.
    eps: added to the variance or the mean square.

  Source: arXiv:1607.06450 eq. 3; arXiv:1910.07467 eq. 4.
  """
  return scaled(x, jnp.ones(x.shape[-1], x.dtype), kind, eps)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def scaled(x: jax.Array, scale_D: jax.Array, kind: str, eps: float) -> jax.Array:
  """`normalize`, times a scale; its gradient keeps x and two numbers for each row, and no result.

  Args:
    x: (..., D) float32.
    scale_D: (D,) float32.
    kind: as `normalize` has it.
    eps: as `normalize` has it.
  """
  return _scaled_forward(x, scale_D, kind, eps)[0]


def _scaled_forward(x, scale_D, kind, eps):
  mean = (
    jnp.mean(x, axis=-1, keepdims=True)
    if kind == 'layernorm'
    else jnp.zeros((*x.shape[:-1], 1), x.dtype)
  )
  inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x - mean), axis=-1, keepdims=True) + eps)
  return (x - mean) * inverse * jnp.broadcast_to(scale_D, x.shape), (
    x,
    mean,
    inverse,
    scale_D,
  )


def _scaled_backward(kind, eps, saved, g):
  x, mean, inverse, scale_D = saved
  y = (x - mean) * inverse
  gy = g * jnp.broadcast_to(scale_D, g.shape)
  dx = gy - y * jnp.mean(gy * y, axis=-1, keepdims=True)
  if kind == 'layernorm':
    dx = dx - jnp.mean(gy, axis=-1, keepdims=True)
  return dx * inverse, jnp.sum((g * y).reshape(-1, scale_D.shape[0]), axis=0)


scaled.defvjp(_scaled_forward, _scaled_backward)


class Normalization(nn.Module):
  """`normalize`, then a learned scale and bias where the config has them.

  Attributes:
    cfg: the model's structure.
    width: size of the last axis.
    groups: parts of the last axis that are normalized each by itself.
    bias: whether it has a bias where the config's normalizations do.
    eps: added to the variance; None is the config's.
  """

  cfg: ModelConfig
  width: int
  groups: int = 1
  bias: bool = True
  eps: float | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    cfg, eps = self.cfg, self.cfg.norm_eps if self.eps is None else self.eps
    scale = jnp.ones(self.width, x.dtype)
    if cfg.norm_affine:
      scale = self.param('scale', nn.initializers.zeros_init(), (self.width,)) + float(
        cfg.norm_unit_offset
      )
    if self.groups == 1:
      y = scaled(x, scale, cfg.norm, eps)
    else:
      parts = x.reshape(*x.shape[:-1], self.groups, -1)
      y = normalize(parts, cfg.norm, eps).reshape(x.shape) * jnp.broadcast_to(
        scale, x.shape
      )
    if cfg.norm_bias and self.bias:
      bias = self.param('bias', nn.initializers.zeros_init(), (self.width,))
      y = y + jnp.broadcast_to(bias, y.shape)
    return y


def block_norms(cfg: ModelConfig) -> int:
  """How many normalizations of width d_model one block has."""
  if cfg.norm_placement == 'sandwich':
    return 3 if cfg.shared_norm else 4
  return 1 if cfg.shared_norm else 2


def parameter_counts(cfg: ModelConfig) -> Counter:
  """Parameters by kind of all normalizations over d_model (those of queries and keys are attention.py's)."""
  layers = lambda n: 1 if cfg.share_layers else n
  norms = (
    layers(cfg.n_layers) * block_norms(cfg)
    + cfg.final_norm
    - (not cfg.first_attention_norm)
  )
  if cfg.is_encoder_decoder:
    norms += layers(cfg.n_layers) * (
      2 if cfg.norm_placement == 'sandwich' else 1
    )  # of the attention to the encoder
    norms += (
      layers(cfg.n_encoder_layers) * block_norms(cfg)
      + cfg.final_norm
      - (not cfg.first_attention_norm)
    )
  embedding = cfg.embedding_norm * norm_size(cfg, cfg.table_width)
  return Counter(normalization=norms * norm_size(cfg, cfg.d_model) + embedding)
