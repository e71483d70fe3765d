"""The order of training sequences: a pure function of (data seed, mixture weights, sequence numbers).

Sequence s of a run is example s of an endless stream, whatever the batch size. A source of n windows is read without
replacement: epoch s // n visits each window once, in a permutation of its own and from an offset of its own, so that
the windows of two epochs are not the same stretches of text. A mixture cuts the stream into blocks of 1024 sequences;
every block holds the same quota of each source, shuffled.

All of it is uint32 arithmetic on traced values: nothing is stored, seeds vmap, and a resumed run only needs its step.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from lmhp.data.config import BLOCK

MAX_SEQUENCES = 2**32
_ROUNDS = 6
_GOLDEN = np.uint32(0x9E3779B9)
_STREAMS = {
  name: np.uint32(i) for i, name in enumerate(('source', 'window', 'offset', 'block'))
}


class Place(NamedTuple):
  """Where a sequence lies: its first token is token `offset + window * seq_len` of its source. (B,) uint32 each."""

  source: jax.Array
  epoch: jax.Array
  window: jax.Array
  offset: jax.Array


@dataclasses.dataclass(frozen=True)
class Order:
  """The order over sources of given lengths.

  Attributes:
    seq_len: tokens of a sequence.
    windows: for each source, sequences in an epoch.
  """

  seq_len: int
  windows: tuple[int, ...]

  def places(
    self, seed: jax.Array, mixture_weights: jax.Array, sequence_numbers: jax.Array
  ) -> Place:
    """Where sequences lie.

    Args:
      seed: uint32 scalar, `data.seed`.
      mixture_weights: (sources,) float32, up to their sum.
      sequence_numbers: (B,) uint32.
    """
    root = _mix(jnp.asarray(seed, jnp.uint32) ^ _GOLDEN)
    index = jnp.asarray(sequence_numbers, jnp.uint32)
    if len(self.windows) == 1:
      source, windows, sides = (
        jnp.zeros_like(index),
        np.uint32(self.windows[0]),
        _sides(self.windows[0]),
      )
    else:
      source, index = _mixed(root, quotas(mixture_weights), index)
      windows = jnp.asarray(self.windows, jnp.uint32)[source]
      sides = tuple(
        jnp.asarray(side, jnp.uint32)[source]
        for side in zip(*map(_sides, self.windows))
      )
    epoch = index // windows
    key = _fold(_fold(_fold(root, _STREAMS['source']), source), epoch)
    window = permute(
      _fold(key, _STREAMS['window']), _rem(index, windows), windows, sides
    )
    offset = _rem(_fold(key, _STREAMS['offset']), np.uint32(self.seq_len))
    return Place(source, epoch, window, offset)


def windows_of(n_tokens: int, seq_len: int) -> int:
  """Windows that fit a stream from any offset below seq_len, each with the token that follows it."""
  return n_tokens // seq_len - 1


def quotas(mixture_weights: jax.Array) -> jax.Array:
  """Sequences of each source in a block: shares of 1024 by largest remainder, (sources,) uint32; 0 stays 0."""
  shares = mixture_weights / mixture_weights.sum() * BLOCK
  whole = jnp.floor(shares)
  rest, place = shares - whole, jnp.arange(len(shares))
  ahead = (rest[None] > rest[:, None]) | (
    (rest[None] == rest[:, None]) & (place[None] < place[:, None])
  )
  rank = ahead.sum(axis=1)  # by hand: a sort costs more to compile than all the rest
  return (whole + (rank < BLOCK - whole.sum())).astype(jnp.uint32)


def _mixed(
  root: jax.Array, quota: jax.Array, sequence_numbers: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The source of each sequence, and the sequence's number within that source. (B,) uint32 each."""
  block, slot = sequence_numbers // BLOCK, sequence_numbers % BLOCK
  slot = permute(
    _fold(_fold(root, _STREAMS['block']), block), slot, np.uint32(BLOCK), _sides(BLOCK)
  )
  ends = jnp.cumsum(quota)
  source = (slot[:, None] >= ends[None]).sum(axis=1, dtype=jnp.uint32)
  return source, block * quota[source] + slot - (ends - quota)[source]


# --- random without state -------------------------------------------------------------------------------------------


def permute(key: jax.Array, x: jax.Array, n, sides) -> jax.Array:
  """The image of x under the permutation of range(n) that the key draws.

  A Feistel network on pairs (x mod a, x div a), which is a bijection of range(a * b) for any a and b; what falls on
  n or above is sent round again until it falls below. As a * b - n < a, near the root of n, that is rare.

  Source: Black and Rogaway 2002, Ciphers with Arbitrary Finite Domains, sections 3 and 5.

  Args:
    key: uint32, scalar or like x.
    x: uint32 below n.
    n: uint32, scalar or like x.
    sides: a and b of `_sides(n)`, alike.
  """
  if isinstance(n, np.generic) and math.prod(map(int, sides)) == n:
    return _feistel(key, x, *sides)

  def walk(carry):
    y, inside = carry
    y = jnp.where(inside, y, _feistel(key, y, *sides))
    return y, y < n

  return lax.while_loop(
    lambda carry: ~carry[1].all(), walk, (x, jnp.zeros(x.shape, bool))
  )[0]


def _sides(n: int) -> tuple[np.uint32, np.uint32]:
  """The smallest near-square a * b that holds n."""
  a = math.isqrt(n - 1) + 1
  return np.uint32(a), np.uint32(-(-n // a))


def _feistel(key: jax.Array, x: jax.Array, a, b) -> jax.Array:
  def two_rounds(_, carry):
    key, left, right = carry
    left = _rem(left + _rem(_mix(key ^ right), a), a)
    right = _rem(right + _rem(_mix(key + _GOLDEN ^ left), b), b)
    return key + _GOLDEN + _GOLDEN, left, right

  key = jnp.broadcast_to(key, x.shape)
  _, left, right = lax.fori_loop(
    0, _ROUNDS, two_rounds, (key, _rem(x, a), x // a)
  )  # compiles one round, not six
  return right * a + left


def _rem(x: jax.Array, divisor) -> jax.Array:
  """x mod divisor, without the care for signs that `%` takes."""
  return lax.rem(x, jnp.broadcast_to(divisor, x.shape))


def _fold(key: jax.Array, data: jax.Array) -> jax.Array:
  """A key for each value of data; different keys stay different."""
  return _mix(key + (jnp.asarray(data, jnp.uint32) + np.uint32(1)) * _GOLDEN)


def _mix(x: jax.Array) -> jax.Array:
  """A bijection of uint32 in which every bit moves every bit. Source: MurmurHash3's finalizer (Appleby)."""
  x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
