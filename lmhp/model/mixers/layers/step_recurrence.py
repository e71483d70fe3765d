"""The parts that LSTM and GRU share: recurrences whose gates depend on the previous state.

The recurrences are computed one token at a time, in L steps.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.layer_inputs import LayerInputs
from lmhp.model.mixers.keys import MixerKeys
from lmhp.model.projection import Projection
from lmhp.sections import keys_of
from lmhp.typing import PyTree


class StepRecurrence(nn.Module):
  """Base class of recurrent layers that are computed one token at a time."""

  cfg: ModelConfig

  def project_input(
    self, n_gates: int, x_BLD: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Computes the part of the gates that depends on the input.

    Args:
      n_gates: Number of gates, Z.
      x_BLD: (B, L, D) float32.

    Returns:
      (B, L, Z, I) float32, and the matrix (I, Z I) that multiplies the previous state.
    """
    cfg = self.cfg
    width = keys_of(cfg, MixerKeys).mixer_dim
    inputs = Projection(cfg, (cfg.d_model,), (n_gates, width), True, name='input')
    recurrent = Projection(cfg, (width,), (n_gates, width), name='recurrent')
    return inputs(x_BLD), recurrent.matrix()

  def run(
    self,
    step: Callable[[PyTree, jax.Array], PyTree],
    states: tuple[jax.Array, ...],
    input_gates_BLZI: jax.Array,
    inputs: LayerInputs,
  ) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Runs a recurrence over a sequence.

    Args:
      step: `(states, input_gates_BZI) -> states`, one token.
      states: States before the first token, each (B, I).
      input_gates_BLZI: (B, L, Z, I) float32.
      inputs: Inputs that all layers share.

    Returns:
      States after the last token, and the first of the states after each token, (B, L, I).
    """
    gates_LBZI = jnp.swapaxes(input_gates_BLZI, 0, 1)
    per_token = (gates_LBZI,)
    if inputs.document_start_BL is not None:
      per_token = (gates_LBZI, inputs.document_start_BL.T[..., None])

    def body(states: PyTree, token: PyTree) -> PyTree:
      if len(token) == 2:
        starts_B1 = token[1]
        states = tuple(jnp.where(starts_B1, 0.0, state) for state in states)
      states = step(states, token[0])
      return states, states[0]

    states, h_LBI = jax.lax.scan(body, states, per_token)
    return states, jnp.swapaxes(h_LBI, 0, 1)

  def project_output(self, h_BLI: jax.Array) -> jax.Array:
    """Returns the output of the layer, (B, L, D) float32."""
    cfg = self.cfg
    keys = keys_of(cfg, MixerKeys)
    output = Projection(
      cfg, (keys.mixer_dim,), (cfg.d_model,), keys.mixer_bias, name='output'
    )
    return output(h_BLI)
