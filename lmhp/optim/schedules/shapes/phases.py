"""Schedules of several phases: one cycle, and warmup-stable-decay.

`one_cycle` is a warmup along a cosine, and a decay along a cosine (arXiv:1708.07120).
`wsd_*` are constant after the warmup, until a cooldown at the end (arXiv:2405.18392).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lmhp.optim.schedules.progress import (
  ScheduleProgress,
  from_final_ratio,
  half_cosine,
)
from lmhp.optim.schedules.registry import register_schedule
from lmhp.optim.schedules.shapes.cosine import cosine
from lmhp.optim.schedules.spec import ScheduleSpec
from lmhp.optim.spec import Numbers

_NUMBERS = ('cooldown_fraction', 'final_lr_ratio')


def _wsd_linear(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return from_final_ratio(numbers, 1 - progress.cooldown)


def _wsd_sqrt(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return from_final_ratio(numbers, 1 - jnp.sqrt(progress.cooldown))


def _wsd_cosine(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return from_final_ratio(numbers, half_cosine(progress.cooldown))


register_schedule(
  'one_cycle',
  ScheduleSpec(cosine, numbers=('final_lr_ratio',), cosine_warmup=True),
)
register_schedule('wsd_linear', ScheduleSpec(_wsd_linear, numbers=_NUMBERS))
register_schedule('wsd_sqrt', ScheduleSpec(_wsd_sqrt, numbers=_NUMBERS))
register_schedule('wsd_cosine', ScheduleSpec(_wsd_cosine, numbers=_NUMBERS))
