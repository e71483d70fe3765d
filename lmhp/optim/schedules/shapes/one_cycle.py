"""One cycle: a warmup along a cosine, and a decay along a cosine (arXiv:1708.07120)."""

from __future__ import annotations

from lmhp.optim.schedules.registry import register_schedule
from lmhp.optim.schedules.shapes.cosine import cosine
from lmhp.optim.schedules.spec import ScheduleSpec

register_schedule(
  'one_cycle',
  ScheduleSpec(cosine, numbers=('final_lr_ratio',), cosine_warmup=True),
)
