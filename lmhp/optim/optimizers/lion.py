"""Lion: the sign of an interpolation between a mean gradient and the gradient."""

from __future__ import annotations

import optax

from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import Numbers, OptimizerSpec
from lmhp.sections import Section


def _lion(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  return optax.scale_by_lion(numbers['b1'], numbers['b2'])


register_optimizer(
  'lion',
  OptimizerSpec(
    _lion,
    'decoupled',
    source='arXiv:2302.06675',
    defaults={'b1': 0.9, 'b2': 0.99},
  ),
)
