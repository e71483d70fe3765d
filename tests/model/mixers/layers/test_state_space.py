"""The state space of Mamba-2 against a loop over tokens in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.mixers.layers.state_space import StateSpaceInputs, state_space

B, L, H, P, S, G = 3, 11, 4, 3, 5, 2


@pytest.mark.slow
@pytest.mark.parametrize('chunk', [1, 3, 11, 64])
@pytest.mark.parametrize('packed', [False, True])
def test_equals_a_loop(chunk, packed):
  """The first state is not zero, and documents start inside chunks."""
  rng = np.random.default_rng(0)
  x = rng.normal(size=(B, L, H, P))
  log_a = -rng.uniform(0, 1, size=(B, L, H))
  write = rng.normal(size=(B, L, G, S))
  read = rng.normal(size=(B, L, G, S))
  state = rng.normal(size=(B, H, P, S))
  starts = rng.random((B, L)) < 0.3 if packed else np.zeros((B, L), bool)

  inputs = StateSpaceInputs(
    x_BLHP=jnp.asarray(x, jnp.float32),
    log_a_BLH=jnp.asarray(log_a, jnp.float32),
    write_BLGS=jnp.asarray(write, jnp.float32),
    read_BLGS=jnp.asarray(read, jnp.float32),
    document_start_BL=jnp.asarray(starts) if packed else None,
  )
  first = jnp.asarray(state, jnp.float32)
  y, last = state_space(inputs, first, chunk, 'float32')

  write = np.repeat(write, H // G, axis=2)
  read = np.repeat(read, H // G, axis=2)
  for t in range(L):
    state = np.where(starts[:, t, None, None, None], 0, state)
    state = state * np.exp(log_a[:, t])[..., None, None]
    state = state + np.einsum('bhp,bhs->bhps', x[:, t], write[:, t])
    expected = np.einsum('bhps,bhs->bhp', state, read[:, t])
    np.testing.assert_allclose(y[:, t], expected, rtol=1e-4, atol=2e-5)
  np.testing.assert_allclose(last, state, rtol=1e-4, atol=2e-5)
