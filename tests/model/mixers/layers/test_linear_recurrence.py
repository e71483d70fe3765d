"""The linear recurrence and its gradient against a loop in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.model.mixers.layers.linear_recurrence import linear_recurrence

B, L, WIDTH = 3, 11, 4


def as_float32(*arrays):
  return [jnp.asarray(array, jnp.float32) for array in arrays]


def draw():
  """Returns a, b, the gradient of the states, and the first state."""
  rng = np.random.default_rng(0)
  a, b, g = (rng.normal(size=(B, L, WIDTH)) for _ in range(3))
  return a, b, g, rng.normal(size=(B, WIDTH))


def states_by_loop(a, b, first):
  """Returns the state before the first token and after each token."""
  states = [first]
  for t in range(L):
    states.append(a[:, t] * states[-1] + b[:, t])
  return states


def test_states_equal_a_loop():
  a, b, _, first = draw()
  expected = np.stack(states_by_loop(a, b, first)[1:], axis=1)
  h = linear_recurrence(*as_float32(a, b, first))
  np.testing.assert_allclose(h, expected, rtol=1e-4, atol=1e-5)


def test_gradients_equal_a_loop_in_reverse():
  a, b, g, first = draw()
  states = states_by_loop(a, b, first)
  dh = np.zeros((B, WIDTH))
  da = np.zeros_like(a)
  db = np.zeros_like(b)
  for t in reversed(range(L)):
    dh = dh + g[:, t]
    da[:, t] = dh * states[t]
    db[:, t] = dh
    dh = dh * a[:, t]

  def loss(a, b, first):
    return jnp.sum(linear_recurrence(a, b, first) * as_float32(g)[0])

  gradients = jax.grad(loss, (0, 1, 2))(*as_float32(a, b, first))
  for gradient, expected in zip(gradients, (da, db, dh), strict=True):
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)
