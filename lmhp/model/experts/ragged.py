"""The backend `ragged`: rows sorted by expert, and `jax.lax.ragged_dot`.

Gradients are written by hand, so that operands have the compute dtype in the backward pass
too.

`jax.vmap` over the R members of a population (models that are trained together) uses a custom
rule. The rule of `ragged_dot` (jax 0.10.2) raises an error if the members share the weights.
If each member has its own weights, the custom rule calls `ragged_dot` once with R * E experts.
If the members share the weights, it sorts the rows of all members together by expert.

Dimension key: T rows, E experts, k experts of one row, A = T k assignments of a row to an
expert, I inputs and O outputs of a linear map, R members.
"""

from __future__ import annotations

from collections.abc import Callable
import functools

import jax
from jax.custom_batching import custom_vmap
import jax.numpy as jnp

from lmhp.model.experts.expert_weights import (
  Activate,
  ExpertMap,
  ExpertWeights,
  merge_member_axis,
  split_member_axis,
  with_member_axis,
)
from lmhp.model.projection import custom_gradient
from lmhp.typing import PyTree


def apply_ragged(
  x_TD: jax.Array,
  experts_Tk: jax.Array,
  weights: ExpertWeights,
  activate: Activate,
  dtype: str,
) -> jax.Array:
  """Returns the outputs of the k experts of each row, (T, k, D) float32.

  See `lmhp.model.experts.grouped_product.apply_experts`.
  """
  n_tokens, k = experts_Tk.shape
  n_experts = weights.down.kernel.shape[0]

  # Sort the assignments by expert.
  expert_A = experts_Tk.reshape(-1)
  order_A = jnp.argsort(expert_A)
  sizes_E = jnp.sum(jax.nn.one_hot(expert_A, n_experts, dtype=jnp.int32), axis=0)

  def apply_map(x_AI: jax.Array, map_: ExpertMap) -> jax.Array:
    y_AO = ragged_product(x_AI, map_.kernel, sizes_E, dtype)
    return y_AO if map_.bias is None else y_AO + map_.bias[expert_A[order_A]]

  inputs = [apply_map(x_TD[order_A // k], map_) for map_ in weights.input_maps]
  y_AD = apply_map(activate(inputs), weights.down)

  # Restore the order of the tokens.
  y_AD = jnp.zeros_like(y_AD).at[order_A].set(y_AD)
  return y_AD.reshape(n_tokens, k, -1)


# `custom_gradient` is `jax.custom_vjp` with exact types. Argument 3, `dtype`, is not an array.
@custom_gradient(static_argnums=(3,))
def ragged_product(
  x_AI: jax.Array, kernel_EIO: jax.Array, sizes_E: jax.Array, dtype: str
) -> jax.Array:
  """Multiplies each row by the matrix of its expert.

  Args:
    x_AI: (A, I) float32, rows sorted by expert.
    kernel_EIO: (E, I, O) float32.
    sizes_E: (E,) int32, number of rows of each expert.
    dtype: Data type of the operands.

  Returns:
    (A, O) float32.
  """
  return _product(dtype)(x_AI, kernel_EIO, sizes_E)


def _ragged_forward(
  x_AI: jax.Array, kernel_EIO: jax.Array, sizes_E: jax.Array, dtype: str
) -> tuple[jax.Array, PyTree]:
  y_AO = ragged_product(x_AI, kernel_EIO, sizes_E, dtype)
  return y_AO, (x_AI, kernel_EIO, sizes_E)


def _ragged_backward(
  dtype: str, saved: PyTree, g_AO: jax.Array
) -> tuple[jax.Array, jax.Array, None]:
  """Returns dx = g W_e^T for the rows of expert e, and dW_e = x^T g over these rows."""
  x_AI, kernel_EIO, sizes_E = saved
  dx_AI = _product(dtype)(g_AO, jnp.swapaxes(kernel_EIO, 1, 2), sizes_E)
  return dx_AI, _kernel_gradient(dtype)(x_AI, g_AO, sizes_E), None


ragged_product.defvjp(_ragged_forward, _ragged_backward)


@functools.cache
def _product(dtype: str) -> Callable[..., jax.Array]:
  """Returns `(x_AI, kernel_EIO, sizes_E) -> y_AO`."""

  @custom_vmap
  def product(x_AI: jax.Array, kernel_EIO: jax.Array, sizes_E: jax.Array) -> jax.Array:
    return jax.lax.ragged_dot(
      x_AI.astype(dtype),
      kernel_EIO.astype(dtype),
      sizes_E,
      preferred_element_type=jnp.float32,
    )

  # The rule of `jax.vmap` over `size` members. `batched` has True for each array with a first
  # axis of members. The rule returns its output and True, because the output has this axis.
  @product.def_vmap
  def rule(
    size: int,
    batched: PyTree,
    x: jax.Array,
    kernel: jax.Array,
    sizes: jax.Array,
  ) -> tuple[jax.Array, bool]:
    x_RAI = with_member_axis(x, batched[0], size)
    sizes_RE = with_member_axis(sizes, batched[2], size)
    x_AI = merge_member_axis(x_RAI)

    # If each member has its own matrices, treat the matrices as those of R * E experts.
    if batched[1]:
      y_AO = product(x_AI, merge_member_axis(kernel), merge_member_axis(sizes_RE))
      return split_member_axis(y_AO, size), True

    # If the members share the matrices, sort all rows by expert, then by member. The expert of
    # a row follows from the positions at which the rows of each expert end.
    ends_RE = jnp.cumsum(sizes_RE, axis=1)
    rows_A = jnp.arange(x_RAI.shape[1])
    expert_RA = jax.vmap(lambda ends_E: jnp.searchsorted(ends_E, rows_A, side='right'))(
      ends_RE
    )
    order_A = jnp.argsort(expert_RA.reshape(-1))
    y_AO = product(x_AI[order_A], kernel, jnp.sum(sizes_RE, axis=0))
    y_AO = jnp.zeros_like(y_AO).at[order_A].set(y_AO)
    return split_member_axis(y_AO, size), True

  return product


@functools.cache
def _kernel_gradient(dtype: str) -> Callable[..., jax.Array]:
  """Returns `(x_AI, g_AO, sizes_E) -> dkernel_EIO`."""
  # x^T g for each expert: axis 0 of both operands is contracted, over the rows of the expert.
  dimension_numbers = jax.lax.RaggedDotDimensionNumbers(
    (((0,), (0,)), ((), ())), lhs_ragged_dimensions=[0], rhs_group_dimensions=[]
  )

  @custom_vmap
  def gradient(x_AI: jax.Array, g_AO: jax.Array, sizes_E: jax.Array) -> jax.Array:
    return jax.lax.ragged_dot_general(
      x_AI.astype(dtype),
      g_AO.astype(dtype),
      sizes_E,
      dimension_numbers,
      preferred_element_type=jnp.float32,
    )

  @gradient.def_vmap
  def rule(size: int, batched: PyTree, *arguments: jax.Array) -> tuple[jax.Array, bool]:
    # Each member has its own gradients, so the rows are those of R * E experts.
    merged = [
      merge_member_axis(with_member_axis(array, is_batched, size))
      for array, is_batched in zip(arguments, batched, strict=True)
    ]
    return split_member_axis(gradient(*merged), size), True

  return gradient
