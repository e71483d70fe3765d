"""Gradient transformations whose hyperparameters may be traced.

`per_layer` applies a transformation to the parameters of each layer separately.
"""

from __future__ import annotations

from collections.abc import Callable
import math

import jax
import jax.numpy as jnp
import optax

from lmhp.optim.masks import param_tree
from lmhp.optim.spec import Numbers
from lmhp.params import Param
from lmhp.typing import PyTree


def global_norm(tree: PyTree) -> jax.Array:
  """Returns the Euclidean norm of all numbers of a tree together, as a float32 scalar.

  Args:
    tree: Tree of arrays.

  >>> float(global_norm({'a': jnp.array([3.0]), 'b': jnp.array([[4.0]])}))
  5.0
  """

  def sum_of_squares(array: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(array.astype(jnp.float32)))

  return jnp.sqrt(sum(sum_of_squares(array) for array in jax.tree.leaves(tree)))


def clip_by_global_norm(
  max_norm: jax.Array, norm: jax.Array | None = None
) -> optax.GradientTransformation:
  """Multiplies the gradient by min(1, max_norm / norm).

  Args:
    max_norm: Largest norm. Infinity switches clipping off. Scalar.
    norm: Global norm of the gradient, if the caller has it. If None, it is computed.

  >>> tx = clip_by_global_norm(jnp.float32(1.0))
  >>> clipped, _ = tx.update({'a': jnp.array([3.0, 4.0])}, tx.init({}))
  >>> [round(float(g), 4) for g in clipped['a']]
  [0.6, 0.8]
  """

  def clip(updates: PyTree, params: PyTree) -> PyTree:
    del params
    grad_norm = global_norm(updates) if norm is None else norm
    factor = jnp.minimum(1.0, max_norm / grad_norm)
    return jax.tree.map(lambda g: factor * g, updates)

  return optax.stateless(clip)


def scale_by_learning_rates(numbers: Numbers) -> optax.GradientTransformation:
  """Multiplies the update of a parameter by the learning rate and the multiplier of its kind.

  Args:
    numbers: Traced numbers of the section `optimizer`. For the kind 'output', the multiplier is
      `output_lr_multiplier`.

  >>> tx = scale_by_learning_rates({'learning_rate': 0.5, 'output_lr_multiplier': 4.0})
  >>> updates = {'output': {'kernel': jnp.ones((1, 2))}}
  >>> tx.update(updates, tx.init(updates))[0]['output']['kernel'].tolist()
  [[2.0, 2.0]]
  """

  def scale_one(param: Param, update: jax.Array) -> jax.Array:
    multiplier = numbers[f'{param.kind}_lr_multiplier']
    return numbers['learning_rate'] * multiplier * update

  def scale(updates: PyTree, params: PyTree) -> PyTree:
    del params
    return jax.tree.map(scale_one, param_tree(updates), updates)

  return optax.stateless(scale)


# --- one matrix of one layer at a time ------------------------------------------------


def as_matrices(param: Param, array: jax.Array) -> jax.Array:
  """Reshapes a parameter to one matrix or vector for each layer and expert.

  A weight becomes fan_in x fan_out, a table keeps its shape, and everything else becomes a
  vector. If the parameter has an axis of layers or of experts, the first axis of the result
  numbers all pairs (layer, expert). No axes are swapped, so no data is copied.

  Args:
    param: The parameter.
    array: Its values, or an array of the same shape.

  >>> from lmhp.params import param_of
  >>> kernel = jnp.ones((2, 14, 8, 6))  # N D H K
  >>> param = param_of('decoder/segment_0/attention/query/kernel', kernel)
  >>> as_matrices(param, kernel).shape
  (2, 14, 48)
  """
  # Shape of one matrix, table or vector.
  if param.role == 'weight':
    shape = (param.fan_in, param.fan_out)
  elif param.role == 'table':
    # Without the axis of layers, if there is one.
    shape = param.shape[param.is_stacked :]
  else:
    shape = (-1,)

  # One axis in front, for all layers and experts.
  if param.copy_axes:
    n_copies = math.prod(param.shape[axis] for axis in param.copy_axes)
    shape = (n_copies, *shape)
  return array.reshape(shape)


def per_layer(tx: optax.GradientTransformation) -> optax.GradientTransformation:
  """Applies a transformation to each parameter of each layer separately, as a matrix.

  A stored parameter may have separate axes for heads, layers and experts. A transformation that
  takes a norm of a parameter, factors it or orthogonalizes it needs single matrices instead. So
  `tx` receives one matrix (or vector) at a time, by `jax.vmap` over layers and experts.

  Args:
    tx: Transformation of one matrix or vector.

  Returns:
    A transformation of the whole tree. Its state is a nested dict like that of the parameters,
    with the state of `tx` in place of each parameter. If a parameter has an axis of layers or
    of experts, the arrays of this state have a first axis that numbers them.

  >>> params = {'final_norm': {'scale': jnp.array([3.0, 4.0])}}
  >>> tx = per_layer(optax.scale_by_trust_ratio())
  >>> tx.update(params, tx.init(params), params)[0]['final_norm']['scale'].tolist()
  [3.0, 4.0]
  """

  def init(params: PyTree) -> PyTree:
    def init_one(param: Param, array: jax.Array) -> PyTree:
      return _over_copies(tx.init, param)(as_matrices(param, array))

    return jax.tree.map(init_one, param_tree(params), params)

  def update_one(
    param: Param, grad: jax.Array, state: PyTree, array: jax.Array
  ) -> tuple[jax.Array, PyTree]:
    direction, state = _over_copies(tx.update, param)(
      as_matrices(param, grad), state, as_matrices(param, array)
    )
    return direction.reshape(grad.shape), state

  def update(
    updates: PyTree, state: PyTree, params: PyTree = None
  ) -> tuple[PyTree, PyTree]:
    pairs = jax.tree.map(update_one, param_tree(updates), updates, state, params)
    # Each leaf of `pairs` is (direction, state). A state may be a tree itself, so `pairs` is
    # flattened only down to the parameters.
    treedef = jax.tree.structure(updates)
    pairs_flat = treedef.flatten_up_to(pairs)
    directions = treedef.unflatten(direction for direction, _ in pairs_flat)
    return directions, treedef.unflatten(new_state for _, new_state in pairs_flat)

  return optax.GradientTransformation(init, update)


def _over_copies(
  function: Callable[..., PyTree], param: Param
) -> Callable[..., PyTree]:
  """Maps a function of one matrix over all copies of it: the layers and experts."""
  return jax.vmap(function) if param.copy_axes else function
