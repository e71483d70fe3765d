"""Randomness by name, and the statistics of dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.batch import Batch
from lmhp.model.rng import dropout, named_key
from lmhp.model.transformer import build

# --- named keys ---------------------------------------------------------------------


@pytest.mark.parametrize(
  'name, crc', [('123456789', 0xCBF43926), ('', 0), ('a', 0xE8B7BE43)]
)
def test_a_name_is_folded_in_by_its_crc32(name, crc):
  """The values are published. If they changed, no run could be repeated."""
  key = jax.random.key(3)
  assert named_key(key, name) == jax.random.fold_in(key, crc)


def test_different_names_have_different_draws():
  key = jax.random.key(3)
  names = ('init/a', 'init/b', 'dropout')
  draws = {float(jax.random.uniform(named_key(key, name))) for name in names}
  assert len(draws) == 3


# --- dropout ------------------------------------------------------------------------


@pytest.mark.parametrize('rate', [0.1, 0.5, 0.9])
def test_dropout_has_its_rate_and_keeps_the_mean(jit, rate):
  y = jit(lambda rate: dropout(jnp.ones((200, 300)), rate, jax.random.key(1)))(
    np.float32(rate)
  )
  y = np.asarray(y)
  deviation = np.sqrt(rate * (1 - rate) / y.size)
  assert abs(np.mean(y == 0) - rate) <= 4 * deviation
  np.testing.assert_allclose(y[y != 0], 1 / (1 - np.float32(rate)), rtol=1e-6)
  assert abs(y.mean() - 1) <= 4 * deviation / (1 - rate)
  assert np.unique(y, axis=0).shape[0] == 200


def test_a_rate_of_0_drops_nothing(jit):
  y = jit(lambda rate: dropout(jnp.ones((20, 30)), rate, jax.random.key(0)))(0.0)
  assert (y == 1).all()


def test_one_program_serves_all_rates(jit):
  n_traces = 0

  @jit
  def dropped(rate):
    nonlocal n_traces
    n_traces += 1
    return dropout(jnp.ones((5, 6)), rate, jax.random.key(0))

  for rate in (0.0, 0.1, 0.5):
    dropped(np.float32(rate))
  assert n_traces == 1


def test_a_larger_rate_also_drops_what_a_smaller_one_drops(jit):
  """Members of a population that differ in the rate share their draws."""

  @jit
  def is_dropped(rate):
    return dropout(jnp.ones((50, 60)), rate, jax.random.key(0)) == 0

  few = is_dropped(np.float32(0.2))
  many = is_dropped(np.float32(0.6))
  assert np.all(many[few])
  assert many.sum() > few.sum()


def test_the_gradient_flows_through_kept_elements(jit):
  def loss(x):
    return jnp.sum(dropout(x, 0.5, jax.random.key(0)))

  gradient = jit(jax.grad(loss))(jnp.ones((30, 40)))
  assert set(np.unique(gradient)) == {0.0, 2.0}


# --- dropout in the network ---------------------------------------------------------


@pytest.fixture
def kept(jit, tiny):
  """`kept(seed)` returns which of 6 parts kept each coordinate, (6, n).

  There are 3 layers with 2 parts. Part i adds 2**i, so that the bits of the sum identify
  the parts.
  """
  cfg = tiny(
    residual_dropout=0.5,
    n_layers=3,
    final_norm=False,
    attention_output_bias=True,
    feed_forward_bias=True,
    d_model=64,
  )
  model = build(cfg)
  params = jax.tree.map(lambda shape: jnp.zeros(shape.shape), model.shapes)
  powers = jnp.broadcast_to(2.0 ** jnp.arange(6).reshape(3, 2, 1), (3, 2, 64))
  layers = params['decoder']['segment_0']
  layers['attention']['output']['bias'] = powers[:, 0]
  layers['feed_forward']['down']['bias'] = powers[:, 1]
  batch = Batch(jnp.zeros((8, 5), jnp.int32))

  @jit
  def features(rate, key):
    return model.features(params, {'residual_dropout': rate}, batch, key)[0]

  def bits(seed):
    sums = np.asarray(features(np.float32(0.25), jax.random.key(seed))) * 0.75
    np.testing.assert_allclose(sums, sums.round(), atol=1e-5)
    numbers = sums.round().astype(int)
    return np.array([(numbers >> bit) & 1 for bit in range(6)]).reshape(6, -1)

  return bits


def test_each_layer_and_part_has_draws_of_its_own(kept):
  masks = kept(seed=0)
  n = masks.shape[1]
  np.testing.assert_allclose(
    masks.mean(axis=1), 0.75, atol=4 * np.sqrt(0.75 * 0.25 / n)
  )
  correlations = np.corrcoef(masks) - np.eye(6)
  assert np.abs(correlations).max() < 4 / np.sqrt(n)


def test_another_key_drops_other_elements(kept):
  assert np.mean(np.any(kept(seed=0) != kept(seed=1), axis=0)) > 0.3


@pytest.mark.parametrize(
  'name', ['embedding_dropout', 'attention_dropout', 'residual_dropout']
)
def test_dropout_needs_a_key_and_a_rate_above_0(jit, tiny, fill, name):
  with_dropout = build(tiny(**{name: 0.5}))
  without_dropout = build(tiny())
  batch = Batch(jnp.arange(15).reshape(3, 5))
  params = fill(with_dropout.shapes)

  @jit
  def features(key):
    rate = {name: np.float32(0.5)}
    no_rate = {name: np.float32(0)}
    return (
      without_dropout.features(params, {}, batch, key)[0],
      with_dropout.features(params, rate, batch)[0],
      with_dropout.features(params, no_rate, batch, key)[0],
      with_dropout.features(params, rate, batch, key)[0],
    )

  expected, no_key, rate_of_0, dropped = features(jax.random.key(0))
  np.testing.assert_array_equal(no_key, expected)
  np.testing.assert_allclose(rate_of_0, expected, rtol=0, atol=1e-5)
  assert np.mean(np.abs(dropped - expected) > 1e-3) > 0.5
