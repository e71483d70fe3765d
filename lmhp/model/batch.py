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
    weights: (B, L) float32, weight of each target in the loss. It is 0 for padding, and for
      the first token of the next document if attention stays within documents.
    positions: (B, L) int32, positions within the document. None stands for 0, 1, ... L-1.
    segments: (B, L) int32, number of the document within the sequence, from 1. None stands
      for one document.
    token_types: (B, L) int32, 0 for sentence A and 1 for sentence B (encoders).
    encoder_tokens: (B, M) int32, tokens that the encoder of an encoder-decoder reads.
    encoder_weights: (B, M) float32, 0 for padding in `encoder_tokens`.
    prefix_lengths: (B,) int32, number of tokens at the start that attend in both directions.
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
