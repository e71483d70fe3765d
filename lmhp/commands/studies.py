"""The commands `lmhp sweep` and `lmhp dashboard`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmhp.commands.flags import (
  config_overrides,
  default_workdir,
  define_run_flags,
  parse,
  parse_run_flags,
)

if TYPE_CHECKING:
  from absl import flags


def sweep(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.errors import ConfigError

  arguments, overrides = config_overrides(arguments)
  fv = flags.FlagValues()
  define_run_flags(fv, 'the study')
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
  if not parse_run_flags(
    fv,
    arguments,
    'lmhp sweep --config=FILE [--config.KEY=VALUE ...] [--sweep.KEY=VALUE ...] '
    '[--workdir=DIR]',
  ):
    return 0
  if fv.help_config:
    from lmhp.config_help import format_section_help
    from lmhp.sweeping.config import SweepConfig

    print('\n'.join(format_section_help('sweep', SweepConfig)))
    return 0
  if fv.config is None:
    raise ConfigError(
      '--config: got none, expected an experiment file with get_config() and get_sweep()'
    )
  return _sweep_with(fv, overrides)


def _sweep_with(fv: flags.FlagValues, overrides: dict[str, Any]) -> int:
  from lmhp import api
  from lmhp.sweeping import summary as words

  if fv.dry_run:
    print(words.format_plan(api.plan_sweep(fv.config, overrides=overrides)))
    return 0
  workdir = default_workdir(fv, '_sweep')
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
    print(words.format_result(result))
  return 0


def dashboard(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.errors import ConfigError

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
  from lmhp.sweeping.progress.dashboard import open_dashboard

  open_dashboard(workdirs[0], port=fv.port, storage=fv.storage)
  return 0
