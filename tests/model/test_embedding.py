"""The embedding against a product with one-hot vectors, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.embedding import Embedding, TokenTypes, sinusoids

TOKENS = np.array([[0, 30, 7, 7, 1], [2, 2, 2, 2, 2], [29, 3, 0, 30, 7]])
V, D = 31, 14


@pytest.mark.parametrize(
  'fields',
  [
    {},
    {'embedding_scale': 14**0.5},
    {'embedding_dim': 10, 'embedding_scale': 3.0},
  ],
  ids=str,
)
def test_rows_and_their_gradient(jit, tiny, fields):
  cfg = tiny(**fields)
  rng = np.random.default_rng(0)
  table = rng.standard_normal((V, cfg.embedding_dim)).astype(np.float32)
  projection = rng.standard_normal((cfg.embedding_dim, D)).astype(np.float32)
  cotangent = rng.standard_normal((3, 5, D)).astype(np.float32)
  params = {'table': table}
  if cfg.is_factorized:
    params['project'] = {'kernel': projection}

  def embed(params):
    return Embedding(cfg).apply({'params': params}, jnp.asarray(TOKENS))

  @jit
  def embed_and_pull_back(params, cotangent):
    x, pull_back = jax.vjp(embed, params)
    return x, pull_back(cotangent)[0]

  x, gradient = embed_and_pull_back(params, cotangent)

  one_hot = np.eye(V)[TOKENS]
  matrix = projection if cfg.is_factorized else np.eye(D)
  expected = one_hot @ table @ matrix * cfg.embedding_scale
  np.testing.assert_allclose(x, expected, rtol=0, atol=2e-5)
  expected = np.einsum('blv,bld,xd->vx', one_hot, cotangent, matrix)
  expected = expected * cfg.embedding_scale
  np.testing.assert_allclose(gradient['table'], expected, rtol=0, atol=5e-5)


def test_a_lookup_is_no_matrix_product(tiny):
  params = {'table': jnp.zeros((V, D))}

  def embed(params):
    return Embedding(tiny()).apply({'params': params}, jnp.asarray(TOKENS))

  assert 'dot_general' not in str(jax.make_jaxpr(embed)(params))


def test_token_types_add_their_rows(jit, tiny):
  table = np.random.default_rng(0).standard_normal((3, D)).astype(np.float32)
  types = np.array([[0, 0, 1, 2, 2]])
  module = TokenTypes(tiny(token_types=3))
  variables = {'params': {'table': jnp.asarray(table)}}
  x = np.ones((1, 5, D), np.float32)
  added = jit(lambda x: module.apply(variables, x, jnp.asarray(types)))(x)
  np.testing.assert_allclose(added[0], x[0] + table[types[0]], rtol=1e-6)


def test_tokens_without_types_have_the_first(jit, tiny):
  table = np.random.default_rng(0).standard_normal((3, D)).astype(np.float32)
  module = TokenTypes(tiny(token_types=3))
  variables = {'params': {'table': jnp.asarray(table)}}
  x = np.ones((2, 5, D), np.float32)
  added = jit(lambda x: module.apply(variables, x, None))(x)
  np.testing.assert_allclose(added, x + table[0], rtol=1e-6)


# --- sinusoidal positions -----------------------------------------------------------


@pytest.mark.oracle
def test_sinusoids_against_transformers(jit):
  from transformers.models.xglm.modeling_xglm import XGLMSinusoidalPositionalEmbedding

  expected = XGLMSinusoidalPositionalEmbedding.get_embedding(40, 14).numpy()
  embeddings = jit(lambda positions: sinusoids(positions, 14))(jnp.arange(40)[None])
  np.testing.assert_allclose(embeddings[0], expected, rtol=0, atol=5e-6)


def test_sinusoids_of_one_wave(jit):
  embeddings = jit(lambda positions: sinusoids(positions, 2))(jnp.arange(3)[None])
  expected = np.stack([np.sin([0, 1, 2]), np.cos([0, 1, 2])], axis=-1)
  np.testing.assert_allclose(embeddings[0], expected, rtol=0, atol=1e-6)
