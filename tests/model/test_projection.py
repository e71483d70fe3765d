"""The one linear map: its precision forward and backward, its axes, its counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.counts import matmul_flops, parameter_count
from lmhp.model.projection import Projection, linear, product


def draw(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def check(got, expected):
  """float64's products of the rounded operands, to the precision of float32."""
  for ours, exact in zip(got, expected, strict=True):
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, exact, rtol=0, atol=3e-6 * np.abs(exact).max())


def rounded(x, dtype):
  return np.asarray(jnp.asarray(x).astype(dtype), np.float64)


@pytest.mark.parametrize('transpose_b', [True, False])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_product_of_activations(jit, transpose_b, dtype):
  """Operands are rounded to the dtype, forward and backward; sums are not."""
  a, b, cotangent = draw(
    (3, 4, 10, 6), (3, 4, 7, 6) if transpose_b else (3, 4, 6, 7), (3, 4, 10, 7)
  )
  out, grads = jit(
    lambda a, b, g: (lambda y, pull: (y, pull(g)))(
      *jax.vjp(lambda a, b: product(a, b, transpose_b, dtype), a, b)
    )
  )(a, b, cotangent)
  x, y, g = (rounded(array, dtype) for array in (a, b, cotangent))
  of_b = 'bgmk' if transpose_b else 'bgkm'
  check(
    (out, *grads),
    [
      np.einsum(f'bglk,{of_b}->bglm', x, y),
      np.einsum(f'bglm,{of_b}->bglk', g, y),
      np.einsum(f'bglm,bglk->{of_b}', g, x),
    ],
  )


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_several_weights_of_one_input(jit, dtype):
  """Wider and narrower than the input, each with the gradient of its own output."""
  x, *kernels = draw((15, 14), (14, 20), (14, 3), (14, 14))
  cotangents = tuple(draw((15, 20), (15, 3), (15, 14), seed=1))
  out, (dx, dkernels) = jit(
    lambda x, kernels, gs: (lambda ys, pull: (ys, pull(gs)))(
      *jax.vjp(lambda x, kernels: linear(x, kernels, dtype), x, kernels)
    )
  )(x, tuple(kernels), cotangents)
  x, *gs = (rounded(array, dtype) for array in (x, *cotangents))
  kernels = [rounded(kernel, dtype) for kernel in kernels]
  check(
    (*out, dx, *dkernels),
    [
      *(x @ w for w in kernels),
      sum(g @ w.T for g, w in zip(gs, kernels)),
      *(x.T @ g for g in gs),
    ],
  )


def test_bfloat16_sums_in_float32(jit):
  """4096 ones: a bfloat16 sum would stop at 256."""
  a, b = jnp.ones((1, 4096)), jnp.ones((4096, 1))
  assert float(jit(lambda a, b: product(a, b, False, 'bfloat16'))(a, b)[0, 0]) == 4096
  assert float(jit(lambda a, b: linear(a, (b,), 'bfloat16'))(a, b)[0][0, 0]) == 4096


def test_projection_over_several_axes(jit, tiny):
  """Heads into the stream and out of it, with a bias, whatever leads."""
  x, kernel, bias = draw((3, 5, 8, 6), (8, 6, 14), (14,))
  params = {'params': {'kernel': kernel, 'bias': bias}}
  out_of = lambda x: Projection(tiny(), (8, 6), (14,), use_bias=True).apply(params, x)
  expected = np.einsum('blhk,hkd->bld', x.astype(np.float64), kernel) + bias
  np.testing.assert_allclose(jit(out_of)(x), expected, rtol=0, atol=1e-5)
  np.testing.assert_allclose(jit(out_of)(x[0, 0]), expected[0, 0], rtol=0, atol=1e-5)
  x, kernel = draw((3, 5, 14), (14, 4, 6))
  out = jit(Projection(tiny(), (14,), (4, 6)).apply)({'params': {'kernel': kernel}}, x)
  np.testing.assert_allclose(
    out, np.einsum('bld,dgk->blgk', x.astype(np.float64), kernel), rtol=0, atol=1e-5
  )


@pytest.mark.parametrize('bias', [True, False])
def test_counts_are_those_of_the_module(tiny, bias):
  module = Projection(tiny(), (8, 6), (14,), bias)
  shapes = jax.eval_shape(
    lambda x: module.init(jax.random.key(0), x), jnp.zeros((3, 8, 6))
  )
  assert (
    sum(np.prod(s.shape) for s in jax.tree.leaves(shapes))
    == parameter_count(48, 14, bias)
    == 672 + 14 * bias
  )
  assert matmul_flops(48, 14) == 2 * 672
