"""REX: a decay that stays high for long and falls at the end (arXiv:2107.04197)."""

from __future__ import annotations

import jax

from lmhp.declarations import traced
from lmhp.optim.schedules.progress import ScheduleProgress, from_final_ratio
from lmhp.optim.schedules.registry import register_schedule
from lmhp.optim.schedules.spec import ScheduleSpec
from lmhp.optim.spec import Numbers
from lmhp.sections import keys


@keys
class RexKeys:
  """Keys that rex adds to the section `schedule`."""

  rex_beta: float = traced(
    0.5,
    'shape of rex; 1 is a linear decay, and near 0 the learning rate falls only at the end',
    low=0.0,
    open_low=True,
    high=1.0,
    source='arXiv:2107.04197: 1/2',
  )


def _rex(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  remaining = 1 - progress.decay
  return from_final_ratio(
    numbers, remaining / (1 - (1 - numbers['rex_beta']) * progress.decay)
  )


register_schedule('rex', ScheduleSpec(_rex, numbers=('final_lr_ratio',), keys=RexKeys))
