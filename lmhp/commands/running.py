"""The verbs that spend compute: train, sweep, and the dashboard of a sweep."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from lmhp.commands.parsing import config_overrides, parse

if TYPE_CHECKING:
  from absl import flags


def train(arguments: list[str]) -> int:
  from absl import flags

  arguments, overrides = config_overrides(arguments)
  fv = flags.FlagValues()
  _define_run(fv, 'the run')
  if not _ready(
    fv, arguments, 'lmhp train --config=FILE [--config.KEY=VALUE ...] [--workdir=DIR]'
  ):
    return 0
  if fv.help_config:
    from lmhp.help import help_text

    print(help_text())
    return 0
  return _train_with(fv, overrides)


def _define_run(fv: flags.FlagValues, what: str) -> None:
  """The flags that training and sweeping share."""
  from absl import flags

  flags.DEFINE_string(
    'config',
    None,
    'experiment file with get_config(); all defaults where not given',
    flag_values=fv,
  )
  flags.DEFINE_string(
    'workdir',
    None,
    f'directory of {what}; runs/NAME of the experiment file where not given',
    flag_values=fv,
  )
  flags.DEFINE_enum(
    'display',
    'auto',
    ['auto', 'terminal', 'plain', 'notebook', 'none'],
    'how progress is shown',
    flag_values=fv,
  )
  flags.DEFINE_bool('help_config', False, 'list every key', flag_values=fv)


def _ready(fv: flags.FlagValues, arguments: list[str], usage: str) -> bool:
  """Parses the flags of a run; False where help was asked for, and given."""
  from lmhp.hypers import ConfigError

  rest = parse(fv, arguments, usage)
  if rest is None:
    return False
  if rest:
    raise ConfigError(
      f'{rest[0]}: got a word without a flag; an experiment file is given as --config={rest[0]}'
    )
  for flag in ('config', 'workdir'):
    if fv[flag].value == '':
      raise ConfigError(f"--{flag}: got '', expected a path")
  return True


def _workdir(fv: flags.FlagValues, suffix: str = '') -> str:
  """The directory that was given, or one of the experiment file's name."""
  name = (
    os.path.splitext(os.path.basename(fv.config.partition(':')[0]))[0]
    if fv.config
    else 'default'
  )
  return os.path.join('runs', name + suffix) if fv.workdir is None else fv.workdir


def _train_with(fv: flags.FlagValues, overrides: dict[str, Any]) -> int:
  from lmhp import api
  from lmhp.config import default_config
  from lmhp.training.display import summary

  workdir = _workdir(fv)
  config = default_config() if fv.config is None else fv.config
  result = api.train(config, workdir=workdir, overrides=overrides, display=fv.display)
  if not result.complete:
    return 128 + result.signal
  if fv.display != 'none':
    print(summary(result.result, result.result['parameters_by_kind'], workdir))
  return 0


def sweep(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.hypers import ConfigError

  arguments, overrides = config_overrides(arguments)
  fv = flags.FlagValues()
  _define_run(fv, 'the study')
  flags.DEFINE_enum(
    'engine',
    'local',
    ['local', 'ray'],
    'who runs the packs: this process, or a Ray cluster',
    flag_values=fv,
  )
  flags.DEFINE_string(
    'address',
    None,
    'of the Ray cluster; one is started here where not given',
    flag_values=fv,
  )
  flags.DEFINE_string(
    'storage',
    None,
    'Optuna storage as a URL, as postgresql+psycopg://...; a journal in the workdir '
    'where not given',
    flag_values=fv,
  )
  flags.DEFINE_bool(
    'report',
    True,
    'write report.html in the workdir, at rungs and at the end',
    flag_values=fv,
  )
  flags.DEFINE_bool(
    'dry_run', False, 'say what it would take, and spend nothing', flag_values=fv
  )
  if not _ready(
    fv,
    arguments,
    'lmhp sweep --config=FILE [--config.KEY=VALUE ...] [--sweep.KEY=VALUE ...] '
    '[--workdir=DIR]',
  ):
    return 0
  if fv.help_config:
    from lmhp.help import help_of
    from lmhp.sweeping.config import SweepConfig

    print('\n'.join(help_of('sweep', SweepConfig)))
    return 0
  if fv.config is None:
    raise ConfigError(
      '--config: got none, expected an experiment file with get_config() and get_sweep()'
    )
  return _sweep_with(fv, overrides)


def _sweep_with(fv: flags.FlagValues, overrides: dict[str, Any]) -> int:
  from lmhp import api
  from lmhp.sweeping import words

  if fv.dry_run:
    print(words.of_plan(api.plan_sweep(fv.config, overrides=overrides)))
    return 0
  workdir = _workdir(fv, '_sweep')
  result = api.sweep(
    fv.config,
    workdir=workdir,
    overrides=overrides,
    engine=fv.engine,
    storage=fv.storage,
    address=fv.address,
    display=fv.display,
    report=fv.report,
  )
  if not result.complete:
    return 128 + result.signal
  if fv.display != 'none':
    print(words.of_result(result))
  return 0


def dashboard(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.hypers import ConfigError

  fv = flags.FlagValues()
  flags.DEFINE_integer(
    'port', 8080, 'where the browser finds it', 1, 65535, flag_values=fv
  )
  flags.DEFINE_string(
    'storage',
    None,
    'Optuna storage as a URL, where the study is not a journal',
    flag_values=fv,
  )
  workdirs = parse(fv, arguments, 'lmhp dashboard WORKDIR [--port=N]')
  if workdirs is None:
    return 0
  if len(workdirs) != 1:
    raise ConfigError(
      f"dashboard: got {len(workdirs)} directories, expected one study's"
    )
  from lmhp.sweeping.dashboard import open_dashboard

  open_dashboard(workdirs[0], port=fv.port, storage=fv.storage)
  return 0
