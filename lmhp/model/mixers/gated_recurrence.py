"""Registration of the mixers `lstm` and `gru`, whose gates depend on the previous state.

This file imports no jax.
"""

from __future__ import annotations

from collections import Counter

from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, parameter_count
from lmhp.model.mixers.keys import MixerKeys, resolve_mixer_dim, state_array
from lmhp.model.mixers.registry import Counts, MixerSpec, register_mixer
from lmhp.params import ParamSpec, linear_specs
from lmhp.sections import keys_of

_LAYERS = 'lmhp.model.mixers.layers.gated_recurrence'
"""Module of the flax classes. It is named, not imported, because it imports jax."""

LSTM_GATES = 4
"""Number of gates of an LSTM: input, forget, candidate, output."""

GRU_GATES = 3
"""Number of gates of a GRU: reset, update, candidate."""


def parameter_counts(cfg: ModelConfig, n_gates: int) -> Counts:
  """Returns {kind: number of parameters} of the linear maps of one layer.

  'other' is the kind of the token mixers that are not attention.
  """
  keys = keys_of(cfg, MixerKeys)
  # The map from the input to the gates has a bias for any `model.mixer_bias`.
  inputs = parameter_count(cfg.d_model, n_gates * keys.mixer_dim, bias=True)
  recurrent = n_gates * keys.mixer_dim**2
  output = parameter_count(keys.mixer_dim, cfg.d_model, keys.mixer_bias)
  return Counter(other=inputs + recurrent + output)


def gru_parameter_counts(cfg: ModelConfig) -> Counts:
  """Returns the number of parameters of one layer of a GRU, by kind."""
  # A GRU has one more bias. It is in the part of the candidate that depends on the previous
  # state.
  candidate_bias = Counter(other=keys_of(cfg, MixerKeys).mixer_dim)
  return parameter_counts(cfg, GRU_GATES) + candidate_bias


def weight_flops(cfg: ModelConfig, n_gates: int) -> Counts:
  """Returns the forward FLOPs of one layer's matrix products for one token, by kind."""
  width = keys_of(cfg, MixerKeys).mixer_dim
  inputs_and_recurrent = matmul_flops(cfg.d_model + width, n_gates * width)
  return Counter(other=inputs_and_recurrent + matmul_flops(width, cfg.d_model))


def params(name: str) -> tuple[ParamSpec, ...]:
  """Returns the specifications of the linear maps of a mixer.

  Axes are `contracted > produced` (see `lmhp.params`): D is d_model, I is mixer_dim, Z is the
  number of gates.

  Args:
    name: Name of the mixer, 'lstm' or 'gru'.
  """
  return (
    *linear_specs(f'**/{name}/input', 'other', 'D > Z I'),
    *linear_specs(f'**/{name}/output', 'other', 'I > D', residual=True),
    ParamSpec(f'**/{name}/recurrent/kernel', 'other', 'weight', 'I > Z I'),
  )


register_mixer(
  'gru',
  MixerSpec(
    layer=f'{_LAYERS}:GRU',
    parameter_counts=gru_parameter_counts,
    weight_flops=lambda cfg: weight_flops(cfg, GRU_GATES),
    cache_arrays=lambda cfg: (state_array(cfg),),
    params=(
      *params('gru'),
      ParamSpec('**/gru/candidate_bias', 'other', 'bias', 'I'),
    ),
    keys=MixerKeys,
    resolve=resolve_mixer_dim,
    # Weights whose initial standard deviation is fan_in ** -0.5, for any `model.init`.
    fan_in_weights=('**/gru/recurrent/kernel',),
  ),
)

register_mixer(
  'lstm',
  MixerSpec(
    layer=f'{_LAYERS}:LSTM',
    parameter_counts=lambda cfg: parameter_counts(cfg, LSTM_GATES),
    weight_flops=lambda cfg: weight_flops(cfg, LSTM_GATES),
    # The hidden state and the cell state.
    cache_arrays=lambda cfg: (state_array(cfg),) * 2,
    params=params('lstm'),
    keys=MixerKeys,
    resolve=resolve_mixer_dim,
    # The bias of the forget gate starts at 1.
    custom_inits={'**/lstm/input/bias': f'{_LAYERS}:init_gate_bias'},
    fan_in_weights=('**/lstm/recurrent/kernel',),
  ),
)
