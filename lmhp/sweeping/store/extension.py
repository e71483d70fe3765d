"""The comparison of a sweep with the study that it continues or extends."""

from __future__ import annotations

from collections.abc import Collection, Mapping
import dataclasses

from lmhp.errors import ConfigError
from lmhp.sweeping.store.manifest import StudyManifest

EXTENDABLE = (
  'trials',
  'tokens',
  'flops',
  'seconds',
  'seeds_per_point',
  'confirm_points',
  'confirm_seeds',
  'execution',
  'max_pack_width',
)
"""Keys of a sweep that may change when a study is run again. The space may change too."""


def extended_manifest(
  stored: StudyManifest,
  new: StudyManifest,
  workdir: object,
  method_keys: Collection[str] = (),
) -> StudyManifest:
  """Returns the manifest of a study that a sweep continues or extends.

  Args:
    stored: Manifest of the study.
    new: Manifest of the sweep.
    workdir: Directory of the study, for messages.
    method_keys: Keys of search methods that may change, too.

  Raises:
    ConfigError: If the new trials would not be comparable with those of the study.
  """
  # Both manifests are compared as the storage returns them.
  new = StudyManifest.from_json(new.to_json())
  _check_sweep_keys(stored, new, workdir, method_keys)
  _check_task(stored, new, workdir)

  # Another version of the code or the machine is allowed, and reported.
  changes = []
  for name in ('git', 'versions', 'device'):
    old_value = getattr(stored.origin, name)
    new_value = getattr(new.origin, name)
    if old_value != new_value:
      difference = first_difference(old_value, new_value)
      changes.append(f'{name} changed since this study began: {difference}')
  if new.sweep != stored.sweep or new.space != stored.space:
    changes.append('this study is extended: its old trials do not change')
  plugins = dict.fromkeys((*stored.plugins, *new.plugins))
  return dataclasses.replace(
    stored,
    task=new.task,
    sweep=new.sweep,
    space=new.space,
    origin=new.origin,
    plugins=tuple(plugins),
    changes=(*stored.changes, *changes),
  )


def _check_sweep_keys(
  stored: StudyManifest,
  new: StudyManifest,
  workdir: object,
  method_keys: Collection[str],
) -> None:
  for key, value in new.sweep.items():
    old_value = stored.sweep.get(key)
    if key == 'match_budget' and old_value is None:
      # Before, all trials had the length and the cost of the base config.
      continue
    if old_value != value and key not in (*EXTENDABLE, *method_keys):
      raise ConfigError(
        f'sweep.{key}: got {value!r}, but the study in {workdir} has {old_value!r}; use '
        'its sweep, or another workdir'
      )


def _check_task(stored: StudyManifest, new: StudyManifest, workdir: object) -> None:
  old_task = stored.task
  new_task = new.task
  # The data are compared below, with another message.
  if dataclasses.replace(old_task, data_sha256=new_task.data_sha256) != new_task:
    difference = first_difference(
      {**old_task.base_values, **old_task.identity, 'task': old_task.kind},
      {**new_task.base_values, **new_task.identity, 'task': new_task.kind},
    )
    raise ConfigError(
      f'{difference}, but the study in {workdir} has another base config; use that, or '
      'another workdir'
    )
  if old_task.data_sha256 != new_task.data_sha256:
    raise ConfigError(
      f'data.path: the text changed since the study in {workdir} began; use another '
      'workdir'
    )


def first_difference(old: object, new: object, path: str = '') -> str:
  """Describes the first difference between two nested dicts.

  >>> first_difference({'a': {'b': 1}}, {'a': {'b': 2}})
  'a.b: got 2, expected 1'
  """
  if isinstance(old, Mapping) and isinstance(new, Mapping):
    for key in {**old, **new}:
      if old.get(key) != new.get(key):
        inner = f'{path}.{key}' if path else str(key)
        return first_difference(old.get(key), new.get(key), inner)
  return f'{path or "value"}: got {new!r}, expected {old!r}'
