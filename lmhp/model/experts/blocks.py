"""The backend `blocks`: a loop over blocks of rows. All rows of a block have one expert.

The gradient is written by hand, because autodiff of the loop would save the matrices of each
block. The backward loop adds the weight gradient of each block to the gradient of its expert.

`jax.vmap` over the R members of a population (models that are trained together) uses a custom
rule, which puts the blocks of all members into one loop. If each member has its own weights, the
loop has R * E experts. If the members share the weights, it has E experts.

Dimension key: T rows, E experts, k experts of one row, A = T k assignments of a row to an
expert, n blocks, b rows of a block, D width of a row, F hidden width, I inputs and O outputs
of a linear map, R members.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
from typing import TypeAlias

import jax
from jax.custom_batching import custom_vmap
import jax.numpy as jnp

from lmhp.model.experts.block_layout import arrange_in_blocks, block_rows
from lmhp.model.experts.expert_weights import (
  Activate,
  ExpertMap,
  ExpertWeights,
  all_batched,
  any_batched,
  apply_map,
  merge_member_axis,
  merge_member_experts,
  select_expert,
  split_member_axis,
  with_member_axis,
)
from lmhp.model.projection import custom_gradient, matmul, weight_gradient
from lmhp.typing import PyTree

ForwardResult: TypeAlias = tuple[jax.Array, list[jax.Array]]
"""Outputs (n, b, D) of all blocks, and the inputs of their activations, each (n, b, F)."""


def apply_in_blocks(
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
  n_rows = block_rows(n_tokens * k, n_experts)
  layout = arrange_in_blocks(experts_Tk, n_experts, n_rows)

  # Gather the rows of all blocks. Padding has a token number beyond the last, and is zero.
  tokens = layout.assignment // k
  x_nbD = x_TD.at[tokens].get(mode='fill', fill_value=0)
  x_nbD = x_nbD.reshape(-1, n_rows, x_TD.shape[-1])

  y_nbD = _block_products(activate, dtype)(weights, x_nbD, layout.expert_n)

  # Return each output to its token.
  y_AD = y_nbD.reshape(layout.assignment.shape[0], -1)[layout.slot_A]
  return y_AD.reshape(n_tokens, k, -1)


@functools.cache
def _block_products(activate: Activate, dtype: str) -> Callable[..., jax.Array]:
  """Returns `(weights, x_nbD, expert_n) -> y_nbD`, differentiable in weights and rows.

  The function is cached, so that equal arguments give the same object, compiled once.
  """

  # `custom_gradient` is `jax.custom_vjp` with type annotations.
  @custom_gradient()
  def products(
    weights: ExpertWeights, x_nbD: jax.Array, expert_n: jax.Array
  ) -> jax.Array:
    return _forward(activate, dtype)(weights, x_nbD, expert_n)[0]

  def forward(
    weights: ExpertWeights, x_nbD: jax.Array, expert_n: jax.Array
  ) -> tuple[jax.Array, PyTree]:
    y_nbD, inputs = _forward(activate, dtype)(weights, x_nbD, expert_n)
    return y_nbD, (weights, x_nbD, inputs, expert_n)

  def backward(
    saved: PyTree, g_nbD: jax.Array
  ) -> tuple[ExpertWeights, jax.Array, None]:
    weights, x_nbD, inputs, expert_n = saved
    dweights, dx_nbD = _backward(activate, dtype, n_copies=1)(
      weights, x_nbD, inputs, expert_n, expert_n, g_nbD
    )
    return dweights, dx_nbD, None

  products.defvjp(forward, backward)
  return products


@functools.cache
def _forward(activate: Activate, dtype: str) -> Callable[..., ForwardResult]:
  """Returns `(weights, x_nbD, expert_n) -> (y_nbD, inputs of the activation)`."""

  @custom_vmap
  def forward(
    weights: ExpertWeights, x_nbD: jax.Array, expert_n: jax.Array
  ) -> ForwardResult:
    def one_block(block: tuple[jax.Array, jax.Array]) -> ForwardResult:
      x_bD, expert = block
      inputs = [
        apply_map(x_bD, select_expert(map_, expert), dtype)
        for map_ in weights.input_maps
      ]
      hidden_bF = activate(inputs)
      return apply_map(hidden_bF, select_expert(weights.down, expert), dtype), inputs

    return jax.lax.map(one_block, (x_nbD, expert_n))

  # The rule of `jax.vmap` over `size` members. `batched` has True for each array with a first
  # axis of members.
  @forward.def_vmap
  def rule(
    size: int,
    batched: PyTree,
    weights: ExpertWeights,
    x_nbD: jax.Array,
    expert_n: jax.Array,
  ) -> tuple[ForwardResult, PyTree]:
    x_RnbD = with_member_axis(x_nbD, batched[1], size)
    expert_Rn = with_member_axis(expert_n, batched[2], size)
    weights, expert_n = merge_member_experts(weights, batched[0], expert_Rn)
    out = forward(weights, merge_member_axis(x_RnbD), expert_n)
    return split_member_axis(out, size), all_batched(out)

  return forward


@functools.cache
def _backward(
  activate: Activate, dtype: str, n_copies: int
) -> Callable[..., tuple[ExpertWeights, jax.Array]]:
  """Returns the function that computes the gradients of weights and rows.

  The function is `(weights, x_nbD, inputs, expert_n, target_n, g_nbD) -> (dweights, dx_nbD)`.
  `inputs` are the inputs of the activation, and `g_nbD` is the gradient of the output. A block
  reads the weights of expert `expert_n`, and its weight gradient is added to the gradient of
  expert `target_n`. The two numbers differ if members of a population share their weights,
  because each member has its own gradient.

  Args:
    activate: Activation.
    dtype: Data type of the operands of products.
    n_copies: Number of members that share the weights. Each member has its own gradient, so
      the first axis of the gradients has `n_copies` * E entries.
  """

  @custom_vmap
  def backward(
    weights: ExpertWeights,
    x_nbD: jax.Array,
    inputs: list[jax.Array],
    expert_n: jax.Array,
    target_n: jax.Array,
    g_nbD: jax.Array,
  ) -> tuple[ExpertWeights, jax.Array]:
    def one_block(
      sums: ExpertWeights, block: PyTree
    ) -> tuple[ExpertWeights, jax.Array]:
      x_bD, inputs, expert, target, g_bD = block

      # Back through `down` and the activation.
      hidden_bF, pull_back = jax.vjp(activate, inputs)
      down = select_expert(weights.down, expert)
      dhidden_bF = matmul(
        g_bD.astype(dtype), down.kernel.astype(dtype), transpose_b=True
      )
      (dinputs,) = pull_back(dhidden_bF)

      # Back through the input maps, to the rows.
      dx_parts = []
      for dinput_bF, map_ in zip(dinputs, weights.input_maps, strict=True):
        kernel = select_expert(map_, expert).kernel.astype(dtype)
        dx_parts.append(matmul(dinput_bF.astype(dtype), kernel, transpose_b=True))
      dx_bD = functools.reduce(jnp.add, dx_parts)

      # Add the gradients of the weights to those of the target expert.
      input_sums = tuple(
        _add_gradient(map_sum, target, x_bD, dinput_bF, dtype)
        for map_sum, dinput_bF in zip(sums.input_maps, dinputs, strict=True)
      )
      down_sum = _add_gradient(sums.down, target, hidden_bF, g_bD, dtype)
      return ExpertWeights(input_sums, down_sum), dx_bD

    zeros = jax.tree.map(
      lambda w: jnp.zeros((n_copies * w.shape[0], *w.shape[1:]), jnp.float32), weights
    )
    return jax.lax.scan(one_block, zeros, (x_nbD, inputs, expert_n, target_n, g_nbD))

  @backward.def_vmap
  def rule(
    size: int, batched: PyTree, weights: ExpertWeights, *blocks: PyTree
  ) -> tuple[tuple[ExpertWeights, jax.Array], PyTree]:
    x, inputs, expert_Rn, target_Rn, g = (
      with_member_axis(array, is_batched, size)
      for array, is_batched in zip(blocks, batched[1:], strict=True)
    )

    # Each member has its own weight gradients. In the merged gradients, those of a member follow
    # those of the members before it.
    has_own_weights = any_batched(batched[0])
    # A kernel is (R, E, I, O) if each member has its own, else (E, I, O).
    expert_axis = 1 if batched[0].down.kernel else 0
    n_targets = n_copies * weights.down.kernel.shape[expert_axis]
    weights, expert_n = merge_member_experts(weights, batched[0], expert_Rn)
    first_target_R1 = n_targets * jnp.arange(size, dtype=jnp.int32)[:, None]
    target_n = (target_Rn + first_target_R1).reshape(-1)

    # If each member has its own weights, the merged weights have R * E experts, and so have the
    # gradients. Shared weights have E experts, of which the gradients need R copies.
    merged = _backward(
      activate, dtype, n_copies=n_copies if has_own_weights else n_copies * size
    )
    out = merged(
      weights,
      merge_member_axis(x),
      merge_member_axis(inputs),
      expert_n,
      target_n,
      merge_member_axis(g),
    )
    return split_member_axis(out, size), all_batched(out)

  return backward


def _add_gradient(
  sums: ExpertMap, target: jax.Array, x_bI: jax.Array, g_bO: jax.Array, dtype: str
) -> ExpertMap:
  """Adds the weight gradient of one block to the sum of its target expert.

  Args:
    sums: Sums of all experts so far, for one linear map.
    target: () int32, the expert whose sums are changed.
    x_bI: (b, I) float32, input of the map.
    g_bO: (b, O) float32, gradient of its output.
    dtype: Data type of the operands of the product.
  """
  dkernel_IO = weight_gradient(x_bI.astype(dtype), g_bO.astype(dtype))
  kernel = sums.kernel.at[target].add(dkernel_IO)
  if sums.bias is None:
    return ExpertMap(kernel, None)
  return ExpertMap(kernel, sums.bias.at[target].add(jnp.sum(g_bO, axis=0)))
