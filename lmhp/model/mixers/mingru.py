"""Registration of the mixer `mingru`. This file imports no jax."""

from __future__ import annotations

from collections import Counter

from lmhp.model.config import ModelConfig
from lmhp.model.counts import parameter_count
from lmhp.model.mixers.keys import (
  MixerKeys,
  projection_flops,
  projection_parameters,
  resolve_mixer_dim,
  state_array,
)
from lmhp.model.mixers.registry import Counts, MixerSpec, register_mixer
from lmhp.params import linear_specs
from lmhp.sections import keys_of


def parameter_counts(cfg: ModelConfig) -> Counts:
  """Returns {kind: number of parameters} of one layer.

  'other' is the kind of the token mixers that are not attention.
  """
  width = keys_of(cfg, MixerKeys).mixer_dim
  # The gate has a bias for any `model.mixer_bias`.
  gate = parameter_count(cfg.d_model, width, bias=True)
  return Counter(other=gate + projection_parameters(cfg, width))


def weight_flops(cfg: ModelConfig) -> Counts:
  """Returns the forward FLOPs of one layer's matrix products for one token, by kind.

  The scan is not a matrix product, so it is not counted.
  """
  return Counter(other=projection_flops(cfg, 2 * keys_of(cfg, MixerKeys).mixer_dim))


register_mixer(
  'mingru',
  MixerSpec(
    layer='lmhp.model.mixers.layers.mingru:MinGRU',
    parameter_counts=parameter_counts,
    weight_flops=weight_flops,
    cache_arrays=lambda cfg: (state_array(cfg),),
    # Axes are `contracted > produced` (see `lmhp.params`): D is d_model, I is mixer_dim.
    params=(
      *linear_specs('**/mingru/gate', 'other', 'D > I'),
      *linear_specs('**/mingru/input', 'other', 'D > I'),
      *linear_specs('**/mingru/output', 'other', 'I > D', residual=True),
    ),
    keys=MixerKeys,
    resolve=resolve_mixer_dim,
  ),
)
