"""Stochastic gradient descent: plain, with momentum, with Nesterov momentum, and by signs.

In the formulas, g is the gradient, m a decaying sum or mean of gradients, and u the direction of
the update.
"""

from __future__ import annotations

import optax

from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import Numbers, OptimizerSpec, from_optax
from lmhp.sections import Section


def _signum(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  return optax.chain(optax.trace(numbers['momentum']), optax.scale_by_sign())


# The second argument of `OptimizerSpec` is the default of `weight_decay_mode`.
_OPTIMIZERS = {
  # u = g
  'sgd': OptimizerSpec(from_optax(optax.identity), 'l2', 'Robbins and Monro, 1951'),
  # m = momentum * m + g, u = m
  'momentum': OptimizerSpec(
    from_optax(optax.trace, 'momentum'),
    'l2',
    source='Polyak, 1964; as in torch',
    defaults={'momentum': 0.9},
  ),
  # m = momentum * m + g, u = g + momentum * m
  'nesterov': OptimizerSpec(
    from_optax(optax.trace, 'momentum', nesterov=True),
    'l2',
    source='Sutskever et al., 2013; as in torch',
    defaults={'momentum': 0.9},
  ),
  # m = momentum * m + g, u = sign(m)
  'signum': OptimizerSpec(
    _signum,
    'decoupled',
    source='arXiv:1802.04434; with momentum 0 it is signSGD',
    defaults={'momentum': 0.9},
  ),
  # u = sign(b1 * m + (1 - b1) * g), then m = b2 * m + (1 - b2) * g
  'lion': OptimizerSpec(
    from_optax(optax.scale_by_lion, 'b1', 'b2'),
    'decoupled',
    source='arXiv:2302.06675',
    defaults={'b1': 0.9, 'b2': 0.99},
  ),
}

for _name, _spec in _OPTIMIZERS.items():
  register_optimizer(_name, _spec)
