"""Randomness by name: every draw's key is folded from a root, a stable hash of its name, and a number."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp


def named_key(key: jax.Array, name: str) -> jax.Array:
  """The key for one named use; the hash (CRC-32) is the same in every process and release.

  Args:
    key: a typed PRNG key.
    name: such as `init/decoder/segment_0/attention/query/kernel` or `dropout`.
  """
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


def dropout(x: jax.Array, rate: jax.Array | float, key: jax.Array) -> jax.Array:
  """Sets each number to zero with probability `rate` and divides the rest by `1 - rate`; the rate may be traced.

  Args:
    x: any shape.
    rate: in [0, 1).
    key: a typed PRNG key.
  """
  keep = jax.random.bernoulli(key, 1 - rate, x.shape)
  return jnp.where(keep, x / (1 - rate), 0.0)
