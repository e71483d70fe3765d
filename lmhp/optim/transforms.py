"""The small transformations that Optax lacks, or cannot do per layer or with traced numbers."""

from __future__ import annotations

import math
from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lmhp.optim.masks import param_tree
from lmhp.params import Param


def global_norm(tree: Any) -> jax.Array:
  """Euclidean norm of all numbers of a tree together, float32.

  >>> float(global_norm({'a': jnp.array([3.0]), 'b': jnp.array([[4.0]])}))
  5.0
  """
  return jnp.sqrt(
    sum(jnp.sum(jnp.square(x.astype(jnp.float32))) for x in jax.tree.leaves(tree))
  )


def clip_by_global_norm(
  max_norm: jax.Array, norm: jax.Array | None = None
) -> optax.GradientTransformation:
  """Multiplies the gradient by min(1, max_norm / norm).

  Args:
    max_norm: largest norm let through; infinity lets all through.
    norm: the gradient's global norm where it is known already; None computes it.
  """

  def clip(updates, params):
    del params
    factor = jnp.minimum(
      1.0, max_norm / (global_norm(updates) if norm is None else norm)
    )
    return jax.tree.map(lambda g: factor * g, updates)

  return optax.stateless(clip)


def scale_by_learning_rates(
  rates: Callable[[Any], Any],
) -> optax.GradientTransformation:
  """Multiplies each update by its own number.

  Args:
    rates: takes a tree of the parameters' form and returns a tree of scalars.
  """
  return optax.stateless(
    lambda updates, params: jax.tree.map(
      lambda rate, u: rate * u, rates(updates), updates
    )
  )


class ScaleByRssState(NamedTuple):
  """Sum of the squared gradients so far."""

  sum_of_squares: Any


def scale_by_rss(eps: jax.Array) -> optax.GradientTransformation:
  """Divides by the root of the sum of squared gradients: g / (sqrt(sum g^2) + eps).

  (Optax's starts the sum at a number and adds `eps` under the root; this one starts at 0 and is torch's Adagrad.)

  Source: Duchi et al., 2011, https://jmlr.org/papers/v12/duchi11a.html.
  """

  def update(updates, state, params=None):
    del params
    sums = jax.tree.map(lambda s, g: s + g * g, state.sum_of_squares, updates)
    return jax.tree.map(
      lambda g, s: g / (jnp.sqrt(s) + eps), updates, sums
    ), ScaleByRssState(sums)

  return optax.GradientTransformation(
    lambda params: ScaleByRssState(jax.tree.map(jnp.zeros_like, params)), update
  )


def as_matrices(leaf: Param, array: jax.Array) -> jax.Array:
  """A parameter as it is stored, seen as one array for each layer and expert: these together first, where there are any.

  A weight is fan_in x fan_out, a table as it is, anything else a vector. No axes are swapped, so this is free.

  >>> from lmhp.params import param_of
  >>> kernel = jnp.ones((2, 14, 8, 6))  # N D H K
  >>> as_matrices(
  ...   param_of('decoder/segment_0/attention/query/kernel', kernel), kernel
  ... ).shape
  (2, 14, 48)
  """
  copies = (math.prod(leaf.shape[i] for i in leaf.copy_axes),) if leaf.copy_axes else ()
  shapes = {'weight': (leaf.fan_in, leaf.fan_out), 'table': leaf.shape[leaf.is_stacked :]}
  return array.reshape(*copies, *shapes.get(leaf.role, (-1,)))


def per_layer(tx: optax.GradientTransformation) -> optax.GradientTransformation:
  """Applies `tx` to each parameter of each layer by itself, as the matrix it is.

  Parameters are stored with heads apart and alike layers stacked. What takes a norm of a parameter, factors it or
  orthogonalizes it must see neither: this wrapper shows `tx` one matrix at a time (stacked layers and experts through `jax.vmap`).
  The state is, at each parameter's place, the state of `tx` for that parameter alone, N first where stacked.
  """

  def init(params):
    def one(leaf, p):
      return (jax.vmap(tx.init) if leaf.copy_axes else tx.init)(as_matrices(leaf, p))

    return jax.tree.map(one, param_tree(params), params)

  def update(updates, state, params):
    def one(leaf, g, s, p):
      layer = jax.vmap(tx.update) if leaf.copy_axes else tx.update
      u, s = layer(as_matrices(leaf, g), s, as_matrices(leaf, p))
      return u.reshape(g.shape), s

    table, form = jax.tree.flatten(param_tree(updates))
    pairs = map(
      one, table, *(form.flatten_up_to(tree) for tree in (updates, state, params))
    )
    return tuple(form.unflatten(column) for column in zip(*pairs))

  return optax.GradientTransformation(init, update)
