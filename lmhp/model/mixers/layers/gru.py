"""The flax module of the mixer `gru`."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.layer_inputs import LayerFlags, LayerInputs
from lmhp.model.mixers.gru import N_GATES
from lmhp.model.mixers.keys import MixerKeys
from lmhp.model.mixers.layers.linear_recurrence import cached_state
from lmhp.model.mixers.layers.step_recurrence import StepRecurrence
from lmhp.model.projection import product
from lmhp.sections import keys_of
from lmhp.typing import PyTree


class GRU(StepRecurrence):
  """Gated recurrent unit. Its gates are reset r, update z and candidate n.

  Each gate is a sum of a part x of the input and a part h of the previous state:

    n_t = tanh(x_n + sigmoid(r) (h_n + candidate_bias))
    h_t = (1 - sigmoid(z)) n_t + sigmoid(z) h_(t-1)

  The reset gate multiplies after the matrix product, as in cuDNN.

  Source: arXiv:1406.1078; arXiv:1412.3555.
  """

  @nn.compact
  def __call__(
    self,
    x_BLD: jax.Array,
    flags: LayerFlags,
    inputs: LayerInputs,
    cache: PyTree = None,
  ) -> tuple[jax.Array, PyTree]:
    """Mixes tokens, see `MixerLayer`. The cache is `(hidden state,)`."""
    del flags
    batch = x_BLD.shape[0]
    width = keys_of(self.cfg, MixerKeys).mixer_dim
    input_gates_BLZI, kernel = self.project_input(N_GATES, x_BLD)
    bias_I = self.param('candidate_bias', nn.initializers.zeros_init(), (width,))

    def step(states: PyTree, input_gates_BZI: jax.Array) -> PyTree:
      (h_BI,) = states
      input_gates = input_gates_BZI.reshape(-1, N_GATES * width)
      state_gates = product(h_BI, kernel, False, self.cfg.dtype)
      r_x, z_x, n_x = jnp.split(input_gates, N_GATES, axis=-1)
      r_h, z_h, n_h = jnp.split(state_gates, N_GATES, axis=-1)
      r = jax.nn.sigmoid(r_x + r_h)
      z = jax.nn.sigmoid(z_x + z_h)
      n = jnp.tanh(n_x + r * (n_h + jnp.broadcast_to(bias_I, n_h.shape)))
      return ((1.0 - z) * n + z * h_BI,)

    first = (cached_state(cache, 0, batch, width),)
    states, h_BLI = self.run(step, first, input_gates_BLZI, inputs)
    return self.project_output(h_BLI), None if cache is None else states
