"""The products that all parts use: their precision, their accumulation, their gradients, and the linear map over them.

Products take operands in the compute dtype and accumulate in float32, forward and backward; what flows between parts
stays float32. Gradients are written out for two reasons. Autodiff would multiply a float32 cotangent with a bfloat16
operand, which no processor has a fast product for. And XLA on CPU has two routines for a product: the fast one (which
alone multiplies bfloat16 as such) takes only a left operand that lies in memory in the order of its axes and is
contracted over its last axis. A weight's gradient x^T g is no such product until x^T has been copied, which
:func:`row_major` brings about; written as `x.T @ g`, XLA folds the transpose back into the slow one.
"""

from __future__ import annotations

from collections.abc import Sequence
import functools
import math

import flax.linen as nn
import jax
from jax.experimental.layout import Layout, with_layout_constraint
import jax.numpy as jnp

from lmhp.model.config import ModelConfig


def on_cpu() -> bool:
  """Whether programs are compiled for the processor; what is said above holds there alone."""
  return jax.default_backend() == 'cpu'


def row_major(x: jax.Array) -> jax.Array:
  """x, lying in memory in the order of its axes: of a transposed array, a copy."""
  return (
    with_layout_constraint(x, Layout(major_to_minor=tuple(range(x.ndim))))
    if on_cpu()
    else x
  )


def pack(x: jax.Array) -> jax.Array:
  """bfloat16 as the same bits of uint16, for what a scan over layers keeps for its backward pass.

  XLA on CPU writes a slice of a bfloat16 array by converting all of the array to float32 and back.
  """
  return (
    jax.lax.bitcast_convert_type(x, jnp.uint16)
    if on_cpu() and x.dtype == jnp.bfloat16
    else x
  )


def unpack(x: jax.Array) -> jax.Array:
  """The inverse of `pack`."""
  return jax.lax.bitcast_convert_type(x, jnp.bfloat16) if x.dtype == jnp.uint16 else x


def matmul(a: jax.Array, b: jax.Array, transpose_b: bool = False) -> jax.Array:
  """`a @ b`, or `a @ b^T`, over the last two axes, those before batched; the result float32."""
  batch = tuple(range(a.ndim - 2))
  contracted = ((a.ndim - 1,), (b.ndim - 1 if transpose_b else b.ndim - 2,))
  return jax.lax.dot_general(
    a, b, (contracted, (batch, batch)), preferred_element_type=jnp.float32
  )


def _transpose(x: jax.Array) -> jax.Array:
  return row_major(jnp.swapaxes(x, -1, -2))


# --- a product of two activations -----------------------------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def product(a: jax.Array, b: jax.Array, transpose_b: bool, dtype: str) -> jax.Array:
  """Batched product of two arrays.

  Args:
    a: (..., T, I) float32.
    b: (..., I, O) float32, or (..., O, I) where transposed.
    transpose_b: whether b is.
    dtype: of the operands, 'float32' or 'bfloat16'.

  Returns:
    (..., T, O) float32.
  """
  return matmul(a.astype(dtype), b.astype(dtype), transpose_b)


def _product_forward(a, b, transpose_b, dtype):
  a, b = a.astype(dtype), b.astype(dtype)
  return matmul(a, b, transpose_b), (pack(a), pack(b))


def _product_backward(transpose_b, dtype, saved, g):
  a, b, g = unpack(saved[0]), unpack(saved[1]), g.astype(dtype)
  if transpose_b:
    return matmul(g, b), matmul(_transpose(g), a)
  return matmul(g, b, transpose_b=True), matmul(_transpose(a), g)


product.defvjp(_product_forward, _product_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def softmax_product(logits_TI: jax.Array, b_IO: jax.Array, dtype: str) -> jax.Array:
  """`softmax(logits) @ b`, batched; keeps the weights once, in the compute dtype, and no logits.

  Args:
    logits_TI: (..., T, I) float32.
    b_IO: (..., I, O) float32.
    dtype: of the operands, 'float32' or 'bfloat16'.

  Returns:
    (..., T, O) float32.
  """
  return _softmax_product_forward(logits_TI, b_IO, dtype)[0]


def _softmax_product_forward(logits_TI, b_IO, dtype):
  unnormalized_TI = jnp.exp(logits_TI - jnp.max(logits_TI, axis=-1, keepdims=True))
  weights_TI = (
    unnormalized_TI * (1 / jnp.sum(unnormalized_TI, axis=-1, keepdims=True))
  ).astype(dtype)
  b_IO = b_IO.astype(dtype)
  return matmul(weights_TI, b_IO), (pack(weights_TI), pack(b_IO))


def _softmax_product_backward(dtype, saved, g_TO):
  weights_TI, b_IO, g_TO = unpack(saved[0]), unpack(saved[1]), g_TO.astype(dtype)
  g_TI, p_TI = matmul(g_TO, b_IO, transpose_b=True), weights_TI.astype(jnp.float32)
  dlogits_TI = p_TI * (g_TI - jnp.sum(p_TI * g_TI, axis=-1, keepdims=True))
  return dlogits_TI, matmul(_transpose(weights_TI), g_TO)


softmax_product.defvjp(_softmax_product_forward, _softmax_product_backward)


# --- products of one activation with several weights ----------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def linear(
  x_TI: jax.Array, kernels: tuple[jax.Array, ...], dtype: str
) -> tuple[jax.Array, ...]:
  """Products of x with each kernel; x is rounded, kept and transposed once for all.

  Args:
    x_TI: (T, I) float32.
    kernels: each (I, O) float32, O its own.
    dtype: of the operands, 'float32' or 'bfloat16'.

  Returns:
    For each kernel (T, O) float32.
  """
  return tuple(
    matmul(x_TI.astype(dtype), kernel_IO.astype(dtype)) for kernel_IO in kernels
  )


def _linear_forward(x_TI, kernels, dtype):
  x_TI = x_TI.astype(dtype)
  return tuple(matmul(x_TI, kernel_IO.astype(dtype)) for kernel_IO in kernels), (
    pack(x_TI),
    kernels,
  )


def _linear_backward(dtype, saved, gs):
  x_TI, kernels = unpack(saved[0]), saved[1]
  gs = [g_TO.astype(dtype) for g_TO in gs]
  dx_TI = sum(
    matmul(g_TO, kernel_IO.astype(dtype), transpose_b=True)
    for g_TO, kernel_IO in zip(gs, kernels)
  )
  return dx_TI, tuple(weight_gradient(x_TI, g_TO) for g_TO in gs)


def weight_gradient(x_TI: jax.Array, g_TO: jax.Array) -> jax.Array:
  """x^T g, the narrower of the two copied; pinned, lest a transpose that follows be folded into the product.

  Pinned again after the transpose: where it is a program's result, XLA on CPU (jax 0.10.2) may otherwise leave it in the
  product's layout and read it in the result's. The oracles in tests/model/test_mixers.py see it.
  """
  if x_TI.shape[1] <= g_TO.shape[1]:
    return row_major(matmul(_transpose(x_TI), g_TO))
  return row_major(row_major(matmul(_transpose(g_TO), x_TI)).T)


linear.defvjp(_linear_forward, _linear_backward)


class Projection(nn.Module):
  """A linear map over the last axes of its input.

  Attributes:
    cfg: the model's structure.
    inputs: sizes of the contracted axes, the last of the input.
    outputs: sizes of the produced axes.
    use_bias: whether a bias is added.
  """

  cfg: ModelConfig
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  use_bias: bool = False

  def setup(self):
    self.kernel = self.param(
      'kernel', nn.initializers.zeros_init(), (*self.inputs, *self.outputs)
    )
    if self.use_bias:
      self.bias = self.param('bias', nn.initializers.zeros_init(), self.outputs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return project(x, [self])[0]

  def matrix(self) -> jax.Array:
    """The kernel as (inputs, outputs)."""
    return self.kernel.reshape(math.prod(self.inputs), math.prod(self.outputs))

  def finish(self, y_TO: jax.Array, lead: tuple[int, ...]) -> jax.Array:
    """The product in its axes, with the bias."""
    y = y_TO.reshape(*lead, *self.outputs)
    return y + jnp.broadcast_to(self.bias, y.shape) if self.use_bias else y


def project(x: jax.Array, projections: Sequence[Projection]) -> list[jax.Array]:
  """Several projections of the same input at once.

  Args:
    x: (..., *inputs) float32, inputs the same for all.
    projections: modules of the caller.
  """
  first = projections[0]
  lead = x.shape[: x.ndim - len(first.inputs)]
  matrices = tuple(p.matrix() for p in projections)
  ys = linear(x.reshape(-1, math.prod(first.inputs)), matrices, first.cfg.dtype)
  return [p.finish(y, lead) for p, y in zip(projections, ys)]
