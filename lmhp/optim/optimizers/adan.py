"""Adan: means of the gradient, of its differences, and of their squared sum."""

from __future__ import annotations

import optax

from lmhp.declarations import traced
from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import Numbers, OptimizerSpec
from lmhp.sections import Section, keys


@keys
class AdanKeys:
  """Keys that adan adds to the section `optimizer`."""

  b3: float = traced(
    0.99,
    'decay of the mean squared gradient in adan',
    low=0.0,
    high=1.0,
    open_high=True,
    aliases=('beta3',),
  )


def _adan(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  return optax.scale_by_adan(
    numbers['b1'], numbers['b2'], numbers['b3'], numbers['eps']
  )


register_optimizer(
  'adan',
  OptimizerSpec(
    _adan,
    'decoupled',
    source='arXiv:2208.06677',
    defaults={'b1': 0.98, 'b2': 0.92, 'eps': 1e-8},
    keys=AdanKeys,
  ),
)
