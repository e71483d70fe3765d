"""Keys, parameters and counts of the causal convolution that several mixers contain.

This file imports no jax.
"""

from __future__ import annotations

from lmhp.declarations import static
from lmhp.model.config import ModelConfig
from lmhp.model.mixers.keys import MixerKeys
from lmhp.model.mixers.registry import CacheArray
from lmhp.params import ParamSpec
from lmhp.sections import keys, keys_of


@keys
class ConvolutionKeys(MixerKeys):
  """Keys of the mixers that contain a causal convolution."""

  conv_width: int = static(
    4,
    'length of a causal convolution, the current token included',
    low=1,
    unit='tokens',
    aliases=('conv_kernel', 'conv1d_width', 'd_conv', 'mamba_d_conv', 'conv_L_cache'),
  )
  conv_bias: bool = static(
    True,
    'bias of causal convolutions',
    aliases=('use_conv_bias', 'mamba_conv_bias'),
  )


# Kind, role and axes, as `ParamSpec` explains. The kernel has one filter of W = `conv_width`
# weights for each of C channels. W is contracted with the input.
CONVOLUTION_PARAMS = (
  ParamSpec('**/convolution/kernel', kind='other', role='weight', axes='C | W >'),
  ParamSpec('**/convolution/bias', kind='other', role='bias', axes='C'),
)
CONVOLUTION_KERNEL = '**/convolution/kernel'
"""Pattern of the kernel's path, for `MixerSpec.fan_in_weights`."""


def convolution_parameters(cfg: ModelConfig, channels: int) -> int:
  """Returns the number of parameters of a causal convolution."""
  convolution = keys_of(cfg, ConvolutionKeys)
  return channels * (convolution.conv_width + convolution.conv_bias)


def convolution_cache(cfg: ModelConfig, channels: int) -> CacheArray:
  """Returns the cache of a causal convolution: its last `conv_width` - 1 inputs."""
  n_inputs = keys_of(cfg, ConvolutionKeys).conv_width - 1
  return CacheArray((n_inputs, channels), cfg.dtype)
