"""The command `lmhp train`."""

from __future__ import annotations

from lmhp.commands.flags import (
  CommandParser,
  add_run_flags,
  config_overrides,
  parse_run_flags,
  workdir_or_default,
)


def train(arguments: list[str]) -> int:
  """Trains one model, or continues a run that was stopped."""
  arguments, overrides = config_overrides(arguments)
  parser = CommandParser(
    'train',
    'Train one model from an experiment file, or continue a run that was stopped. Set any '
    'key of the config with --config.KEY=VALUE. The experiment file is executed.',
  )
  add_run_flags(parser, 'run')
  values = parse_run_flags(parser, arguments)
  if values.help_config:
    from lmhp.config_help import format_config_help

    print(format_config_help())
    return 0

  # The import loads JAX, which is slow, so it follows the checks of the flags.
  from lmhp import api
  from lmhp.config import default_config
  from lmhp.training.progress.formats import format_summary

  workdir = workdir_or_default(values)
  config = default_config() if values.config is None else values.config
  result = api.train(
    config, workdir=workdir, overrides=overrides, display=values.display
  )
  if result.signal is not None:
    # The exit status that a shell gives to a process that a signal ended.
    return 128 + result.signal
  if values.display != 'none':
    # `result.result` is the content of result.json.
    print(format_summary(result.result, result.result['parameters_by_kind'], workdir))
  return 0
