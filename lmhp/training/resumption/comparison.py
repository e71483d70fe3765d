"""Compares a run in its directory with a call that continues it.

The numbers of a run must not change. So its data are compared by their sha256, wherever they
lie, and keys that change no number (of logs and checkpoints) may change. A run may also become
longer, if its schedule gives the same learning rates in the steps that are trained already.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

import jax
import numpy as np

from lmhp.data.config import SOURCE_KEYS
from lmhp.data.dataset import Dataset
from lmhp.errors import ConfigError
from lmhp.files import as_path
from lmhp.hypers import differences, split
from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.optim.schedules.shapes import unit_schedule
from lmhp.sections import FREE_SECTIONS
from lmhp.training.checkpoint import Checkpoints
from lmhp.training.config import RunConfig
from lmhp.training.manifest import RunManifest
from lmhp.typing import PathLike

PLACES = ('data.path', 'data.validation_path', 'data.cache_dir')
"""Keys that say where the data lie."""


@dataclasses.dataclass(frozen=True)
class StoredRun:
  """An earlier run in a directory: its manifest, and the config that the manifest holds."""

  manifest: RunManifest
  cfg: RunConfig


def check_same(
  workdir: PathLike,
  stored: StoredRun,
  cfg: RunConfig,
  dataset: Dataset,
  jax_options: Mapping[str, object],
) -> None:
  """Checks that a run continues with the numbers and the text that it began with.

  Args:
    workdir: Directory of the run.
    stored: The run in the directory.
    cfg: Completed config of the new call.
    dataset: Dataset of `cfg.data`.
    jax_options: Settings of jax that change numbers, by name.

  Raises:
    ConfigError: If a number of the run would change. Only the first difference is named.
  """
  for name, before in stored.manifest.jax_options.items():
    if jax_options.get(name) != before:
      raise ConfigError(
        f'{name}: this process has {jax_options.get(name)!r}, but the run in {workdir} has '
        f'{before!r}, and its numbers depend on it; set {name.upper()}={before}, or use '
        'another workdir'
      )
  if stored.manifest.data_sha256 != dataset.sha256:
    raise _other_data(workdir, stored.cfg, cfg)
  _check_keys(workdir, stored.cfg, cfg)


def _other_data(workdir: PathLike, before: RunConfig, now: RunConfig) -> ConfigError:
  """Builds the error for other data: the key that changed, or else the text."""
  for path, (old_value, value) in differences(before.data, now.data).items():
    if path in SOURCE_KEYS and path not in PLACES:
      return _other_value(path, old_value, value, workdir)
  return ConfigError(
    f'data.path: {", ".join(now.data.path)} changed since the run in {workdir} began; use '
    'another workdir'
  )


def _other_value(
  path: str, old_value: object, value: object, workdir: PathLike
) -> ConfigError:
  return ConfigError(
    f'{path}: got {value!r}, but the run in {workdir} has {old_value!r}; use this value, or '
    'another workdir'
  )


def _check_keys(workdir: PathLike, before: RunConfig, now: RunConfig) -> None:
  """Checks that only keys differ that change no number of the steps that are trained."""
  changed = differences(before, now)
  is_longer = 'train.steps' in changed
  if is_longer:
    _check_longer(workdir, before, now)
  for path, (old_value, value) in changed.items():
    section = path.partition('.')[0]
    # The schedule of a longer run has been compared step by step.
    is_compared = is_longer and (path == 'train.steps' or section == 'schedule')
    if path not in SOURCE_KEYS and section not in FREE_SECTIONS and not is_compared:
      raise _other_value(path, old_value, value, workdir)


def _check_longer(workdir: PathLike, before: RunConfig, now: RunConfig) -> None:
  """Checks that a run of another length begins with the steps that are trained already."""
  old_steps = before.train.steps
  steps = now.train.steps
  problem = f'train.steps: got {steps:,}, but the run in {workdir} has {old_steps:,}'
  if steps < old_steps:
    raise ConfigError(f'{problem}; use at least this number, or another workdir')

  old_rates = _rates(before.schedule, old_steps, old_steps)
  rates = _rates(now.schedule, old_steps, steps)
  different = np.flatnonzero(old_rates != rates)
  if len(different):
    raise ConfigError(
      f'{problem}, and with schedule.name={now.schedule.name!r} the learning rate of step '
      f'{different[0] + 1:,} would be another one; use a schedule whose rates do not depend '
      'on the length (constant, warmup in steps), or another workdir'
    )
  if not _has_last_state(workdir, before):
    raise ConfigError(
      f'{problem}, and its last state was not saved; use another workdir'
    )


def _rates(cfg: ScheduleConfig, n_steps: int, total_steps: int) -> np.ndarray:
  """Returns the first learning rates of a schedule, as ratios to the peak, (n_steps,)."""
  _, numbers = split(cfg)
  rate_of_step = jax.jit(
    jax.vmap(lambda step: unit_schedule(numbers, step, total_steps))
  )
  return np.asarray(rate_of_step(np.arange(n_steps, dtype=np.int32)))


def _has_last_state(workdir: PathLike, cfg: RunConfig) -> bool:
  """Returns True if a run is not complete yet, or its last state was saved."""
  directory = as_path(workdir)
  if not (directory / 'result.json').exists():
    return True
  with Checkpoints(directory / 'checkpoints', cfg.checkpoint) as checkpoints:
    return checkpoints.latest() == cfg.train.steps
