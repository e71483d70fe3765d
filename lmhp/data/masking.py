"""Masked language modelling: the choice of masked tokens and their replacements.

All functions are pure, so that host and device draw the same masks.
Dimension key: B batch, L sequence.
"""

from __future__ import annotations

import dataclasses
from typing import TypeAlias
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.data.order import DataHypers
from lmhp.model.batch import Array, Batch

EVALUATION_HYPERS: DataHypers = {
  'seed': np.asarray(0, np.uint32),
  'mask_fraction': np.asarray(0.15, np.float32),
  'mask_random_fraction': np.asarray(0.1, np.float32),
  'mask_keep_fraction': np.asarray(0.1, np.float32),
}
"""Masking of all evaluations, so that runs with different fractions are scored on equal
targets. Source: arXiv:1810.04805 (BERT)."""

_Draws: TypeAlias = tuple[jax.Array, jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class Masking:
  """Objective of an encoder: predicts the original token at each masked position.

  Attributes:
    mask_token: Token that replaces a masked token.
    vocab_size: Random replacements are below it.
    end_of_text: Token that is never masked. None if there is none.
    dynamic: True if a sequence gets a new mask each time that it is read.

  Source: arXiv:1810.04805 section 3.1. Dynamic masking: arXiv:1907.11692 section 4.1.
  """

  mask_token: int
  vocab_size: int
  end_of_text: int | None = None
  dynamic: bool = True

  def apply(self, batch: Batch, draw_numbers_B: Array, hypers: DataHypers) -> Batch:
    """Returns a batch with masked inputs. All positions that are not targets have weight 0.

    A token is a target with probability `mask_fraction`. A target is replaced by a random
    token (`mask_random_fraction`), kept (`mask_keep_fraction`), or else replaced by the
    mask token.

    Args:
      batch: Batch of `make_batch`.
      draw_numbers_B: (B,) uint32, a number for each sequence. Together with the seed, it
        determines the random draws of the sequence.
      hypers: `seed` and the three fractions.
    """
    root = jax.random.fold_in(jax.random.key(hypers['seed']), zlib.crc32(b'mask'))
    shape = batch.tokens.shape[-1:]

    # Draws depend on the seed and on the number of a sequence, not on its batch.
    def draw(number: Array) -> _Draws:
      keys = jax.random.split(jax.random.fold_in(root, number), 3)
      target_key, replacement_key, token_key = keys
      random_L = jax.random.randint(token_key, shape, 0, self.vocab_size, jnp.int32)
      target_L = jax.random.uniform(target_key, shape)
      replacement_L = jax.random.uniform(replacement_key, shape)
      return target_L, replacement_L, random_L

    target_BL, replacement_BL, random_BL = jax.vmap(draw)(draw_numbers_B)
    tokens_BL = jnp.asarray(batch.tokens)

    # Choose the targets.
    is_target_BL = target_BL < hypers['mask_fraction']
    if self.end_of_text is not None:
      # End-of-text tokens are never masked.
      is_target_BL &= tokens_BL != self.end_of_text

    # Choose the input of each target: a random token, the token itself or the mask token.
    random_below = hypers['mask_random_fraction']
    keep_below = random_below + hypers['mask_keep_fraction']
    masked_BL = jnp.where(replacement_BL < random_below, random_BL, self.mask_token)
    is_kept_BL = (replacement_BL >= random_below) & (replacement_BL < keep_below)
    masked_BL = jnp.where(is_kept_BL, tokens_BL, masked_BL)
    return dataclasses.replace(
      batch,
      tokens=jnp.where(is_target_BL, masked_BL, tokens_BL),
      targets=tokens_BL,
      weights=is_target_BL.astype(jnp.float32),
    )
