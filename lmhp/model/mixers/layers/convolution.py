"""The flax module of the mixer `convolution`."""

from __future__ import annotations

import flax.linen as nn
import jax

from lmhp.model.config import ModelConfig
from lmhp.model.layer_inputs import LayerFlags, LayerInputs
from lmhp.model.mixers.causal_convolution import ConvolutionKeys
from lmhp.model.mixers.layers.causal_convolution import CausalConvolution
from lmhp.model.projection import Projection, project
from lmhp.sections import keys_of
from lmhp.typing import PyTree


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
    del flags
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
