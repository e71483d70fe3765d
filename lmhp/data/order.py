"""Order of training sequences: a pure function of seed, mixture weights and sequence numbers.

The sequences of a run are numbered 0, 1, 2, ... without end. Sequence s has the same tokens
for every batch size. A source is cut into n windows, each of which gives one sequence. An
epoch reads each window once, in random order. The first window of an epoch begins at a random
offset, so the windows of two epochs have different borders. With several sources, each block of
`MIXTURE_BLOCK` sequences has the same number of sequences from each source, in random order.

The order is computed by uint32 arithmetic on traced values. Nothing is stored, seeds can be
vmapped, and a resumed run needs only its step. Dimension key: B batch.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math
from typing import NamedTuple, TypeAlias

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from lmhp.data.config import MIXTURE_BLOCK
from lmhp.model.batch import Array

MAX_SEQUENCES = 2**32
"""Number of sequences that uint32 can count."""

DataHypers: TypeAlias = Mapping[str, Array]
"""Traced numbers of the section `data` by key, of one run."""

_UInt: TypeAlias = jax.Array | np.uint32
_Sides: TypeAlias = tuple[_UInt, _UInt]
"""Two numbers a and b with a * b >= n. `permute` writes x in range(n) as (x mod a, x div a)."""

_FEISTEL_ROUNDS = 6
"""Double rounds of a Feistel network. Each changes both halves of a number once."""
_GOLDEN = np.uint32(0x9E3779B9)
"""2**32 divided by the golden ratio, the usual increment of hash functions."""

# Each kind of random draw mixes its own number into its key, so the draws are independent.
_SOURCE_STREAM = np.uint32(0)
_WINDOW_STREAM = np.uint32(1)
_OFFSET_STREAM = np.uint32(2)
_BLOCK_STREAM = np.uint32(3)


class Location(NamedTuple):
  """Position of sequences in the sources.

  The first token of a sequence is token `offset + window * seq_len` of its source.

  Attributes:
    source: (B,) uint32, index of the source.
    epoch: (B,) uint32, number of earlier passes over the source.
    window: (B,) uint32, index of the window in the source.
    offset: (B,) uint32, first token of window 0 in this epoch.
  """

  source: jax.Array
  epoch: jax.Array
  window: jax.Array
  offset: jax.Array


@dataclasses.dataclass(frozen=True)
class Order:
  """Order of the training sequences from one or more sources.

  Attributes:
    seq_len: Tokens in a sequence.
    windows: Number of windows of each source. An epoch has one sequence for each window.
  """

  seq_len: int
  windows: tuple[int, ...]

  def locate(
    self, seed: Array, mixture_weights: Array, sequence_numbers_B: Array
  ) -> Location:
    """Returns the location of each sequence.

    Args:
      seed: uint32 scalar, `data.seed`.
      mixture_weights: (sources,) float32. The sum need not be 1.
      sequence_numbers_B: (B,) uint32, numbers of the sequences in the run.
    """
    root = _mix(jnp.asarray(seed, jnp.uint32) ^ _GOLDEN)
    number = jnp.asarray(sequence_numbers_B, jnp.uint32)

    # Find the source, and the number of the sequence among those of its source.
    windows: _UInt
    sides: _Sides
    if len(self.windows) == 1:
      source = jnp.zeros_like(number)
      windows = np.uint32(self.windows[0])
      sides = _sides(self.windows[0])
    else:
      source, number = _choose_source(root, block_quotas(mixture_weights), number)
      windows = jnp.asarray(self.windows, jnp.uint32)[source]
      sides_of_sources = [_sides(n) for n in self.windows]
      a = jnp.asarray([a for a, _ in sides_of_sources], jnp.uint32)[source]
      b = jnp.asarray([b for _, b in sides_of_sources], jnp.uint32)[source]
      sides = (a, b)

    # Permute the windows of the epoch, and draw its offset.
    epoch = number // windows
    key = _fold(_fold(_fold(root, _SOURCE_STREAM), source), epoch)
    window = permute(
      _fold(key, _WINDOW_STREAM), _remainder(number, windows), windows, sides
    )
    offset = _remainder(_fold(key, _OFFSET_STREAM), np.uint32(self.seq_len))
    return Location(source, epoch, window, offset)


def n_windows(n_tokens: int, seq_len: int) -> int:
  """Returns the number of windows of a source with `n_tokens` tokens, the same in each epoch.

  A window has `seq_len` tokens, and one more token that is its last target. The first window of
  an epoch begins at an offset below `seq_len`. All windows fit for each such offset.
  """
  return n_tokens // seq_len - 1


def block_quotas(mixture_weights: Array) -> jax.Array:
  """Returns the number of sequences of each source in a block, (sources,) uint32.

  A block has `MIXTURE_BLOCK` sequences. A source of weight 0 gets none.

  Args:
    mixture_weights: (sources,) float32. The sum need not be 1.
  """
  # Method of largest remainders: round the shares down, and give the sequences that are left
  # to the sources with the largest remainders, one each.
  shares = mixture_weights / mixture_weights.sum() * MIXTURE_BLOCK
  floors = jnp.floor(shares)

  # Rank the remainders by comparing all pairs: `is_ahead[i, j]` is True if source j precedes
  # source i. A sort would take longer to compile than all the rest of this file.
  remainders = shares - floors
  index = jnp.arange(len(shares))
  is_ahead = (remainders[None] > remainders[:, None]) | (
    (remainders[None] == remainders[:, None]) & (index[None] < index[:, None])
  )
  rank = is_ahead.sum(axis=1)
  return (floors + (rank < MIXTURE_BLOCK - floors.sum())).astype(jnp.uint32)


def _choose_source(
  root: jax.Array, quotas: jax.Array, sequence_numbers_B: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the source of each sequence, and the sequence's number within that source.

  Both are (B,) uint32.
  """
  # Shuffle the places (slots) in each block.
  block = sequence_numbers_B // MIXTURE_BLOCK
  slot = sequence_numbers_B % MIXTURE_BLOCK
  key = _fold(_fold(root, _BLOCK_STREAM), block)
  slot = permute(key, slot, np.uint32(MIXTURE_BLOCK), _sides(MIXTURE_BLOCK))

  # After the shuffle, the first `quotas[0]` slots belong to source 0, the next `quotas[1]` slots
  # to source 1, and so on.
  ends = jnp.cumsum(quotas)
  source = (slot[:, None] >= ends[None]).sum(axis=1, dtype=jnp.uint32)
  # Number of sequences of the source in earlier blocks, plus the index of the slot among the
  # slots of the source in this block.
  return source, block * quotas[source] + slot - (ends - quotas)[source]


# --- random permutations without state ----------------------------------------------


def permute(key: jax.Array, x: jax.Array, n: _UInt, sides: _Sides) -> jax.Array:
  """Applies a random permutation of range(n) to x.

  A Feistel network on the pairs (x mod a, x div a) is a bijection of range(a * b). It is applied
  again to each result of n or more, until all results are below n (cycle walking). Few results
  are n or more, because a * b - n < a, and a is about the square root of n.

  Args:
    key: uint32 that determines the permutation, scalar or of the shape of x.
    x: uint32 array of numbers below n.
    n: uint32, scalar or of the shape of x.
    sides: a and b of `_sides(n)`, of the shape of n.

  Source: Black and Rogaway 2002, Ciphers with Arbitrary Finite Domains, sections 3 and 5.
  """
  # If a * b is n, all results are below n.
  if isinstance(n, np.unsignedinteger) and math.prod(int(side) for side in sides) == n:
    return _feistel(key, x, sides)

  # Cycle walking.
  def walk(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    y, is_inside = carry
    y = jnp.where(is_inside, y, _feistel(key, y, sides))
    return y, y < n

  def is_unfinished(carry: tuple[jax.Array, jax.Array]) -> jax.Array:
    _, is_inside = carry
    return ~is_inside.all()

  y, _ = lax.while_loop(is_unfinished, walk, (x, jnp.zeros(x.shape, bool)))
  return y


def _sides(n: int) -> tuple[np.uint32, np.uint32]:
  """Returns a, the square root of n rounded up, and the smallest b with a * b >= n."""
  a = math.isqrt(n - 1) + 1
  return np.uint32(a), np.uint32(-(-n // a))


def _feistel(key: jax.Array, x: jax.Array, sides: _Sides) -> jax.Array:
  """Applies a Feistel network on the pairs (x mod a, x div a)."""
  a, b = sides

  def two_rounds(
    _: int, carry: tuple[jax.Array, jax.Array, jax.Array]
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    key, left, right = carry
    # Add a hash of the right half to the left one, modulo a, and then a hash of the left half
    # to the right one, modulo b. Each addition can be undone, so the step is a bijection.
    left = _remainder(left + _remainder(_mix(key ^ right), a), a)
    right = _remainder(right + _remainder(_mix(key + _GOLDEN ^ left), b), b)
    return key + _GOLDEN + _GOLDEN, left, right

  # The loop compiles a double round once.
  carry = (jnp.broadcast_to(key, x.shape), _remainder(x, a), x // a)
  _, left, right = lax.fori_loop(0, _FEISTEL_ROUNDS, two_rounds, carry)
  return right * a + left


def _remainder(x: jax.Array, divisor: _UInt) -> jax.Array:
  """Returns x mod divisor. `%` would also handle negative numbers, with more operations."""
  return lax.rem(x, jnp.broadcast_to(divisor, x.shape))


def _fold(key: jax.Array, data: _UInt) -> jax.Array:
  """Returns a key that depends on `key` and `data`. Different keys give different results."""
  return _mix(key + (jnp.asarray(data, jnp.uint32) + np.uint32(1)) * _GOLDEN)


def _mix(x: jax.Array) -> jax.Array:
  """Hashes uint32 to uint32, a bijection. Source: finalizer of MurmurHash3 (Appleby)."""
  x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
