"""The flax modules of the mixers `lstm` and `gru`, whose gates depend on the previous state.

The recurrences are computed one token at a time, in L steps. Dimension key: see
`lmhp.model.mixers.layers`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.layer_inputs import LayerFlags, LayerInputs
from lmhp.model.mixers.gated_recurrence import GRU_GATES, LSTM_GATES
from lmhp.model.mixers.keys import MixerKeys
from lmhp.model.mixers.layers.linear_recurrence import cached_state
from lmhp.model.projection import Projection, product
from lmhp.sections import keys_of
from lmhp.typing import PyTree

States: TypeAlias = tuple[jax.Array, ...]
"""States of a layer, each (B, I) float32. The first is its output."""

Step: TypeAlias = Callable[[States, jax.Array, jax.Array], States]
"""`(states, input_gates, state_gates) -> states`, the recurrence of one token.

A gate is computed from a part that depends on the input and a part that depends on the previous
state. `input_gates` and `state_gates` hold these parts for all gates, each (B, Z I) float32.
"""


class GatedRecurrence(nn.Module, abc.ABC):
  """Base class of recurrent layers that are computed one token at a time.

  Attributes:
    cfg: Config of the model.
    N_GATES: Number of gates, Z.
    N_STATES: Number of states: 2 for an LSTM (hidden and cell state), 1 for a GRU.
  """

  cfg: ModelConfig
  N_GATES: ClassVar[int]
  N_STATES: ClassVar[int]

  @abc.abstractmethod
  def step(self, width: int) -> Step:
    """Returns the function that computes one token.

    Args:
      width: Size of a state, I.
    """

  @nn.compact
  def __call__(
    self,
    x_BLD: jax.Array,
    flags: LayerFlags,
    inputs: LayerInputs,
    cache: PyTree = None,
  ) -> tuple[jax.Array, PyTree]:
    """Mixes tokens, see `MixerLayer`. The cache is the tuple of the states."""
    cfg = self.cfg
    keys = keys_of(cfg, MixerKeys)
    width = keys.mixer_dim

    # Gates: the part that depends on the input, and the matrix that computes the other part
    # from the previous state. The first has a bias (True) for any `model.mixer_bias`.
    gate_shape = (self.N_GATES, width)
    gates_BLZI = Projection(cfg, (cfg.d_model,), gate_shape, True, name='input')(x_BLD)
    kernel = Projection(cfg, (width,), gate_shape, name='recurrent').matrix()
    step = self.step(width)

    # The recurrence. The first token of a document resets the states.
    def body(states: States, token: PyTree) -> tuple[States, jax.Array]:
      gates_BZI, starts_B1 = token
      if starts_B1 is not None:
        states = tuple(jnp.where(starts_B1, 0.0, state) for state in states)
      gates = gates_BZI.reshape(-1, self.N_GATES * width)
      states = step(states, gates, product(states[0], kernel, False, cfg.dtype))
      return states, states[0]

    batch = x_BLD.shape[0]
    first = tuple(cached_state(cache, i, batch, width) for i in range(self.N_STATES))
    gates_LBZI = jnp.swapaxes(gates_BLZI, 0, 1)
    starts_BL = inputs.document_start_BL
    starts_LB1 = None if starts_BL is None else starts_BL.T[..., None]
    states, h_LBI = jax.lax.scan(body, first, (gates_LBZI, starts_LB1))
    h_BLI = jnp.swapaxes(h_LBI, 0, 1)

    output = Projection(cfg, (width,), (cfg.d_model,), keys.mixer_bias, name='output')
    return output(h_BLI), None if cache is None else states


class LSTM(GatedRecurrence):
  """Long short-term memory. Its gates are input i, forget f, candidate g and output o.

    c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g)
    h_t = sigmoid(o) tanh(c_t)

  The states are the hidden state h and the cell state c.

  Source: Hochreiter and Schmidhuber 1997; the forget gate, Gers et al. 2000.
  """

  N_GATES = LSTM_GATES
  N_STATES = 2

  def step(self, width: int) -> Step:
    """Returns the function that computes one token."""

    def step(states: States, input_gates: jax.Array, state_gates: jax.Array) -> States:
      c_BI = states[1]
      i, f, g, o = jnp.split(input_gates + state_gates, self.N_GATES, axis=-1)
      c_BI = jax.nn.sigmoid(f) * c_BI + jax.nn.sigmoid(i) * jnp.tanh(g)
      return jax.nn.sigmoid(o) * jnp.tanh(c_BI), c_BI

    return step


def init_gate_bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Returns the initial bias of the gates of an LSTM: 1 for the forget gate, else 0.

  Source: Jozefowicz et al. 2015.
  """
  # The shape is (Z, I), with the gates in the order i, f, g, o.
  return jnp.zeros(shape, jnp.float32).at[..., 1, :].set(1.0)


class GRU(GatedRecurrence):
  """Gated recurrent unit. Its gates are reset r, update z and candidate n.

  In a subscript, x marks the part that depends on the input, and h the part that depends on
  the previous state:

    r = sigmoid(r_x + r_h)
    z = sigmoid(z_x + z_h)
    n = tanh(n_x + r (n_h + candidate_bias))
    h_t = (1 - z) n + z h_(t-1)

  The reset gate multiplies the product of the matrix and the previous state, as in cuDNN, and
  not the previous state itself. The state of the layer is h.

  Source: arXiv:1406.1078; arXiv:1412.3555.
  """

  N_GATES = GRU_GATES
  N_STATES = 1

  def step(self, width: int) -> Step:
    """Returns the function that computes one token. Creates the bias of the candidate."""
    bias_I = self.param('candidate_bias', nn.initializers.zeros_init(), (width,))

    def step(states: States, input_gates: jax.Array, state_gates: jax.Array) -> States:
      r_x, z_x, n_x = jnp.split(input_gates, self.N_GATES, axis=-1)
      r_h, z_h, n_h = jnp.split(state_gates, self.N_GATES, axis=-1)
      r = jax.nn.sigmoid(r_x + r_h)
      z = jax.nn.sigmoid(z_x + z_h)
      n = jnp.tanh(n_x + r * (n_h + jnp.broadcast_to(bias_I, n_h.shape)))
      return ((1.0 - z) * n + z * states[0],)

    return step
