"""The linear recurrence h_t = a_t h_(t-1) + b_t as an associative scan, with its gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lmhp.model.layer_inputs import LayerInputs
from lmhp.typing import PyTree


@jax.custom_vjp
def linear_recurrence(
  a_BLI: jax.Array, b_BLI: jax.Array, first_BI: jax.Array
) -> jax.Array:
  """Returns all states of h_t = a_t h_(t-1) + b_t.

  The number of operations grows in proportion to L, and the number of sequential steps to log L.
  The gradient is a recurrence with the same factors in reverse order, so that the backward pass
  needs only a and h.

  Args:
    a_BLI: (B, L, I) float32, factors.
    b_BLI: (B, L, I) float32, terms that are added.
    first_BI: (B, I) float32, the state before the first token.

  Returns:
    States after each token, (B, L, I) float32.

  Source: Blelloch 1990, "Prefix sums and their applications"; arXiv:1709.04057.
  """
  b_BLI = b_BLI.at[:, 0].add(a_BLI[:, 0] * first_BI)
  return _scan(a_BLI, b_BLI)


def _scan(a_BLI: jax.Array, b_BLI: jax.Array, reverse: bool = False) -> jax.Array:
  """Returns the states of the recurrence with a first state of zero.

  If `reverse` is True, the recurrence runs from the last token to the first.
  """

  def combine(left: PyTree, right: PyTree) -> PyTree:
    # (a2, b2) after (a1, b1) maps h to a2 (a1 h + b1) + b2.
    return right[0] * left[0], right[0] * left[1] + right[1]

  _, h_BLI = jax.lax.associative_scan(combine, (a_BLI, b_BLI), axis=1, reverse=reverse)
  return h_BLI


def _recurrence_forward(
  a_BLI: jax.Array, b_BLI: jax.Array, first_BI: jax.Array
) -> tuple[jax.Array, PyTree]:
  h_BLI = linear_recurrence(a_BLI, b_BLI, first_BI)
  return h_BLI, (a_BLI, h_BLI, first_BI)


def _recurrence_backward(
  saved: PyTree, g_BLI: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the gradients of a, b and the first state.

  With g_t the gradient of the output h_t:

    dh_t = g_t + a_(t+1) dh_(t+1)
    db_t = dh_t
    da_t = dh_t h_(t-1)
    dh_0 = a_1 dh_1
  """
  a_BLI, h_BLI, first_BI = saved
  next_a_BLI = jnp.concatenate([a_BLI[:, 1:], jnp.zeros_like(a_BLI[:, :1])], axis=1)
  dh_BLI = _scan(next_a_BLI, g_BLI, reverse=True)
  previous_h_BLI = jnp.concatenate([first_BI[:, None], h_BLI[:, :-1]], axis=1)
  return dh_BLI * previous_h_BLI, dh_BLI, dh_BLI[:, 0] * a_BLI[:, 0]


linear_recurrence.defvjp(_recurrence_forward, _recurrence_backward)


def cached_state(cache: PyTree, index: int, *shape: int) -> jax.Array:
  """Returns the state of a recurrent layer before the new tokens, float32.

  Args:
    cache: Cache of the layer. None stands for a state of zeros.
    index: Index of the state in the tuple `cache`.
    *shape: Sizes of the axes of the state, the batch first.
  """
  if cache is None:
    return jnp.zeros(shape, jnp.float32)
  return cache[index].astype(jnp.float32)


def reset_at_document_starts(inputs: LayerInputs, a_BLI: jax.Array) -> jax.Array:
  """Returns a_t, set to zero at the first token of a document, which resets the state."""
  if inputs.document_start_BL is None:
    return a_BLI
  return a_BLI * (1.0 - inputs.document_start_BL[..., None])
