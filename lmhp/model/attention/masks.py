"""Attention masks: the keys that each query attends to."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lmhp.model.batch import Array, Batch
from lmhp.model.config import ModelConfig


class TokenPositions(NamedTuple):
  """Positions of the new tokens, in their documents and in the cache.

  Attributes:
    in_document_BL: (B, L) int32, positions within the document. B may be 1.
    start: Number of tokens that the cache holds already, int32. 0 without a cache.
    n_keys: Number of keys, M. With a cache, it is the number of tokens that fit in the
      cache. Without a cache, it is L.
  """

  in_document_BL: Array
  start: jax.Array | int
  n_keys: int

  @property
  def length(self) -> jax.Array | int:
    """Number of tokens up to the last new one, those in the cache included."""
    return self.start + self.in_document_BL.shape[1]

  @property
  def distance_LM(self) -> jax.Array:
    """Position of each query minus that of each key, (L, M) int32.

    Both are counted from the start of the cache, or without a cache from the first token.
    """
    queries_L = self.start + jnp.arange(self.in_document_BL.shape[1])
    return queries_L[:, None] - jnp.arange(self.n_keys)[None, :]


class AttentionMasks(NamedTuple):
  """Masks of layers with global and with local attention.

  True marks a key that the query attends to. The axis of size 1 stands for the heads.

  Attributes:
    global_BLM: (B, 1, L, M) bool, mask of layers with global attention. B may be 1.
    local_BLM: (B, 1, L, M) bool, mask of layers with local attention. B may be 1.
  """

  global_BLM: jax.Array
  local_BLM: jax.Array


def attention_masks(
  cfg: ModelConfig, batch: Batch, positions: TokenPositions
) -> AttentionMasks:
  """Returns the masks of a stack of layers.

  Args:
    cfg: Config of the model.
    batch: Batch. Only `segments` and `prefix_lengths` are read.
    positions: Positions of the tokens.
  """
  distance_LM = positions.distance_LM

  # A token of a decoder attends to itself and to earlier tokens. A token of an encoder attends
  # to all tokens.
  least_distance = 0 if cfg.is_causal else -positions.n_keys
  global_mask = (distance_LM >= least_distance)[None, None]

  # All tokens attend to the prefix.
  if batch.prefix_lengths is not None:
    key_M = jnp.arange(positions.n_keys)[None, None, None]
    in_prefix = key_M < batch.prefix_lengths[:, None, None, None]
    global_mask = in_prefix | global_mask

  # Local attention leaves out keys beyond the window, or outside of the query's chunk.
  local_mask = global_mask
  if cfg.sliding_window:
    in_window = (jnp.abs(distance_LM) < cfg.sliding_window)[None, None]
    local_mask = global_mask & in_window
  if cfg.attention_chunk:
    local_mask = global_mask & _same_chunk(cfg.attention_chunk, positions)

  # Tokens attend only within their document.
  if batch.segments is not None:
    segments_BL = batch.segments
    same = (segments_BL[:, :, None] == segments_BL[:, None, :])[:, None]
    global_mask = same & jnp.broadcast_to(global_mask, same.shape)
    local_mask = same & jnp.broadcast_to(local_mask, same.shape)
  return AttentionMasks(global_mask, local_mask)


def _same_chunk(chunk: int, positions: TokenPositions) -> jax.Array:
  """Returns (B, 1, L, M) bool, True if query and key are in the same chunk."""
  query_chunk_BL = positions.in_document_BL // chunk
  key_chunk_BM = query_chunk_BL
  # More keys than queries means a cache. The position of a key is then its place in the cache.
  if positions.n_keys != query_chunk_BL.shape[1]:
    key_chunk_BM = jnp.arange(positions.n_keys)[None] // chunk
  return (query_chunk_BL[:, :, None] == key_chunk_BM[:, None, :])[:, None]
