"""The head against float64: tied, untied and factorized, with bias, scale and cap."""

import jax
import numpy as np
import pytest

from lmhp.model.output import Output, soft_cap

B, L, D, V = 3, 5, 14, 31


def logits_in_float64(cfg, params, table, x):
  """Logits by the definition: projection, product, bias, scale, cap."""
  x = x.astype(np.float64)
  params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  if cfg.is_factorized:
    x = x @ params['project']['kernel']
  matrix = table.T if cfg.tie_embeddings else params['kernel']
  logits = x @ matrix
  if cfg.head_bias:
    logits = logits + params['bias']
  logits = logits * cfg.logit_scale
  if cfg.logit_cap:
    logits = cfg.logit_cap * np.tanh(logits / cfg.logit_cap)
  return logits


@pytest.mark.parametrize(
  'fields',
  [
    {},
    {'tie_embeddings': False},
    {'head_bias': True, 'logit_scale': 0.25, 'logit_cap': 2.0},
    {'tie_embeddings': False, 'head_bias': True, 'embedding_dim': 10},
    {'embedding_dim': 10, 'logit_cap': 0.5},
  ],
  ids=str,
)
def test_logits(jit, tiny, fill, fields):
  cfg = tiny(**fields)
  module = Output(cfg)
  rng = np.random.default_rng(0)
  x = rng.standard_normal((B, L, D)).astype(np.float32)
  table = rng.standard_normal((V, cfg.embedding_dim)).astype(np.float32)
  variables = jax.eval_shape(lambda: module.init(jax.random.key(0), x, table))
  params = fill(variables.get('params', {}), std=1.0)

  expected = logits_in_float64(cfg, params, table, x)
  logits = jit(module.apply)({'params': params}, x, table)
  assert logits.dtype == np.float32
  np.testing.assert_allclose(logits, expected, rtol=0, atol=3e-5)

  # The loss calls it with features of another shape.
  flat = jit(module.apply)({'params': params}, x.reshape(B * L, D), table)
  np.testing.assert_allclose(flat, expected.reshape(B * L, V), rtol=0, atol=3e-5)


def test_a_tied_head_has_no_parameters(tiny):
  x = np.zeros((B, L, D), np.float32)
  table = np.zeros((V, D), np.float32)
  variables = jax.eval_shape(lambda: Output(tiny()).init(jax.random.key(0), x, table))
  assert not variables.get('params', {})


def test_soft_cap_against_float64(jit):
  x = np.array([-1e9, -1.0, 0.0, 1e-3, 50.0, np.inf], np.float32)
  expected = 30 * np.tanh(x.astype(np.float64) / 30)
  np.testing.assert_allclose(jit(lambda x: soft_cap(x, 30.0))(x), expected, rtol=1e-6)


def test_soft_cap_without_a_limit_is_the_identity():
  x = np.array([1.0, -5.0], np.float32)
  assert soft_cap(x, None) is x


def test_soft_cap_has_slope_1_at_zero(jit):
  assert float(jit(jax.grad(lambda x: soft_cap(x, 30.0)))(0.0)) == 1.0
