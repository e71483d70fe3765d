"""Positions that are added to the embedding: learned or sinusoidal tables.

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


class Positional(nn.Module):
  """Adds a row for the position of each token: learned, or sines and cosines.

  Source: arXiv:1706.03762 section 3.5.
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD: jax.Array, positions_BL: Array) -> jax.Array:
    """Returns (B, L, D) float32. The batch size of `positions_BL` may be 1."""
    cfg = self.cfg
    rows_BL = positions_BL + cfg.position_offset
    if cfg.position == 'learned':
      shape = (cfg.n_table_positions, cfg.table_width)
      table = self.param('table', nn.initializers.zeros_init(), shape)
      added_BLD = table[rows_BL]
    else:
      added_BLD = sinusoids(rows_BL, cfg.table_width)
    return x_BLD + jnp.broadcast_to(added_BLD, x_BLD.shape)


def sinusoids(positions_BL: Array, width: int) -> jax.Array:
  """Returns sinusoidal embeddings of positions, (B, L, D) float32.

  The sines are the first half of D and the cosines the second, as in tensor2tensor. The
  wavelengths are a geometric sequence from 2 pi to 20,000 pi.

  Args:
    positions_BL: (B, L) int32.
    width: D, an even number.
  """
  # frequency_i = 10000 ** (-i / (n_waves - 1))
  n_waves = width // 2
  exponents = -math.log(10_000) * np.arange(n_waves) / max(n_waves - 1, 1)
  frequencies = np.exp(exponents).astype(np.float32)
  angles = positions_BL.astype(jnp.float32)[..., None] * frequencies.reshape(1, 1, -1)
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def parameter_counts(cfg: ModelConfig) -> Counter[str]:
  """Returns the parameters of positions by kind: learned rows, or T5's tables of biases.

  T5 has one table of biases for each stack.
  """
  # The learned table has no rows for other kinds of positions.
  count = cfg.n_table_positions * cfg.table_width
  if cfg.position == 't5':
    n_stacks = 2 if cfg.is_encoder_decoder else 1
    count += n_stacks * cfg.relative_buckets * cfg.n_heads
  return Counter(positional=count)
