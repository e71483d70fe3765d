"""ADOPT: Adam with the mean squared gradient of the steps before."""

from __future__ import annotations

import optax
from optax import contrib

from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import Numbers, OptimizerSpec
from lmhp.sections import Section


def _adopt(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  return contrib.scale_by_adopt(numbers['b1'], numbers['b2'], numbers['eps'])


register_optimizer(
  'adopt',
  OptimizerSpec(
    _adopt,
    'decoupled',
    source='arXiv:2411.02853',
    defaults={'b1': 0.9, 'b2': 0.9999, 'eps': 1e-6},
  ),
)
