"""The value of a schedule at a step."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lmhp.optim.schedules.config import INTERVALS
from lmhp.optim.schedules.spec import SCHEDULES, ScheduleProgress, half_cosine
from lmhp.optim.spec import Numbers


def unit_schedule(
  numbers: Numbers, step: jax.typing.ArrayLike, total_steps: jax.typing.ArrayLike
) -> jax.Array:
  """Returns the learning rate at a step, as a ratio to its peak.

  `lmhp.optim.schedules` has the table of all schedules.

  All arguments may be traced, the name of the schedule too, so that schedules can be vmapped.

  Args:
    numbers: Traced numbers of the section `schedule`. `name` is the position of the schedule
      in `SCHEDULES`.
    step: Number of the update, 0 to `total_steps - 1`.
    total_steps: Number of updates of training.

  Returns:
    A float32 scalar, 0 to 1.

  >>> from lmhp.hypers import split
  >>> from lmhp.optim.schedules.config import ScheduleConfig
  >>> cfg = ScheduleConfig(name='linear', warmup_fraction=0.04, final_lr_ratio=0.5)
  >>> _, numbers = split(cfg)
  >>> [round(float(unit_schedule(numbers, step, 100)), 3) for step in (0, 3, 4, 52, 99)]
  [0.2, 0.8, 1.0, 0.75, 0.505]
  """
  step = jnp.asarray(step, jnp.float32)
  total = jnp.asarray(total_steps, jnp.float32)

  # Intervals in whole steps. An interval that was given in steps arrives as a float32
  # fraction, and rounding makes it exact again.
  warmup, cooldown, cycle = (
    jnp.round(numbers[f'{interval}_fraction'] * total) for interval in INTERVALS
  )

  # Progress after the warmup.
  steps_after_warmup = jnp.maximum(step - warmup, 0)
  cycle = jnp.maximum(cycle, 1)
  progress = ScheduleProgress(
    decay=jnp.minimum(steps_after_warmup / jnp.maximum(total - warmup, 1), 1),
    cycles=steps_after_warmup / cycle,
    half_step=0.5 / cycle,
    cooldown=jnp.clip((step - (total - cooldown)) / jnp.maximum(cooldown, 1), 0, 1),
  )

  # All shapes are computed, which is cheap, and the traced name selects one.
  specs = list(SCHEDULES.values())
  shapes = [spec.shape(progress, numbers) for spec in specs]

  # The warmup rises from initial_lr_ratio to 1.
  linear_rise = jnp.minimum((step + 1) / (warmup + 1), 1)
  rise = linear_rise
  for position, spec in enumerate(specs):
    if spec.cosine_warmup:
      is_selected = numbers['name'] == position
      rise = jnp.where(is_selected, 1 - half_cosine(linear_rise), rise)
  ramp = numbers['initial_lr_ratio'] + (1 - numbers['initial_lr_ratio']) * rise

  return ramp * jax.lax.select_n(jnp.asarray(numbers['name']), *shapes)
