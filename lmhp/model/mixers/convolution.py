"""Registration of the mixer `convolution`: a short causal convolution between two gates (LFM2).

This file imports no jax.
"""

from __future__ import annotations

from collections import Counter

from lmhp.model.config import ModelConfig
from lmhp.model.mixers.keys import (
  CONVOLUTION_KERNEL,
  CONVOLUTION_PARAMS,
  ConvolutionKeys,
  convolution_cache,
  convolution_parameters,
  projection_flops,
  projection_parameters,
  resolve_mixer_dim,
)
from lmhp.model.mixers.registry import Counts, MixerSpec, register_mixer
from lmhp.params import linear_specs
from lmhp.sections import keys_of


def parameter_counts(cfg: ModelConfig) -> Counts:
  """Returns {kind: number of parameters} of one layer.

  'other' is the kind of the token mixers that are not attention.
  """
  width = keys_of(cfg, ConvolutionKeys).mixer_dim
  # The input projections are `write`, `gate` and `input` (see `ShortConvolution`).
  projections = projection_parameters(cfg, 3 * width)
  return Counter(other=projections + convolution_parameters(cfg, width))


def weight_flops(cfg: ModelConfig) -> Counts:
  """Returns the forward FLOPs of one layer's projections for one token, by kind.

  The convolution is not a matrix product, so it is not counted.
  """
  width = keys_of(cfg, ConvolutionKeys).mixer_dim
  return Counter(other=projection_flops(cfg, 3 * width))


register_mixer(
  'convolution',
  MixerSpec(
    layer='lmhp.model.mixers.layers.convolution:ShortConvolution',
    parameter_counts=parameter_counts,
    weight_flops=weight_flops,
    cache_arrays=lambda cfg: (
      convolution_cache(cfg, keys_of(cfg, ConvolutionKeys).mixer_dim),
    ),
    # Axes are `contracted > produced` (see `lmhp.params`): D is d_model, I is mixer_dim.
    params=(
      *linear_specs('**/convolution/write', 'other', 'D > I'),
      *linear_specs('**/convolution/gate', 'other', 'D > I'),
      *linear_specs('**/convolution/input', 'other', 'D > I'),
      *linear_specs('**/convolution/output', 'other', 'I > D', residual=True),
      *CONVOLUTION_PARAMS,
    ),
    keys=ConvolutionKeys,
    resolve=resolve_mixer_dim,
    # Weights whose initial standard deviation is fan_in ** -0.5, for any `model.init`.
    fan_in_weights=(CONVOLUTION_KERNEL,),
  ),
)
