"""What a sweep is asked for: its task and its search, from an experiment file or from objects, overrides applied."""

from __future__ import annotations

import os
from typing import Any, Mapping

from lmhp import config as config_lib
from lmhp import experiment
from lmhp.errors import ConfigError
from lmhp.files import as_path
from lmhp.sweeping import config as sweep_config
from lmhp.sweeping.budget import checked_language_model
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.store import storages
from lmhp.sweeping.tasks.function_task import FunctionTask
from lmhp.training import provenance


def task_and_sweep(
  config: Any,
  sweep: SweepConfig | None,
  overrides: Mapping[str, Any] | None,
  workdir: Any = None,
) -> tuple[Any, SweepConfig, dict]:
  """The task, the sweep and the card of what `lmhp.sweep` was given; a stored study keeps its precision.

  Args:
    config: a ConfigDict, the path of an experiment file, or a `FunctionTask`.
    sweep: None asks the experiment file's `get_sweep()`.
    overrides: {dotted path: value}, of the sweep under `sweep.`.
    workdir: of a study that may be there already.

  Raises:
    ConfigError: one line that names what is wrong.
  """
  overrides = dict(overrides or {})
  own = {
    path.removeprefix('sweep.'): overrides.pop(path)
    for path in list(overrides)
    if path.startswith('sweep.')
  }
  about = {
    name: x
    for name, x in provenance.describe(os.curdir).items()
    if name != 'started_utc'
  }
  if isinstance(config, FunctionTask):
    if sweep is None:
      raise ConfigError('sweep: got None, expected a SweepConfig')
    sweep = sweep_config.override(sweep, own)
    config.check(sweep)
    return config, sweep, {'task': config.card(), **about}
  if isinstance(config, (str, os.PathLike)):
    config, module = experiment.load(config)
    sweep = experiment.sweep_of(module) if sweep is None else sweep
  else:
    config = config_lib.to_config_dict(config)
  if sweep is None:
    raise ConfigError('sweep: got None, expected a SweepConfig')
  sweep = sweep_config.override(sweep, own)
  config = config_lib.override(config, overrides)
  stored = None if workdir is None else storages.header_of(as_path(workdir))
  dtype = (
    stored['card']['task']['model']['dtype']
    if stored and 'model' in stored['card'].get('task', {})
    else None
  )
  task = checked_language_model(config, sweep, dtype)
  return (
    task,
    sweep,
    {
      'task': config_lib.to_json(task.base),
      'data_sha256': task.dataset(task.base).sha256,
      **about,
    },
  )
