"""`Batch`: the input of a model, and its targets. One dataclass for all architectures."""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

import jax
import numpy as np

Array: TypeAlias = jax.Array | np.ndarray
"""An array inside a program or on a device, or a numpy array on the host."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """One batch, for any architecture.

  Attributes:
    tokens: (B, L) int32, tokens that the model reads.
    targets: (B, L) int32, token to predict at each position. Only a loss needs it.
    weights: (B, L) float32, weight of each target in the loss. It is 0 if the target is
      padding. If attention stays within documents, it is also 0 if the target is the first
      token of the next document.
    positions: (B, L) int32, positions within the document. None stands for 0, 1, ..., L - 1,
      or with a cache for the positions that follow its last token.
    segments: (B, L) int32, number of the document within the sequence, from 1. None stands
      for one document.
    token_types: (B, L) int32, 0 for sentence A and 1 for sentence B (BERT). None stands for 0.
    encoder_tokens: (B, M) int32, tokens that the encoder of an encoder-decoder reads.
    encoder_weights: (B, M) float32, 0 for padding in `encoder_tokens`, above 0 for others. None
      means no padding.
    prefix_lengths: (B,) int32, number of tokens at the start of each sequence that attend to
      each other in both directions (`model.prefix_lm`). None means no prefix.
  """

  tokens: Array
  targets: Array | None = None
  weights: Array | None = None
  positions: Array | None = None
  segments: Array | None = None
  token_types: Array | None = None
  encoder_tokens: Array | None = None
  encoder_weights: Array | None = None
  prefix_lengths: Array | None = None

  def targets_and_weights(self) -> tuple[Array, Array]:
    """Returns the targets and their weights in the loss.

    Raises:
      ValueError: If the batch has no targets or no weights.
    """
    if self.targets is None or self.weights is None:
      raise ValueError('batch: got no targets or no weights, expected both')
    return self.targets, self.weights
