"""Leaves of a saved state: their names, shapes and dtypes, and a checksum of their bits."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.typing import PyTree


def describe(state: PyTree) -> dict[str, str]:
  """Returns {path: dtype and shape} of the leaves of a state.

  >>> describe({'params': {'kernel': jnp.zeros((14, 31))}})
  {'params/kernel': 'float32[14,31]'}
  """
  descriptions = {}
  for path, leaf in jax.tree.leaves_with_path(state):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    descriptions[name] = f'{leaf.dtype}[{",".join(map(str, leaf.shape))}]'
  return descriptions


def checksum(state: PyTree) -> int | None:
  """Returns the CRC-32 of the bits of all leaves, in order.

  The checksum is None if another process holds a part of the leaves. The speed is about 4 GB a
  second.
  """
  crc = 0
  for leaf in jax.tree.leaves(state):
    # A part of the array is on another host, and its bits cannot be read here.
    if not leaf.is_fully_addressable:
      return None
    # A PRNG key cannot be converted to NumPy, but its data can.
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    content = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)
    crc = zlib.crc32(content.data, crc)
  return crc
