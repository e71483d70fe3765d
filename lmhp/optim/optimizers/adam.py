"""Adam and its relatives: a mean gradient over the root of a mean squared gradient."""

from __future__ import annotations

import optax
from optax import contrib

from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import OptimizerSpec, from_optax

ADAM_DEFAULTS = {'b1': 0.9, 'b2': 0.95, 'eps': 1e-8}
"""Defaults of Adam and its relatives.

b2 is 0.95, as is usual for language models (GPT-3, arXiv:2005.14165 app. B). The defaults
are those of Adam for all relatives, so that two optimizers differ in the update rule alone.
"""


scale_by_adam = from_optax(optax.scale_by_adam, 'b1', 'b2', 'eps')
scale_by_nadam = from_optax(optax.scale_by_adam, 'b1', 'b2', 'eps', nesterov=True)

register_optimizer(
  'adam',
  OptimizerSpec(scale_by_adam, 'l2', source='arXiv:1412.6980', defaults=ADAM_DEFAULTS),
)
register_optimizer(
  'adamw',
  OptimizerSpec(
    scale_by_adam, 'decoupled', source='arXiv:1711.05101', defaults=ADAM_DEFAULTS
  ),
)
register_optimizer(
  'nadam',
  OptimizerSpec(scale_by_nadam, 'l2', source='Dozat, 2016', defaults=ADAM_DEFAULTS),
)
register_optimizer(
  'nadamw',
  OptimizerSpec(
    scale_by_nadam,
    'decoupled',
    source='Dozat, 2016; arXiv:1711.05101',
    defaults=ADAM_DEFAULTS,
  ),
)
register_optimizer(
  'amsgrad',
  OptimizerSpec(
    from_optax(optax.scale_by_amsgrad, 'b1', 'b2', 'eps'),
    'l2',
    source='arXiv:1904.09237',
    defaults=ADAM_DEFAULTS,
  ),
)
register_optimizer(
  'adamax',
  OptimizerSpec(
    from_optax(optax.scale_by_adamax, 'b1', 'b2', 'eps'),
    'l2',
    source='arXiv:1412.6980',
    defaults=ADAM_DEFAULTS,
  ),
)
register_optimizer(
  'radam',
  OptimizerSpec(
    from_optax(optax.scale_by_radam, 'b1', 'b2', 'eps'),
    'l2',
    source='arXiv:1908.03265',
    defaults=ADAM_DEFAULTS,
  ),
)
register_optimizer(
  'adabelief',
  OptimizerSpec(
    from_optax(optax.scale_by_belief, 'b1', 'b2', 'eps'),
    'decoupled',
    source='arXiv:2010.07468',
    defaults={**ADAM_DEFAULTS, 'eps': 1e-16},
  ),
)
register_optimizer(
  'adopt',
  OptimizerSpec(
    from_optax(contrib.scale_by_adopt, 'b1', 'b2', 'eps'),
    'decoupled',
    source='arXiv:2411.02853',
    defaults={'b1': 0.9, 'b2': 0.9999, 'eps': 1e-6},
  ),
)
