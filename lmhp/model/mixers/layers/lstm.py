"""The flax module of the mixer `lstm`."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.layer_inputs import LayerFlags, LayerInputs
from lmhp.model.mixers.keys import MixerKeys
from lmhp.model.mixers.layers.linear_recurrence import cached_state
from lmhp.model.mixers.layers.step_recurrence import StepRecurrence
from lmhp.model.mixers.lstm import N_GATES
from lmhp.model.projection import product
from lmhp.sections import keys_of
from lmhp.typing import PyTree


class LSTM(StepRecurrence):
  """Long short-term memory. Its gates are input i, forget f, candidate g and output o.

    c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g)
    h_t = sigmoid(o) tanh(c_t)

  Source: Hochreiter and Schmidhuber 1997; the forget gate, Gers et al. 2000.
  """

  @nn.compact
  def __call__(
    self,
    x_BLD: jax.Array,
    flags: LayerFlags,
    inputs: LayerInputs,
    cache: PyTree = None,
  ) -> tuple[jax.Array, PyTree]:
    """Mixes tokens, see `MixerLayer`. The cache is `(hidden state, cell state)`."""
    del flags
    batch = x_BLD.shape[0]
    width = keys_of(self.cfg, MixerKeys).mixer_dim
    input_gates_BLZI, kernel = self.project_input(N_GATES, x_BLD)

    def step(states: PyTree, input_gates_BZI: jax.Array) -> PyTree:
      h_BI, c_BI = states
      gates = input_gates_BZI.reshape(-1, N_GATES * width) + product(
        h_BI, kernel, False, self.cfg.dtype
      )
      i, f, g, o = jnp.split(gates, N_GATES, axis=-1)
      c_BI = jax.nn.sigmoid(f) * c_BI + jax.nn.sigmoid(i) * jnp.tanh(g)
      return jax.nn.sigmoid(o) * jnp.tanh(c_BI), c_BI

    first = tuple(cached_state(cache, i, batch, width) for i in range(2))
    states, h_BLI = self.run(step, first, input_gates_BLZI, inputs)
    return self.project_output(h_BLI), None if cache is None else states


def init_gate_bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Returns the initial bias of the gates: 1 for the forget gate, else 0.

  Source: Jozefowicz et al. 2015.
  """
  del key
  return jnp.zeros(shape, jnp.float32).at[..., 1, :].set(1.0)
