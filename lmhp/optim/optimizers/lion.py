"""Lion: the sign of an interpolation between a mean gradient and the gradient."""

from __future__ import annotations

import optax

from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import OptimizerSpec, from_optax

# g is the gradient, m its mean, and u the direction:
# u = sign(b1 * m + (1 - b1) * g), then m = b2 * m + (1 - b2) * g
register_optimizer(
  'lion',
  OptimizerSpec(
    from_optax(optax.scale_by_lion, 'b1', 'b2'),
    'decoupled',
    source='arXiv:2302.06675',
    defaults={'b1': 0.9, 'b2': 0.99},
  ),
)
