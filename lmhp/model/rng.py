"""Random draws by name: the PRNG key of a draw is a root key, folded with a hash of its name."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp


def named_key(key: jax.Array, name: str) -> jax.Array:
  """Returns the PRNG key of one named draw.

  The hash of the name is CRC-32, which, unlike Python's `hash`, is the same in each process.

  Args:
    key: Root PRNG key, as `jax.random.key` makes it.
    name: Name of the draw, such as `init/decoder/segment_0/attention/query/kernel`.
  """
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


def dropout(x: jax.Array, rate: jax.Array | float, key: jax.Array) -> jax.Array:
  """Sets each element to zero with probability `rate`, and divides the others by 1 - rate.

  Args:
    x: Array of any shape.
    rate: Probability in [0, 1). It may be traced.
    key: PRNG key, as `jax.random.key` makes it.
  """
  keep = jax.random.bernoulli(key, 1 - rate, x.shape)
  return jnp.where(keep, x / (1 - rate), 0.0)
