"""A constant learning rate, and shapes that change with each cycle.

The triangles are cyclical learning rates (arXiv:1506.01186).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lmhp.optim.schedules.progress import ScheduleProgress, from_final_ratio
from lmhp.optim.schedules.registry import register_schedule
from lmhp.optim.schedules.spec import ScheduleSpec
from lmhp.optim.spec import Numbers

# `cycle_fraction` is the length of a cycle as a fraction of all steps. No shape reads it
# directly: `progress.cycles` is computed from it.
_NUMBERS = ('cycle_fraction', 'decay_factor', 'final_lr_ratio')


def _constant(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return jnp.ones_like(progress.decay)


def _step(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  decay = numbers['decay_factor'] ** jnp.floor(progress.cycles)
  return jnp.maximum(numbers['final_lr_ratio'], decay)


def _exponential(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  decay = numbers['decay_factor'] ** progress.cycles
  return jnp.maximum(numbers['final_lr_ratio'], decay)


def _triangle(progress: ScheduleProgress) -> jax.Array:
  """Returns a line that rises from 0 to 1 in the first half of a cycle, and falls back."""
  return 1 - jnp.abs(2 * (progress.cycles - jnp.floor(progress.cycles)) - 1)


def _triangular(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return from_final_ratio(numbers, _triangle(progress))


def _triangular2(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  triangle = _triangle(progress)
  height = 0.5 ** jnp.floor(progress.cycles)
  return from_final_ratio(numbers, triangle * height)


def _exp_range(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  triangle = _triangle(progress)
  height = numbers['decay_factor'] ** progress.cycles
  return from_final_ratio(numbers, triangle * height)


register_schedule('constant', ScheduleSpec(_constant))
register_schedule('step', ScheduleSpec(_step, numbers=_NUMBERS))
register_schedule('exponential', ScheduleSpec(_exponential, numbers=_NUMBERS))
register_schedule(
  'triangular',
  ScheduleSpec(_triangular, numbers=('cycle_fraction', 'final_lr_ratio')),
)
register_schedule(
  'triangular2',
  ScheduleSpec(_triangular2, numbers=('cycle_fraction', 'final_lr_ratio')),
)
register_schedule(
  'exp_range',
  ScheduleSpec(_exp_range, numbers=_NUMBERS),
)
