"""Registration of schedules, by lmhp and by code outside lmhp."""

from __future__ import annotations

from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.optim.schedules.spec import SCHEDULES, ScheduleSpec
from lmhp.optim.spec import register_entry


def register_schedule(name: str, spec: ScheduleSpec) -> ScheduleSpec:
  """Adds a schedule, and its keys to the section `schedule`.

  Args:
    name: Value of `schedule.name` that selects the schedule.
    spec: The entry.

  Returns:
    The entry.

  Raises:
    ConfigError: If another module has registered the name. If a key of the entry is not
      traced, or exists with another declaration. If a name in `spec.numbers` is not the key
      of a traced number of the section.

  >>> register_schedule('cosine', SCHEDULES['linear'])  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  lmhp.errors.ConfigError: schedule 'cosine': ...
  """
  return register_entry(
    SCHEDULES,
    name,
    spec,
    ScheduleConfig,
    keys=spec.keys,
    numbers=sorted(spec.keys_read),
  )
