"""Adam and its relatives: a mean gradient over the root of a mean squared gradient.

Adam's direction is u = m' / (sqrt(v') + eps), from the gradient g:

  m = b1 * m + (1 - b1) * g
  v = b2 * v + (1 - b2) * g^2

m' and v' are m and v with bias correction. The comments below state how each relative
differs.
"""

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
# Nesterov: m' is replaced by b1 * m' + (1 - b1) * g', with bias correction of g too.
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
# v' is replaced by its largest value so far.
register_optimizer(
  'amsgrad',
  OptimizerSpec(
    from_optax(optax.scale_by_amsgrad, 'b1', 'b2', 'eps'),
    'l2',
    source='arXiv:1904.09237',
    defaults=ADAM_DEFAULTS,
  ),
)
# v = max(b2 * v, |g| + eps), u = m' / v
register_optimizer(
  'adamax',
  OptimizerSpec(
    from_optax(optax.scale_by_adamax, 'b1', 'b2', 'eps'),
    'l2',
    source='arXiv:1412.6980',
    defaults=ADAM_DEFAULTS,
  ),
)
# u is multiplied by a rectification factor. It is m' in the first steps, in which the
# factor does not exist.
register_optimizer(
  'radam',
  OptimizerSpec(
    from_optax(optax.scale_by_radam, 'b1', 'b2', 'eps'),
    'l2',
    source='arXiv:1908.03265',
    defaults=ADAM_DEFAULTS,
  ),
)
# v = b2 * v + (1 - b2) * (g - m)^2
register_optimizer(
  'adabelief',
  OptimizerSpec(
    from_optax(optax.scale_by_belief, 'b1', 'b2', 'eps'),
    'decoupled',
    source='arXiv:2010.07468',
    defaults={**ADAM_DEFAULTS, 'eps': 1e-16},
  ),
)
# u = m, the mean of g / max(sqrt(v), eps). The v of a step does not contain its own g.
register_optimizer(
  'adopt',
  OptimizerSpec(
    from_optax(contrib.scale_by_adopt, 'b1', 'b2', 'eps'),
    'decoupled',
    source='arXiv:2411.02853',
    defaults={'b1': 0.9, 'b2': 0.9999, 'eps': 1e-6},
  ),
)
