"""Muon: momentum whose matrices are replaced by the nearest orthogonal ones, layer by layer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from lmhp.optim.masks import param_tree
from lmhp.optim.transforms import per_layer

# Of x -> a x + b (x x^T) x + c (x x^T)^2 x: the steepest at 0 that stays near 1, from
# https://kellerjordan.github.io/posts/muon. Five steps bring singular values into about 0.7 to 1.2, which is enough.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrix: jax.Array, steps: int = 5) -> jax.Array:
  """A matrix with the same singular vectors and all its singular values near 1, by Newton-Schulz iteration.

  Args:
    matrix: one matrix; zeros stay zeros.
    steps: iterations.

  >>> with jax.debug_nans(True):
  ...   s = jnp.linalg.svd(
  ...     orthogonalize(jnp.array([[3.0, 0.0, 0.0], [0.0, 0.5, 0.0]])), compute_uv=False
  ...   )
  >>> bool(jnp.all((s > 0.65) & (s < 1.25)))
  True
  """
  a, b, c = COEFFICIENTS
  wide = matrix.shape[0] <= matrix.shape[1]
  x = matrix if wide else matrix.T  # the smaller Gram matrix
  x = x / (jnp.linalg.norm(x) + 1e-7)
  for _ in range(steps):
    gram = x @ x.T
    x = a * x + (b * gram + c * gram @ gram) @ x
  return x if wide else x.T


def shape_factor(fan_in: int, fan_out: int, scaling: str) -> float:
  """What an orthogonal update of a matrix is multiplied by.

  Args:
    fan_in: rows of the matrix, contracted with the input.
    fan_out: columns, produced.
    scaling: `rms` gives updates the root mean square 0.2 that AdamW's have, so that one learning rate and weight decay
      suit both (Moonlight, arXiv:2502.16982); `width` gives sqrt(max(1, fan_out / fan_in)), Muon's own.

  >>> shape_factor(16, 64, 'rms'), shape_factor(16, 64, 'width')
  (1.6, 2.0)
  """
  return (
    0.2 * max(fan_in, fan_out) ** 0.5
    if scaling == 'rms'
    else max(1.0, fan_out / fan_in) ** 0.5
  )


def scale_by_muon(
  momentum: jax.Array, steps: int, scaling: str
) -> optax.GradientTransformation:
  """Nesterov momentum, orthogonalized per layer and scaled by the matrix's shape; for hidden matrices alone.

  Args:
    momentum: decay of the sum of past gradients.
    steps: Newton-Schulz iterations.
    scaling: see :func:`shape_factor`.

  Source: Jordan et al., 2024, https://kellerjordan.github.io/posts/muon.
  """

  def one(matrix):
    return shape_factor(*matrix.shape, scaling) * orthogonalize(matrix, steps)

  return optax.chain(
    optax.trace(momentum, nesterov=True),
    per_layer(optax.stateless(lambda updates, params: jax.tree.map(one, updates))),
  )


def muon_labels(params) -> dict:
  """`matrix` for each parameter that Muon orthogonalizes, `rest` for embeddings, the head, biases and scales.

  >>> muon_labels({'output': {'kernel': jnp.ones((14, 31))}})
  {'output': {'kernel': 'rest'}}
  """
  return jax.tree.map(
    lambda leaf: 'matrix' if leaf.is_hidden_matrix else 'rest', param_tree(params)
  )
