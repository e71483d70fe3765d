"""Normalizations against torch, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.counts import norm_size
from lmhp.model.normalization import Normalization, block_norms, normalize
from lmhp.model.transformer import build

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
def test_against_torch(jit, tiny, kind, affine, bias, offset, eps):
  import torch
  from torch.nn import functional

  cfg = tiny(
    norm=kind, norm_affine=affine, norm_bias=bias, norm_unit_offset=offset, norm_eps=eps
  )
  params = {'scale': SCALE} if affine else {}
  params |= {'bias': BIAS} if bias else {}
  ours = jit(
    jax.value_and_grad(
      lambda p, x: (lambda y: (jnp.sum(y * jnp.broadcast_to(WEIGHT, y.shape)), y))(
        Normalization(cfg, 14).apply({'params': p}, x)
      ),
      argnums=(0, 1),
      has_aux=True,
    )
  )
  (_, y), (d_params, d_x) = ours(params, X)
  tensors = {
    name: torch.tensor(value, requires_grad=True)
    for name, value in dict(x=X, **params).items()
  }
  scale = tensors['scale'] + float(offset) if affine else None
  if kind == 'layernorm':
    z = functional.layer_norm(tensors['x'], (14,), scale, tensors.get('bias'), eps)
  else:
    z = functional.rms_norm(tensors['x'], (14,), scale, eps) + (
      tensors['bias'] if bias else 0
    )
  (z * torch.tensor(WEIGHT)).sum().backward()
  np.testing.assert_allclose(y, z.detach().numpy(), rtol=0, atol=5e-6)
  for name, gradient in dict(x=d_x, **d_params).items():
    np.testing.assert_allclose(
      gradient, tensors[name].grad.numpy(), rtol=0, atol=3e-5, err_msg=name
    )


def test_normalize_against_float64(jit):
  x = X.astype(np.float64)
  layer, rms = (
    jit(lambda x, kind=kind: normalize(x, kind, 1e-6))(X)
    for kind in ('layernorm', 'rmsnorm')
  )
  centred = x - x.mean(-1, keepdims=True)
  np.testing.assert_allclose(
    layer, centred / np.sqrt(x.var(-1, keepdims=True) + 1e-6), atol=3e-6
  )
  np.testing.assert_allclose(
    rms, x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6), atol=3e-6
  )


def test_a_large_mean_does_not_spoil_the_variance(jit):
  """A mean of squares minus a square of means would lose all digits."""
  x = (X - 1) / 3 + 3000
  got = jit(lambda x: normalize(x, 'layernorm', 0.0))(x)
  exact = x.astype(np.float64)
  exact = (exact - exact.mean(-1, keepdims=True)) / exact.std(-1, keepdims=True)
  np.testing.assert_allclose(got, exact, atol=2e-3)


def test_groups_are_normalized_each_by_itself(jit, tiny):
  params = {'params': {'scale': SCALE}}
  whole = jit(Normalization(tiny(), 14, groups=2, bias=False).apply)(params, X)
  halves = [
    jit(lambda x: normalize(x, 'layernorm', 1e-5))(X[..., part])
    for part in (slice(7), slice(7, None))
  ]
  np.testing.assert_allclose(whole, np.concatenate(halves, -1) * SCALE, atol=3e-6)


def test_zeros_stay_finite(jit):
  value, gradient = jit(
    jax.value_and_grad(lambda x: jnp.sum(normalize(x, 'layernorm', 1e-5)))
  )(jnp.zeros((2, 14)))
  assert value == 0 and np.all(np.isfinite(gradient))


@pytest.mark.parametrize(
  'fields, norms, size',
  [
    (dict(), 2, 14),
    (dict(norm_placement='sandwich', norm_bias=True), 4, 28),
    (dict(norm_placement='post'), 2, 14),
    (dict(norm_placement='output'), 2, 14),
    (dict(parallel_residual=True, shared_norm=True), 1, 14),
    (dict(parallel_residual=True), 2, 14),
    (dict(norm_placement='sandwich', parallel_residual=True, shared_norm=True), 3, 14),
    (dict(norm_affine=False), 2, 0),
  ],
  ids=str,
)
def test_counts_of_a_block(tiny, fields, norms, size):
  cfg = tiny(**fields)
  made = [
    name for name in build(cfg).shapes['decoder']['segment_0'] if name.endswith('_norm')
  ]
  assert block_norms(cfg) == norms and norm_size(cfg, 14) == size
  assert len(made) == (norms if size else 0)
