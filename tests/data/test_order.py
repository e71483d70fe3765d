"""Order of sequences: random permutations, exact quotas, and no stored state."""

from fractions import Fraction
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.data import order as order_lib
from lmhp.data.config import MIXTURE_BLOCK

ONE_SOURCE = np.ones(1, np.float32)


# --- permutations -------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=1)
def _permutations(keys, n):
  x = jnp.arange(n, dtype=jnp.uint32)
  sides = order_lib._sides(n)
  return jax.vmap(lambda key: order_lib.permute(key, x, np.uint32(n), sides))(keys)


def random_permutations(n, count):
  """Returns permutations of range(n) of random keys, (count, n)."""
  keys = np.random.default_rng(n).integers(0, 2**32, count, dtype=np.uint32)
  return np.asarray(_permutations(keys, n)).astype(int)


@pytest.mark.parametrize('n', [1, 2, 3, 4, 5, 7, 12, 31, 64, 97, 1000, 1024, 10_007])
def test_every_number_appears_once(n):
  assert (np.sort(random_permutations(n, 8), axis=1) == np.arange(n)).all()


def test_permutation_near_the_largest_uint32():
  n = 2**32 - 5
  x = jnp.arange(n - 1000, n, dtype=jnp.uint32)
  y = np.asarray(order_lib.permute(jnp.uint32(3), x, np.uint32(n), order_lib._sides(n)))
  assert (y < n).all()
  assert len(set(y.tolist())) == 1000
  assert y.astype(float).std() > n / 5


def chi_square(counts):
  return ((counts - counts.mean()) ** 2).sum() / counts.mean()


def largest_chi_square(n_cells):
  """Returns the expected value plus five standard deviations."""
  return n_cells - 1 + 5 * np.sqrt(2 * (n_cells - 1))


@pytest.mark.parametrize('n', [2, 3, 5, 12, 31])
def test_images_of_each_number_are_uniform(n):
  permutations = random_permutations(n, 20_000)
  for i in range(n):
    counts = np.bincount(permutations[:, i], minlength=n)
    assert chi_square(counts) < largest_chi_square(n)


@pytest.mark.parametrize('n', [3, 5, 12, 31])
def test_images_of_pairs_are_uniform(n):
  permutations = random_permutations(n, 20_000)
  pairs = permutations[:, 0] * n + permutations[:, 1]
  is_pair = ~np.eye(n, dtype=bool).ravel()
  counts = np.bincount(pairs, minlength=n * n)[is_pair]
  assert chi_square(counts) < largest_chi_square(len(counts))


def test_neighbours_are_separated_as_in_random_permutations():
  permutations = random_permutations(4001, 100)
  n_neighbours = (np.abs(np.diff(permutations, axis=1)) == 1).sum(axis=1)
  # A random permutation keeps two pairs of neighbours on average.
  assert 1.5 < n_neighbours.mean() < 2.5


def test_permutations_of_different_keys_are_unrelated():
  permutations = random_permutations(4001, 100)
  n_equal = (permutations[1:] == permutations[:-1]).sum(axis=1)
  n_fixed = (permutations == np.arange(4001)).sum(axis=1)
  # Two random permutations agree in one place on average.
  assert n_equal.mean() < 1.5
  assert n_fixed.mean() < 1.5


# --- locations ----------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=0)
def _locate(order, seed, weights, numbers):
  return order.locate(seed, weights, numbers)


def locate(windows, count, seed=0, weights=ONE_SOURCE, first=0):
  """Returns the location of consecutive sequences of 16 tokens, as integers."""
  order = order_lib.Order(16, windows)
  numbers = np.arange(first, first + count).astype(np.uint32)
  location = _locate(order, np.uint32(seed), np.float32(weights), numbers)
  return order_lib.Location(*(np.asarray(x).astype(int) for x in location))


def test_epoch_visits_each_window_once_in_a_new_order():
  location = locate((50,), 50 * 40)
  windows = location.window.reshape(40, 50)
  assert (location.source == 0).all()
  assert (location.epoch == np.repeat(np.arange(40), 50)).all()
  assert (np.sort(windows, axis=1) == np.arange(50)).all()
  assert len({tuple(row) for row in windows}) == 40


def test_epoch_has_one_random_offset():
  offsets = locate((50,), 50 * 40).offset.reshape(40, 50)
  assert (offsets == offsets[:, :1]).all()
  assert offsets.max() < 16
  assert len(set(offsets[:, 0])) > 10


def test_seeds_give_different_orders():
  seeds = [0, 1, 2, 2**31, 2**32 - 1]
  orders = [locate((97,), 97, seed).window for seed in seeds]
  for i, first in enumerate(orders):
    for second in orders[:i]:
      assert (first == second).mean() < 0.1


@pytest.mark.parametrize('n_tokens, seq_len', [(32, 16), (33, 16), (1000, 7), (47, 16)])
def test_windows_fit_from_the_last_offset_and_no_more_would(n_tokens, seq_len):
  n = order_lib.n_windows(n_tokens, seq_len)
  last_offset = seq_len - 1
  assert last_offset + n * seq_len + 1 <= n_tokens
  assert last_offset + (n + 1) * seq_len + 1 > n_tokens


def test_sequence_numbers_above_31_bits():
  location = locate((50,), 4, first=2**32 - 4)
  assert (location.epoch == (2**32 - 4 + np.arange(4)) // 50).all()
  assert (location.window < 50).all()
  mixed = locate((50, 31), 4, weights=(1, 1), first=2**32 - 4)
  assert mixed.window.max() < 50


# --- mixtures -----------------------------------------------------------------------


def largest_remainder(weights):
  """Returns the quotas of Hamilton's method, in exact arithmetic."""
  exact = [Fraction(float(weight)) for weight in weights]
  shares = [weight / sum(exact) * MIXTURE_BLOCK for weight in exact]
  quotas = [int(share) for share in shares]
  by_remainder = sorted(range(len(quotas)), key=lambda i: (quotas[i] - shares[i], i))
  for i in by_remainder[: MIXTURE_BLOCK - sum(quotas)]:
    quotas[i] += 1
  return quotas


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
def test_quotas_equal_the_largest_remainder_method(weights):
  quotas = np.asarray(jax.jit(order_lib.block_quotas)(np.float32(weights)))
  assert quotas.tolist() == largest_remainder(np.float32(weights))


def test_quotas_of_random_weights_fill_a_block():
  weights = np.random.default_rng(0).exponential(size=(500, 9)).astype(np.float32)
  weights[:, 3] = 0
  quotas = np.asarray(jax.jit(jax.vmap(order_lib.block_quotas))(weights)).astype(int)
  exact = weights / weights.sum(axis=1, keepdims=True) * MIXTURE_BLOCK
  assert (quotas.sum(axis=1) == MIXTURE_BLOCK).all()
  assert (quotas[:, 3] == 0).all()
  assert np.abs(quotas - exact).max() < 1.001


def test_every_block_has_the_quota_of_each_source_finely_mixed():
  source = locate((50, 700, 9), 6 * MIXTURE_BLOCK, weights=(0.5, 0.0, 0.25)).source
  for block in source.reshape(6, MIXTURE_BLOCK):
    assert np.bincount(block, minlength=3).tolist() == [683, 0, 341]
  assert (np.diff(source) != 0).mean() > 0.3


def test_sources_of_a_mixture_are_read_without_replacement():
  windows = (50, 700, 9)
  location = locate(windows, 6 * MIXTURE_BLOCK, weights=(0.5, 0.0, 0.25))
  for k in (0, 2):
    epochs = location.epoch[location.source == k]
    pairs = set(zip(epochs, location.window[location.source == k]))
    assert len(pairs) == len(epochs)
    n_in_full_epochs = sum(epoch < epochs.max() for epoch, _ in pairs)
    assert n_in_full_epochs == epochs.max() * windows[k]


def test_blocks_have_different_orders():
  source = locate((50, 50), 2 * MIXTURE_BLOCK, weights=(1, 1)).source
  first, second = source.reshape(2, MIXTURE_BLOCK)
  assert 0.4 < (first == second).mean() < 0.6


def test_sources_have_different_orders():
  first = locate((97, 97), 97, weights=(1, 0)).window
  second = locate((97, 97), 97, weights=(0, 1)).window
  assert sorted(first) != list(first)
  assert (first == second).mean() < 0.1


def test_seeds_and_weights_can_be_vmapped():
  order = order_lib.Order(16, (50, 31))
  seeds = np.uint32([3, 4, 3])
  weights = np.float32([[1, 1], [1, 3], [0, 1]])
  numbers = np.arange(2000, 2024, dtype=np.uint32)
  vmapped = jax.jit(jax.vmap(order.locate, in_axes=(0, 0, None)))
  locations = vmapped(seeds, weights, numbers)
  for i, (seed, weight) in enumerate(zip(seeds, weights)):
    expected = locate((50, 31), 24, seed, weight, first=2000)
    for actual, one in zip(locations, expected):
      assert np.asarray(actual[i]).tolist() == one.tolist()
