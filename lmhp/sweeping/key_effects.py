"""Checks that each key of a sweep of lmhp's trainer has an effect.

A point is one assignment of values to the parameters of the space. A parameter that has no effect
at some points gives several points that are the same trial, and the report would find a
difference in noise.
"""

from __future__ import annotations

from collections.abc import Mapping

from lmhp import config_keys
from lmhp.config_keys import Unread, reason_unread, unread_set_keys
from lmhp.errors import ConfigError
from lmhp.hypers import flatten
from lmhp.sweeping.space import CompiledSpace, Parameter, Point, Space, parameters
from lmhp.training.config import RunConfig

N_POINTS = 512
"""Number of points of the space whose keys are checked."""

ONLY_TRAIN_READS = (
  'checkpoint.enabled',
  'checkpoint.every_steps',
  'checkpoint.keep_last',
  'checkpoint.keep_best',
  'log.tensorboard',
  'log.wandb_project',
)
"""Keys that have an effect on `lmhp train`, but not on a sweep."""

READ_ONCE = ('checkpoint.every_seconds', 'evaluate.every_steps', 'log.every_steps')
"""Keys that a sweep reads from the base config, for all trials."""


def check_keys_have_effects(base: RunConfig, space: Space) -> None:
  """Checks that each key that is set or varied has an effect.

  Args:
    base: Resolved base config.
    space: Space of the sweep.

  Raises:
    ConfigError: If a key of the space has no effect at some point. The message proposes a
      condition (`When`), if there are points at which it has an effect. Also if a key of the
      base config is set, and has no effect at any point.
  """
  base_values = flatten(base)
  _check_keys_of_train(space)
  points = list(CompiledSpace(space).random_points(N_POINTS))
  for parameter in parameters(space):
    _check_parameter(parameter, points, base_values)

  # Keys that are set. A key of the base config may have an effect at some points only.
  settings = [{**base_values, **point.overrides} for point in points]
  for path in unread_set_keys(base):
    _check_set(path, base_values[path], settings)
  # A single value in the space is set in the same way.
  for entry in space.entries():
    for path in entry.paths:
      if len(entry.values_of(path)) == 1 and not _is_default(
        path, entry.values_of(path)
      ):
        _check_set(path, entry.values_of(path)[0], settings)


def set_keys_of_train(base: RunConfig) -> list[str]:
  """Returns the keys of the base config that are set and that only `lmhp train` reads."""
  values = flatten(base)
  return [path for path in ONLY_TRAIN_READS if not _is_default(path, (values[path],))]


def _check_keys_of_train(space: Space) -> None:
  """Checks that the space varies no key that is the same for all trials."""
  for entry in space.entries():
    for path in entry.paths:
      if path in ONLY_TRAIN_READS:
        raise ConfigError(
          f'{path}: got {entry.domain}, expected no entry, since only lmhp train reads it'
        )
      if path in READ_ONCE:
        raise ConfigError(
          f'{path}: got {entry.domain}, expected no entry, since all trials of a sweep have '
          'the value of the base config'
        )


def _check_parameter(
  parameter: Parameter, points: list[Point], base_values: Mapping[str, object]
) -> None:
  """Checks that a parameter has an effect at all points at which it exists."""
  reasons: list[Unread] = []
  good_values: dict[str, list[object]] = {}
  for point in points:
    if parameter.name not in point.parameters:
      continue
    values = {**base_values, **point.overrides}
    unread = [reason_unread(path, values) for path in parameter.paths]
    # A Zip has an effect if one of its paths has.
    if not unread or None in unread:
      for path, value in point.overrides.items():
        good_values.setdefault(path, []).append(value)
    else:
      reasons += [reason for reason in unread if reason is not None]
  if not reasons:
    return

  reason = reasons[0]
  path = parameter.paths[0]
  good = list(dict.fromkeys(good_values.get(reason.decider, ())))
  domain = parameter.domain
  if not good:
    raise ConfigError(
      f'{path}: got {domain}, expected no entry, since {reason}; {reason.decider} would be '
      f'{reason.accepted}'
    )
  shown = repr(good[0]) if len(good) == 1 else repr(tuple(good))
  raise ConfigError(
    f'{path}: got {domain}, which has no effect at points with '
    f'{reason.decider}={reason.value!r}, expected '
    f'lmhp.When({reason.decider!r}, {shown}, {domain!r})'
  )


def _check_set(path: str, value: object, settings: list[dict[str, object]]) -> None:
  """Checks that a value of the base config, or a fixed value of the space, has an effect."""
  reasons = [reason_unread(path, values) for values in settings]
  if None not in reasons:
    raise ConfigError(
      f'{path}: got {value!r}, expected the default, since {reasons[0]}'
    )


def _is_default(path: str, values: tuple[object, ...]) -> bool:
  """Returns True if all values of a key are its default."""
  section, _, key = path.partition('.')
  default = config_keys.SECTIONS[section].__dataclass_fields__[key].default
  return all(value == default for value in values)
