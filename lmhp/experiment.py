"""Experiment files: Python files whose `get_config()` returns the config of a run.

An experiment file is executed as a Python module. It may also have a `get_sweep()`, which
returns the sweep. It may import the files beside it, as a Python script does
(`from common import base`), or relatively (`from .common import base`), and the modules of the
current directory.

The targets of `lmhp count` are read here too: experiment files, presets and published configs.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import importlib
import os
import sys
import traceback
import types
from typing import Any, TypeAlias

from lmhp.config import ConfigDict, resolve, to_config_dict
from lmhp.config_keys import suggest_key
from lmhp.counting.counted_model import CountedModel
from lmhp.counting.description import ModelDescription, describe
from lmhp.data import dataset as datasets
from lmhp.errors import ConfigError, suggest
from lmhp.files import as_path
from lmhp.hub.other_formats import other_format
from lmhp.hub.published import read_published
from lmhp.model.config import ModelConfig
from lmhp.model.presets import PRESETS, preset
from lmhp.registry import EXPERIMENT_MODULE, LOCAL_MODULES
from lmhp.training.config import RunConfig
from lmhp.training.memory import training_memory
from lmhp.typing import PathLike

_import_folders: list[str] = []
"""Folders that the newest experiment file has added to `sys.path`."""

BaseConfig: TypeAlias = 'PathLike | ConfigDict | RunConfig | Mapping[str, object]'
"""A config, or the path of an experiment file that returns one."""


def base_config(config: BaseConfig) -> ConfigDict:
  """Returns a config as a ConfigDict. For a path, executes the experiment file.

  Raises:
    ConfigError: As for `load`.
  """
  if isinstance(config, (str, os.PathLike)):
    return load(config)[0]
  return to_config_dict(config)


def load(path: PathLike) -> tuple[ConfigDict, types.ModuleType]:
  """Executes an experiment file.

  Args:
    path: Path of a Python file with `get_config()`. For FILE:ARGUMENT,
      `get_config('ARGUMENT')` is called.

  Returns:
    The config, and the module that the file defines.

  Raises:
    ConfigError: If there is no such file, if it raises an error, or if it has no `get_config`
      that returns a config.
  """
  file_path, _, argument = os.fspath(path).partition(':')
  if not os.path.isfile(file_path):
    problem = 'is a directory' if os.path.isdir(file_path) else 'does not exist'
    raise ConfigError(
      f'--config: {file_path!r} {problem}, expected a Python file with get_config()'
      f'{_suggest_file(file_path)}'
    )
  try:
    module = _execute(file_path)
    get_config = module.__dict__.get('get_config')
    if not callable(get_config):
      raise ConfigError('defines no get_config()')
    config = get_config(argument) if argument else get_config()
    if not isinstance(config, (ConfigDict, Mapping)):
      raise ConfigError(
        f'get_config() returned {type(config).__name__}, expected a ConfigDict'
      )
    return to_config_dict(config), module
  except KeyboardInterrupt:
    raise
  except BaseException as error:
    # Any error of the user's file becomes one line with the line number in that file.
    raise _file_error(file_path, os.path.abspath(file_path), error) from error


def sweep_of(module: types.ModuleType) -> object:
  """Returns what `get_sweep()` of an experiment file returns.

  Args:
    module: Module that `load` returned.

  Raises:
    ConfigError: If the file has no `get_sweep`, or if `get_sweep` raises an error.
  """
  file_path = str(module.__file__)
  relative_path = os.path.relpath(file_path)
  get_sweep = module.__dict__.get('get_sweep')
  if not callable(get_sweep):
    raise ConfigError(
      f'--config: {relative_path!r} defines no get_sweep(), expected one that returns an '
      'lmhp.SweepConfig'
    )
  try:
    return get_sweep()
  except KeyboardInterrupt:
    raise
  except BaseException as error:
    raise _file_error(relative_path, file_path, error) from error


def _execute(path: str) -> types.ModuleType:
  """Returns the module that a file defines.

  The import system is not used, because its .pyc cache does not distinguish two versions of a
  file that were written in the same second.
  """
  path = os.path.abspath(path)
  folder = os.path.dirname(path)
  _allow_imports(folder)
  module = types.ModuleType(EXPERIMENT_MODULE)
  module.__file__ = path
  # As a package of its folder, the module may import relatively.
  module.__package__ = EXPERIMENT_MODULE
  module.__path__ = [folder]
  # A dataclass in the file needs its module in `sys.modules`.
  sys.modules[module.__name__] = module
  with open(path, 'rb') as file:
    # Tracebacks list the file under its absolute path.
    code = compile(file.read(), path, 'exec', dont_inherit=True)
  exec(code, module.__dict__)
  LOCAL_MODULES.update(_modules_in_folders())
  return module


def _allow_imports(folder: str) -> None:
  """Makes the files of a folder, and those of the current directory, importable.

  The folder comes first, as that of a Python script does. What an earlier experiment file has
  imported in this way is forgotten, so that its modules are not taken for those of this one,
  and a file that was changed since is read again.
  """
  for name in _modules_in_folders():
    del sys.modules[name]
  for name in [
    name for name in sys.modules if name.startswith(f'{EXPERIMENT_MODULE}.')
  ]:
    del sys.modules[name]
  for earlier in _import_folders:
    if earlier in sys.path:
      sys.path.remove(earlier)
  _import_folders.clear()

  importlib.invalidate_caches()
  for position, added in ((0, folder), (len(sys.path) + 1, os.getcwd())):
    # The empty entry stands for the current directory.
    is_there = added in sys.path or (added == os.getcwd() and '' in sys.path)
    if not is_there:
      sys.path.insert(position, added)
      _import_folders.append(added)


def _modules_in_folders() -> list[str]:
  """Returns the names of the modules that lie in `_import_folders`, with their submodules."""
  top_level = set()
  for name, module in sys.modules.items():
    file = getattr(module, '__file__', None)
    if file is None or '.' in name or name == EXPERIMENT_MODULE:
      continue
    # FOLDER/NAME.py, or FOLDER/NAME/__init__.py
    is_package = os.path.basename(file).startswith('__init__.')
    location = os.path.dirname(file)
    if is_package:
      location = os.path.dirname(location)
    if location in _import_folders:
      top_level.add(name)
  return [name for name in sys.modules if name.partition('.')[0] in top_level]


# --- error messages -------------------------------------------------------------------


def _file_error(shown_path: str, file_path: str, error: BaseException) -> ConfigError:
  """Builds the one-line error for an experiment file that failed.

  Args:
    shown_path: Path in the message.
    file_path: Path under which tracebacks list the file.
    error: Error that the file raised.
  """
  line = _line_number(file_path, error)
  place = '' if line is None else f', line {line}'
  return ConfigError(f'--config: {shown_path!r}{place}: {_reason(error)}')


def _suggest_file(path: str) -> str:
  """Returns `; did you mean FILE?` for a path without a file, or an empty string.

  For a directory, FILE is its first Python file. Otherwise it is the Python file of the same
  directory with the most similar name.
  """
  folder = path if os.path.isdir(path) else os.path.dirname(path)
  names = os.listdir(folder or '.') if os.path.isdir(folder or '.') else []
  files = [os.path.join(folder, name) for name in sorted(names) if name.endswith('.py')]
  if folder and path == folder:
    return f'; did you mean {files[0]!r}?' if files else ''
  return suggest(path, files)


def _line_number(path: str, error: BaseException) -> int | None:
  """Returns the line of a file in which an error arose, or None if it arose elsewhere."""
  if isinstance(error, SyntaxError) and error.filename == path:
    return error.lineno
  # The innermost frame of the traceback that is in the file.
  frames = traceback.walk_tb(error.__traceback__)
  lines = [line for frame, line in frames if frame.f_code.co_filename == path]
  return lines[-1] if lines else None


def _reason(error: BaseException) -> str:
  """Returns why an experiment file failed, in one line."""
  try:
    first_line = (str(error).strip() or 'no message').splitlines()[0]
  except Exception:
    # The error of the user's file cannot be printed.
    first_line = 'no message'
  if isinstance(error, ConfigError):
    return first_line
  if isinstance(error, (AttributeError, KeyError)):
    if key := _missing_key(error):
      return f'{key}: no such key{suggest_key(key)}'
  return f'{type(error).__name__}: {first_line}'


def _missing_key(error: BaseException) -> str | None:
  """Returns the key that a ConfigDict lacks. None if the error has another reason.

  For `config.x`, ml_collections raises an AttributeError whose argument is a KeyError. For
  `config['x']` it raises the KeyError. The message of the KeyError begins with `'x'` or with
  `Key "x" does not exist`.
  """
  cause: Any = error
  if error.args and isinstance(error.args[0], KeyError):
    cause = error.args[0]
  message = str(cause.args[0]) if cause.args else ''
  # A KeyError may come from any dict. Only messages of ml_collections have one of these texts.
  is_about_key = 'config is locked' in message or 'Did you mean' in message
  if cause is error and not is_about_key:
    return None
  # The key is the first word in quotes.
  words = message.removeprefix('Key ').replace('"', "'").split("'")
  return next(filter(str.isidentifier, words), None)


# --- targets of count -------------------------------------------------------------------


def model_of(target: BaseConfig | ModelConfig) -> CountedModel:
  """Returns the model of a target of `count`, with a name to print."""
  return _model_and_config(target)[0]


def _model_and_config(
  target: BaseConfig | ModelConfig,
) -> tuple[CountedModel, RunConfig]:
  """Returns the model of a target of `count`, and the config of a run that trains it.

  The config is the default one if the target is only a model.
  """
  if isinstance(target, ModelConfig):
    return CountedModel('model', target), RunConfig()
  if not isinstance(target, (str, os.PathLike)):
    cfg = resolve(base_config(target))
    return CountedModel('config', _with_vocab_size(cfg)), cfg

  # A string is the name of a preset, or else the path of an experiment file, or else of a
  # config.json, or else the Hugging Face id of a preset. FILE.py:TEXT passes TEXT to
  # `get_config` of the experiment file.
  name = os.fspath(target)
  if name.lower() in PRESETS:
    return CountedModel(name.lower(), preset(name)), RunConfig()
  if name.partition(':')[0].endswith('.py'):
    cfg = resolve(base_config(name))
    return CountedModel(name, _with_vocab_size(cfg)), cfg
  path = as_path(name)
  if name.endswith('.json') or path.exists() or other_format(path):
    return read_published(name), RunConfig()
  # `preset` raises the error for an unknown name.
  return CountedModel(name, preset(name)), RunConfig()


def describe_target(
  target: BaseConfig | ModelConfig,
  *,
  batch_size: int | None = None,
  compiled: bool = False,
  **options: Any,
) -> ModelDescription:
  """Counts the parameters, FLOPs and bytes of a target of `count`.

  Args:
    target: As in `lmhp.count`.
    batch_size: Number of sequences in a training step. If it is given, the memory of training is
      estimated. The optimizer and the section `train` are those of the config, or the defaults
      if the target is only a model.
    compiled: If True, one update is compiled for this machine, and its memory is read.
    **options: `seq_len`, `device`, `utilization` and `tokens`, as in
      `lmhp.counting.description.describe`.

  Raises:
    ConfigError: If the target cannot be read, or if `compiled` is True without a batch size.
  """
  model, cfg = _model_and_config(target)
  if batch_size is None:
    if compiled:
      raise ConfigError('compiled: got no batch_size, expected a number of sequences')
    return describe(model, **options)
  # Check the other options first, because the memory takes longer.
  seq_len = describe(model, **options).seq_len
  train = dataclasses.replace(cfg.train, batch_size=batch_size, seq_len=seq_len)
  cfg = dataclasses.replace(cfg, model=model.cfg, train=train)
  memory = training_memory(cfg, compiled)
  return describe(model, batch_size=batch_size, memory=memory, **options)


def _with_vocab_size(cfg: RunConfig) -> ModelConfig:
  """Returns the config of the model. A missing vocabulary size is taken from the data."""
  if cfg.model.vocab_size is not None:
    return cfg.model
  vocab_size = datasets.load(cfg.data).vocab_size
  return dataclasses.replace(cfg.model, vocab_size=vocab_size)
