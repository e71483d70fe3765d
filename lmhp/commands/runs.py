"""The verbs that spend compute: train, sweep, and the dashboard of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmhp.commands.flags import (
  config_overrides,
  default_workdir,
  define_run_flags,
  parse_run_flags,
)

if TYPE_CHECKING:
  from absl import flags


def train(arguments: list[str]) -> int:
  from absl import flags

  arguments, overrides = config_overrides(arguments)
  fv = flags.FlagValues()
  define_run_flags(fv, 'the run')
  if not parse_run_flags(
    fv, arguments, 'lmhp train --config=FILE [--config.KEY=VALUE ...] [--workdir=DIR]'
  ):
    return 0
  if fv.help_config:
    from lmhp.config_help import format_config_help

    print(format_config_help())
    return 0
  return _train_with(fv, overrides)


def _train_with(fv: flags.FlagValues, overrides: dict[str, Any]) -> int:
  from lmhp import api
  from lmhp.config import default_config
  from lmhp.training.progress.display import summary

  workdir = default_workdir(fv)
  config = default_config() if fv.config is None else fv.config
  result = api.train(config, workdir=workdir, overrides=overrides, display=fv.display)
  if not result.complete:
    return 128 + result.signal
  if fv.display != 'none':
    print(summary(result.result, result.result['parameters_by_kind'], workdir))
  return 0
