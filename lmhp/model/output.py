"""The head: features to logits, with the embedding table or a matrix of its own."""

from __future__ import annotations

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, norm_size, parameter_count
from lmhp.model.feed_forward import ACTIVATIONS
from lmhp.model.normalization import Normalization
from lmhp.model.projection import Projection, linear, product


def cap(x: jax.Array, limit: float | None) -> jax.Array:
  """`limit * tanh(x / limit)`: the identity near zero, never beyond the limit; None leaves x as it is.

  Source: arXiv:2408.00118 section 2.
  """
  return x if limit is None else limit * jnp.tanh(x / limit)


class Output(nn.Module):
  """Transform or narrowing, where there is one, the product with the table or the kernel, bias, scale and cap."""

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD: jax.Array, table_VX: jax.Array) -> jax.Array:
    cfg = self.cfg
    x_BLX = self._narrow(x_BLD)
    x_TX = x_BLX.reshape(-1, cfg.embedding_dim)
    if cfg.tie_embeddings:
      logits_TV = product(x_TX, table_VX, True, cfg.dtype)
    else:
      kernel_XV = self.param(
        'kernel', nn.initializers.zeros_init(), (cfg.embedding_dim, cfg.vocab_size)
      )
      (logits_TV,) = linear(x_TX, (kernel_XV,), cfg.dtype)
    logits = logits_TV.reshape(*x_BLX.shape[:-1], cfg.vocab_size)
    if cfg.head_bias:
      bias = self.param('bias', nn.initializers.zeros_init(), (cfg.vocab_size,))
      logits = logits + jnp.broadcast_to(bias, logits.shape)
    if cfg.logit_scale != 1.0:
      logits = logits * cfg.logit_scale
    return cap(logits, cfg.logit_cap)

  def _narrow(self, x_BLD: jax.Array) -> jax.Array:
    """From features to the width of the table."""
    cfg = self.cfg
    if cfg.head_transform:
      dense = Projection(
        cfg,
        (cfg.d_model,),
        (cfg.embedding_dim,),
        cfg.head_transform_bias,
        name='transform',
      )
      return Normalization(cfg, cfg.embedding_dim, name='transform_norm')(
        ACTIVATIONS[cfg.head_activation](dense(x_BLD))
      )
    return (
      Projection(cfg, (cfg.d_model,), (cfg.embedding_dim,), name='project')(x_BLD)
      if cfg.factorized
      else x_BLD
    )


def parameter_counts(cfg: ModelConfig) -> Counter:
  """Parameters by kind; a tied head has none (a factorized one's projection is the embedding's)."""
  kernel = 0 if cfg.tie_embeddings else cfg.embedding_dim * cfg.vocab_size
  counts = Counter(output=kernel + cfg.head_bias * cfg.vocab_size)
  if cfg.head_transform:
    counts['output'] += parameter_count(
      cfg.d_model, cfg.embedding_dim, cfg.head_transform_bias
    )
    counts['normalization'] = norm_size(cfg, cfg.embedding_dim)
  return counts


def weight_flops(cfg: ModelConfig) -> Counter:
  """Forward matrix-product FLOPs by kind for one token: the head costs the same tied or not."""
  transform = cfg.head_transform * matmul_flops(cfg.d_model, cfg.embedding_dim)
  return Counter(output=transform + matmul_flops(cfg.embedding_dim, cfg.vocab_size))
