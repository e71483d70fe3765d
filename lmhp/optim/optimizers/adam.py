"""Adam and its relatives: a mean gradient over the root of a mean squared gradient."""

from __future__ import annotations

from collections.abc import Callable
import functools

import optax

from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import MakeTransformation, Numbers, OptimizerSpec
from lmhp.sections import Section

ADAM_DEFAULTS = {'b1': 0.9, 'b2': 0.95, 'eps': 1e-8}
"""Defaults of Adam and its relatives.

All have b2 = 0.95, as language models are trained (GPT-3, arXiv:2005.14165 app. B), so that
two of them differ in one thing.
"""


def scale_by_adam(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  """Scales by Adam's ratio, with the numbers b1, b2 and eps.

  Args:
    cfg: Structure of the section. It is not read.
    numbers: Traced numbers of the section.

  >>> import jax.numpy as jnp
  >>> from lmhp.optim.config import OptimizerConfig
  >>> tx = scale_by_adam(OptimizerConfig(), ADAM_DEFAULTS)
  >>> tx.update(jnp.array([0.5]), tx.init(jnp.zeros(1)))[0].round(4).tolist()
  [1.0]
  """
  return optax.scale_by_adam(numbers['b1'], numbers['b2'], numbers['eps'])


def _from_optax(
  make: Callable[..., optax.GradientTransformation],
) -> MakeTransformation:
  """Returns the entry's function for an Optax transformation with b1, b2 and eps."""

  def scale(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
    return make(numbers['b1'], numbers['b2'], numbers['eps'])

  return scale


_nadam = _from_optax(functools.partial(optax.scale_by_adam, nesterov=True))

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
  'nadam', OptimizerSpec(_nadam, 'l2', source='Dozat, 2016', defaults=ADAM_DEFAULTS)
)
register_optimizer(
  'nadamw',
  OptimizerSpec(
    _nadam,
    'decoupled',
    source='Dozat, 2016; arXiv:1711.05101',
    defaults=ADAM_DEFAULTS,
  ),
)
register_optimizer(
  'amsgrad',
  OptimizerSpec(
    _from_optax(optax.scale_by_amsgrad),
    'l2',
    source='arXiv:1904.09237',
    defaults=ADAM_DEFAULTS,
  ),
)
register_optimizer(
  'adamax',
  OptimizerSpec(
    _from_optax(optax.scale_by_adamax),
    'l2',
    source='arXiv:1412.6980',
    defaults=ADAM_DEFAULTS,
  ),
)
register_optimizer(
  'radam',
  OptimizerSpec(
    _from_optax(optax.scale_by_radam),
    'l2',
    source='arXiv:1908.03265',
    defaults=ADAM_DEFAULTS,
  ),
)
register_optimizer(
  'adabelief',
  OptimizerSpec(
    _from_optax(optax.scale_by_belief),
    'decoupled',
    source='arXiv:2010.07468',
    defaults={**ADAM_DEFAULTS, 'eps': 1e-16},
  ),
)
