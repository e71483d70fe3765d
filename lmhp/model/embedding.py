"""Token embedding: the table, its factorization, and the rows it gives."""

from __future__ import annotations

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops
from lmhp.model.projection import Projection


class Embedding(nn.Module):
  """Rows of a table, scaled, and widened to d_model where the table is narrower."""

  cfg: ModelConfig

  def setup(self):
    cfg = self.cfg
    self.table = self.param(
      'table', nn.initializers.zeros_init(), (cfg.vocab_size, cfg.embedding_dim)
    )
    if cfg.factorized:
      self.project = Projection(
        cfg, (cfg.embedding_dim,), (cfg.d_model,), cfg.embedding_projection == 'sum'
      )

  def __call__(self, tokens_BL: jax.Array) -> jax.Array:
    """(B, L, D), or (B, L, X) where positions and segments are added before the projection."""
    x_BLX = self.table[tokens_BL].astype(
      jnp.float32
    )  # a checkpoint may be stored in bfloat16
    x_BLD = (
      self.project(x_BLX)
      if self.cfg.factorized and self.cfg.embedding_projection == 'tokens'
      else x_BLX
    )
    return (
      x_BLD * self.cfg.embedding_scale if self.cfg.embedding_scale != 1.0 else x_BLD
    )

  def widen(self, x_BLX: jax.Array) -> jax.Array:
    """(B, L, D) of (B, L, X): the projection of the sum."""
    return self.project(x_BLX)


class TokenTypes(nn.Module):
  """Adds a row for the segment that each token is of: sentence A or B. Source: arXiv:1810.04805 section 3."""

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLX: jax.Array, types_BL: jax.Array | None) -> jax.Array:
    cfg = self.cfg
    table = self.param(
      'table', nn.initializers.zeros_init(), (cfg.token_types, cfg.table_width)
    )
    rows = table[:1][None] if types_BL is None else table[types_BL]
    return x_BLX + jnp.broadcast_to(rows, x_BLX.shape)


def parameter_counts(cfg: ModelConfig) -> Counter:
  """Parameters by kind: the tables of tokens and segments, and a factorized one's projections.

  One leads in and, unless the head's transform does (ALBERT), one out again before the head.
  """
  width, project = cfg.embedding_dim, cfg.factorized * cfg.embedding_dim * cfg.d_model
  bias = cfg.factorized * (cfg.embedding_projection == 'sum') * cfg.d_model
  out = project if not cfg.head_transform else 0
  return Counter(
    embedding=cfg.vocab_size * width
    + cfg.token_types * cfg.table_width
    + project
    + bias
    + out
  )


def weight_flops(cfg: ModelConfig) -> Counter:
  """Forward matrix-product FLOPs by kind for one token: looking up a row is none."""
  times = 1 + cfg.is_encoder_decoder + (not cfg.head_transform)
  return Counter(
    embedding=cfg.factorized * times * matmul_flops(cfg.embedding_dim, cfg.d_model)
  )
