"""The constant schedule."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lmhp.optim.schedules.progress import ScheduleProgress
from lmhp.optim.schedules.registry import register_schedule
from lmhp.optim.schedules.spec import ScheduleSpec
from lmhp.optim.spec import Numbers


def _constant(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return jnp.ones_like(progress.decay)


register_schedule('constant', ScheduleSpec(_constant))
