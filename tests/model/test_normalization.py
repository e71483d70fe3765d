"""Normalizations against torch and numpy float64, forward and backward, and their counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.counts import norm_size
from lmhp.model.normalization import (
  Normalization,
  block_norms,
  normalize,
  parameter_counts,
)
from lmhp.model.transformer import build
from lmhp.params import list_params

X = np.random.default_rng(0).standard_normal((3, 5, 14)).astype(np.float32) * 3 + 1
SCALE, BIAS, WEIGHT = (
  np.random.default_rng(1).standard_normal((3, 14)).astype(np.float32)
)


@pytest.mark.oracle
@pytest.mark.parametrize('kind', ['layernorm', 'rmsnorm'])
@pytest.mark.parametrize(
  'affine, bias, offset, eps',
  [
    (True, True, False, 1e-5),
    (True, False, True, 0.1),
    (False, False, False, 1e-6),
    (True, False, False, 0.0),
  ],
)
def test_equals_torch(jit, tiny, kind, affine, bias, offset, eps):
  import torch
  from torch.nn import functional

  cfg = tiny(
    norm=kind, norm_affine=affine, norm_bias=bias, norm_unit_offset=offset, norm_eps=eps
  )
  params = {}
  if affine:
    params['scale'] = SCALE
  if bias:
    params['bias'] = BIAS

  def loss(params, x):
    y = Normalization(cfg, 14).apply({'params': params}, x)
    return jnp.sum(y * jnp.broadcast_to(WEIGHT, y.shape)), y

  program = jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
  (_, y), (params_gradient, x_gradient) = program(params, X)

  tensors = {
    name: torch.tensor(value, requires_grad=True)
    for name, value in {'x': X, **params}.items()
  }
  scale = tensors['scale'] + float(offset) if affine else None
  if kind == 'layernorm':
    expected = functional.layer_norm(
      tensors['x'], (14,), scale, tensors.get('bias'), eps
    )
  else:
    expected = functional.rms_norm(tensors['x'], (14,), scale, eps)
    expected = expected + (tensors['bias'] if bias else 0)
  (expected * torch.tensor(WEIGHT)).sum().backward()

  np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=5e-6)
  for name, gradient in {'x': x_gradient, **params_gradient}.items():
    np.testing.assert_allclose(
      gradient, tensors[name].grad.numpy(), rtol=0, atol=3e-5, err_msg=name
    )


def test_layernorm_equals_float64(jit):
  y = jit(lambda x: normalize(x, 'layernorm', 1e-6))(X)
  x = X.astype(np.float64)
  expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
  np.testing.assert_allclose(y, expected, atol=3e-6)


def test_rmsnorm_equals_float64(jit):
  y = jit(lambda x: normalize(x, 'rmsnorm', 1e-6))(X)
  x = X.astype(np.float64)
  expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
  np.testing.assert_allclose(y, expected, atol=3e-6)


def test_a_large_mean_loses_no_digits_of_the_variance(jit):
  """A mean of squares minus a square of means would lose all digits."""
  x = (X - 1) / 3 + 3000
  y = jit(lambda x: normalize(x, 'layernorm', 0.0))(x)
  x = x.astype(np.float64)
  expected = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
  np.testing.assert_allclose(y, expected, atol=2e-3)


def test_groups_are_normalized_by_themselves(jit, tiny):
  module = Normalization(tiny(), 14, groups=2, bias=False)
  y = jit(module.apply)({'params': {'scale': SCALE}}, X)
  halves = [normalize(X[..., part], 'layernorm', 1e-5) for part in np.s_[:7, 7:]]
  np.testing.assert_allclose(y, np.concatenate(halves, -1) * SCALE, atol=3e-6)


def test_zeros_have_a_finite_value_and_gradient(jit):
  def loss(x):
    return jnp.sum(normalize(x, 'layernorm', 1e-5))

  value, gradient = jit(jax.value_and_grad(loss))(jnp.zeros((2, 14)))
  assert value == 0
  assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize(
  'fields, n_norms, size',
  [
    ({}, 2, 14),
    ({'norm_placement': 'sandwich', 'norm_bias': True}, 4, 28),
    ({'norm_placement': 'post'}, 2, 14),
    ({'norm_placement': 'output'}, 2, 14),
    ({'parallel_residual': True, 'shared_norm': True}, 1, 14),
    ({'parallel_residual': True}, 2, 14),
    (
      {'norm_placement': 'sandwich', 'parallel_residual': True, 'shared_norm': True},
      3,
      14,
    ),
    ({'norm_affine': False}, 2, 0),
  ],
  ids=str,
)
def test_counts_of_a_block_equal_its_modules(tiny, fields, n_norms, size):
  cfg = tiny(**fields)
  modules = build(cfg).shapes['decoder']['segment_0']
  names = [name for name in modules if name.endswith('_norm')]
  assert block_norms(cfg) == n_norms
  assert norm_size(cfg, 14) == size
  assert len(names) == (n_norms if size else 0)


@pytest.mark.parametrize(
  'fields',
  [
    {'norm_bias': True},
    {'first_attention_norm': False},
    {'final_norm': False},
    {'embedding_norm': True},
    {'share_layers': True},
    {'architecture': 'encoder_decoder', 'n_encoder_layers': 3},
    {'architecture': 'encoder_decoder', 'norm_placement': 'sandwich'},
    {'architecture': 'encoder_decoder', 'share_layers': True},
  ],
  ids=str,
)
def test_counts_of_a_model_equal_its_parameters(tiny, fields):
  cfg = tiny(**fields)
  params = list_params(build(cfg).shapes)
  expected = sum(param.size for param in params if param.kind == 'normalization')
  assert parameter_counts(cfg)['normalization'] == expected
