"""Parsing of a command line: the flags of a command, and overrides of a config.

An override replaces one value of the config or of the sweep. It is written as
`--config.train.steps=5` or `--sweep.trials=40`, in the syntax of ml_collections' config flags.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import math
import os
from typing import NoReturn

from lmhp.errors import ConfigError, suggest

HELP_FLAGS = ('--help', '-help', '-h')
DISPLAYS = ('auto', 'terminal', 'plain', 'notebook', 'none')
"""Forms of the progress display."""


class HelpPrinted(Exception):
  """Raised after the help was printed, to end the command."""


class CommandParser(argparse.ArgumentParser):
  """A parser whose errors are `ConfigError`s of one line.

  Args:
    command: Name of the command, such as "count".
    summary: One sentence that describes the command.
  """

  def __init__(self, command: str, summary: str) -> None:
    super().__init__(
      prog=f'lmhp {command}', description=summary, add_help=False, allow_abbrev=False
    )
    self.add_argument('--help', action='store_true', help='show this help')

  def error(self, message: str) -> NoReturn:
    """Raises the error of argparse as a `ConfigError`."""
    raise ConfigError(message.removeprefix('argument '))

  def add_switch(self, name: str, default: bool | None, help_text: str) -> None:
    """Adds a bool flag. `--name` sets it to True, and `--noname` to False."""
    self.add_argument(
      f'--{name}', action='store_true', dest=name, default=default, help=help_text
    )
    self.add_argument(
      f'--no{name}', action='store_false', dest=name, help=argparse.SUPPRESS
    )

  def parse(self, arguments: list[str]) -> argparse.Namespace:
    """Returns the values of the flags.

    Raises:
      ConfigError: If a flag does not exist, or a value cannot be parsed.
      HelpPrinted: If an argument is `--help`.
    """
    if any(argument in HELP_FLAGS for argument in arguments):
      self.print_help()
      raise HelpPrinted
    # argparse would report an unknown flag after all other mistakes, without a suggestion, so
    # unknown flags are found here. `--` alone is not a flag.
    flags = self._option_string_actions
    for argument in arguments:
      name = argument.partition('=')[0]
      if name.startswith('--') and len(name) > 2 and name not in flags:
        raise ConfigError(f'{name}: no such flag{suggest(name, flags)}')
    return self.parse_intermixed_args(arguments)


def number(
  low: float, high: float = math.inf, *, kind: type[int] | type[float] = float
) -> Callable[[str], float]:
  """Returns a parser of numbers within bounds, for `type=` of a flag.

  Args:
    low: Smallest accepted number.
    high: Largest accepted number.
    kind: `int` for whole numbers, or `float`.
  """
  noun = 'a whole number' if kind is int else 'a number'
  bounds = f'from {low} to {high}' if high < math.inf else f'of at least {low:g}'

  def parse(text: str) -> float:
    try:
      value = kind(text)
    except ValueError:
      # NaN is refused below.
      value = math.nan
    # A comparison with NaN is False, so `not` refuses NaN too.
    if not low <= value <= high:
      raise argparse.ArgumentTypeError(f'got {text!r}, expected {noun} {bounds}')
    return value

  return parse


def config_overrides(arguments: list[str]) -> tuple[list[str], dict[str, object]]:
  """Separates the overrides of a config or a sweep from the other arguments.

  An override is written `--config.a.b=value`, `--config.a.b value`, `--noconfig.a.b` or
  `--sweep.a=value`.

  Returns:
    The other arguments, and the overrides as {dotted path: value}. A value is the text that
    was typed, or True or False for a flag without a value. The path of a sweep's key starts
    with `sweep.`.

  >>> config_overrides(
  ...   ['--config.train.steps=5', '--workdir=x', '--noconfig.model.gated']
  ... )
  (['--workdir=x'], {'train.steps': '5', 'model.gated': False})
  """
  others: list[str] = []
  overrides: dict[str, object] = {}
  remaining = list(arguments)
  while remaining:
    argument = remaining.pop(0)
    name, equals, value = argument.lstrip('-').partition('=')
    is_flag = argument.startswith('-')
    # --noconfig.KEY sets a bool to False.
    if is_flag and name.startswith('noconfig.') and not equals:
      overrides[name.removeprefix('noconfig.')] = False
    elif is_flag and name.startswith(('config.', 'sweep.')):
      path = name.removeprefix('config.')
      # --config.KEY=VALUE, --config.KEY VALUE, or --config.KEY for True.
      if equals:
        overrides[path] = value
      elif remaining and not remaining[0].startswith('--'):
        # A value may begin with a minus sign, but not with two.
        overrides[path] = remaining.pop(0)
      else:
        overrides[path] = True
    else:
      others.append(argument)
  return others, overrides


# --- flags that training and sweeping share -----------------------------------------


def add_run_flags(parser: CommandParser, subject: str) -> None:
  """Adds the flags that `lmhp train` and `lmhp sweep` share.

  Args:
    parser: Parser of the command.
    subject: "run" or "study".
  """
  parser.add_argument(
    '--config', help='experiment file with get_config(); `lmhp train` does not need one'
  )
  parser.add_argument(
    '--workdir',
    help=f'directory of the {subject}; by default in runs/, with the name of the experiment '
    'file',
  )
  parser.add_argument(
    '--display',
    default='auto',
    choices=DISPLAYS,
    help='form of the progress display; by default, the form that fits the output',
  )
  parser.add_switch(
    'help_config', False, f'list every key of the config of a {subject}, and stop'
  )


def parse_run_flags(parser: CommandParser, arguments: list[str]) -> argparse.Namespace:
  """Returns the values of the flags of `lmhp train` or `lmhp sweep`.

  Raises:
    ConfigError: If a word belongs to no flag, or a path is empty.
    HelpPrinted: If an argument is `--help`.
  """
  # Collect words without a flag, so that the error message can name `--config`.
  parser.add_argument('words', nargs='*', help=argparse.SUPPRESS)
  values = parser.parse(arguments)
  if values.words:
    word = values.words[0]
    raise ConfigError(
      f'{word}: got a word without a flag; an experiment file is given as --config={word}'
    )
  for flag in ('config', 'workdir'):
    if getattr(values, flag) == '':
      raise ConfigError(f"--{flag}: got '', expected a path")
  return values


def workdir_or_default(values: argparse.Namespace, suffix: str = '') -> str:
  """Returns `--workdir`. Without it, returns `runs/NAME` for the experiment file NAME.py.

  Args:
    values: Values of the flags that `add_run_flags` added.
    suffix: Text to add after NAME, such as '_sweep'.
  """
  if values.workdir is not None:
    return values.workdir
  # `--config` may be FILE:TEXT, with a text for `get_config`.
  file_name = os.path.basename((values.config or 'default').partition(':')[0])
  return os.path.join('runs', os.path.splitext(file_name)[0] + suffix)
