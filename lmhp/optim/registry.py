"""Registration of optimizers and schedules, by lmhp and by code outside lmhp."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from lmhp.declarations import declared
from lmhp.errors import ConfigError, suggest
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.optim.spec import OPTIMIZERS, SCHEDULES, OptimizerSpec, ScheduleSpec
from lmhp.registry import Registry
from lmhp.sections import Section, add_keys

T = TypeVar('T')


def register_optimizer(name: str, spec: OptimizerSpec) -> OptimizerSpec:
  """Adds an optimizer, and its keys to the section `optimizer`.

  Args:
    name: Value of `optimizer.name` that selects the optimizer.
    spec: Entry of the optimizer.

  Returns:
    The entry.

  Raises:
    ConfigError: If another module has registered the name. If the section already has a key of
      `spec.keys`, but declared differently. If a name in `spec.defaults` is not the key of a
      traced number of the section.

  >>> register_optimizer('adamw', OPTIMIZERS['lion'])  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  lmhp.errors.ConfigError: optimizer 'adamw': ...
  """
  return register_entry(
    OPTIMIZERS, name, spec, OptimizerConfig, keys=spec.keys, numbers=spec.defaults
  )


def register_schedule(name: str, spec: ScheduleSpec) -> ScheduleSpec:
  """Adds a schedule, and its keys to the section `schedule`.

  Args:
    name: Value of `schedule.name` that selects the schedule.
    spec: Entry of the schedule.

  Returns:
    The entry.

  Raises:
    ConfigError: If another module has registered the name. If the section already has a key of
      `spec.keys`, but declared differently, or if such a key is not traced. If a name in
      `spec.numbers` is not the key of a traced number of the section.

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


def register_entry(
  registry: Registry[T],
  name: str,
  entry: T,
  section_class: type[Section],
  keys: type | None,
  numbers: Iterable[str],
) -> T:
  """Adds an entry to a registry, and its keys to a section.

  Args:
    registry: Registry of optimizers or schedules.
    name: Name of the entry.
    entry: `OptimizerSpec` or `ScheduleSpec`.
    section_class: Section that the entry reads.
    keys: Class made by `lmhp.sections.keys`, whose keys are added to the section. None if the
      entry adds none.
    numbers: Names of the traced numbers that the entry reads.

  Returns:
    The entry.

  Raises:
    ConfigError: If another module has registered the name. If the section already has a key of
      `keys`, but declared differently. If a name in `numbers` is not the key of a traced number
      of the section.

  >>> lion = OPTIMIZERS['lion']
  >>> register_entry(  # doctest: +ELLIPSIS
  ...   OPTIMIZERS, 'toy', lion, OptimizerConfig, keys=None, numbers=['b9']
  ... )
  Traceback (most recent call last):
  lmhp.errors.ConfigError: optimizer 'toy': got the number 'b9', expected a traced number ...
  """
  if keys is not None:
    add_keys(section_class, keys)

  traced_keys = [key for key, d in declared(section_class).items() if d.traced]
  for key in numbers:
    if key not in traced_keys:
      raise ConfigError(
        f'{registry.kind} {name!r}: got the number {key!r}, expected a traced number of '
        f'the section {section_class.SECTION}{suggest(key, traced_keys)}'
      )
  return registry.register(name, entry)
