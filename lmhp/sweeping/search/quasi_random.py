"""Numbers in [0, 1) by seed and name: random, or quasi-random along one dimension.

A stream is a pure function of (seed, name, index): nothing of it depends on which other streams there are, or on what
was drawn before. Only numpy's raw bit streams are used, which it keeps the same from version to version.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math

import numpy as np

MOST_POINTS = 2**32  # of a quasi-random stream
MOST_DIMENSIONS = 21_201  # for which Joe and Kuo give direction numbers
BITS = 53  # of a float64 below 1


def key_of(seed: int, *names: str) -> int:
  """128 bits that are the same on every machine, for a seed and the names of what it is for."""
  return int.from_bytes(
    hashlib.sha256(json.dumps([int(seed), *names]).encode()).digest()[:16], 'little'
  )


def random_words(key: int, start: int, stop: int) -> np.ndarray:
  """Words start to stop of the random stream of a key, (stop - start,) uint64.

  Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (Philox4x64-10): block n is the counter n,
  enciphered, so that no word needs those before it.
  """
  words = np.random.Philox(key=key, counter=start // 4).random_raw(
    stop - start + start % 4
  )
  return words[start % 4 :]


def random(key: int, start: int, stop: int) -> np.ndarray:
  """Independent and uniform, (stop - start,) float64 in [0, 1)."""
  return (random_words(key, start, stop) >> np.uint64(64 - BITS)) * 2.0**-BITS


# --- Halton ---------------------------------------------------------------------------------------------------------


def halton(key: int, dimension: int, start: int, stop: int) -> np.ndarray:
  """A dimension of the Halton sequence: the digits of the index in the dimension's prime, permuted and mirrored.

  Every digit's place has a random permutation of its own; so has every place that holds no digit yet.

  Source: Halton 1960; scrambled as arXiv:1706.02808 (Owen 2017), algorithm 1.

  Args:
    key: draws the permutations.
    dimension: 0 is base 2, 1 is base 3, 2 is base 5, ...
    start: first index.
    stop: one above the last.

  Returns:
    (stop - start,) float64 in [0, 1).
  """
  base = primes(dimension + 1)[dimension]
  return _mirrored(_permutations(key, base), start, stop)


def _mirrored(permutations: np.ndarray, start: int, stop: int) -> np.ndarray:
  """The radical inverse of indices, after a permutation of each digit.

  Args:
    permutations: (places, base) int64.
    start: first index.
    stop: one above the last.
  """
  base = permutations.shape[1]
  rest, mirrored = np.arange(start, stop), np.zeros(stop - start, np.int64)
  for permutation in permutations:
    rest, digit = np.divmod(rest, base)
    mirrored = mirrored * base + permutation[digit]
  return mirrored / float(base ** len(permutations))


def places(base: int) -> int:
  """Digits that a float64 below 1 holds without rounding."""
  n = 1
  while base ** (n + 1) <= 2**BITS:
    n += 1
  return n


@functools.lru_cache(maxsize=1024)
def _permutations(key: int, base: int) -> np.ndarray:
  words = random_words(key, 0, places(base) * base)
  return np.argsort(words.reshape(-1, base), axis=1, kind='stable')


@functools.lru_cache(maxsize=8)
def primes(n: int) -> tuple[int, ...]:
  """The first n primes, by a sieve. Their bound: Rosser 1941, p_n < n (ln n + ln ln n) from n = 6 on."""
  most = 13 if n < 6 else int(n * (math.log(n) + math.log(math.log(n)))) + 1
  sieve = np.ones(most + 1, bool)
  sieve[:2] = False
  for i in range(2, math.isqrt(most) + 1):
    sieve[i * i :: i] &= not sieve[i]
  return tuple(np.flatnonzero(sieve)[:n].tolist())


# --- Sobol ----------------------------------------------------------------------------------------------------------


def sobol(key: int, dimension: int, start: int, stop: int) -> np.ndarray:
  """A dimension of the Sobol sequence, its digits mixed by a random matrix and shifted.

  The matrix is lower triangular with a unit diagonal, so that points which share k leading bits still do, and points
  which do not still do not: a dimension stays a (0, 1)-sequence, several a (t, s)-sequence of the same t.

  Source: Joe and Kuo 2008 (direction numbers, in scipy's Gray-code order); Matousek 1998, On the L2-discrepancy for
  anchored boxes (linear matrix scramble); Owen 1995 (digital shift).

  Args:
    key: draws the matrix and the shift.
    dimension: 0 and up.
    start: first index. The time grows with the largest index asked for: seconds at a billion.
    stop: one above the last.

  Returns:
    (stop - start,) float64 in [0, 1).
  """
  bits = max(16, (stop - 1).bit_length())
  directions, shift = _scrambled(key, dimension, bits)
  index = np.arange(start, stop, dtype=np.uint64)
  gray = index ^ (index >> np.uint64(1))
  out = np.full(len(index), shift)
  for bit, direction in enumerate(directions):
    out ^= direction * ((gray >> np.uint64(bit)) & np.uint64(1))
  return out * 2.0**-BITS


@functools.lru_cache(maxsize=1024)
def _scrambled(key: int, dimension: int, bits: int) -> tuple[np.ndarray, np.uint64]:
  """Direction numbers after the matrix, (bits,) uint64 of 53 bits, and the shift."""
  words = random_words(key, 0, BITS + 1) >> np.uint64(64 - BITS)
  # A power of two of dimensions at a time, so that parameters share what is asked of scipy.
  dimensions = min(2 ** dimension.bit_length(), MOST_DIMENSIONS)
  directions = _directions(dimensions, bits)[:, dimension]
  out = np.zeros(bits, np.uint64)
  for row in range(BITS):  # row 0 is the leading bit
    place = BITS - 1 - row
    mask = (int(words[row]) >> (place + 1) << (place + 1)) | (1 << place)
    out |= (np.bitwise_count(directions & np.uint64(mask)) & np.uint64(1)) << np.uint64(
      place
    )
  return out, words[BITS]


@functools.lru_cache(maxsize=8)
def _directions(dimensions: int, bits: int) -> np.ndarray:
  """Direction numbers, (bits, dimensions) uint64 of 53 bits.

  Read off the sequence: point 2^k is the exclusive or of direction numbers k and k - 1, since that is its Gray code.
  """
  from scipy.stats import qmc

  engine = qmc.Sobol(
    dimensions, scramble=False, bits=32
  )  # its fast_forward takes no more
  points, at = [], 0
  for k in range(bits):
    engine.fast_forward(2**k - at)
    points.append(engine.random(1)[0])
    at = 2**k + 1
  return np.bitwise_xor.accumulate(
    (np.array(points) * 2.0**BITS).astype(np.uint64), axis=0
  )
