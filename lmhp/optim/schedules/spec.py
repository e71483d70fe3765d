"""The entry that describes one schedule, and the registry of these entries."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from typing import TypeAlias

import jax

from lmhp.declarations import declared
from lmhp.optim.schedules.progress import ScheduleProgress
from lmhp.optim.spec import Numbers
from lmhp.registry import Registry

Shape: TypeAlias = Callable[[ScheduleProgress, Numbers], jax.Array]
"""Takes the progress and the traced numbers of the section. Returns a scalar, 0 to 1."""


# Entries are compared by identity, so that a program that was compiled for one entry is not
# used for another.
@dataclasses.dataclass(frozen=True, eq=False)
class ScheduleSpec:
  """One schedule.

  Attributes:
    shape: Learning rate after the warmup, as a ratio to the peak.
    numbers: Names of the numbers of the section that `shape` reads, such as
      `final_lr_ratio`. Those of the warmup are left out.
    keys: Class made by `lmhp.sections.keys`. It declares the keys that the schedule adds to
      the section. All of them are traced. None if there are none.
    cosine_warmup: If True, the warmup rises along a cosine. If False, it is linear.
  """

  shape: Shape
  numbers: tuple[str, ...] = ()
  keys: type | None = None
  cosine_warmup: bool = False

  @property
  def keys_read(self) -> frozenset[str]:
    """Names of the numbers that this schedule reads, without those of the warmup."""
    own_keys = () if self.keys is None else declared(self.keys)
    return frozenset((*self.numbers, *own_keys))


SCHEDULES: Registry[ScheduleSpec] = Registry('schedule')
"""All schedules. The traced value of `schedule.name` is the position of the entry."""
