"""Config keys and counts that token mixers share. This file imports no jax."""

from __future__ import annotations

from lmhp.declarations import static
from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, parameter_count
from lmhp.model.mixers.registry import CacheArray
from lmhp.params import ParamSpec
from lmhp.sections import assign, keys, keys_of, require


@keys
class MixerKeys:
  """Keys of the token mixers other than attention."""

  # `converted_aliases` are {name in another library: conversion}. The conversion is only shown in
  # the error message for that name.
  mixer_dim: int = static(
    None,
    'inner width of token mixers other than attention; None is d_model',
    low=1,
    aliases=('lru_width', 'd_inner'),
    converted_aliases={'expand': 'expand * model.d_model'},
    derived=True,
  )
  mixer_bias: bool = static(
    False,
    'bias of the input and output projections of token mixers other than attention',
    aliases=('use_bias', 'mamba_proj_bias'),
  )


@keys
class MixerHeadKeys(MixerKeys):
  """Keys of the mixers with heads."""

  mixer_head_dim: int = static(
    None,
    "size of a head of Mamba-2 and of RG-LRU's gates; None is head_dim",
    low=1,
    aliases=('mamba_d_head', 'mamba_head_dim'),
    derived=True,
  )


def resolve_mixer_dim(cfg: ModelConfig) -> None:
  """Fills in `mixer_dim`."""
  # `keys_of` returns `cfg` itself, typed as `MixerKeys`.
  assign(cfg, mixer_dim=keys_of(cfg, MixerKeys).mixer_dim or cfg.d_model)


def resolve_mixer_heads(cfg: ModelConfig) -> None:
  """Fills in `mixer_dim` and `mixer_head_dim`, and checks them.

  Raises:
    ConfigError: If `mixer_dim` is not a multiple of `mixer_head_dim`.
  """
  resolve_mixer_dim(cfg)
  sizes = keys_of(cfg, MixerHeadKeys)
  assign(cfg, mixer_head_dim=sizes.mixer_head_dim or cfg.head_dim)
  require(
    cfg,
    sizes.mixer_dim % sizes.mixer_head_dim == 0,
    'mixer_dim',
    f'a multiple of model.mixer_head_dim={sizes.mixer_head_dim}',
  )


def mixer_heads(cfg: ModelConfig) -> int:
  """Returns the number of heads of Mamba-2 and of RG-LRU's gates."""
  sizes = keys_of(cfg, MixerHeadKeys)
  return sizes.mixer_dim // sizes.mixer_head_dim


def projection_parameters(cfg: ModelConfig, projected_width: int) -> int:
  """Returns the number of parameters of the input and output projections of one layer.

  Args:
    cfg: Config of the model.
    projected_width: Sum of the output widths of the input projections, which read the
      residual stream.
  """
  keys = keys_of(cfg, MixerKeys)
  inputs = parameter_count(cfg.d_model, projected_width, keys.mixer_bias)
  return inputs + parameter_count(keys.mixer_dim, cfg.d_model, keys.mixer_bias)


def projection_flops(cfg: ModelConfig, projected_width: int) -> int:
  """Returns the forward FLOPs of the input and output projections, for one token.

  Args:
    cfg: Config of the model.
    projected_width: Sum of the output widths of the input projections.
  """
  return matmul_flops(cfg.d_model, projected_width + keys_of(cfg, MixerKeys).mixer_dim)


def state_array(cfg: ModelConfig) -> CacheArray:
  """Returns the cache of a recurrent state of `mixer_dim` numbers."""
  return CacheArray((keys_of(cfg, MixerKeys).mixer_dim,), 'float32')


# --- causal convolution -------------------------------------------------------------


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


# The axes of a weight are `copies | contracted > produced` (see `lmhp.params`). The kernel has one
# filter of W = `conv_width` weights for each of C channels. The axis W is contracted with the
# input.
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
  width = keys_of(cfg, ConvolutionKeys).conv_width
  return CacheArray((width - 1, channels), cfg.dtype)
