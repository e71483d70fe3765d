"""The head: features to logits, with the embedding table or a matrix of its own."""

from __future__ import annotations

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.projection import Projection, linear, matmul_flops, product


def cap(x: jax.Array, limit: float | None) -> jax.Array:
  """`limit * tanh(x / limit)`: the identity near zero, never beyond the limit; None leaves x as it is.

  Source: arXiv:2408.00118 section 2.
  """
  return x if limit is None else limit * jnp.tanh(x / limit)


class Output(nn.Module):
  """Narrowing where factorized, the product with the table or the kernel, bias, scale and cap."""

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD: jax.Array, table_VX: jax.Array) -> jax.Array:
    cfg = self.cfg
    x_BLX = Projection(cfg, (cfg.d_model,), (cfg.embedding_dim,), name='project')(x_BLD) if cfg.factorized else x_BLD
    x_TX = x_BLX.reshape(-1, cfg.embedding_dim)
    if cfg.tie_embeddings:
      logits_TV = product(x_TX, table_VX, True, cfg.dtype)
    else:
      kernel_XV = self.param('kernel', nn.initializers.zeros_init(), (cfg.embedding_dim, cfg.vocab_size))
      logits_TV, = linear(x_TX, (kernel_XV,), cfg.dtype)
    logits = logits_TV.reshape(*x_BLX.shape[:-1], cfg.vocab_size)
    if cfg.head_bias:
      bias = self.param('bias', nn.initializers.zeros_init(), (cfg.vocab_size,))
      logits = logits + jnp.broadcast_to(bias, logits.shape)
    if cfg.logit_scale != 1.0:
      logits = logits * cfg.logit_scale
    return cap(logits, cfg.logit_cap)


def parameter_counts(cfg: ModelConfig) -> Counter:
  """Parameters by kind; a tied head has none (a factorized one's projection is the embedding's)."""
  kernel = 0 if cfg.tie_embeddings else cfg.embedding_dim * cfg.vocab_size
  return Counter(output=kernel + cfg.head_bias * cfg.vocab_size)


def weight_flops(cfg: ModelConfig) -> Counter:
  """Forward matrix-product FLOPs by kind for one token: the head costs the same tied or not."""
  return Counter(output=matmul_flops(cfg.embedding_dim, cfg.vocab_size))
