"""LARS and LAMB: the size of each layer's update in proportion to its parameters."""

from __future__ import annotations

import optax

from lmhp.declarations import traced
from lmhp.optim.optimizers.adam import ADAM_DEFAULTS, scale_by_adam
from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import Numbers, OptimizerSpec
from lmhp.optim.transforms import per_layer
from lmhp.sections import Section, keys


@keys
class LarsKeys:
  """Keys that lars adds to the section `optimizer`."""

  trust_coefficient: float = traced(
    0.001, 'factor on the trust ratio of lars', low=0.0, aliases=('eta',)
  )


def _lars(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  trust = optax.scale_by_trust_ratio(trust_coefficient=numbers['trust_coefficient'])
  return optax.chain(per_layer(trust), optax.trace(numbers['momentum']))


def _trust_ratio(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  return per_layer(optax.scale_by_trust_ratio())


# g is multiplied by trust_coefficient * (norm of w) / (norm of g), for each layer.
register_optimizer(
  'lars',
  OptimizerSpec(
    _lars,
    'l2',
    source='arXiv:1708.03888',
    defaults={'momentum': 0.9},
    keys=LarsKeys,
  ),
)
# d = u + weight_decay * w is multiplied by (norm of w) / (norm of d), for each layer.
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
