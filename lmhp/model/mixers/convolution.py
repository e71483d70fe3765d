"""Registration of the mixer `convolution`: a short causal convolution between two gates (LFM2).

This file imports no jax.
"""

from __future__ import annotations

from collections import Counter

from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, parameter_count
from lmhp.model.mixers.causal_convolution import (
  CONVOLUTION_KERNEL,
  CONVOLUTION_PARAMS,
  ConvolutionKeys,
  convolution_cache,
  convolution_parameters,
)
from lmhp.model.mixers.keys import resolve_mixer_keys
from lmhp.model.mixers.registry import CacheArray, Counts, MixerSpec, register_mixer
from lmhp.params import linear_specs
from lmhp.sections import keys_of


def parameter_counts(cfg: ModelConfig) -> Counts:
  """Returns the number of parameters of each kind in one layer."""
  keys = keys_of(cfg, ConvolutionKeys)
  inputs = 3 * parameter_count(cfg.d_model, keys.mixer_dim, keys.mixer_bias)
  output = parameter_count(keys.mixer_dim, cfg.d_model, keys.mixer_bias)
  return Counter(other=inputs + convolution_parameters(cfg, keys.mixer_dim) + output)


def weight_flops(cfg: ModelConfig) -> Counts:
  """Returns the forward FLOPs of one layer's projections by kind, for one token.

  The convolution is not a matrix product, so it is not counted.
  """
  width = keys_of(cfg, ConvolutionKeys).mixer_dim
  return Counter(other=4 * matmul_flops(cfg.d_model, width))


def cache_arrays(cfg: ModelConfig) -> tuple[CacheArray, ...]:
  """Returns the cache of one layer."""
  return (convolution_cache(cfg, keys_of(cfg, ConvolutionKeys).mixer_dim),)


register_mixer(
  'convolution',
  MixerSpec(
    layer='lmhp.model.mixers.layers.convolution:ShortConvolution',
    parameter_counts=parameter_counts,
    weight_flops=weight_flops,
    cache_arrays=cache_arrays,
    params=(
      *linear_specs('**/convolution/write', 'other', 'D > I'),
      *linear_specs('**/convolution/gate', 'other', 'D > I'),
      *linear_specs('**/convolution/input', 'other', 'D > I'),
      *linear_specs('**/convolution/output', 'other', 'I > D', residual=True),
      *CONVOLUTION_PARAMS,
    ),
    keys=ConvolutionKeys,
    resolve=resolve_mixer_keys,
    fan_in_weights=(CONVOLUTION_KERNEL,),
  ),
)
