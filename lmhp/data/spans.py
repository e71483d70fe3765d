"""Span corruption, the objective of encoder-decoders.

All functions are pure, so that host and device draw the same spans.
Dimension key: B batch, L text sequence, M encoder sequence, T targets.
"""

from __future__ import annotations

import dataclasses
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.data.order import DataHypers
from lmhp.model.batch import Array, Batch


@dataclasses.dataclass(frozen=True)
class SpanCorruption:
  """Objective of an encoder-decoder: predicts the spans that were removed from its input.

  A sentinel token replaces each span in the encoder's input. The targets are each sentinel,
  followed by its span. All sequences have the same number of removed tokens and of spans,
  so that shapes are fixed. Only the positions are random.

  Attributes:
    sentinels: Tokens that replace the first span, the second span, and so on.
    start: First token of the decoder's input.
    end_of_text: Last token of the encoder's input and of the targets. None adds no token.
    seq_len: L, tokens of text in a sequence.
    fraction: Fraction of the tokens that is removed.
    span_length: Mean number of tokens in a span.
    dynamic: True if a sequence gets new spans each time that it is read.

  Source: arXiv:1910.10683 section 3.1.4, and `random_spans_noise_mask` of its code.
  """

  sentinels: tuple[int, ...]
  start: int
  end_of_text: int | None
  seq_len: int
  fraction: float
  span_length: float
  dynamic: bool = True

  @property
  def n_noise(self) -> int:
    """Number of removed tokens."""
    return min(max(round(self.seq_len * self.fraction), 1), self.seq_len - 1)

  @property
  def n_spans(self) -> int:
    """Number of removed spans."""
    n_spans = max(round(self.n_noise / self.span_length), 1)
    return min(n_spans, self.seq_len - self.n_noise)

  @property
  def encoder_len(self) -> int:
    """M, length of the encoder's input."""
    return self.seq_len - self.n_noise + self.n_spans + (self.end_of_text is not None)

  @property
  def target_len(self) -> int:
    """T, length of the targets and of the decoder's input."""
    return self.n_noise + self.n_spans + (self.end_of_text is not None)

  def apply(self, batch: Batch, draw_numbers_B: Array, hypers: DataHypers) -> Batch:
    """Returns the batch of an encoder-decoder.

    Args:
      batch: Batch of `make_batch`, (B, L).
      draw_numbers_B: (B,) uint32, a number for each sequence. Together with the seed, it
        determines the random draws of the sequence.
      hypers: `seed` of all draws.
    """
    root = jax.random.fold_in(jax.random.key(hypers['seed']), zlib.crc32(b'spans'))

    def corrupt(tokens_L: Array, number: Array) -> tuple[jax.Array, jax.Array]:
      return self._corrupt(tokens_L, jax.random.fold_in(root, number))

    text_BL = jnp.asarray(batch.tokens)
    encoder_BM, targets_BT = jax.vmap(corrupt)(text_BL, draw_numbers_B)

    # The decoder reads the targets, shifted by one position.
    start_B1 = jnp.full((len(text_BL), 1), self.start, jnp.int32)
    weights_BT = jnp.ones(targets_BT.shape, jnp.float32)
    return Batch(
      jnp.concatenate([start_B1, targets_BT[:, :-1]], axis=1),
      targets_BT,
      weights_BT,
      encoder_tokens=encoder_BM,
    )

  def _corrupt(self, tokens_L: Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the encoder's input (M,) and the targets (T,) of one sequence."""
    noise_L, span_L, begins_L = self._draw_spans(key)
    sentinels = np.asarray(self.sentinels[: self.n_spans], np.int32)

    # Output position of each token, in the encoder's input if it stays and in the targets
    # if it is removed. The sentinels of the spans up to here come before it.
    encoder_index_L = jnp.cumsum(~noise_L) - 1 + jnp.cumsum(begins_L)
    target_index_L = jnp.cumsum(noise_L) - 1 + jnp.cumsum(begins_L)
    # Writes to an index beyond the end are dropped.
    dropped = 2 * self.seq_len

    # Write the text that stays, and a sentinel at the first token of each span.
    encoder = jnp.zeros(self.seq_len - self.n_noise + self.n_spans, jnp.int32)
    index_L = jnp.where(noise_L, dropped, encoder_index_L)
    encoder = encoder.at[index_L].set(tokens_L, mode='drop')
    index_L = jnp.where(begins_L, encoder_index_L, dropped)
    encoder = encoder.at[index_L].set(jnp.asarray(sentinels)[span_L], mode='drop')

    # Write the removed text, and the sentinel before each span.
    targets = jnp.zeros(self.n_noise + self.n_spans, jnp.int32)
    index_L = jnp.where(noise_L, target_index_L, dropped)
    targets = targets.at[index_L].set(tokens_L, mode='drop')
    index_L = jnp.where(begins_L, target_index_L - 1, dropped)
    targets = targets.at[index_L].set(jnp.asarray(sentinels)[span_L], mode='drop')

    if self.end_of_text is None:
      return encoder, targets
    # Both sequences end with the end-of-text token, as in T5.
    end = jnp.full(1, self.end_of_text, jnp.int32)
    return jnp.concatenate([encoder, end]), jnp.concatenate([targets, end])

  def _draw_spans(self, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws the spans of one sequence, which starts with text that stays.

    Returns:
      Three (L,) arrays: True for removed tokens, the number of the span at or before each
      token, and True for the first token of each span.
    """
    noise_key, text_key = jax.random.split(key)
    # Random lengths of the spans, and of the texts between them.
    text = _random_lengths(text_key, self.seq_len - self.n_noise, self.n_spans)
    noise = _random_lengths(noise_key, self.n_noise, self.n_spans)

    # Text and spans alternate. A span begins after the texts up to it and earlier spans.
    earlier_noise = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(noise)[:-1]])
    begins = jnp.cumsum(text) + earlier_noise

    # For each position, the latest span that has begun, and if it still lasts.
    index_L = jnp.arange(self.seq_len)
    begins_L = jnp.zeros(self.seq_len, bool).at[begins].set(True)
    span_L = jnp.maximum(jnp.cumsum(begins_L) - 1, 0)
    noise_L = (jnp.cumsum(begins_L) > 0) & (index_L < (begins + noise)[span_L])
    return noise_L, span_L, begins_L


def _random_lengths(key: jax.Array, n: int, k: int) -> jax.Array:
  """Splits n into k positive parts, uniformly among all compositions. (k,) int32."""
  # Cut after k - 1 of the first n - 1 items, and count the items of each part.
  cuts = jax.random.permutation(key, jnp.arange(n - 1) < k - 1)
  part_n = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(cuts)])
  return jnp.zeros(k, jnp.int32).at[part_n].add(1)
