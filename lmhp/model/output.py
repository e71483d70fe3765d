"""The head, which computes logits with the embedding table or with a separate matrix."""

from __future__ import annotations

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.activations import activation_function
from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, norm_size, parameter_count
from lmhp.model.normalization import Normalization
from lmhp.model.projection import Projection, linear, product


def soft_cap(x: jax.Array, limit: float | None) -> jax.Array:
  """Returns limit * tanh(x / limit), or x itself if the limit is None.

  The result is close to x near zero, and its absolute value never exceeds the limit.

  Source: arXiv:2408.00118 section 2.
  """
  return x if limit is None else limit * jnp.tanh(x / limit)


class Output(nn.Module):
  """Computes logits from features.

  The steps are:

  1. The features get the width of the embedding table: by a transform (BERT: linear map,
     activation, normalization) if `head_transform`, or by a projection if the table is narrower.
  2. The product with the embedding table if `tie_embeddings`, otherwise with a kernel.
  3. A bias, a factor and a cap, if the config has them.
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD: jax.Array, table_VX: jax.Array) -> jax.Array:
    """Returns logits (..., V) float32.

    Args:
      x_BLD: (..., D) float32, features.
      table_VX: (V, X) float32, embedding table. It is read only if `tie_embeddings`.
    """
    cfg = self.cfg
    x_BLX = self._to_table_width(x_BLD)

    # All T tokens of the batch are the rows of one matrix, (T, X).
    x_TX = x_BLX.reshape(-1, cfg.embedding_dim)
    if cfg.tie_embeddings:
      # x @ table^T: True transposes the table.
      logits_TV = product(x_TX, table_VX, True, cfg.dtype)
    else:
      kernel_XV = self.param(
        'kernel', nn.initializers.zeros_init(), (cfg.embedding_dim, cfg.vocab_size)
      )
      (logits_TV,) = linear(x_TX, (kernel_XV,), cfg.dtype)
    logits = logits_TV.reshape(*x_BLX.shape[:-1], cfg.vocab_size)

    # logits = cap(scale * (product + bias))
    if cfg.head_bias:
      bias = self.param('bias', nn.initializers.zeros_init(), (cfg.vocab_size,))
      logits = logits + jnp.broadcast_to(bias, logits.shape)
    if cfg.logit_scale != 1.0:
      logits = logits * cfg.logit_scale
    return soft_cap(logits, cfg.logit_cap)

  def _to_table_width(self, x_BLD: jax.Array) -> jax.Array:
    """Returns features (..., X) for features (..., D)."""
    cfg = self.cfg
    widths = ((cfg.d_model,), (cfg.embedding_dim,))
    if cfg.head_transform:
      dense = Projection(cfg, *widths, cfg.head_transform_bias, name='transform')
      norm = Normalization(cfg, cfg.embedding_dim, name='transform_norm')
      return norm(activation_function(cfg.head_activation)(dense(x_BLD)))
    if cfg.is_factorized:
      return Projection(cfg, *widths, name='project')(x_BLD)
    return x_BLD


def parameter_counts(cfg: ModelConfig) -> Counter[str]:
  """Returns the parameters of the head by kind.

  A tied head has no matrix of its own. The projection to the width of a narrow embedding table
  is not included, because it counts as embedding.
  """
  kernel = 0 if cfg.tie_embeddings else cfg.embedding_dim * cfg.vocab_size
  counts = Counter(output=kernel + cfg.head_bias * cfg.vocab_size)
  if cfg.head_transform:
    counts['output'] += parameter_count(
      cfg.d_model, cfg.embedding_dim, cfg.head_transform_bias
    )
    counts['normalization'] = norm_size(cfg, cfg.embedding_dim)
  return counts


def weight_flops(cfg: ModelConfig) -> Counter[str]:
  """Returns the forward FLOPs of the head's matrix products by kind, for one token.

  A tied head costs as much as one with its own matrix. The projection to the width of a narrow
  embedding table is not included, because it counts as embedding.
  """
  flops = matmul_flops(cfg.embedding_dim, cfg.vocab_size)
  if cfg.head_transform:
    flops += matmul_flops(cfg.d_model, cfg.embedding_dim)
  return Counter(output=flops)
