"""Caches of layers with windows: such a layer keeps only the tokens of its window.

The layers of a segment run in one scan, and each of them reads and returns a cache with space
for all M tokens. Between the layers, only the tokens that later queries can reach are kept: all
M tokens of a layer with global attention, and the last W tokens of a layer with local
attention. Token p of a window is kept at place p mod W.

Dimension key: B batch, L new tokens, M tokens of the cache, W tokens of the window. Further axes
are those of the array, such as key/value heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Arrays: TypeAlias = tuple[jax.Array, ...]
"""Arrays of the same kind of cache, such as keys and values."""


class WindowedCaches(NamedTuple):
  """Caches of the layers of a segment.

  Attributes:
    global_arrays: (layers with global attention, B, M, ...). Empty if there is no such layer.
    local_arrays: (layers with local attention, B, W, ...).
  """

  global_arrays: Arrays
  local_arrays: Arrays


class CachePlace(NamedTuple):
  """Place of the caches of the N layers of a segment, or of one of these layers.

  Attributes:
    in_global: (N,) int32, index in `global_arrays`. Arbitrary for a layer with local attention.
    in_local: (N,) int32, index in `local_arrays`. Arbitrary for a layer with global attention.
  """

  in_global: jax.Array
  in_local: jax.Array


def cache_places(is_local: Sequence[bool]) -> CachePlace:
  """Returns the places of the caches of N layers.

  Args:
    is_local: True for each layer with local attention.

  >>> places = cache_places([True, False, True])
  >>> places.in_global.tolist(), places.in_local.tolist()
  ([0, 0, 0], [0, 0, 1])
  """
  local_N = np.asarray(is_local)

  def number(flags_N: np.ndarray) -> jax.Array:
    return jnp.asarray(np.maximum(np.cumsum(flags_N) - 1, 0), jnp.int32)

  return CachePlace(in_global=number(~local_N), in_local=number(local_N))


def read_layer(
  caches: WindowedCaches, place: CachePlace, local: jax.Array | bool, n_tokens: int
) -> Arrays:
  """Returns the cache of one layer, with space for all tokens.

  For a layer with local attention, a token outside of the window has arbitrary numbers, which
  the mask hides.

  Args:
    caches: Caches of the segment.
    place: Place of the layer.
    local: True if the layer has local attention.
    n_tokens: Number of tokens, M.
  """

  def read_local() -> Arrays:
    places_M = jnp.arange(n_tokens) % caches.local_arrays[0].shape[2]
    return tuple(array[place.in_local][:, places_M] for array in caches.local_arrays)

  def read_global() -> Arrays:
    return tuple(array[place.in_global] for array in caches.global_arrays)

  if isinstance(local, bool):
    return read_local() if local else read_global()
  return jax.lax.cond(local, read_local, read_global)


def write_layer(
  caches: WindowedCaches,
  place: CachePlace,
  local: jax.Array | bool,
  arrays: Arrays,
  start: jax.Array | int,
  n_new: int,
) -> WindowedCaches:
  """Returns the caches of a segment with the new tokens of one layer.

  Args:
    caches: Caches of the segment.
    place: Place of the layer.
    local: True if the layer has local attention.
    arrays: Cache of the layer with the new tokens, each (B, M, ...).
    start: Position of the first new token.
    n_new: Number of new tokens, L.
  """
  new = [
    jax.lax.dynamic_slice_in_dim(array_BM, start, n_new, axis=1) for array_BM in arrays
  ]

  # All new tokens, unless the layer has local attention.
  global_arrays = []
  for stacked, new_BL in zip(caches.global_arrays, new):
    first = (place.in_global, 0, start, *(0,) * (stacked.ndim - 3))
    old_BL = jax.lax.dynamic_slice(stacked, first, (1, *new_BL.shape))[0]
    kept_BL = jnp.where(local, old_BL, new_BL)
    global_arrays.append(jax.lax.dynamic_update_slice(stacked, kept_BL[None], first))

  # The last tokens of the window, if the layer has local attention.
  local_arrays = []
  for stacked, new_BL in zip(caches.local_arrays, new, strict=True):
    window = stacked.shape[2]
    n_kept = min(n_new, window)
    places = (start + n_new - n_kept + jnp.arange(n_kept)) % window
    old_BW = stacked[place.in_local]
    new_BW = old_BW.at[:, places].set(new_BL[:, n_new - n_kept :])
    kept_BW = jnp.where(local, new_BW, old_BW)
    local_arrays.append(stacked.at[place.in_local].set(kept_BW))
  return WindowedCaches(tuple(global_arrays), tuple(local_arrays))
