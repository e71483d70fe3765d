"""Masked language modelling: which tokens are hidden, and behind what. Pure, so that host and device draw the same.

Dimension key: B batch, L sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any
import zlib

import jax
import jax.numpy as jnp

from lmhp.model.batch import Batch

EVALUATION = {
  'mask_fraction': 0.15,
  'mask_random_fraction': 0.1,
  'mask_keep_fraction': 0.1,
}
"""What evaluations hide, whatever training does: runs of different fractions are scored alike. Source: BERT."""


@dataclasses.dataclass(frozen=True)
class Masking:
  """How tokens are hidden.

  Attributes:
    mask_token: stands in a hidden token's place.
    vocab_size: random tokens are drawn below it.
    end_of_text: never hidden; None where there is none.
    dynamic: whether a sequence is masked anew each time it is read; else always alike.
  """

  mask_token: int
  vocab_size: int
  end_of_text: int | None = None
  dynamic: bool = True

  def apply(
    self, batch: Batch, numbers_B: jax.Array, seed: Any, numbers: Mapping[str, Any]
  ) -> Batch:
    """Hides tokens of a batch; those are its targets then, and all others have weight 0.

    Each token is a target with probability `mask_fraction`. Random tokens stand for a share of the targets, a share stays
    as it is, and the mask token stands for the rest.

    Args:
      batch: as `make_batch` gives it.
      numbers_B: (B,) uint32, what names each sequence's draws.
      seed: of all draws.
      numbers: the three fractions.

    Source: arXiv:1810.04805 section 3.1; masking anew each time: arXiv:1907.11692 section 4.1.
    """
    root = jax.random.fold_in(jax.random.key(seed), zlib.crc32(b'mask'))

    def draw(number):
      chosen, kind, word = jax.random.split(jax.random.fold_in(root, number), 3)
      shape = batch.tokens.shape[-1:]
      words = jax.random.randint(word, shape, 0, self.vocab_size, jnp.int32)
      return jax.random.uniform(chosen, shape), jax.random.uniform(kind, shape), words

    chosen_BL, kind_BL, random_BL = jax.vmap(draw)(numbers_B)
    tokens_BL = jnp.asarray(batch.tokens)
    is_target_BL = chosen_BL < numbers['mask_fraction']
    if self.end_of_text is not None:
      is_target_BL &= tokens_BL != self.end_of_text
    at_random = numbers['mask_random_fraction']
    hidden_BL = jnp.where(kind_BL < at_random, random_BL, self.mask_token)
    hidden_BL = jnp.where(
      (kind_BL >= at_random) & (kind_BL < at_random + numbers['mask_keep_fraction']),
      tokens_BL,
      hidden_BL,
    )
    return dataclasses.replace(
      batch,
      tokens=jnp.where(is_target_BL, hidden_BL, tokens_BL),
      targets=tokens_BL,
      weights=is_target_BL.astype(jnp.float32),
    )
