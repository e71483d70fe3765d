"""One cycle: a warmup along a cosine, and a decay along a cosine (arXiv:1708.07120)."""

from __future__ import annotations

import jax

from lmhp.optim.schedules.progress import (
  ScheduleProgress,
  from_final_ratio,
  half_cosine,
)
from lmhp.optim.schedules.registry import register_schedule
from lmhp.optim.schedules.spec import ScheduleSpec
from lmhp.optim.spec import Numbers


def _one_cycle(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return from_final_ratio(numbers, half_cosine(progress.decay))


register_schedule(
  'one_cycle',
  ScheduleSpec(_one_cycle, numbers=('final_lr_ratio',), cosine_warmup=True),
)
