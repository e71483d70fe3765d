"""Linear decay, and decay by a power: of the remaining fraction, or of the passed steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lmhp.declarations import traced
from lmhp.optim.schedules.progress import ScheduleProgress, from_final_ratio
from lmhp.optim.schedules.registry import register_schedule
from lmhp.optim.schedules.spec import ScheduleSpec
from lmhp.optim.spec import Numbers
from lmhp.sections import keys


@keys
class PolynomialKeys:
  """Keys that polynomial adds to the section `schedule`."""

  power: float = traced(2.0, 'exponent of the polynomial decay', low=0.0, open_low=True)


def _linear(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return from_final_ratio(numbers, 1 - progress.decay)


def _polynomial(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return from_final_ratio(numbers, (1 - progress.decay) ** numbers['power'])


def _inverse_sqrt(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  # As in arXiv:1706.03762, in units of a cycle.
  return jnp.maximum(numbers['final_lr_ratio'], jax.lax.rsqrt(1 + progress.cycles))


register_schedule('linear', ScheduleSpec(_linear, numbers=('final_lr_ratio',)))
register_schedule(
  'polynomial',
  ScheduleSpec(_polynomial, numbers=('final_lr_ratio',), keys=PolynomialKeys),
)
register_schedule(
  'inverse_sqrt',
  ScheduleSpec(_inverse_sqrt, numbers=('cycle_fraction', 'final_lr_ratio')),
)
