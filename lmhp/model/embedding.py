"""Token embedding: the table, its factorization, and the rows it gives."""

from __future__ import annotations

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.projection import Projection, matmul_flops


class Embedding(nn.Module):
  """Rows of a table, scaled, and widened to d_model where the table is narrower."""

  cfg: ModelConfig

  def setup(self):
    cfg = self.cfg
    self.table = self.param('table', nn.initializers.zeros_init(), (cfg.vocab_size, cfg.embedding_dim))
    if cfg.factorized:
      self.project = Projection(cfg, (cfg.embedding_dim,), (cfg.d_model,))

  def __call__(self, tokens_BL: jax.Array) -> jax.Array:
    x_BLX = self.table[tokens_BL].astype(jnp.float32)  # a checkpoint may be stored in bfloat16
    x_BLD = self.project(x_BLX) if self.cfg.factorized else x_BLX
    return x_BLD * self.cfg.embedding_scale if self.cfg.embedding_scale != 1.0 else x_BLD


def parameter_counts(cfg: ModelConfig) -> Counter:
  """Parameters by kind: the table, and the two projections of a factorized one (in and, where the head is tied, out)."""
  table = cfg.vocab_size * cfg.embedding_dim
  return Counter(embedding=table + cfg.factorized * 2 * cfg.embedding_dim * cfg.d_model)


def weight_flops(cfg: ModelConfig) -> Counter:
  """Forward matrix-product FLOPs by kind for one token: looking up a row is none."""
  return Counter(embedding=cfg.factorized * 2 * matmul_flops(cfg.embedding_dim, cfg.d_model))
