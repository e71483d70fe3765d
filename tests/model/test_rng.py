"""Randomness by name, and dropout's statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.batch import Batch
from lmhp.model.rng import dropout, named_key
from lmhp.model.transformer import build


def test_a_name_is_folded_in_by_its_crc32():
  """The numbers are those of any other CRC-32; were they to change, no run could be repeated."""
  key = jax.random.key(3)
  for name, crc in (('123456789', 0xCBF43926), ('', 0), ('a', 0xE8B7BE43)):
    assert named_key(key, name) == jax.random.fold_in(key, crc)
  draws = {
    name: float(jax.random.uniform(named_key(key, name)))
    for name in ('init/a', 'init/b', 'dropout')
  }
  assert len(set(draws.values())) == 3


def test_dropout_keeps_the_share_and_the_mean(jit):
  """One program for all rates; kept numbers grow by 1 / (1 - rate), each is drawn for itself."""
  traces = []

  @jit
  def dropped(rate, seed):
    traces.append(1)
    return dropout(jnp.ones((200, 300)), rate, jax.random.key(seed))

  for seed, rate in enumerate((0.0, 0.1, 0.5, 0.9)):
    out = np.asarray(dropped(np.float32(rate), seed))
    deviation = np.sqrt(rate * (1 - rate) / out.size)
    assert abs(np.mean(out == 0) - rate) <= 4 * deviation
    np.testing.assert_allclose(out[out != 0], 1 / (1 - np.float32(rate)), rtol=1e-6)
    assert abs(out.mean() - 1) <= 4 * deviation / (1 - rate)
    assert np.unique(out, axis=0).shape[0] == (1 if rate == 0 else 200)
  assert len(traces) == 1
  np.testing.assert_array_equal(
    dropped(np.float32(0.5), 7), dropped(np.float32(0.5), 7)
  )


def test_a_larger_rate_drops_what_a_smaller_one_dropped(jit):
  """Common random numbers: members of a population that differ in the rate share their draws."""
  dropped = jit(lambda rate: dropout(jnp.ones((50, 60)), rate, jax.random.key(0)) == 0)
  few, many = dropped(np.float32(0.2)), dropped(np.float32(0.6))
  assert np.all(many[few]) and many.sum() > few.sum()


def test_the_gradient_flows_through_what_is_kept(jit):
  gradient = jit(jax.grad(lambda x: jnp.sum(dropout(x, 0.5, jax.random.key(0)))))(
    jnp.ones((30, 40))
  )
  assert set(np.unique(gradient)) == {0.0, 2.0}


def test_each_layer_and_each_part_draws_for_itself(jit, tiny):
  """Parts that add the powers of two, one to each layer: the sum's bits say who dropped what where."""
  cfg = tiny(
    residual_dropout=0.5,
    n_layers=3,
    final_norm=False,
    attention_output_bias=True,
    feed_forward_bias=True,
    d_model=64,
  )
  model = build(cfg)
  params = jax.tree.map(lambda s: jnp.zeros(s.shape), model.shapes)
  powers = jnp.broadcast_to(2.0 ** jnp.arange(6).reshape(3, 2, 1), (3, 2, 64))
  layers = params['decoder']['segment_0']
  layers['attention']['output']['bias'], layers['feed_forward']['down']['bias'] = (
    powers[:, 0],
    powers[:, 1],
  )
  tokens = Batch(jnp.zeros((8, 5), jnp.int32))
  run = jit(
    lambda rate, key: model.features(params, {'residual_dropout': rate}, tokens, key)[0]
  )
  sums = np.asarray(run(np.float32(0.25), jax.random.key(0))) * 0.75
  np.testing.assert_allclose(sums, sums.round(), atol=1e-5)
  kept = np.array([(sums.round().astype(int) >> bit) & 1 for bit in range(6)]).reshape(
    6, -1
  )
  n = kept.shape[1]
  np.testing.assert_allclose(kept.mean(axis=1), 0.75, atol=4 * np.sqrt(0.75 * 0.25 / n))
  correlations = np.corrcoef(kept) - np.eye(6)
  assert np.abs(correlations).max() < 4 / np.sqrt(n)
  other = np.asarray(run(np.float32(0.25), jax.random.key(1))) * 0.75
  assert 0.3 < np.mean(other.round() != sums.round()) <= 1


@pytest.mark.parametrize(
  'name', ['embedding_dropout', 'attention_dropout', 'residual_dropout']
)
def test_without_a_key_nothing_is_dropped(jit, tiny, fill, name):
  dropped, plain, tokens = (
    build(tiny(**{name: 0.5})),
    build(tiny()),
    Batch(jnp.arange(15).reshape(3, 5)),
  )
  params, rates = fill(plain.shapes), {name: np.float32(0.5)}
  a, b, c, d = jit(
    lambda key: (
      dropped.features(params, rates, tokens)[0],
      plain.features(params, {}, tokens, key)[0],
      dropped.features(params, rates, tokens, key)[0],
      dropped.features(params, {name: np.float32(0)}, tokens, key)[0],
    )
  )(jax.random.key(0))
  np.testing.assert_array_equal(a, b)
  np.testing.assert_allclose(d, a, rtol=0, atol=1e-5)
  assert np.mean(np.abs(c - a) > 1e-3) > 0.5
