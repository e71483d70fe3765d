"""Biases of ALiBi and of T5 against transformers."""

import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.attention.position_biases import (
  RelativeBias,
  alibi_bias,
  alibi_slopes,
  relative_bucket,
)


def transformers_slopes(n_heads: int) -> np.ndarray:
  import torch
  from transformers.models.bloom.modeling_bloom import build_alibi_tensor

  mask = torch.ones(1, 2, dtype=torch.long)
  return build_alibi_tensor(mask, n_heads, torch.float32)[:, 0, 1].numpy()


@pytest.mark.oracle
@pytest.mark.parametrize('n_heads', [1, 2, 3, 8, 12, 20, 71, 112])
def test_alibi_slopes_against_transformers(n_heads):
  np.testing.assert_allclose(
    alibi_slopes(n_heads), transformers_slopes(n_heads), rtol=1e-6
  )


@pytest.mark.oracle
@pytest.mark.parametrize('n_heads', [1, 2, 3, 8, 12, 20, 71, 112])
def test_alibi_bias_against_transformers(n_heads):
  """They differ by a number that all keys of a query share, which the softmax ignores."""
  distance = np.arange(5)[:, None] - np.arange(5)[None]
  bias = np.asarray(alibi_bias(n_heads, jnp.asarray(distance), scale=0.5))[0]
  theirs = 0.5 * transformers_slopes(n_heads)[:, None, None] * np.arange(5)
  expected = np.broadcast_to(theirs, bias.shape)
  np.testing.assert_allclose(bias - bias[:, :, :1], expected, atol=1e-6)


def test_alibi_bias_falls_with_the_distance():
  distance = np.arange(5)[:, None] - np.arange(5)[None]
  bias = np.asarray(alibi_bias(8, jnp.asarray(distance)))[0]
  assert np.all(bias[:, distance == 0] == 0)
  assert np.all(bias[:, distance > 0] < 0)


def test_alibi_bias_on_both_sides_is_symmetric():
  distance = np.arange(5)[:, None] - np.arange(5)[None]
  bias = np.asarray(alibi_bias(8, jnp.asarray(distance), both_sides=True))[0]
  np.testing.assert_array_equal(bias, np.swapaxes(bias, 1, 2))
  assert np.all(bias[:, distance != 0] < 0)


@pytest.mark.oracle
@pytest.mark.parametrize('both_sides', [False, True])
@pytest.mark.parametrize(
  'buckets, max_distance', [(32, 128), (8, 16), (4, 4), (20, 300), (32, 1000)]
)
def test_buckets_against_transformers(jit, buckets, max_distance, both_sides):
  import torch
  from transformers.models.t5.modeling_t5 import T5Attention

  near = np.arange(-2 * max_distance, 2 * max_distance)
  distance = np.concatenate([near, [10**4, 10**6]]).astype(np.int32)
  expected = T5Attention._relative_position_bucket(
    -torch.tensor(distance),
    bidirectional=both_sides,
    num_buckets=buckets,
    max_distance=max_distance,
  ).numpy()
  bucket = jit(lambda d: relative_bucket(d, buckets, max_distance, both_sides))
  np.testing.assert_array_equal(bucket(distance), expected)


@pytest.mark.oracle
def test_the_smallest_table_against_transformers(jit):
  import torch
  from transformers.models.t5.modeling_t5 import T5Attention

  distance = np.arange(-5, 8).astype(np.int32)
  expected = T5Attention._relative_position_bucket(
    -torch.tensor(distance), bidirectional=False, num_buckets=2, max_distance=2
  ).numpy()
  bucket = jit(lambda d: relative_bucket(d, 2, 2))
  np.testing.assert_array_equal(bucket(distance), expected)


def test_relative_bias_is_the_row_of_the_distance(jit, tiny):
  """Each distance below 16 has its own bucket."""
  table = np.random.default_rng(0).standard_normal((32, 8)).astype(np.float32)
  distance = np.arange(5)[:, None] - np.arange(7)[None] + 2
  module = RelativeBias(tiny(position='t5'))
  params = {'params': {'table': jnp.asarray(table)}}
  bias = jit(lambda d: module.apply(params, d))(distance)
  expected = np.transpose(table[np.maximum(distance, 0)], (2, 0, 1))
  np.testing.assert_array_equal(bias[0], expected)
