"""Registration of schedules, for those of lmhp and for those from outside."""

from __future__ import annotations

from lmhp.declarations import declared
from lmhp.errors import ConfigError, suggest
from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.optim.schedules.spec import SCHEDULES, ScheduleSpec
from lmhp.sections import add_keys


def register_schedule(name: str, spec: ScheduleSpec) -> ScheduleSpec:
  """Adds a schedule, and its keys to the section `schedule`.

  Args:
    name: Value of `schedule.name` that selects the schedule.
    spec: The entry.

  Returns:
    The entry.

  Raises:
    ConfigError: If another module has registered the name, if a key of the entry exists with
      another declaration or is not traced, or if `numbers` names no number of the section.

  >>> register_schedule('cosine', SCHEDULES['linear'])  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  lmhp.errors.ConfigError: schedule 'cosine': ... did before, expected another name
  """
  if spec.keys is not None:
    add_keys(ScheduleConfig, spec.keys)

  declarations = declared(ScheduleConfig)
  numbers = [key for key, declaration in declarations.items() if declaration.traced]
  for key in sorted(spec.keys_read):
    if key not in numbers:
      raise ConfigError(
        f'schedule {name!r}: got the key {key!r}, expected a traced number of the section '
        f'schedule{suggest(key, numbers)}'
      )
  return SCHEDULES.register(name, spec)
