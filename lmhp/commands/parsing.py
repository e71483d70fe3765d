"""The words of a command line: flags of its own, and the config's."""

from __future__ import annotations

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

  from lmhp.hypers import ConfigError

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
