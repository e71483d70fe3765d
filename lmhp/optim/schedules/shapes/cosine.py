"""Half a cosine, once or with restarts (arXiv:1608.03983)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lmhp.declarations import traced
from lmhp.optim.schedules.progress import (
  ScheduleProgress,
  from_final_ratio,
  half_cosine,
)
from lmhp.optim.schedules.registry import register_schedule
from lmhp.optim.schedules.spec import ScheduleSpec
from lmhp.optim.spec import Numbers
from lmhp.sections import keys


@keys
class CosineRestartsKeys:
  """Keys that cosine_restarts adds to the section `schedule`."""

  cycle_growth: float = traced(
    1.0,
    'length of each restarted cycle, as a ratio to the length of the cycle before',
    low=1.0,
    neutral=1.0,
    aliases=('T_mult', 't_mult'),
    source='arXiv:1608.03983',
  )


def cosine(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  """Returns half a cosine, from 1 to `final_lr_ratio`.

  Args:
    progress: Progress of training.
    numbers: Traced numbers of the section `schedule`.

  >>> progress = ScheduleProgress(decay=0.5, cycles=0.0, half_step=0.0, cooldown=0.0)
  >>> round(float(cosine(progress, {'final_lr_ratio': 0.5})), 3)
  0.75
  """
  return from_final_ratio(numbers, half_cosine(progress.decay))


def _cosine_restarts(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  x = _fraction_of_restarted_cycle(progress, numbers['cycle_growth'])
  return from_final_ratio(numbers, half_cosine(x))


def _fraction_of_restarted_cycle(
  progress: ScheduleProgress, growth: jax.Array
) -> jax.Array:
  """Returns the fraction of the running cycle that has passed.

  With growth g, cycle n is g^n first cycles long, and starts after (g^n - 1) / (g - 1) first
  cycles. At g = 1 this start is n, its limit.
  """
  has_equal_cycles = growth == 1
  g = jnp.where(has_equal_cycles, 2.0, growth)

  # Number of the running cycle. It is computed half a step ahead, so that rounding cannot put
  # the first step of a cycle into the cycle before.
  ahead = progress.cycles + progress.half_step
  grown_n = jnp.log1p(ahead * (g - 1)) / jnp.log(g)
  n = jnp.floor(jnp.where(has_equal_cycles, ahead, grown_n))

  start = jnp.where(has_equal_cycles, n, (g**n - 1) / (g - 1))
  return jnp.clip((progress.cycles - start) / growth**n, 0, 1)


register_schedule('cosine', ScheduleSpec(cosine, numbers=('final_lr_ratio',)))
register_schedule(
  'cosine_restarts',
  ScheduleSpec(
    _cosine_restarts,
    numbers=('cycle_fraction', 'final_lr_ratio'),
    keys=CosineRestartsKeys,
  ),
)
