"""Decay by the inverse square root of the step (arXiv:1706.03762)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lmhp.optim.schedules.progress import ScheduleProgress
from lmhp.optim.schedules.registry import register_schedule
from lmhp.optim.schedules.spec import ScheduleSpec
from lmhp.optim.spec import Numbers


def _inverse_sqrt(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return jnp.maximum(numbers['final_lr_ratio'], jax.lax.rsqrt(1 + progress.cycles))


register_schedule(
  'inverse_sqrt',
  ScheduleSpec(_inverse_sqrt, numbers=('cycle_fraction', 'final_lr_ratio')),
)
