"""Adagrad and RMSProp: the gradient over the root of the sum or mean of squared gradients."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import OptimizerSpec, from_optax
from lmhp.typing import PyTree


class ScaleByRssState(NamedTuple):
  """State of `scale_by_rss`.

  Attributes:
    sum_of_squares: Sum of the squared gradients so far, a tree of the form of the
      parameters.
  """

  sum_of_squares: PyTree


def scale_by_rss(eps: jax.typing.ArrayLike) -> optax.GradientTransformation:
  """Divides by the root of the sum of squared gradients: g / (sqrt(sum g^2) + eps).

  The sum starts at 0, as in torch. `optax.scale_by_rss` starts it at another number, and
  adds `eps` under the root.

  Args:
    eps: Number that is added to the root.

  Source: Duchi et al., 2011, https://jmlr.org/papers/v12/duchi11a.html.

  >>> tx = scale_by_rss(eps=0.0)
  >>> state = tx.init(jnp.zeros(1))
  >>> _, state = tx.update(jnp.array([3.0]), state)
  >>> round(float(tx.update(jnp.array([4.0]), state)[0][0]), 4)
  0.8
  """

  def init(params: PyTree) -> ScaleByRssState:
    return ScaleByRssState(jax.tree.map(jnp.zeros_like, params))

  def update(
    updates: PyTree, state: PyTree, params: PyTree = None
  ) -> tuple[PyTree, ScaleByRssState]:
    del params
    sums = jax.tree.map(lambda s, g: s + g * g, state.sum_of_squares, updates)
    updates = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps), updates, sums)
    return updates, ScaleByRssState(sums)

  return optax.GradientTransformation(init, update)


# u = g / (sqrt(v) + eps), with v the sum of g^2
register_optimizer(
  'adagrad',
  OptimizerSpec(
    from_optax(scale_by_rss, 'eps'),
    'l2',
    source='Duchi et al., 2011; as in torch',
    defaults={'eps': 1e-10},
  ),
)
# v = b2 * v + (1 - b2) * g^2, u = g / (sqrt(v) + eps)
register_optimizer(
  'rmsprop',
  OptimizerSpec(
    from_optax(optax.scale_by_rms, 'b2', 'eps', eps_in_sqrt=False),
    'l2',
    source='Tieleman and Hinton, 2012; as in torch',
    defaults={'b2': 0.99, 'eps': 1e-8},
  ),
)
