"""Experiment files: a Python file whose `get_config()` is the question that a run answers."""

from __future__ import annotations

import os
import sys
import types
from typing import Any, Mapping

from lmhp.config import ConfigDict, to_config_dict
from lmhp.config_keys import suggest_key
from lmhp.errors import ConfigError, suggest


def load(path: str | os.PathLike) -> tuple[ConfigDict, types.ModuleType]:
  """Runs an experiment file and returns its config and the module.

  Args:
    path: of a Python file with `get_config()`; what follows a colon is handed to it as a string.

  Raises:
    ConfigError: where there is no such file, or it fails, or defines no `get_config`.
  """
  path, _, argument = os.fspath(path).partition(':')
  if not os.path.isfile(path):
    came = 'is a directory' if os.path.isdir(path) else 'does not exist'
    raise ConfigError(
      f'--config: {path!r} {came}, expected a Python file with get_config(){_nearest_file(path)}'
    )
  try:
    module = _run(path)
    if not callable(getattr(module, 'get_config', None)):
      raise ConfigError('defines no get_config()')
    config = module.get_config(argument) if argument else module.get_config()
    if not isinstance(config, (ConfigDict, Mapping)):
      raise ConfigError(
        f'get_config() returned {type(config).__name__}, expected a ConfigDict'
      )
    return to_config_dict(config), module
  except (
    Exception,
    SystemExit,
  ) as error:  # whatever the user's file raises, its line is what helps
    raise ConfigError(
      f'--config: {path!r}{_line_in(path, error)}: {_reason(error)}'
    ) from error


def sweep_of(module: types.ModuleType) -> Any:
  """What an experiment file's `get_sweep()` returns.

  Raises:
    ConfigError: where it defines none, or it fails.
  """
  path = os.path.relpath(module.__file__)
  if not callable(getattr(module, 'get_sweep', None)):
    raise ConfigError(
      f'--config: {path!r} defines no get_sweep(), expected one that returns a lmhp.SweepConfig'
    )
  try:
    return module.get_sweep()
  except (Exception, SystemExit) as error:
    raise ConfigError(
      f'--config: {path!r}{_line_in(module.__file__, error)}: {_reason(error)}'
    ) from error


def _run(path: str) -> types.ModuleType:
  """The module that a file defines, without the import system, whose .pyc may be of another text of the same second."""
  module = types.ModuleType('lmhp_experiment')
  module.__file__ = os.path.abspath(path)
  sys.modules[module.__name__] = module  # a dataclass in the file looks its module up
  with open(path, 'rb') as file:
    exec(compile(file.read(), path, 'exec', dont_inherit=True), module.__dict__)
  return module


def _nearest_file(path: str) -> str:
  """The experiment file that was perhaps meant: one beside it, or one in the directory that was given."""
  folder = path if os.path.isdir(path) else os.path.dirname(path)
  names = os.listdir(folder or '.') if os.path.isdir(folder or '.') else []
  found = [os.path.join(folder, name) for name in sorted(names) if name.endswith('.py')]
  if folder and path == folder:
    return f'; did you mean {found[0]!r}?' if found else ''
  return suggest(path, found)


def _line_in(path: str, error: BaseException) -> str:
  """The line of the file where an error arose, as far as it has one."""
  if isinstance(error, SyntaxError) and error.filename == path:
    return f', line {error.lineno}'
  lines, trace = [], error.__traceback__
  while trace:
    if trace.tb_frame.f_code.co_filename == path:
      lines.append(trace.tb_lineno)
    trace = trace.tb_next
  return f', line {lines[-1]}' if lines else ''


def _reason(error: BaseException) -> str:
  """Why an experiment file failed, in one line; of a key that a config does not have, the nearest that it has."""
  first = (str(error).strip() or 'no message').splitlines()[0]
  if isinstance(error, ConfigError):
    return first
  if isinstance(error, (AttributeError, KeyError)) and (key := _missing_key(error)):
    return f'{key}: no such key{suggest_key(key)}'
  return f'{type(error).__name__}: {first}'


def _missing_key(error: Exception) -> str | None:
  """The key that a ConfigDict has not, if that is what the error says: Key "x" does not exist ..., or just 'x'."""
  cause = (
    error.args[0] if error.args and isinstance(error.args[0], KeyError) else error
  )  # as an attribute, or in []
  message = str(cause.args[0]) if cause.args else ''
  if (
    cause is error
    and 'config is locked' not in message
    and 'Did you mean' not in message
  ):
    return None
  words = message.removeprefix('Key ').replace('"', "'").split("'")
  return next((word for word in words if word.isidentifier()), None)
