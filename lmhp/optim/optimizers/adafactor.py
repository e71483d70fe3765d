"""Adafactor: Adam's ratio with a factored mean squared gradient, for each matrix."""

from __future__ import annotations

import optax

from lmhp.declarations import static, traced
from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import Numbers, OptimizerSpec
from lmhp.optim.transforms import per_layer
from lmhp.sections import Section, keys, keys_of


@keys
class AdafactorKeys:
  """Keys that adafactor adds to the section `optimizer`."""

  adafactor_power: float = traced(
    0.8,
    'exponent: the mean squared gradient of step t has decay 1 - t ** -power',
    low=0.0,
    aliases=('decay_rate',),
    converted_aliases={'beta2_decay': '-beta2_decay'},
  )
  adafactor_clip_rms: float = traced(
    1.0,
    "largest root mean square of one matrix's update",
    low=0.0,
    open_low=True,
    neutral=float('inf'),
    aliases=('clip_threshold', 'clipping_threshold'),
  )
  adafactor_min_size: int = static(
    128,
    'smallest side of a matrix whose mean squared gradient is factored',
    low=1,
    aliases=('min_dim_size_to_factor',),
  )
  adafactor_parameter_scale: bool = static(
    True,
    'multiply each update by the root mean square of its parameter',
    aliases=('multiply_by_parameter_scale', 'scale_parameter'),
  )


def _adafactor(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  # Gradient over the root of its mean square, which is stored as row and column means.
  adafactor = keys_of(cfg, AdafactorKeys)
  factored_rms = optax.scale_by_factored_rms(
    decay_rate=numbers['adafactor_power'],
    min_dim_size_to_factor=adafactor.adafactor_min_size,
  )
  # Clipping of the root mean square, and scaling by that of the parameter.
  clip = optax.clip_by_block_rms(numbers['adafactor_clip_rms'])
  parameter_scale = optax.identity()
  if adafactor.adafactor_parameter_scale:
    parameter_scale = optax.scale_by_param_block_rms()
  return per_layer(optax.chain(factored_rms, clip, parameter_scale))


register_optimizer(
  'adafactor',
  OptimizerSpec(
    _adafactor,
    'decoupled',
    source='arXiv:1804.04235',
    keys=AdafactorKeys,
  ),
)
