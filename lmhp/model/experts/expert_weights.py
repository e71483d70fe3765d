"""Weights of all experts of a layer, and their batching over members of a population.

The members of a population are models of one structure that train together under `jax.vmap`.
The products of the experts have custom batching rules (`jax.custom_batching`), and this file
has the functions that the rules share.

Dimension key: R members, E experts, n blocks of rows, T rows, I inputs and O outputs of a map.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from lmhp.model.projection import matmul
from lmhp.typing import PyTree

Activate: TypeAlias = Callable[[list[jax.Array]], jax.Array]
"""Activation: takes the outputs of `ExpertWeights.input_maps`, and returns the input of
`ExpertWeights.down`. The function must be hashable, and the same object in each call, because
it is the cache key of compiled functions."""


class ExpertMap(NamedTuple):
  """A linear map of each expert, I inputs to O outputs.

  `select_expert` returns the map of one expert, whose arrays have no axis E.

  Attributes:
    kernel: (E, I, O) float32.
    bias: (E, O) float32, or None.
  """

  kernel: jax.Array
  bias: jax.Array | None


class ExpertWeights(NamedTuple):
  """The feed-forward networks of all experts.

  Attributes:
    input_maps: The maps before the activation, from the hidden size of the model to that of the
      experts: `up`, or `gate` and `up`.
    down: The map after the activation, back to the hidden size of the model.
  """

  input_maps: tuple[ExpertMap, ...]
  down: ExpertMap


def select_expert(weights: ExpertMap, expert: jax.Array) -> ExpertMap:
  """Returns the map of one expert.

  Args:
    weights: Maps of all experts.
    expert: () int32, number of the expert.
  """
  return jax.tree.map(
    lambda array: jax.lax.dynamic_index_in_dim(array, expert, 0, keepdims=False),
    weights,
  )


def apply_map(x_TI: jax.Array, weights: ExpertMap, dtype: str) -> jax.Array:
  """Applies the map of one expert to rows.

  Args:
    x_TI: (T, I) float32.
    weights: Map of the expert.
    dtype: Data type of the operands of the product.

  Returns:
    (T, O) float32.
  """
  y_TO = matmul(x_TI.astype(dtype), weights.kernel.astype(dtype))
  return y_TO if weights.bias is None else y_TO + weights.bias[None]


# --- members of a population --------------------------------------------------------


def with_member_axis(x: PyTree, is_batched: PyTree, n_members: int) -> PyTree:
  """Returns arrays with a first axis of members. An array that they share is repeated.

  Args:
    x: Arrays.
    is_batched: For each array, True if it has the axis of members already.
    n_members: Number of members, R.
  """

  def repeat(array: jax.Array, is_batched: bool) -> jax.Array:
    return array if is_batched else jnp.broadcast_to(array, (n_members, *array.shape))

  return jax.tree.map(repeat, x, is_batched)


def merge_member_axis(x: PyTree) -> PyTree:
  """Reshapes arrays (R, n, ...) to (R * n, ...)."""
  return jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), x)


def split_member_axis(x: PyTree, n_members: int) -> PyTree:
  """Reshapes arrays (R * n, ...) to (R, n, ...)."""
  return jax.tree.map(lambda array: array.reshape(n_members, -1, *array.shape[1:]), x)


def all_batched(x: PyTree) -> PyTree:
  """Returns True for each array.

  A rule of `custom_vmap` returns this if all of its outputs have the axis of members.
  """
  return jax.tree.map(lambda array: True, x)


def any_batched(is_batched: PyTree) -> bool:
  """Returns True if at least one array has an axis of members."""
  return any(jax.tree.leaves(is_batched))


def merge_member_experts(
  weights: ExpertWeights, is_batched: ExpertWeights, expert_Rn: jax.Array
) -> tuple[ExpertWeights, jax.Array]:
  """Merges the experts of all members, for a function that has no axis of members.

  If the members have their own weights, the E experts of each of R members become one list of
  R * E experts. Expert e of member r gets the number r E + e. If the members share the
  weights, the E experts and their numbers stay as they are.

  Args:
    weights: Weights. An array has a leading axis of members if it is batched.
    is_batched: For each array of `weights`, True if it is batched.
    expert_Rn: (R, n) int32, expert of each block of rows (see `BlockLayout`), by member.

  Returns:
    Weights of all experts, and the expert of each block, (R * n,) int32.
  """
  if not any_batched(is_batched):
    return weights, expert_Rn.reshape(-1)
  n_members = expert_Rn.shape[0]
  weights = merge_member_axis(with_member_axis(weights, is_batched, n_members))
  n_experts = weights.down.kernel.shape[0] // n_members
  first_R1 = n_experts * jnp.arange(n_members, dtype=jnp.int32)[:, None]
  return weights, (expert_Rn + first_R1).reshape(-1)
