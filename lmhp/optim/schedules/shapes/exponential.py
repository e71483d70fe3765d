"""A constant learning rate, and decay by a factor for each cycle."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lmhp.optim.schedules.progress import ScheduleProgress
from lmhp.optim.schedules.registry import register_schedule
from lmhp.optim.schedules.spec import ScheduleSpec
from lmhp.optim.spec import Numbers

_NUMBERS = ('cycle_fraction', 'decay_factor', 'final_lr_ratio')


def _constant(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return jnp.ones_like(progress.decay)


def _step(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  decay = numbers['decay_factor'] ** jnp.floor(progress.cycles)
  return jnp.maximum(numbers['final_lr_ratio'], decay)


def _exponential(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  decay = numbers['decay_factor'] ** progress.cycles
  return jnp.maximum(numbers['final_lr_ratio'], decay)


register_schedule('constant', ScheduleSpec(_constant))
register_schedule('step', ScheduleSpec(_step, numbers=_NUMBERS))
register_schedule('exponential', ScheduleSpec(_exponential, numbers=_NUMBERS))
