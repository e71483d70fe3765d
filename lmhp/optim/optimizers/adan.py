"""Adan: means of the gradient and of its differences, over the root of a mean square."""

from __future__ import annotations

import optax

from lmhp.declarations import traced
from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import OptimizerSpec, from_optax
from lmhp.sections import keys


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


# m, d and v are bias-corrected means of g, of its change c = g - (g of the step before),
# and of (g + (1 - b2) * c)^2, with decays b1, b2 and b3:
# u = (m + (1 - b2) * d) / (sqrt(v) + eps)
register_optimizer(
  'adan',
  OptimizerSpec(
    from_optax(optax.scale_by_adan, 'b1', 'b2', 'b3', 'eps'),
    'decoupled',
    source='arXiv:2208.06677',
    defaults={'b1': 0.98, 'b2': 0.92, 'eps': 1e-8},
    keys=AdanKeys,
  ),
)
