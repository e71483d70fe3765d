"""Muon: the momentum of each matrix is replaced by an almost orthogonal matrix."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from lmhp.declarations import static, traced
from lmhp.optim.masks import param_tree
from lmhp.optim.optimizers.adaptive import ADAM_DEFAULTS, scale_by_adam
from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import Numbers, OptimizerSpec
from lmhp.optim.transforms import per_layer
from lmhp.params import Param
from lmhp.sections import Section, keys, keys_of
from lmhp.typing import PyTree

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients (a, b, c) of one Newton-Schulz iteration: x -> a x + b (x x^T) x + c (x x^T)^2 x.

It maps each singular value s to a s + b s^3 + c s^5. These coefficients make small singular values
grow as fast as possible, while those near 1 stay near 1. After five iterations, the singular
values are between about 0.7 and 1.2, which is enough for training.
Source: https://kellerjordan.github.io/posts/muon.
"""


@keys
class MuonKeys:
  """Keys that muon adds to the section `optimizer`."""

  muon_lr_multiplier: float = traced(
    1.0,
    'factor on the learning rate of the matrices that muon orthogonalizes; AdamW trains '
    'all other parameters',
    low=0.0,
  )
  muon_newton_schulz_steps: int = static(
    5, 'Newton-Schulz iterations for each update', low=1, aliases=('ns_steps',)
  )
  muon_scaling: str = static(
    'rms',
    "factor on the orthogonal matrices: rms gives them a root mean square of 0.2, as AdamW's "
    'updates have; width is sqrt(max(1, fan_out / fan_in))',
    choices=('rms', 'width'),
    aliases=('adjust_lr_fn',),
    value_aliases={'match_rms_adamw': "'rms'", 'original': "'width'"},
    source='arXiv:2502.16982',
  )


def orthogonalize(matrix: jax.Array, steps: int = 5) -> jax.Array:
  """Returns a matrix with the same singular vectors, and singular values near 1.

  Args:
    matrix: One matrix (rows, columns). A matrix of zeros is returned unchanged.
    steps: Newton-Schulz iterations.

  >>> with jax.debug_nans(True):
  ...   matrix = orthogonalize(jnp.array([[3.0, 0.0, 0.0], [0.0, 0.5, 0.0]]))
  >>> singular_values = jnp.linalg.svd(matrix, compute_uv=False)
  >>> bool(jnp.all((singular_values > 0.65) & (singular_values < 1.25)))
  True
  """
  a, b, c = COEFFICIENTS
  # Transpose a tall matrix, so that x x^T is the smaller of the two Gram matrices.
  is_wide = matrix.shape[0] <= matrix.shape[1]
  x = matrix if is_wide else matrix.T

  # The iteration needs singular values of at most 1. The Frobenius norm bounds all of them.
  x = x / (jnp.linalg.norm(x) + 1e-7)
  for _ in range(steps):
    gram = x @ x.T
    x = a * x + (b * gram + c * gram @ gram) @ x
  return x if is_wide else x.T


def shape_factor(fan_in: int, fan_out: int, scaling: str) -> float:
  """Returns the factor on the orthogonal update of a matrix.

  Args:
    fan_in: Number of rows of the matrix, the size of its input.
    fan_out: Number of columns of the matrix, the size of its output.
    scaling: 'rms' gives updates a root mean square of 0.2. AdamW's updates have about the same,
      so one learning rate and one weight decay suit both (Moonlight, arXiv:2502.16982). 'width'
      is sqrt(max(1, fan_out / fan_in)), as in the first implementation of Muon.

  >>> shape_factor(16, 64, 'rms'), shape_factor(16, 64, 'width')
  (1.6, 2.0)
  """
  if scaling == 'rms':
    return 0.2 * max(fan_in, fan_out) ** 0.5
  return max(1.0, fan_out / fan_in) ** 0.5


def scale_by_muon(
  momentum: jax.typing.ArrayLike, steps: int, scaling: str
) -> optax.GradientTransformation:
  """Orthogonalizes Nesterov momentum, one matrix at a time, and scales it by `shape_factor`.

  All leaves of the tree are matrices whose input and output are hidden activations (see
  `lmhp.params.Param.is_hidden_matrix`).

  Args:
    momentum: Decay of the sum of past gradients.
    steps: Newton-Schulz iterations.
    scaling: 'rms' or 'width' (see `shape_factor`).

  Source: Jordan et al., 2024, https://kellerjordan.github.io/posts/muon.

  >>> path = ('decoder', 'segment_0', 'feed_forward', 'down', 'kernel')
  >>> params = jnp.eye(2, 3)[None]  # (layers, d_ff, d_model)
  >>> for name in reversed(path):
  ...   params = {name: params}
  >>> tx = scale_by_muon(momentum=0.0, steps=5, scaling='width')
  >>> jax.tree.leaves(tx.update(params, tx.init(params), params)[0])[0].shape
  (1, 2, 3)
  """

  def update_matrix(matrix: jax.Array) -> jax.Array:
    fan_in, fan_out = matrix.shape
    return shape_factor(fan_in, fan_out, scaling) * orthogonalize(matrix, steps)

  def update(updates: PyTree, params: PyTree) -> PyTree:
    del params
    return jax.tree.map(update_matrix, updates)

  # Momentum treats each number by itself, so only the orthogonalization needs `per_layer`,
  # which splits stacked layers and experts into single matrices.
  return optax.chain(
    optax.trace(momentum, nesterov=True), per_layer(optax.stateless(update))
  )


def muon_labels(params: PyTree) -> PyTree:
  """Returns 'matrix' for each parameter that Muon orthogonalizes, and 'rest' for all others.

  The others are embeddings, the output layer, biases and scales.

  Args:
    params: Nested dict of arrays or shapes.

  >>> muon_labels({'output': {'kernel': jnp.ones((14, 31))}})
  {'output': {'kernel': 'rest'}}
  """

  def label(param: Param) -> str:
    return 'matrix' if param.is_hidden_matrix else 'rest'

  return jax.tree.map(label, param_tree(params))


def _muon(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  muon = keys_of(cfg, MuonKeys)
  matrix = optax.chain(
    scale_by_muon(
      numbers['momentum'], muon.muon_newton_schulz_steps, muon.muon_scaling
    ),
    optax.scale(numbers['muon_lr_multiplier']),
  )
  # Later, `lmhp.optim.chain` applies the learning rate and the decoupled decay to all
  # parameters. So with Adam's direction here, the rest is trained by AdamW.
  rest = scale_by_adam(cfg, numbers)
  return optax.partition({'matrix': matrix, 'rest': rest}, muon_labels)


register_optimizer(
  'muon',
  OptimizerSpec(
    _muon,
    'decoupled',
    source='Jordan et al., 2024; arXiv:2502.16982',
    defaults={'momentum': 0.95, **ADAM_DEFAULTS},
    keys=MuonKeys,
  ),
)
