"""Matrix products against numpy float64, forward and backward, and the linear map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.counts import matmul_flops, parameter_count
from lmhp.model.projection import Projection, linear, product, softmax_product


def draw(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def rounded(x, dtype):
  """Returns an array in float64, after it was rounded to a data type."""
  return np.asarray(jnp.asarray(x).astype(dtype), np.float64)


def assert_equals_float64(arrays, expected):
  """Compares arrays to the precision of float32."""
  for array, exact in zip(arrays, expected, strict=True):
    assert array.dtype == jnp.float32
    tolerance = 3e-6 * np.abs(exact).max()
    np.testing.assert_allclose(array, exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize('transpose_b', [True, False])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_product_rounds_operands_and_sums_in_float32(jit, transpose_b, dtype):
  b_shape = (3, 4, 7, 6) if transpose_b else (3, 4, 6, 7)
  a, b, g = draw((3, 4, 10, 6), b_shape, (3, 4, 10, 7))

  @jit
  def value_and_gradients(a, b, g):
    y, pull_back = jax.vjp(lambda a, b: product(a, b, transpose_b, dtype), a, b)
    return y, *pull_back(g)

  a64, b64, g64 = (rounded(array, dtype) for array in (a, b, g))
  b_axes = 'bgmk' if transpose_b else 'bgkm'
  expected = [
    np.einsum(f'bglk,{b_axes}->bglm', a64, b64),
    np.einsum(f'bglm,{b_axes}->bglk', g64, b64),
    np.einsum(f'bglm,bglk->{b_axes}', g64, a64),
  ]
  assert_equals_float64(value_and_gradients(a, b, g), expected)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_linear_computes_several_weights_of_one_input(jit, dtype):
  """Outputs are wider than the input, narrower, and as wide."""
  x, *kernels = draw((15, 14), (14, 20), (14, 3), (14, 14))
  gs = draw((15, 20), (15, 3), (15, 14), seed=1)

  @jit
  def value_and_gradients(x, kernels, gs):
    ys, pull_back = jax.vjp(lambda x, kernels: linear(x, kernels, dtype), x, kernels)
    dx, dkernels = pull_back(gs)
    return *ys, dx, *dkernels

  results = value_and_gradients(x, tuple(kernels), tuple(gs))
  x64 = rounded(x, dtype)
  kernels64 = [rounded(kernel, dtype) for kernel in kernels]
  gs64 = [rounded(g, dtype) for g in gs]
  ys = [x64 @ kernel for kernel in kernels64]
  dx = sum(g @ kernel.T for g, kernel in zip(gs64, kernels64, strict=True))
  dkernels = [x64.T @ g for g in gs64]
  assert_equals_float64(results, [*ys, dx, *dkernels])


def test_softmax_product_and_its_gradients(jit):
  logits, b, g = draw((3, 10, 7), (3, 7, 6), (3, 10, 6))

  @jit
  def value_and_gradients(logits, b, g):
    y, pull_back = jax.vjp(lambda *x: softmax_product(*x, 'float32'), logits, b)
    return y, *pull_back(g)

  logits64, b64, g64 = (array.astype(np.float64) for array in (logits, b, g))
  p = np.exp(logits64) / np.exp(logits64).sum(-1, keepdims=True)
  dp = g64 @ np.swapaxes(b64, -1, -2)
  dlogits = p * (dp - (p * dp).sum(-1, keepdims=True))
  expected = [p @ b64, dlogits, np.swapaxes(p, -1, -2) @ g64]
  assert_equals_float64(value_and_gradients(logits, b, g), expected)


def test_sums_of_bfloat16_products_are_in_float32(jit):
  """A sum of 4,096 ones in bfloat16 would stop at 256."""
  a = jnp.ones((1, 4096))
  b = jnp.ones((4096, 1))
  assert jit(lambda a, b: product(a, b, False, 'bfloat16'))(a, b)[0, 0] == 4096
  assert jit(lambda a, b: linear(a, (b,), 'bfloat16'))(a, b)[0][0, 0] == 4096


@pytest.mark.parametrize('lead', [(3, 5), ()])
def test_projection_of_several_axes_to_one(jit, tiny, lead):
  x, kernel, bias = draw((*lead, 8, 6), (8, 6, 14), (14,))
  projection = Projection(tiny(), (8, 6), (14,), use_bias=True)
  params = {'params': {'kernel': kernel, 'bias': bias}}
  y = jit(projection.apply)(params, x)
  expected = np.einsum('...hk,hkd->...d', x.astype(np.float64), kernel) + bias
  np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_projection_of_one_axis_to_several(jit, tiny):
  x, kernel = draw((3, 5, 14), (14, 4, 6))
  projection = Projection(tiny(), (14,), (4, 6))
  y = jit(projection.apply)({'params': {'kernel': kernel}}, x)
  expected = np.einsum('bld,dgk->blgk', x.astype(np.float64), kernel)
  np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('bias', [True, False])
def test_counts_equal_those_of_the_parameters(tiny, bias):
  projection = Projection(tiny(), (8, 6), (14,), bias)
  shapes = jax.eval_shape(projection.init, jax.random.key(0), jnp.zeros((3, 8, 6)))
  n_elements = sum(np.prod(shape.shape) for shape in jax.tree.leaves(shapes))
  assert n_elements == parameter_count(48, 14, bias) == 672 + 14 * bias
  assert matmul_flops(48, 14) == 2 * 672
