"""Span corruption, for encoder-decoders, and prefixes, for decoders that see the beginning from both sides.

Pure, so that host and device draw the same. Dimension key: B batch, L tokens of text, M of the encoder, T targets.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.model.batch import Batch


@dataclasses.dataclass(frozen=True)
class SpanCorruption:
  """What an encoder-decoder learns: the encoder reads text with holes, the decoder writes what was in them.

  Each hole is one sentinel; the targets are each sentinel and its span. How many tokens are taken out and in how many
  spans is the same for every sequence, so that shapes are; where they are is drawn.

  Attributes:
    sentinels: ids that stand for the first span, the second, ...
    start: what the decoder reads first.
    end_of_text: closes both sides; None where there is none.
    seq_len: L.
    fraction: share of the tokens that is taken out.
    span_length: mean tokens of a span.

  Source: arXiv:1910.10683 section 3.1.4 and its authors' random_spans_noise_mask.
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
    """Tokens that are taken out."""
    return min(max(round(self.seq_len * self.fraction), 1), self.seq_len - 1)

  @property
  def n_spans(self) -> int:
    """Spans that they are taken out in."""
    return min(
      max(round(self.n_noise / self.span_length), 1), self.seq_len - self.n_noise
    )

  @property
  def encoder_len(self) -> int:
    """M, what the encoder reads."""
    return self.seq_len - self.n_noise + self.n_spans + (self.end_of_text is not None)

  @property
  def target_len(self) -> int:
    """T, what the decoder writes."""
    return self.n_noise + self.n_spans + (self.end_of_text is not None)

  def apply(
    self, batch: Batch, numbers_B: jax.Array, seed: Any, numbers: Mapping[str, Any]
  ) -> Batch:
    """The batch of an encoder-decoder.

    Args:
      batch: (B, L) tokens.
      numbers_B: (B,) uint32, what names each sequence's draws.
      seed: of all draws.
      numbers: not read: the shares are structure, since shapes hang on them.
    """
    root = jax.random.fold_in(jax.random.key(seed), zlib.crc32(b'spans'))
    text_BL = jnp.asarray(batch.tokens)
    out = jax.vmap(
      lambda tokens_L, number: self._corrupt(tokens_L, jax.random.fold_in(root, number))
    )
    encoder_BM, targets_BT = out(text_BL, numbers_B)
    start_B1 = jnp.full((len(text_BL), 1), self.start, jnp.int32)
    ones = jnp.ones(targets_BT.shape, jnp.float32)
    return Batch(
      jnp.concatenate([start_B1, targets_BT[:, :-1]], axis=1),
      targets_BT,
      ones,
      encoder_tokens=encoder_BM,
    )

  def _corrupt(
    self, tokens_L: jax.Array, key: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """What encoder and decoder have of one sequence, (M,) and (T,)."""
    noise_L, span_L, begins_L = self._spans(key)
    sentinels = np.asarray(self.sentinels[: self.n_spans], np.int32)
    kept_L = (
      jnp.cumsum(~noise_L) - 1 + jnp.cumsum(begins_L)
    )  # where a token that stays goes
    taken_L = (
      jnp.cumsum(noise_L) - 1 + jnp.cumsum(begins_L)
    )  # where a token that goes goes, after its sentinel
    size_M = self.seq_len - self.n_noise + self.n_spans
    nowhere = 2 * self.seq_len  # beyond both sides: dropped
    encoder = jnp.zeros(size_M, jnp.int32)
    encoder = encoder.at[jnp.where(noise_L, nowhere, kept_L)].set(tokens_L, mode='drop')
    encoder = encoder.at[jnp.where(begins_L, kept_L, nowhere)].set(
      jnp.asarray(sentinels)[span_L], mode='drop'
    )
    targets = jnp.zeros(self.n_noise + self.n_spans, jnp.int32)
    targets = targets.at[jnp.where(noise_L, taken_L, nowhere)].set(
      tokens_L, mode='drop'
    )
    targets = targets.at[jnp.where(begins_L, taken_L - 1, nowhere)].set(
      jnp.asarray(sentinels)[span_L], mode='drop'
    )
    if self.end_of_text is None:
      return encoder, targets
    end = jnp.full(1, self.end_of_text, jnp.int32)
    return jnp.concatenate([encoder, end]), jnp.concatenate([targets, end])

  def _spans(self, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Which tokens go, of which span each is (where it goes), and which is a span's first; each (L,)."""
    k_noise, k_text = jax.random.split(key)
    text = _lengths(k_text, self.seq_len - self.n_noise, self.n_spans)
    noise = _lengths(k_noise, self.n_noise, self.n_spans)
    begins = jnp.cumsum(text) + jnp.concatenate(
      [jnp.zeros(1, jnp.int32), jnp.cumsum(noise)[:-1]]
    )  # text comes first
    places = jnp.arange(self.seq_len)
    begins_L = jnp.zeros(self.seq_len, bool).at[begins].set(True)
    span_L = jnp.maximum(jnp.cumsum(begins_L) - 1, 0)
    noise_L = (jnp.cumsum(begins_L) > 0) & (places < (begins + noise)[span_L])
    return noise_L, span_L, begins_L


def _lengths(key: jax.Array, n: int, k: int) -> jax.Array:
  """(k,) int32: n cut into k parts of at least one, every way of cutting as likely."""
  cuts = jax.random.permutation(
    key, jnp.arange(n - 1) < k - 1
  )  # after which of the first n - 1
  part_n = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(cuts)])
  return jnp.zeros(k, jnp.int32).at[part_n].add(1)


@dataclasses.dataclass(frozen=True)
class Prefix:
  """What a prefix-LM learns: a beginning of any length is given and seen from both sides, the rest is written.

  Source: arXiv:1910.10683 section 3.2.1.
  """

  dynamic: bool = True

  def apply(
    self, batch: Batch, numbers_B: jax.Array, seed: Any, numbers: Mapping[str, Any]
  ) -> Batch:
    """The batch with the length of each prefix, 1 to L - 1; targets within it have weight 0."""
    root = jax.random.fold_in(jax.random.key(seed), zlib.crc32(b'prefix'))
    length = batch.tokens.shape[-1]
    draw = lambda number: jax.random.randint(
      jax.random.fold_in(root, number), (), 1, max(length, 2), jnp.int32
    )
    prefix_B = jax.vmap(draw)(numbers_B)
    after_BL = (
      jnp.arange(length)[None] >= prefix_B[:, None] - 1
    )  # the prefix's last token tells the first of the rest
    return dataclasses.replace(
      batch, weights=jnp.asarray(batch.weights) * after_BL, prefix_lengths=prefix_B
    )
