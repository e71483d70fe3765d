"""Random streams and quasi-random sequences: numbers in [0, 1) by seed and name.

A random stream is a sequence of random numbers with a seed and a name. A number depends only on
the seed, the name and the index of the number, and not on what was drawn before. Only raw bits
of NumPy's generators are used, which are the same in all versions of NumPy.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math

import numpy as np
import numpy.typing as npt

MAX_POINTS = 2**32
"""Largest number of points of a quasi-random sequence."""

MAX_DIMENSIONS = 21_201
"""Number of dimensions for which Joe and Kuo give direction numbers of a Sobol sequence."""

LARGEST_PRIME = 239_737
"""The 21,201st prime, the base of the last dimension of a Halton sequence."""

BITS = 53
"""Bits of each random number. A float64 in [0, 1) holds a multiple of 2^-53 without rounding."""


def key_of(seed: int, *names: str) -> int:
  """Returns the 128-bit key of a seed and names. It is the same on every machine."""
  digest = hashlib.sha256(json.dumps([int(seed), *names]).encode()).digest()
  return int.from_bytes(digest[:16], 'little')


def random_words(key: int, start: int, stop: int) -> npt.NDArray[np.uint64]:
  """Returns random 64-bit words of the stream of a key.

  A block of the stream is four words. Block n is the number n, encrypted with the key. So no
  block depends on the blocks before it.

  Args:
    key: Key of the stream.
    start: First index.
    stop: Last index plus one.

  Returns:
    (stop - start,) random 64-bit words.

  Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox4x64-10).
  """
  n_skipped = start % 4
  generator = np.random.Philox(key=key, counter=start // 4)
  return generator.random_raw(stop - start + n_skipped)[n_skipped:]


def random(key: int, start: int, stop: int) -> npt.NDArray[np.float64]:
  """Returns independent uniform numbers of the random stream of a key.

  Args:
    key: Key of the stream.
    start: First index.
    stop: Last index plus one.

  Returns:
    (stop - start,) numbers in [0, 1).
  """
  words = random_words(key, start, stop) >> np.uint64(64 - BITS)
  return words * np.float64(2.0**-BITS)


# --- Halton ---------------------------------------------------------------------------


def halton(key: int, dimension: int, start: int, stop: int) -> npt.NDArray[np.float64]:
  """Returns points of one dimension of the scrambled Halton sequence.

  Each dimension has a prime base. If an index has the digits ... d2 d1 d0 in this base, its
  radical inverse is the fraction 0.d0 d1 d2 ... Before this, the digits are permuted, leading
  zeros included. Each place (ones, base, base^2, ...) has its own random permutation of the
  digits 0 to base - 1.

  Args:
    key: Key of the permutations.
    dimension: Index of the dimension. 0 has base 2, 1 has base 3, 2 has base 5, and so on.
    start: First index.
    stop: Last index plus one.

  Returns:
    (stop - start,) numbers in [0, 1).

  Source: Halton 1960. Scrambling: Owen 2017, arXiv:1706.02808, algorithm 1.
  """
  base = int(primes()[dimension])
  return _radical_inverse(_permutations(key, base), start, stop)


def _radical_inverse(
  permutations: npt.NDArray[np.int64], start: int, stop: int
) -> npt.NDArray[np.float64]:
  """Returns the radical inverses of indices whose digits are permuted.

  Args:
    permutations: (places, base) permutation of the digits of each place, the ones first.
    start: First index.
    stop: Last index plus one.
  """
  base = permutations.shape[1]
  rest = np.arange(start, stop)
  inverse = np.zeros(stop - start, np.int64)
  for permutation in permutations:
    rest, digit = np.divmod(rest, base)
    inverse = inverse * base + permutation[digit]
  return inverse / float(base ** len(permutations))


def n_places(base: int) -> int:
  """Returns the number of digits, in a base, that a float64 below 1 holds without rounding."""
  # For primes, the quotient is a whole number only for base 2, where it is exact. So a rounding
  # error cannot change the result.
  return int(BITS / math.log2(base))


@functools.lru_cache(maxsize=1024)
def _permutations(key: int, base: int) -> npt.NDArray[np.int64]:
  """Returns a random permutation of the digits of each place, (places, base)."""
  words = random_words(key, 0, n_places(base) * base)
  return np.argsort(words.reshape(-1, base), axis=1, kind='stable')


@functools.cache
def primes() -> npt.NDArray[np.int64]:
  """Returns the first 21,201 primes, one for each dimension, by a sieve."""
  is_prime = np.ones(LARGEST_PRIME + 1, bool)
  is_prime[:2] = False
  for i in range(2, math.isqrt(LARGEST_PRIME) + 1):
    is_prime[i * i :: i] &= not is_prime[i]
  return np.flatnonzero(is_prime)


# --- Sobol ----------------------------------------------------------------------------


def sobol(key: int, dimension: int, start: int, stop: int) -> npt.NDArray[np.float64]:
  """Returns points of one dimension of the scrambled Sobol sequence.

  Scrambling multiplies the vector of the bits of a number by a random matrix, modulo 2. Then it
  takes the exclusive or with a random number, the shift. The matrix is lower triangular with a
  unit diagonal. So two numbers that share their first k bits share the first k bits of their
  results, too. The points stay as evenly spread as before: one dimension is still a
  (0, 1)-sequence, and s dimensions are a (t, s)-sequence with the same t (a smaller t is more
  even).

  Args:
    key: Key of the matrix and the shift.
    dimension: Index of the dimension, from 0.
    start: First index.
    stop: Last index plus one. A call takes longer for a larger `stop`, even if `start` is close
      to it: seconds at a billion.

  Returns:
    (stop - start,) numbers in [0, 1).

  Source: Joe and Kuo 2008 for the direction numbers, in SciPy's Gray code order. Matousek
  1998, "On the L2-discrepancy for anchored boxes", for the linear matrix scramble. Owen 1995
  for the digital shift.
  """
  # At least 16 bits, so that all calls up to index 65,535 use one cached result.
  n_bits = max(16, (stop - 1).bit_length())
  directions, shift = _scrambled_directions(key, dimension, n_bits)
  index = np.arange(start, stop, dtype=np.uint64)
  gray_code = index ^ (index >> np.uint64(1))
  # Point i is the exclusive or of the shift and the directions at the 1 bits of its Gray code.
  points = np.full(len(index), shift)
  for bit, direction in enumerate(directions):
    points ^= direction * ((gray_code >> np.uint64(bit)) & np.uint64(1))
  return points * np.float64(2.0**-BITS)


@functools.lru_cache(maxsize=1024)
def _scrambled_directions(
  key: int, dimension: int, n_bits: int
) -> tuple[npt.NDArray[np.uint64], np.uint64]:
  """Returns the direction numbers times the random matrix, (n_bits,), and the random shift.

  All of them have 53 bits.
  """
  words = random_words(key, 0, BITS + 1) >> np.uint64(64 - BITS)

  # SciPy computes the first n dimensions together. n is rounded up to a power of two, so that
  # several dimensions use one cached result.
  n_dimensions = min(2 ** dimension.bit_length(), MAX_DIMENSIONS)
  directions = _directions(n_dimensions, n_bits)[:, dimension]

  # Multiply by the matrix, one row for each bit. Row 0 gives the leading bit.
  scrambled = np.zeros(n_bits, np.uint64)
  for row in range(BITS):
    # A row has random bits before the diagonal, 1 on it, and 0 after it.
    place = BITS - 1 - row
    random_bits = int(words[row]) >> (place + 1) << (place + 1)
    mask = np.uint64(random_bits | (1 << place))
    parity = np.bitwise_count(directions & mask) & np.uint64(1)
    scrambled |= parity << np.uint64(place)
  return scrambled, words[BITS]


@functools.lru_cache(maxsize=8)
def _directions(n_dimensions: int, n_bits: int) -> npt.NDArray[np.uint64]:
  """Returns direction numbers, (n_bits, n_dimensions) of 53 bits each.

  They are computed from points of SciPy's sequence. The Gray code of 2^k has the bits k and
  k - 1, so point 2^k is the exclusive or of the direction numbers k and k - 1.
  """
  from scipy.stats import qmc

  # `fast_forward` accepts no more than 32 bits.
  engine = qmc.Sobol(n_dimensions, scramble=False, bits=32)
  points = []
  position = 0
  for k in range(n_bits):
    engine.fast_forward(2**k - position)
    points.append(engine.random(1)[0])
    position = 2**k + 1
  # Point 2^k is d_k xor d_(k-1), so the xor of the points 2^0 to 2^k is d_k.
  words = (np.array(points) * 2.0**BITS).astype(np.uint64)
  return np.bitwise_xor.accumulate(words, axis=0)
