"""The flax modules of the mixer `rglru`, the real-gated linear recurrent unit of Griffin.

Dimension key besides that of `lmhp.model.mixers.layers`: T tokens of all sequences. K is the size
of a head of the gates, `model.mixer_head_dim`.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.layer_inputs import LayerFlags, LayerInputs
from lmhp.model.mixers.keys import ConvolutionKeys, MixerHeadKeys, mixer_heads
from lmhp.model.mixers.layers.convolution import CausalConvolution
from lmhp.model.mixers.layers.linear_recurrence import cached_state, linear_recurrence
from lmhp.model.projection import Projection, product, project, row_major
from lmhp.sections import keys_of
from lmhp.typing import PyTree


class HeadGate(nn.Module):
  """The sigmoid of a linear map. Each head has its own K x K matrix."""

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLI: jax.Array) -> jax.Array:
    """Returns the gates, (B, L, I) float32."""
    batch, length, width = x_BLI.shape
    n_heads = mixer_heads(self.cfg)
    size = keys_of(self.cfg, MixerHeadKeys).mixer_head_dim
    kernel_HKK = self.param(
      'kernel', nn.initializers.zeros_init(), (n_heads, size, size)
    )
    bias_HK = self.param('bias', nn.initializers.zeros_init(), (n_heads, size))

    # Heads first, so that there is one product per head.
    x_HTK = row_major(jnp.swapaxes(x_BLI.reshape(-1, n_heads, size), 0, 1))
    y_HTK = product(x_HTK, kernel_HKK, False, self.cfg.dtype) + bias_HK[:, None]
    return jax.nn.sigmoid(jnp.swapaxes(y_HTK, 0, 1).reshape(batch, length, width))


class RGLRU(nn.Module):
  """Griffin's recurrent block: a convolution and a gated linear recurrence, times a gate.

  With r the recurrence gate, i the input gate, and x the output of the convolution:

    a_t = exp(-8 softplus(decay) r_t)
    h_t = a_t h_(t-1) + sqrt(1 - a_t^2) i_t x_t
    y_t = output(gelu(gate_t) h_t)

  At the first token of a document, a_t is 0, so the factor sqrt(1 - a_t^2) is 1.

  Source: arXiv:2402.19427 section 2.4.
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
    """Mixes tokens, see `MixerLayer`.

    The cache is `(last inputs of the convolution, hidden state)`.
    """
    cfg = self.cfg
    keys = keys_of(cfg, ConvolutionKeys)
    width = keys.mixer_dim
    batch, length, _ = x_BLD.shape

    # Input projections and convolution.
    projections = [
      Projection(cfg, (cfg.d_model,), (width,), keys.mixer_bias, name=name)
      for name in ('gate', 'input')
    ]
    gate_BLI, x_BLI = project(x_BLD, projections)
    convolution = CausalConvolution(cfg, width, name='convolution')
    past = None if cache is None else cache[0]
    x_BLI, past = convolution(x_BLI, inputs, past)

    # Gates, and the logarithm of a.
    decay_I = self.param('decay', nn.initializers.zeros_init(), (width,))
    r_BLI = HeadGate(cfg, name='recurrence_gate')(x_BLI)
    i_BLI = HeadGate(cfg, name='input_gate')(x_BLI)
    log_a_BLI = -8.0 * r_BLI * jnp.broadcast_to(jax.nn.softplus(decay_I), r_BLI.shape)

    # A document starts at position 0 of the sequence. `document_start_BL` marks the starts of
    # further documents.
    starts_BL1 = ((inputs.start + jnp.arange(length)) == 0)[None, :, None]
    if inputs.document_start_BL is not None:
      starts_BL1 = starts_BL1 | inputs.document_start_BL[..., None]
    starts_BLI = jnp.broadcast_to(starts_BL1, log_a_BLI.shape)

    # 1 - a^2 = -expm1(2 log a). At a start, the result is 1. The inner `where` (with any finite
    # number, here -1) keeps the gradient finite there.
    safe_BLI = jnp.where(starts_BLI, -1.0, 2.0 * log_a_BLI)
    one_minus_a2_BLI = jnp.where(starts_BLI, 1.0, -jnp.expm1(safe_BLI))

    # The recurrence. The maximum keeps the gradient of the square root finite.
    first_BI = cached_state(cache, 1, batch, width)
    a_BLI = jnp.where(starts_BLI, 0.0, jnp.exp(log_a_BLI))
    b_BLI = jnp.sqrt(jnp.maximum(one_minus_a2_BLI, 1e-12)) * i_BLI * x_BLI
    h_BLI = linear_recurrence(a_BLI, b_BLI, first_BI)

    output = Projection(cfg, (width,), (cfg.d_model,), keys.mixer_bias, name='output')
    y_BLD = output(h_BLI * jax.nn.gelu(gate_BLI, approximate=True))
    return y_BLD, None if cache is None else (past, h_BLI[:, -1])


def init_decay(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Returns initial values of `decay`.

  If the recurrence gate is 1, a_t is uniform in [0.9, 0.999] over the channels.

  Source: arXiv:2402.19427 section 2.4.
  """
  a = jax.random.uniform(key, shape, jnp.float32, 0.9, 0.999)
  return jnp.log(jnp.expm1(-jnp.log(a) / 8.0))
