"""Matrix products with hand-written gradients, and `Projection`, the linear map.

The operands of a product have the compute dtype, forward and backward. Products accumulate in
float32. All inputs and outputs of a module are float32, too.

Gradients are written by hand for two reasons. First, autodiff would multiply a float32
gradient with a bfloat16 operand, and no processor has a fast product for that. Second, XLA on
CPU has a fast and a slow routine for products. The fast one (the only one that multiplies
bfloat16 directly) needs a left operand that is row-major in memory and is contracted over
its last axis. The gradient of a weight, x^T g, becomes such a product only if x^T is copied
first. `row_major` forces this copy. Without it, XLA rewrites `x.T @ g` as a product that is
contracted over the first axis of x, which takes the slow routine.

Dimension key of the products: T rows (such as the tokens of a batch), I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import functools
import math
from typing import TypeAlias, TypeVar

import flax.linen as nn
import jax
from jax.experimental.layout import Layout, with_layout_constraint
import jax.numpy as jnp

from lmhp.model.config import ModelConfig

T = TypeVar('T')
Pair: TypeAlias = tuple[jax.Array, jax.Array]
"""The two operands of a product, or their gradients."""


def custom_gradient(
  static_argnums: tuple[int, ...] = (),
) -> Callable[[Callable[..., T]], jax.custom_vjp[T]]:
  """Returns `jax.custom_vjp` as a decorator that keeps the type of the result.

  Args:
    static_argnums: Positions of the arguments that are not arrays.
  """

  def decorate(function: Callable[..., T]) -> jax.custom_vjp[T]:
    # jax declares a union of two result types. The second belongs to a mode that is off by
    # default.
    vjp = jax.custom_vjp(function, nondiff_argnums=static_argnums)
    return vjp  # pyright: ignore[reportReturnType]

  return decorate


# --- layouts and data types ---------------------------------------------------------


def on_cpu() -> bool:
  """Returns True if programs are compiled for CPU. Only there, this file sets memory layouts."""
  return jax.default_backend() == 'cpu'


def row_major(x: jax.Array) -> jax.Array:
  """Returns x in row-major memory order. A transposed array is copied.

  On other devices than CPU, x is returned unchanged.
  """
  if not on_cpu():
    return x
  return with_layout_constraint(x, Layout(major_to_minor=tuple(range(x.ndim))))


def pack(x: jax.Array) -> jax.Array:
  """Returns the bits of a bfloat16 array as uint16, for arrays saved for the backward pass.

  A scan over layers saves the arrays of each layer as one slice of a larger array. For bfloat16,
  XLA on CPU converts the whole larger array to float32 and back to write one slice. For
  uint16, it writes the slice directly. An array of another type, or on another device, is
  returned unchanged.
  """
  if on_cpu() and x.dtype == jnp.bfloat16:
    return jax.lax.bitcast_convert_type(x, jnp.uint16)
  return x


def unpack(x: jax.Array) -> jax.Array:
  """Returns the array that `pack` was called with."""
  if x.dtype == jnp.uint16:
    return jax.lax.bitcast_convert_type(x, jnp.bfloat16)
  return x


def matmul(a: jax.Array, b: jax.Array, transpose_b: bool = False) -> jax.Array:
  """Returns `a @ b`, or `a @ b^T`, in float32.

  Args:
    a: (..., T, I).
    b: (..., I, O), or (..., O, I) if `transpose_b`. The leading axes are those of `a`.
    transpose_b: If True, the product is `a @ b^T`. If False, it is `a @ b`.

  Returns:
    (..., T, O) float32.
  """
  batch = tuple(range(a.ndim - 2))
  b_axis = b.ndim - 1 if transpose_b else b.ndim - 2
  contracted = ((a.ndim - 1,), (b_axis,))
  return jax.lax.dot_general(
    a, b, (contracted, (batch, batch)), preferred_element_type=jnp.float32
  )


def _transpose(x: jax.Array) -> jax.Array:
  """Swaps the last two axes, with a copy on CPU."""
  return row_major(jnp.swapaxes(x, -1, -2))


# --- product of two activations -----------------------------------------------------


@custom_gradient(static_argnums=(2, 3))
def product(a: jax.Array, b: jax.Array, transpose_b: bool, dtype: str) -> jax.Array:
  """Returns `a @ b`, or `a @ b^T`, batched over the leading axes.

  Args:
    a: (..., T, I) float32.
    b: (..., I, O) float32, or (..., O, I) if `transpose_b`.
    transpose_b: If True, the product is `a @ b^T`. If False, it is `a @ b`.
    dtype: Data type of the operands, 'float32' or 'bfloat16'.

  Returns:
    (..., T, O) float32.
  """
  return matmul(a.astype(dtype), b.astype(dtype), transpose_b)


def _product_forward(
  a: jax.Array, b: jax.Array, transpose_b: bool, dtype: str
) -> tuple[jax.Array, Pair]:
  a = a.astype(dtype)
  b = b.astype(dtype)
  return matmul(a, b, transpose_b), (pack(a), pack(b))


def _product_backward(transpose_b: bool, dtype: str, saved: Pair, g: jax.Array) -> Pair:
  """Returns the gradients of a and b, from the gradient g of the product.

  For a b: da = g b^T, db = a^T g. For a b^T: da = g b, db = g^T a.
  """
  a = unpack(saved[0])
  b = unpack(saved[1])
  g = g.astype(dtype)
  if transpose_b:
    return matmul(g, b), matmul(_transpose(g), a)
  return matmul(g, b, transpose_b=True), matmul(_transpose(a), g)


product.defvjp(_product_forward, _product_backward)


@custom_gradient(static_argnums=(2,))
def softmax_product(logits_TI: jax.Array, b_IO: jax.Array, dtype: str) -> jax.Array:
  """Returns `softmax(logits) @ b`, batched over the leading axes.

  For the backward pass, softmax(logits) is saved in the compute dtype, but not the logits.

  Args:
    logits_TI: (..., T, I) float32.
    b_IO: (..., I, O) float32.
    dtype: Data type of the operands, 'float32' or 'bfloat16'.

  Returns:
    (..., T, O) float32.
  """
  return _softmax_product_forward(logits_TI, b_IO, dtype)[0]


def _softmax_product_forward(
  logits_TI: jax.Array, b_IO: jax.Array, dtype: str
) -> tuple[jax.Array, Pair]:
  unnormalized_TI = jnp.exp(logits_TI - jnp.max(logits_TI, axis=-1, keepdims=True))
  inverse_sum_T1 = 1 / jnp.sum(unnormalized_TI, axis=-1, keepdims=True)
  weights_TI = (unnormalized_TI * inverse_sum_T1).astype(dtype)
  b_IO = b_IO.astype(dtype)
  return matmul(weights_TI, b_IO), (pack(weights_TI), pack(b_IO))


def _softmax_product_backward(dtype: str, saved: Pair, g_TO: jax.Array) -> Pair:
  """Returns the gradients of the logits and of b, from the gradient g of the result.

  With p = softmax(logits) and dp = g b^T: dlogits = p (dp - sum(p dp)), db = p^T g.
  """
  weights_TI = unpack(saved[0])
  b_IO = unpack(saved[1])
  g_TO = g_TO.astype(dtype)
  dweights_TI = matmul(g_TO, b_IO, transpose_b=True)
  p_TI = weights_TI.astype(jnp.float32)
  mean_T1 = jnp.sum(p_TI * dweights_TI, axis=-1, keepdims=True)
  dlogits_TI = p_TI * (dweights_TI - mean_T1)
  return dlogits_TI, matmul(_transpose(weights_TI), g_TO)


softmax_product.defvjp(_softmax_product_forward, _softmax_product_backward)


# --- products of one activation with one or more weights -----------------------------


@custom_gradient(static_argnums=(2,))
def linear(
  x_TI: jax.Array, kernels: tuple[jax.Array, ...], dtype: str
) -> tuple[jax.Array, ...]:
  """Returns the products of x with one or more kernels, such as (query, key, value).

  x is converted, saved and transposed only once for all kernels.

  Args:
    x_TI: (T, I) float32.
    kernels: Kernels, each (I, O) float32. Each may have another O.
    dtype: Data type of the operands, 'float32' or 'bfloat16'.

  Returns:
    (T, O) float32 for each kernel.
  """
  return tuple(
    matmul(x_TI.astype(dtype), kernel_IO.astype(dtype)) for kernel_IO in kernels
  )


def _linear_forward(
  x_TI: jax.Array, kernels: tuple[jax.Array, ...], dtype: str
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, tuple[jax.Array, ...]]]:
  x_TI = x_TI.astype(dtype)
  ys = tuple(matmul(x_TI, kernel_IO.astype(dtype)) for kernel_IO in kernels)
  return ys, (pack(x_TI), kernels)


def _linear_backward(
  dtype: str,
  saved: tuple[jax.Array, tuple[jax.Array, ...]],
  gs: tuple[jax.Array, ...],
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  """Returns dx = sum_i g_i W_i^T, and dW_i = x^T g_i for each kernel W_i.

  g_i is the gradient of the product with W_i.
  """
  x_TI = unpack(saved[0])
  kernels = saved[1]
  gs = tuple(g_TO.astype(dtype) for g_TO in gs)
  dx_parts = [
    matmul(g_TO, kernel_IO.astype(dtype), transpose_b=True)
    for g_TO, kernel_IO in zip(gs, kernels, strict=True)
  ]
  dx_TI = functools.reduce(jnp.add, dx_parts)
  return dx_TI, tuple(weight_gradient(x_TI, g_TO) for g_TO in gs)


def weight_gradient(x_TI: jax.Array, g_TO: jax.Array) -> jax.Array:
  """Returns x^T g, the gradient of a weight, (I, O) float32.

  Only the narrower of x and g is transposed and copied. So the result is computed as x^T g or
  as (g^T x)^T.

  `row_major` around a product keeps XLA from merging a later transpose into the product. The
  second `row_major`, around (g^T x)^T, is needed because of an error of XLA on CPU (jax
  0.10.2). If the result is an output of the program, XLA may write it in one memory layout and
  read it in the other. The oracle tests in tests/model/mixers detect this.

  Args:
    x_TI: (T, I), input of the linear map.
    g_TO: (T, O), gradient of its output.
  """
  if x_TI.shape[1] <= g_TO.shape[1]:
    return row_major(matmul(_transpose(x_TI), g_TO))
  return row_major(row_major(matmul(_transpose(g_TO), x_TI)).T)


linear.defvjp(_linear_forward, _linear_backward)


# --- the linear map -----------------------------------------------------------------


class Projection(nn.Module):
  """A linear map over the last axes of its input.

  Attributes:
    cfg: Config of the model.
    inputs: Sizes of the last axes of the input, which are contracted. (H, K) for the output
      projection of an attention.
    outputs: Sizes of the last axes of the output, which replace `inputs`.
    use_bias: True if a bias is added.
  """

  cfg: ModelConfig
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  use_bias: bool = False

  def setup(self) -> None:
    self.kernel = self.param(
      'kernel', nn.initializers.zeros_init(), (*self.inputs, *self.outputs)
    )
    if self.use_bias:
      self.bias = self.param('bias', nn.initializers.zeros_init(), self.outputs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Returns the output, (..., *outputs) float32, of an input (..., *inputs) float32."""
    return project(x, [self])[0]

  def matrix(self) -> jax.Array:
    """Returns the kernel as a matrix: all `inputs` are its rows, all `outputs` its columns."""
    return self.kernel.reshape(math.prod(self.inputs), math.prod(self.outputs))

  def finish(self, y_TO: jax.Array, lead: tuple[int, ...]) -> jax.Array:
    """Restores the axes of a product, and adds the bias.

    Args:
      y_TO: Product of the flattened input and `matrix()`.
      lead: Sizes of the axes of the input before `inputs`, such as (B, L).
    """
    y = y_TO.reshape(*lead, *self.outputs)
    return y + jnp.broadcast_to(self.bias, y.shape) if self.use_bias else y


def project(x: jax.Array, projections: Sequence[Projection]) -> list[jax.Array]:
  """Returns the outputs of one or more projections of the same input, computed together.

  Args:
    x: (..., *inputs) float32.
    projections: Submodules of the calling module. All have the same `inputs`.
  """
  first = projections[0]
  lead = x.shape[: x.ndim - len(first.inputs)]
  matrices = tuple(projection.matrix() for projection in projections)
  ys = linear(x.reshape(-1, math.prod(first.inputs)), matrices, first.cfg.dtype)
  return [
    projection.finish(y, lead) for projection, y in zip(projections, ys, strict=True)
  ]
