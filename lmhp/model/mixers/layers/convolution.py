"""The causal depthwise convolution, and the flax module of the mixer `convolution`."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.layer_inputs import LayerFlags, LayerInputs
from lmhp.model.mixers.keys import ConvolutionKeys
from lmhp.model.projection import Projection, project
from lmhp.sections import keys_of
from lmhp.typing import PyTree


class CausalConvolution(nn.Module):
  """Causal depthwise convolution: each channel has its own filter.

    y_t = sum_j kernel_(W - 1 - j) x_(t - j) + bias, for j = 0, ..., W - 1

  Inputs before the start of a document are zero. The convolution is computed as a sum of W
  products, because XLA's depthwise convolution is many times slower on CPU.

  Dimension key: C channels, W filter width (`model.conv_width`), T = W - 1 + L: the W - 1 inputs
  before the sequence, then its L tokens.

  Attributes:
    cfg: Config of the model.
    channels: Number of channels, C.
  """

  cfg: ModelConfig
  channels: int

  @nn.compact
  def __call__(
    self, x_BLC: jax.Array, inputs: LayerInputs, past_BWC: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array | None]:
    """Filters a sequence.

    Args:
      x_BLC: (B, L, C) float32.
      inputs: Inputs that all layers share, such as document starts.
      past_BWC: (B, W - 1, C), the last inputs before `x_BLC`. None while no cache is used.

    Returns:
      (B, L, C) float32, and the last W - 1 inputs, or None if `past_BWC` is None.
    """
    keys = keys_of(self.cfg, ConvolutionKeys)
    batch, length, _ = x_BLC.shape
    width = keys.conv_width
    # The last column of the kernel multiplies the current token.
    kernel_CW = self.param(
      'kernel', nn.initializers.zeros_init(), (self.channels, width)
    )

    if past_BWC is None:
      past = jnp.zeros((batch, width - 1, self.channels), x_BLC.dtype)
    else:
      past = past_BWC.astype(x_BLC.dtype)
    x_BTC = jnp.concatenate([past, x_BLC], axis=1)

    # Add the product of each lag j: tokens j places before, times column W - 1 - j.
    y_BLC = jnp.zeros_like(x_BLC)
    for lag in range(width):
      first = width - 1 - lag
      shifted_BLC = x_BTC[:, first : first + length]
      if inputs.document_start_BL is not None and lag:
        same_BL = _is_same_document(inputs.document_start_BL, lag)
        shifted_BLC = shifted_BLC * same_BL[..., None]
      weight_BLC = jnp.broadcast_to(kernel_CW[:, first], shifted_BLC.shape)
      y_BLC = y_BLC + shifted_BLC * weight_BLC
    if keys.conv_bias:
      bias_C = self.param('bias', nn.initializers.zeros_init(), (self.channels,))
      y_BLC = y_BLC + jnp.broadcast_to(bias_C, x_BLC.shape)

    if past_BWC is None:
      return y_BLC, None
    return y_BLC, x_BTC[:, length:].astype(past_BWC.dtype)


def _is_same_document(document_start_BL: jax.Array, lag: int) -> jax.Array:
  """Returns (B, L) float32: 1.0 if the token `lag` places before has the same document, else 0."""
  document_BL = jnp.cumsum(document_start_BL, axis=1)
  length = document_BL.shape[1]
  earlier_BL = jnp.pad(document_BL, ((0, 0), (lag, 0)), constant_values=-1)[:, :length]
  return (document_BL == earlier_BL).astype(jnp.float32)


class ShortConvolution(nn.Module):
  """A causal convolution between two multiplicative gates.

    output(gate(x) * convolution(write(x) * input(x)))

  Source: arXiv:2302.10866 for gates around a convolution; LFM2
  (https://huggingface.co/LiquidAI) for a short kernel.
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(
    self,
    x_BLD: jax.Array,
    flags: LayerFlags,
    inputs: LayerInputs,
    cache: PyTree = None,
  ) -> tuple[jax.Array, PyTree]:
    """Mixes tokens, see `MixerLayer`. The cache is `(last inputs of the convolution,)`."""
    cfg = self.cfg
    keys = keys_of(cfg, ConvolutionKeys)
    width = keys.mixer_dim

    projections = [
      Projection(cfg, (cfg.d_model,), (width,), keys.mixer_bias, name=name)
      for name in ('write', 'gate', 'input')
    ]
    write_BLI, gate_BLI, x_BLI = project(x_BLD, projections)

    convolution = CausalConvolution(cfg, width, name='convolution')
    past = None if cache is None else cache[0]
    y_BLI, past = convolution(write_BLI * x_BLI, inputs, past)

    output = Projection(cfg, (width,), (cfg.d_model,), keys.mixer_bias, name='output')
    return output(gate_BLI * y_BLI), None if cache is None else (past,)
