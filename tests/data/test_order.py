"""The order of sequences: true permutations that look random, exact quotas, nothing stored."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.data import order as o
from lmhp.data.config import BLOCK

WEIGHTS = np.ones(1, np.float32)


@functools.partial(jax.jit, static_argnums=1)
def permutations(keys, n):
  """One permutation of range(n) for each key."""
  x = jnp.arange(n, dtype=jnp.uint32)
  return jax.vmap(lambda key: o.permute(key, x, np.uint32(n), o._sides(n)))(keys)


def tables(n, count):
  keys = np.random.default_rng(n).integers(0, 2**32, count, dtype=np.uint32)
  return np.asarray(permutations(keys, n)).astype(int)


@pytest.mark.parametrize('n', [1, 2, 3, 4, 5, 7, 12, 31, 64, 97, 1000, 1024, 10_007])
def test_every_n_is_permuted(n):
  assert (np.sort(tables(n, 8), axis=1) == np.arange(n)).all()


def test_a_permutation_at_the_edge_of_32_bits_stays_inside_and_repeats_nothing():
  n = 2**32 - 5
  x = jnp.arange(n - 1000, n, dtype=jnp.uint32)
  y = np.asarray(o.permute(jnp.uint32(3), x, np.uint32(n), o._sides(n)))
  assert (
    (y < n).all() and len(set(y.tolist())) == 1000 and y.astype(float).std() > n / 5
  )


@pytest.mark.parametrize('n', [2, 3, 5, 12, 31])
def test_each_place_is_as_likely_as_each_other(n):
  """Chi-square of positions and of ordered pairs, over 20,000 keys; 5 standard deviations allowed."""
  table = tables(n, 20_000)
  for i in range(n):
    counts = np.bincount(table[:, i], minlength=n)
    assert chi_square(counts) < n - 1 + 5 * np.sqrt(2 * (n - 1))
  if n > 2:
    pairs = np.bincount(table[:, 0] * n + table[:, 1], minlength=n * n)[
      ~np.eye(n, dtype=bool).ravel()
    ]
    assert chi_square(pairs) < len(pairs) - 1 + 5 * np.sqrt(2 * (len(pairs) - 1))


def chi_square(counts):
  return ((counts - counts.mean()) ** 2).sum() / counts.mean()


def test_neighbours_part_and_keys_share_nothing():
  n = 4001
  table = tables(n, 100)
  near = (np.abs(np.diff(table, axis=1)) == 1).sum(axis=1)
  assert 1.5 < near.mean() < 2.5  # a random permutation keeps two pairs of neighbours
  assert (table[1:] == table[:-1]).sum(axis=1).mean() < 1.5
  assert (table == np.arange(n)).sum(axis=1).mean() < 1.5


@functools.partial(jax.jit, static_argnums=0)
def _places(order, seed, weights, numbers):
  return order.places(seed, weights, numbers)


def places(windows, count, seed=0, weights=WEIGHTS, seq_len=16, first=0):
  order = o.Order(seq_len, windows)
  numbers = np.arange(first, first + count).astype(np.uint32)
  return [
    np.asarray(x).astype(int)
    for x in _places(order, np.uint32(seed), np.float32(weights), numbers)
  ]


def test_an_epoch_visits_each_window_once_from_one_offset_of_its_own():
  source, epoch, window, offset = places((50,), 50 * 40)
  assert (source == 0).all() and (epoch == np.repeat(np.arange(40), 50)).all()
  assert (np.sort(window.reshape(40, 50), axis=1) == np.arange(50)).all()
  offsets = offset.reshape(40, 50)
  assert (
    (offsets == offsets[:, :1]).all()
    and offsets.max() < 16
    and len(set(offsets[:, 0])) > 10
  )
  assert len({tuple(w) for w in window.reshape(40, 50)}) == 40


def test_seeds_neighbouring_or_not_give_other_orders():
  seeds = [0, 1, 2, 2**31, 2**32 - 1]
  windows = [tuple(places((97,), 97, seed)[2]) for seed in seeds]
  assert len(set(windows)) == len(seeds)
  assert (
    max(
      (np.array(a) == np.array(b)).mean()
      for i, a in enumerate(windows)
      for b in windows[:i]
    )
    < 0.1
  )


def test_every_token_from_the_first_offset_to_the_last_window_fits():
  for n_tokens, seq_len in ((32, 16), (33, 16), (1000, 7), (47, 16)):
    n = o.windows_of(n_tokens, seq_len)
    assert (
      (seq_len - 1) + n * seq_len + 1
      <= n_tokens
      < (seq_len - 1) + (n + 1) * seq_len + 1
    )


def largest_remainder(weights):
  """Hamilton's method in exact arithmetic."""
  from fractions import Fraction

  exact = [Fraction(float(w)) for w in weights]
  shares = [w / sum(exact) * BLOCK for w in exact]
  out = [int(s) for s in shares]
  for i in sorted(range(len(out)), key=lambda i: (out[i] - shares[i], i))[
    : BLOCK - sum(out)
  ]:
    out[i] += 1
  return out


@pytest.mark.parametrize(
  'weights',
  [
    (1, 1),
    (1, 1, 1),
    (0.3, 0.7),
    (0, 1),
    (2, 0, 3, 5),
    (1e-3, 1),
    (1, 2, 4, 8, 16, 32, 64),
  ],
)
def test_quotas_are_hamilton_s(weights):
  got = np.asarray(jax.jit(o.quotas)(np.float32(weights)))
  assert got.tolist() == largest_remainder(np.float32(weights)) and got.sum() == BLOCK


def test_quotas_of_any_weights_sum_to_a_block_and_leave_nothing_out_of_place():
  weights = np.random.default_rng(0).exponential(size=(500, 9)).astype(np.float32)
  weights[:, 3] = 0
  got = np.asarray(jax.jit(jax.vmap(o.quotas))(weights)).astype(int)
  assert (got.sum(axis=1) == BLOCK).all() and (got[:, 3] == 0).all()
  assert (
    np.abs(got - weights / weights.sum(axis=1, keepdims=True) * BLOCK).max() < 1.001
  )


def test_a_mixture_holds_its_quotas_in_every_block_and_reads_each_source_without_replacement():
  windows, weights = (50, 700, 9), (0.5, 0.0, 0.25)
  source, epoch, window, _ = places(windows, 6 * BLOCK, weights=weights)
  for block in source.reshape(6, BLOCK):
    assert np.bincount(block, minlength=3).tolist() == [683, 0, 341]
  assert (np.diff(source) != 0).mean() > 0.3  # mixed finely
  for k in (0, 2):
    mine = np.stack([epoch[source == k], window[source == k]], axis=1)
    whole = mine[mine[:, 0] < mine[:, 0].max()]
    assert len({tuple(row) for row in mine}) == len(mine)
    assert len(whole) == (mine[:, 0].max()) * windows[k]


def test_blocks_are_shuffled_differently():
  source = places((50, 50), 2 * BLOCK, weights=(1, 1))[0].reshape(2, BLOCK)
  assert 0.4 < (source[0] == source[1]).mean() < 0.6


def test_sources_of_one_mixture_have_orders_of_their_own():
  first, second = (
    places((97, 97), 97, weights=weights)[2] for weights in ((1, 0), (0, 1))
  )
  assert sorted(first) != list(first) and (first == second).mean() < 0.1


def test_seeds_and_weights_vmap():
  order = o.Order(16, (50, 31))
  seeds, weights = np.uint32([3, 4, 3]), np.float32([[1, 1], [1, 3], [0, 1]])
  numbers = np.arange(2000, 2024, dtype=np.uint32)
  together = jax.jit(jax.vmap(order.places, in_axes=(0, 0, None)))(
    seeds, weights, numbers
  )
  for i, (seed, weight) in enumerate(zip(seeds, weights)):
    alone = places((50, 31), 24, seed, weight, first=2000)
    for a, b in zip(together, alone):
      assert np.asarray(a[i]).tolist() == b.tolist()


def test_sequence_numbers_beyond_31_bits():
  source, epoch, window, _ = places((50,), 4, first=2**32 - 4)
  assert (epoch == (2**32 - 4 + np.arange(4)) // 50).all() and (window < 50).all()
  assert places((50, 31), 4, weights=(1, 1), first=2**32 - 4)[2].max() < 50
