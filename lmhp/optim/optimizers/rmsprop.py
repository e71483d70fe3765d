"""RMSProp: the gradient over the root of a mean squared gradient."""

from __future__ import annotations

import optax

from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import Numbers, OptimizerSpec
from lmhp.sections import Section


def _rmsprop(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  return optax.scale_by_rms(numbers['b2'], numbers['eps'], eps_in_sqrt=False)


register_optimizer(
  'rmsprop',
  OptimizerSpec(
    _rmsprop,
    'l2',
    source='Tieleman and Hinton, 2012; as in torch',
    defaults={'b2': 0.99, 'eps': 1e-8},
  ),
)
