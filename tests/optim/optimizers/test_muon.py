"""Orthogonal updates of each matrix of each layer."""

import jax
import jax.numpy as jnp
import numpy as np
from optax import contrib
import pytest

from lmhp.optim.optimizers.muon import (
  COEFFICIENTS,
  muon_labels,
  orthogonalize,
  scale_by_muon,
  shape_factor,
)
from lmhp.params import walk_arrays


@pytest.mark.parametrize('shape', [(14, 48), (48, 14), (20, 20)])
def test_orthogonalize_is_the_polynomial_of_the_singular_values(shape):
  matrix = np.random.default_rng(0).standard_normal(shape)
  u, s, vt = np.linalg.svd(matrix, full_matrices=False)
  a, b, c = COEFFICIENTS
  s = s / np.linalg.norm(s)
  for _ in range(5):
    s = a * s + b * s**3 + c * s**5
  got = orthogonalize(jnp.asarray(matrix, jnp.float32))
  np.testing.assert_allclose(got, u * s @ vt, atol=2e-4)
  assert 0.6 < s.min() and s.max() < 1.25


def test_orthogonal_update_equals_that_of_optax():
  params = {
    'x': jnp.asarray(np.random.default_rng(0).standard_normal((14, 48)), jnp.float32)
  }
  theirs = contrib.muon(-1.0, nesterov=False, beta=0.0)
  expected, _ = theirs.update(params, theirs.init(params), params)
  got = shape_factor(14, 48, 'width') * orthogonalize(params['x'])
  np.testing.assert_allclose(got, expected['x'], rtol=1e-3, atol=1e-4)


def test_zeros_stay_zeros():
  assert not np.any(orthogonalize(jnp.zeros((3, 5))))


def test_only_hidden_matrices_are_orthogonalized(tree):
  assert {
    path for path, label in walk_arrays(muon_labels(tree())) if label == 'matrix'
  } == {
    'decoder/segment_0/attention/query/kernel',
    'decoder/segment_0/feed_forward/down/kernel',
  }


def test_each_layer_is_orthogonalized_by_itself(tree):
  down = tree()['decoder']['segment_0']['feed_forward']['down']['kernel']
  params = {'decoder': {'segment_0': {'feed_forward': {'down': {'kernel': down}}}}}
  tx = scale_by_muon(0.0, 5, 'rms')
  got, _ = tx.update(params, tx.init(params), params)
  for layer in range(2):
    np.testing.assert_allclose(
      jax.tree.leaves(got)[0][layer],
      0.2 * 20**0.5 * orthogonalize(down[layer]),
      rtol=1e-4,
      atol=1e-5,
    )


def test_rms_scaling_gives_updates_the_size_of_adamw():
  matrix = jnp.asarray(np.random.default_rng(0).standard_normal((96, 384)), jnp.float32)
  rms = jnp.sqrt(jnp.mean((shape_factor(96, 384, 'rms') * orthogonalize(matrix)) ** 2))
  assert 0.16 < rms < 0.24
