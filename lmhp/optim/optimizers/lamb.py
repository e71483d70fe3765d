"""LAMB: Adam whose sum of direction and weight decay is scaled by a trust ratio."""

from __future__ import annotations

import optax

from lmhp.optim.optimizers.adam import ADAM_DEFAULTS, scale_by_adam
from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import Numbers, OptimizerSpec
from lmhp.optim.transforms import per_layer
from lmhp.sections import Section


def _trust_ratio(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  return per_layer(optax.scale_by_trust_ratio())


register_optimizer(
  'lamb',
  OptimizerSpec(
    scale_by_adam,
    'decoupled',
    source='arXiv:1904.00962',
    defaults={**ADAM_DEFAULTS, 'eps': 1e-6},
    after_decay=_trust_ratio,
  ),
)
