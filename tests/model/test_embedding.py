"""Rows of the table, scaled, widened; and the gradient that they get."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.embedding import Embedding

TOKENS = np.array([[0, 30, 7, 7, 1], [2, 2, 2, 2, 2], [29, 3, 0, 30, 7]])


@pytest.mark.parametrize(
  'fields',
  [dict(), dict(embedding_scale=14**0.5), dict(embedding_dim=10, embedding_scale=3.0)],
  ids=str,
)
def test_rows_and_their_gradient(jit, tiny, fields):
  cfg, rng = tiny(**fields), np.random.default_rng(0)
  table = rng.standard_normal((31, cfg.embedding_dim)).astype(np.float32)
  wide = rng.standard_normal((cfg.embedding_dim, 14)).astype(np.float32)
  cotangent = rng.standard_normal((3, 5, 14)).astype(np.float32)
  params = {'table': table} | ({'project': {'kernel': wide}} if cfg.is_factorized else {})
  embed = lambda p: Embedding(cfg).apply({'params': p}, jnp.asarray(TOKENS))
  x, gradient = jit(lambda p, g: (lambda y, pull: (y, pull(g)[0]))(*jax.vjp(embed, p)))(
    params, cotangent
  )
  onehot, through = np.eye(31)[TOKENS], wide if cfg.is_factorized else np.eye(14)
  scale = cfg.embedding_scale
  np.testing.assert_allclose(x, onehot @ table @ through * scale, rtol=0, atol=2e-5)
  expected = np.einsum('blv,bld,xd->vx', onehot, cotangent, through) * scale
  np.testing.assert_allclose(gradient['table'], expected, rtol=0, atol=5e-5)


def test_no_product_is_spent_on_looking_up(tiny):
  params = {'table': jnp.zeros((31, 14))}
  text = str(
    jax.make_jaxpr(
      lambda p: Embedding(tiny()).apply({'params': p}, jnp.asarray(TOKENS))
    )(params)
  )
  assert 'dot_general' not in text
