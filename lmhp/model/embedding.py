"""The embedding of tokens, token types and positions.

Rotary positions are in `attention/rotary.py`, and positions that act through biases on the
attention logits in `attention/position_biases.py`.
"""

from __future__ import annotations

from collections import Counter
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lmhp.model.batch import Array
from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops
from lmhp.model.projection import Projection


class Embedding(nn.Module):
  """Looks up the rows of tokens, projects them if the embedding is factorized, and scales them.

  Source of the factorization: arXiv:1909.11942 section 3.1.
  """

  cfg: ModelConfig

  def setup(self) -> None:
    cfg = self.cfg
    self.table = self.param(
      'table', nn.initializers.zeros_init(), (cfg.vocab_size, cfg.embedding_dim)
    )
    if cfg.is_factorized:
      use_bias = cfg.embedding_projection == 'sum'
      self.project = Projection(cfg, (cfg.embedding_dim,), (cfg.d_model,), use_bias)

  def __call__(self, tokens_BL: Array) -> jax.Array:
    """Returns the embedding of tokens, float32.

    The shape is (B, L, D). If `model.embedding_projection` is 'sum', it is (B, L, X), and the
    network calls `project` after it has added the embeddings of positions and token types.
    """
    cfg = self.cfg
    # A checkpoint may store the table in bfloat16.
    x = self.table[tokens_BL].astype(jnp.float32)
    if cfg.is_factorized and cfg.embedding_projection == 'tokens':
      x = self.project(x)
    if cfg.embedding_scale != 1.0:
      x = x * cfg.embedding_scale
    return x


class TokenTypes(nn.Module):
  """Adds to each token a learned vector of its type: sentence A or B.

  Source: arXiv:1810.04805 section 3.
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLX: jax.Array, types_BL: Array | None) -> jax.Array:
    """Returns (B, L, X) float32, with X = `cfg.table_width`.

    If `types_BL` is None, all tokens have type 0.
    """
    cfg = self.cfg
    table = self.param(
      'table', nn.initializers.zeros_init(), (cfg.token_types, cfg.table_width)
    )
    # Rows of all tokens, or one row that broadcasts.
    rows = table[:1][None] if types_BL is None else table[types_BL]
    return x_BLX + jnp.broadcast_to(rows, x_BLX.shape)


class Positional(nn.Module):
  """Adds to each token a vector of its position: learned, or sines and cosines.

  Source: arXiv:1706.03762 section 3.5.
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLX: jax.Array, positions_BL: Array) -> jax.Array:
    """Returns (B, L, X) float32, with X = `cfg.table_width`.

    The batch size of `positions_BL` may be 1.
    """
    cfg = self.cfg
    rows_BL = positions_BL + cfg.position_offset
    if cfg.position == 'learned':
      table = self.param(
        'table', nn.initializers.zeros_init(), (cfg.n_table_positions, cfg.table_width)
      )
      added_BLX = table[rows_BL]
    else:
      added_BLX = sinusoids(rows_BL, cfg.table_width)
    return x_BLX + jnp.broadcast_to(added_BLX, x_BLX.shape)


def sinusoids(positions_BL: Array, width: int) -> jax.Array:
  """Returns sinusoidal embeddings of positions, (B, L, width) float32.

  The first half of the last axis are sines, and the second half are cosines, as in
  tensor2tensor. The wavelengths are a geometric sequence from 2 pi to 20,000 pi.

  Args:
    positions_BL: (B, L) int32.
    width: Size of the last axis, an even number.
  """
  # frequency_i = 10000 ** (-i / (n_waves - 1))
  n_waves = width // 2
  exponents = -math.log(10_000) * np.arange(n_waves) / max(n_waves - 1, 1)
  frequencies = np.exp(exponents).astype(np.float32)
  angles = positions_BL.astype(jnp.float32)[..., None] * frequencies.reshape(1, 1, -1)
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def parameter_counts(cfg: ModelConfig) -> Counter[str]:
  """Returns {kind: number of parameters} of the embedding.

  These are the tables of tokens, token types and positions, and the projections of a
  factorized embedding: one to d_model, and one back to the width of the table before the
  head. With `model.head_transform`, the transform of the head takes the place of the second
  projection (ALBERT), and is counted with the head. T5 has one table of biases for the
  encoder, and one for the decoder.
  """
  embedding = cfg.vocab_size * cfg.embedding_dim + cfg.token_types * cfg.table_width
  # Projections of a factorized embedding.
  if cfg.is_factorized:
    n_projections = 1 if cfg.head_transform else 2
    embedding += n_projections * cfg.embedding_dim * cfg.d_model
    # The projection of a sum has a bias.
    if cfg.embedding_projection == 'sum':
      embedding += cfg.d_model
  # The number of rows is 0 unless positions are learned.
  positional = cfg.n_table_positions * cfg.table_width
  if cfg.position == 't5':
    n_stacks = 2 if cfg.is_encoder_decoder else 1
    positional += n_stacks * cfg.relative_buckets * cfg.n_heads
  return Counter(embedding=embedding, positional=positional)


def weight_flops(cfg: ModelConfig) -> Counter[str]:
  """Returns {kind: forward FLOPs} of the projections of the embedding, for one token.

  A lookup has no FLOPs.
  """
  if not cfg.is_factorized:
    return Counter(embedding=0)
  # The encoder and the decoder each project their tokens. The head projects once more, unless
  # its transform does so.
  n_stacks = 2 if cfg.is_encoder_decoder else 1
  n_projections = n_stacks + (0 if cfg.head_transform else 1)
  return Counter(embedding=n_projections * matmul_flops(cfg.embedding_dim, cfg.d_model))
