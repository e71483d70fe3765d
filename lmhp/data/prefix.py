"""Prefix language modelling: bidirectional attention within a prefix of random length.

Dimension key: B batch, L sequence.
"""

from __future__ import annotations

import dataclasses
import zlib

import jax
import jax.numpy as jnp

from lmhp.data.order import DataHypers
from lmhp.model.batch import Array, Batch


@dataclasses.dataclass(frozen=True)
class Prefix:
  """Objective of a prefix LM: predicts the tokens after a prefix of random length.

  Attributes:
    dynamic: True if a sequence gets a new prefix each time that it is read.

  Source: arXiv:1910.10683 section 3.2.1.
  """

  dynamic: bool = True

  def apply(self, batch: Batch, draw_numbers_B: Array, hypers: DataHypers) -> Batch:
    """Returns the batch with prefixes of 1 to L - 1 tokens.

    Args:
      batch: Batch of `make_batch`.
      draw_numbers_B: (B,) uint32, number of the random draw of each sequence.
      hypers: `seed` of all draws.
    """
    root = jax.random.fold_in(jax.random.key(hypers['seed']), zlib.crc32(b'prefix'))
    seq_len = batch.tokens.shape[-1]

    def draw(number: Array) -> jax.Array:
      key = jax.random.fold_in(root, number)
      return jax.random.randint(key, (), 1, max(seq_len, 2), jnp.int32)

    prefix_B = jax.vmap(draw)(draw_numbers_B)

    # The last token of the prefix predicts the first token after it.
    is_scored_BL = jnp.arange(seq_len)[None] >= prefix_B[:, None] - 1
    _, weights_BL = batch.targets_and_weights()
    return dataclasses.replace(
      batch, weights=jnp.asarray(weights_BL) * is_scored_BL, prefix_lengths=prefix_B
    )
