"""Applies the chosen experts of each row, with one of three backends.

A row is the vector of one token. An expert is one of several feed-forward networks. An expert has
no limit on its number of rows: no row is dropped, and experts with fewer rows are not padded to
the number of rows of the largest one. The backends are:

- `blocks` sorts the rows by expert and cuts them into blocks of one expert each. The last
  block of an expert is padded with zeros. A loop multiplies one block after another by the
  matrices of its expert. It is the only fast backend on CPU.
- `ragged` sorts the rows by expert and calls `jax.lax.ragged_dot`, which is fast on GPU and
  TPU.
- `dense` computes every expert for every row, and keeps the results of the chosen experts. With
  E experts and k experts per row, it does E / k times the work of the other backends.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lmhp.model.experts.blocks import apply_in_blocks
from lmhp.model.experts.expert_weights import Activate, ExpertWeights, apply_map
from lmhp.model.experts.ragged import apply_ragged
from lmhp.model.projection import on_cpu


def apply_experts(
  x_TD: jax.Array,
  experts_Tk: jax.Array,
  weights: ExpertWeights,
  activate: Activate,
  dtype: str,
  backend: str = 'auto',
) -> jax.Array:
  """Returns down_e(activate(input_maps_e(x))) for each of the k experts e of each row.

  The input maps of an expert are `up`, or `gate` and `up`.

  Args:
    x_TD: (T, D) float32.
    experts_Tk: (T, k) int32, numbers of the experts of each row.
    weights: Weights of all experts.
    activate: Activation.
    dtype: Data type of the operands of products.
    backend: 'blocks', 'ragged', 'dense', or 'auto', which is 'blocks' on CPU, else 'ragged'.

  Returns:
    (T, k, D) float32.
  """
  backends = {'blocks': apply_in_blocks, 'ragged': apply_ragged, 'dense': _apply_dense}
  if backend == 'auto':
    backend = 'blocks' if on_cpu() else 'ragged'
  return backends[backend](x_TD, experts_Tk, weights, activate, dtype)


def _apply_dense(
  x_TD: jax.Array,
  experts_Tk: jax.Array,
  weights: ExpertWeights,
  activate: Activate,
  dtype: str,
) -> jax.Array:
  """Computes all experts for all rows, and selects those of each row."""

  def apply_one(expert: ExpertWeights) -> jax.Array:
    hidden = activate([apply_map(x_TD, map_, dtype) for map_ in expert.input_maps])
    return apply_map(hidden, expert.down, dtype)

  y_TED = jnp.swapaxes(jax.lax.map(apply_one, weights), 0, 1)
  return jnp.take_along_axis(y_TED, experts_Tk[..., None], axis=1)
