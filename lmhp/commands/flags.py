"""The words of a command line: flags of its own, and the config's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from absl import flags


def parse(
  values: flags.FlagValues, arguments: list[str], usage: str
) -> list[str] | None:
  """The positional arguments; None where help was asked for, and given.

  Raises:
    ConfigError: for a flag that does not exist or does not parse.
  """
  from absl import flags

  from lmhp.errors import ConfigError

  if any(a in ('--help', '-h', '-help') for a in arguments):
    print(f'{usage}\n')
    for name in sorted(values):
      flag = values[name]
      print(f'  --{name}: {flag.help} (default {flag.default!r})')
    return None
  try:
    return values(['lmhp', *arguments])[1:]
  except flags.Error as error:
    raise ConfigError(str(error).split('\n')[0]) from None


def config_overrides(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
  """Takes `--config.a.b=value`, `--config.a.b value` and `--noconfig.a.b` out of a command line, and `--sweep.a=value`.

  Returns:
    The other arguments, and {dotted path: text of the value, or a bool where none was given}; those of a sweep keep
    `sweep.` in front.

  >>> config_overrides(
  ...   ['--config.train.steps=5', '--workdir=x', '--noconfig.model.gated']
  ... )
  (['--workdir=x'], {'train.steps': '5', 'model.gated': False})
  """
  rest, overrides = [], {}
  waiting = list(arguments)
  while waiting:
    word = waiting.pop(0)
    name, equals, value = word.lstrip('-').partition('=')
    if word.startswith('-') and name.startswith('noconfig.') and not equals:
      overrides[name.removeprefix('noconfig.')] = False
    elif word.startswith('-') and name.startswith(('config.', 'sweep.')):
      if not equals and waiting and not waiting[0].startswith('--'):
        value, equals = waiting.pop(0), '='
      overrides[name.removeprefix('config.')] = value if equals else True
    else:
      rest.append(word)
  return rest, overrides


def define_run_flags(fv: flags.FlagValues, what: str) -> None:
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


def parse_run_flags(fv: flags.FlagValues, arguments: list[str], usage: str) -> bool:
  """Parses the flags of a run; False where help was asked for, and given."""
  from lmhp.errors import ConfigError

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


def default_workdir(fv: flags.FlagValues, suffix: str = '') -> str:
  """The directory that was given, or one of the experiment file's name."""
  name = (
    os.path.splitext(os.path.basename(fv.config.partition(':')[0]))[0]
    if fv.config
    else 'default'
  )
  return os.path.join('runs', name + suffix) if fv.workdir is None else fv.workdir
