"""Registration of the mixer `rglru`, Griffin's recurrent block: its parameters and FLOPs.

All its parameters have the kind 'other', which stands for token mixers other than attention (see
`lmhp.params.KINDS`). This file does not import jax.
"""

from __future__ import annotations

from collections import Counter

from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops
from lmhp.model.mixers.keys import (
  CONVOLUTION_KERNEL,
  CONVOLUTION_PARAMS,
  ConvolutionKeys,
  MixerHeadKeys,
  convolution_cache,
  convolution_parameters,
  projection_flops,
  projection_parameters,
  resolve_mixer_heads,
  state_array,
)
from lmhp.model.mixers.registry import CacheArray, Counts, MixerSpec, register_mixer
from lmhp.params import ParamSpec, linear_specs
from lmhp.sections import keys, keys_of


@keys
class RGLRUKeys(ConvolutionKeys, MixerHeadKeys):
  """Keys of RG-LRU: a convolution, and gates with heads."""


def parameter_counts(cfg: ModelConfig) -> Counts:
  """Returns the number of parameters of each kind in one layer."""
  keys = keys_of(cfg, RGLRUKeys)
  width = keys.mixer_dim
  # The input is projected twice: to the gate and to the input of the convolution.
  projections = projection_parameters(cfg, 2 * width)
  # The recurrence gate and the input gate, each with a matrix per head and a bias.
  head_gates = 2 * (width * keys.mixer_head_dim + width)
  # One decay per channel.
  decay = width
  convolution = convolution_parameters(cfg, width)
  return Counter(other=projections + convolution + head_gates + decay)


def weight_flops(cfg: ModelConfig) -> Counts:
  """Returns the forward FLOPs of one layer's matrix products by kind, for one token.

  The convolution and the recurrence are not matrix products, so they are not counted.
  """
  keys = keys_of(cfg, RGLRUKeys)
  head_gates = 2 * matmul_flops(keys.mixer_dim, keys.mixer_head_dim)
  return Counter(other=projection_flops(cfg, 2 * keys.mixer_dim) + head_gates)


def cache_arrays(cfg: ModelConfig) -> tuple[CacheArray, ...]:
  """Returns the cache of one layer: last inputs of the convolution, and the hidden state."""
  width = keys_of(cfg, RGLRUKeys).mixer_dim
  return convolution_cache(cfg, width), state_array(cfg)


register_mixer(
  'rglru',
  MixerSpec(
    layer='lmhp.model.mixers.layers.rglru:RGLRU',
    parameter_counts=parameter_counts,
    weight_flops=weight_flops,
    cache_arrays=cache_arrays,
    # Axes are `copies | contracted > produced` (see `lmhp.params`): 'H | K > K' is a K x K
    # matrix for each head. I is `mixer_dim`, H the heads of the gates, K `mixer_head_dim`.
    params=(
      *linear_specs('**/rglru/gate', 'other', 'D > I'),
      *linear_specs('**/rglru/input', 'other', 'D > I'),
      *linear_specs('**/rglru/output', 'other', 'I > D', residual=True),
      *linear_specs('**/rglru/recurrence_gate', 'other', 'H | K > K'),
      *linear_specs('**/rglru/input_gate', 'other', 'H | K > K'),
      # The optimizer treats the decay like a bias: by default, it has no weight decay.
      ParamSpec('**/rglru/decay', 'other', 'bias', 'I'),
      *CONVOLUTION_PARAMS,
    ),
    keys=RGLRUKeys,
    resolve=resolve_mixer_heads,
    custom_inits={'**/rglru/decay': 'lmhp.model.mixers.layers.rglru:init_decay'},
    # Weights whose initial standard deviation is fan_in ** -0.5, whatever `model.init` is.
    fan_in_weights=(
      CONVOLUTION_KERNEL,
      '**/rglru/recurrence_gate/kernel',
      '**/rglru/input_gate/kernel',
    ),
  ),
)
