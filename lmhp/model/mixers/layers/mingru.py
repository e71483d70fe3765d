"""The flax module of the mixer `mingru`."""

from __future__ import annotations

import flax.linen as nn
import jax

from lmhp.model.config import ModelConfig
from lmhp.model.layer_inputs import LayerFlags, LayerInputs
from lmhp.model.mixers.keys import MixerKeys
from lmhp.model.mixers.layers.linear_recurrence import (
  cached_state,
  linear_recurrence,
  reset_at_document_starts,
)
from lmhp.model.projection import Projection, project
from lmhp.sections import keys_of
from lmhp.typing import PyTree


class MinGRU(nn.Module):
  """A GRU whose gate and candidate depend on the input alone, so that a scan computes it.

    z_t = sigmoid(gate(x_t))
    h_t = (1 - z_t) h_(t-1) + z_t input(x_t)

  Source: arXiv:2410.01201 section 3.1.
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
    """Mixes tokens, see `MixerLayer`. The cache is `(hidden state,)`."""
    cfg = self.cfg
    keys = keys_of(cfg, MixerKeys)
    width = keys.mixer_dim

    # The gate has a bias (True) for any `model.mixer_bias`.
    gate = Projection(cfg, (cfg.d_model,), (width,), True, name='gate')
    candidate = Projection(cfg, (cfg.d_model,), (width,), keys.mixer_bias, name='input')
    gate_BLI, x_BLI = project(x_BLD, [gate, candidate])
    z_BLI = jax.nn.sigmoid(gate_BLI)

    first_BI = cached_state(cache, 0, x_BLD.shape[0], width)
    a_BLI = reset_at_document_starts(inputs, 1.0 - z_BLI)
    h_BLI = linear_recurrence(a_BLI, z_BLI * x_BLI, first_BI)

    output = Projection(cfg, (width,), (cfg.d_model,), keys.mixer_bias, name='output')
    return output(h_BLI), None if cache is None else (h_BLI[:, -1],)
