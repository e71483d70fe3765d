"""Keys that have no effect, because the chosen optimizer or schedule does not read them."""

from __future__ import annotations

import dataclasses

from lmhp.errors import ConfigError
from lmhp.optim.config import UNREAD_DEFAULTS, OptimizerConfig
from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.sections import path_of


def unread_keys(cfg: OptimizerConfig | ScheduleConfig) -> tuple[str, ...]:
  """Returns the keys of a section that are set but have no effect, as dotted paths.

  A key has no effect if the chosen optimizer or schedule does not read it. A key is set if
  its value is not the default. Some keys have the default None, which the section replaces by
  a number (derived keys). A derived key counts as not set if it has that number.

  `cfg.keys_read()` returns the keys that have an effect. A sweep checks that each key of its
  space has an effect in at least one trial.

  Args:
    cfg: The section `optimizer` or `schedule`.

  >>> unread_keys(OptimizerConfig(name='adamw', momentum=0.5))
  ('optimizer.momentum',)
  >>> unread_keys(ScheduleConfig(name='cosine', cooldown_steps=100))
  ('schedule.cooldown_steps',)
  """
  keys_read = cfg.keys_read()
  unread = []
  for field in dataclasses.fields(cfg):
    # `UNREAD_DEFAULTS` has the number that replaces None in a derived key if the optimizer
    # does not read the key.
    default = UNREAD_DEFAULTS.get(field.name, field.default)
    is_set = getattr(cfg, field.name) != default
    if is_set and field.name not in keys_read:
      unread.append(path_of(cfg, field.name))
  return tuple(unread)


def check_keys_are_read(cfg: OptimizerConfig | ScheduleConfig) -> None:
  """Checks that each key that is set has an effect.

  Args:
    cfg: The section `optimizer` or `schedule`.

  Raises:
    ConfigError: If `unread_keys` returns a key. The message names the first.

  >>> cfg = OptimizerConfig(name='lion', eps=1e-6)
  >>> check_keys_are_read(cfg)  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  lmhp.errors.ConfigError: optimizer.eps: got 1e-06, expected the default, since ...
  """
  for path in unread_keys(cfg):
    value = getattr(cfg, path.rpartition('.')[2])
    raise ConfigError(
      f'{path}: got {value!r}, expected the default, since {path_of(cfg, "name")}='
      f'{cfg.name} does not read it'
    )
