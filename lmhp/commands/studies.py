"""The commands `lmhp sweep` and `lmhp dashboard`."""

from __future__ import annotations

from lmhp.commands.flags import (
  CommandParser,
  add_run_flags,
  config_overrides,
  number,
  parse_run_flags,
  workdir_or_default,
)
from lmhp.errors import ConfigError


def sweep(arguments: list[str]) -> int:
  """Searches hyperparameters, or continues a study that was stopped."""
  arguments, overrides = config_overrides(arguments)
  parser = CommandParser(
    'sweep',
    'Search hyperparameters, or continue a study that was stopped. Many trials train together '
    'in one compiled program. Set any key with --config.KEY=VALUE or --sweep.KEY=VALUE. The '
    'experiment file is executed.',
  )
  add_run_flags(parser, 'study')
  parser.add_argument(
    '--engine',
    default='local',
    choices=('local', 'ray'),
    help='run the trials in this process (local), or on a Ray cluster (ray)',
  )
  parser.add_argument(
    '--ray_address',
    help='address of the Ray cluster; by default the cluster of this machine, which is started '
    'if there is none',
  )
  parser.add_argument(
    '--storage',
    help='URL of an Optuna storage, such as postgresql+psycopg://...; by default, the '
    'file study.journal in the workdir',
  )
  parser.add_switch(
    'report',
    True,
    'write report.html in the workdir after each rung and at the end (default; off with '
    '--noreport)',
  )
  parser.add_switch('dry_run', False, 'print the estimated cost of the sweep, and stop')
  values = parse_run_flags(parser, arguments)
  if values.help_config:
    from lmhp.config_help import format_section_help
    from lmhp.sweeping.config import SweepConfig

    print('\n'.join(format_section_help('sweep', SweepConfig)))
    return 0
  if values.config is None:
    raise ConfigError(
      '--config: got none, expected an experiment file with get_config() and get_sweep()'
    )

  # The import loads JAX, which is slow, so it follows the checks of the flags.
  from lmhp import api
  from lmhp.sweeping import summary

  if values.dry_run:
    print(summary.format_estimate(api.plan_sweep(values.config, overrides=overrides)))
    return 0
  result = api.sweep(
    values.config,
    workdir=workdir_or_default(values, '_sweep'),
    overrides=overrides,
    engine=values.engine,
    storage=values.storage,
    ray_address=values.ray_address,
    display=values.display,
    report=values.report,
  )
  if result.signal is not None:
    # The exit status that a shell gives to a process that a signal ended.
    return 128 + result.signal
  if values.display != 'none':
    print(summary.format_result(result))
  return 0


def dashboard(arguments: list[str]) -> int:
  """Opens optuna-dashboard on a study."""
  parser = CommandParser('dashboard', 'Open optuna-dashboard on a study.')
  parser.add_argument('workdir', nargs='*', help='directory of the study')
  parser.add_argument(
    '--port',
    type=number(1, 65535, kind=int),
    default=8080,
    help='port for the browser (default 8080)',
  )
  parser.add_argument(
    '--storage',
    help='URL of the Optuna storage, if the study is not stored in the file study.journal of '
    'its directory',
  )
  values = parser.parse(arguments)
  if len(values.workdir) != 1:
    raise ConfigError(
      f'dashboard: got {len(values.workdir)} directories, expected exactly one: the '
      'directory of a study'
    )

  from lmhp.sweeping.progress.dashboard import open_dashboard

  open_dashboard(values.workdir[0], port=values.port, storage=values.storage)
  return 0
