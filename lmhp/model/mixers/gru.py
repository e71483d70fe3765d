"""Registration of the mixer `gru`. This file imports no jax."""

from __future__ import annotations

from collections import Counter

from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, parameter_count
from lmhp.model.mixers.keys import MixerKeys, resolve_mixer_keys
from lmhp.model.mixers.registry import CacheArray, Counts, MixerSpec, register_mixer
from lmhp.params import ParamSpec, linear_specs
from lmhp.sections import keys_of

N_GATES = 3
RECURRENT_KERNEL = '**/gru/recurrent/kernel'


def parameter_counts(cfg: ModelConfig) -> Counts:
  """Returns the number of parameters of each kind in one layer."""
  keys = keys_of(cfg, MixerKeys)
  inputs = parameter_count(cfg.d_model, N_GATES * keys.mixer_dim, bias=True)
  recurrent = N_GATES * keys.mixer_dim**2
  candidate_bias = keys.mixer_dim
  output = parameter_count(keys.mixer_dim, cfg.d_model, keys.mixer_bias)
  return Counter(other=inputs + recurrent + candidate_bias + output)


def weight_flops(cfg: ModelConfig) -> Counts:
  """Returns the forward FLOPs of one layer's matrices by kind, for one token."""
  width = keys_of(cfg, MixerKeys).mixer_dim
  inputs = matmul_flops(cfg.d_model, N_GATES * width)
  recurrent = matmul_flops(width, N_GATES * width)
  return Counter(other=inputs + recurrent + matmul_flops(width, cfg.d_model))


def cache_arrays(cfg: ModelConfig) -> tuple[CacheArray, ...]:
  """Returns the cache of one layer: the hidden state."""
  return (CacheArray((keys_of(cfg, MixerKeys).mixer_dim,), 'float32'),)


register_mixer(
  'gru',
  MixerSpec(
    layer='lmhp.model.mixers.layers.gru:GRU',
    parameter_counts=parameter_counts,
    weight_flops=weight_flops,
    cache_arrays=cache_arrays,
    params=(
      *linear_specs('**/gru/input', 'other', 'D > Z I'),
      *linear_specs('**/gru/output', 'other', 'I > D', residual=True),
      ParamSpec(RECURRENT_KERNEL, 'other', 'weight', 'I > Z I'),
      ParamSpec('**/gru/candidate_bias', 'other', 'bias', 'I'),
    ),
    keys=MixerKeys,
    resolve=resolve_mixer_keys,
    fan_in_weights=(RECURRENT_KERNEL,),
  ),
)
