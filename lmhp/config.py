"""ConfigDict <-> the sections' dataclasses: defaults, experiment files, overrides, and errors that name the path.

A `RunConfig` is the resolved, frozen form of a user's ConfigDict. `resolve` checks each value against its declaration;
`complete` fills in what the data and the machine decide (vocabulary, steps, precision).
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
import os
import types
import typing
from typing import Any, Mapping

from ml_collections import ConfigDict

from lmhp.counting.parameters import count
from lmhp.hypers import ConfigError, declared, flatten, suggest, wrong
from lmhp.optim.schedules import in_fractions
from lmhp.training.config import RunConfig


SECTIONS: dict[str, type] = {f.name: typing.get_type_hints(RunConfig)[f.name] for f in dataclasses.fields(RunConfig)}


def default_config() -> ConfigDict:
  """Every key at its default, for an experiment file to change.

  A key may be set to another value of its own type, to None where its declaration says so, and no key can be added.
  """
  config = ConfigDict()
  for name, cls in SECTIONS.items():
    config[name] = ConfigDict({f.name: f.default for f in dataclasses.fields(cls)}, type_safe=False)
  config.lock()
  return config


def to_config_dict(cfg: RunConfig) -> ConfigDict:
  """A resolved config as a ConfigDict that can be changed again."""
  config = default_config()
  for path, value in flatten(cfg).items():
    section, _, name = path.partition('.')
    config[section][name] = value
  return config


def load(path: str) -> tuple[ConfigDict, types.ModuleType]:
  """Runs an experiment file and returns its config and the module.

  Args:
    path: of a Python file with `get_config()`; what follows a colon is handed to it as a string.

  Raises:
    ConfigError: where there is no such file, or it fails, or defines no `get_config`.
  """
  path, _, argument = str(path).partition(':')
  if not os.path.isfile(path):
    raise ConfigError(f'--config: no experiment file {path!r}{_nearest_file(path)}')
  spec = importlib.util.spec_from_file_location('lmhp_experiment', path)
  module = importlib.util.module_from_spec(spec) if spec and spec.loader else None
  if module is None:
    raise ConfigError(f'--config: {path!r} is no Python file')
  try:
    spec.loader.exec_module(module)
    if not callable(getattr(module, 'get_config', None)):
      raise ConfigError(f'--config: {path!r} defines no get_config()')
    config = module.get_config(argument) if argument else module.get_config()
  except ConfigError:
    raise
  except Exception as error:  # whatever the user's file raises, its line is what helps
    raise ConfigError(f'--config: {path!r}{_line_in(path, error)}: {type(error).__name__}: {_first_line(error)}') from error
  if not isinstance(config, ConfigDict):
    raise ConfigError(f'--config: get_config() of {path!r} returned {type(config).__name__}, expected a ConfigDict')
  return config, module


def _nearest_file(path: str) -> str:
  folder = os.path.dirname(path) or '.'
  names = [os.path.join(os.path.dirname(path), n) for n in os.listdir(folder)] if os.path.isdir(folder) else []
  return suggest(path, names)


def _line_in(path: str, error: BaseException) -> str:
  lines, trace = [], error.__traceback__
  while trace:
    if trace.tb_frame.f_code.co_filename == path:
      lines.append(trace.tb_lineno)
    trace = trace.tb_next
  return f', line {lines[-1]}' if lines else ''


def _first_line(error: BaseException) -> str:
  return (str(error).strip() or 'no message').split('\n')[0]


def override(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
  """Sets dotted paths, each to a value or to the text of one.

  Text is read as Python reads it (`3e-3`, `None`, `('local', 'global')`); what Python does not read is a word. Whether
  the value fits is `resolve`'s to say.

  Args:
    config: changed in place and returned.
    overrides: {dotted path: value}.

  Raises:
    ConfigError: for a path that does not exist, with the nearest that does.
  """
  paths = [f'{s}.{f.name}' for s, cls in SECTIONS.items() for f in dataclasses.fields(cls)]
  for path, value in overrides.items():
    if path not in paths:
      raise ConfigError(f'{path}: no such key{_nearest_key(path, paths)}')
    section, _, name = path.partition('.')
    if section not in config:
      config.unlock()
      config[section] = ConfigDict(type_safe=False)
    with config[section].unlocked():
      config[section][name] = parse(value) if isinstance(value, str) else value
  return config


def parse(text: str) -> Any:
  """A value from its text: a Python literal (numbers, tuples, None, True), else the word itself."""
  if ',' in text and not text.lstrip().startswith(('(', '[')):
    return tuple(parse(part) for part in text.split(',') if part.strip())
  try:
    return ast.literal_eval(text.strip())
  except (ValueError, SyntaxError, MemoryError, RecursionError):
    return {'true': True, 'false': False, 'none': None, 'inf': float('inf')}.get(text.strip().lower(), text)


def _nearest_key(path: str, paths: list[str]) -> str:
  if hint := suggest(path, paths):
    return hint
  return suggest(path.rpartition('.')[2], [p.rpartition('.')[2] for p in paths])


def resolve(config: ConfigDict | RunConfig | Mapping[str, Any]) -> RunConfig:
  """The frozen, checked form of a config; keys left out take their defaults.

  Raises:
    ConfigError: one line with the dotted path, what came and what is accepted.
  """
  if isinstance(config, RunConfig):
    return config
  tree = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
  if unknown := [name for name in tree if name not in SECTIONS]:
    raise ConfigError(f'{unknown[0]}: no such section{suggest(unknown[0], SECTIONS)}')
  sections = {}
  for name, cls in SECTIONS.items():
    values = tree.get(name, {})
    if not isinstance(values, Mapping):
      raise ConfigError(f'{name}: got {values!r}, expected a section of keys')
    known = [f.name for f in dataclasses.fields(cls)]
    if wrong_keys := [key for key in values if key not in known]:
      raise ConfigError(f'{name}.{wrong_keys[0]}: no such key{suggest(wrong_keys[0], known)}')
    sections[name] = cls(**values)
  return RunConfig(**sections)


def complete(cfg: RunConfig, *, vocab_size: int, tokens_per_epoch: int, dtype: str) -> RunConfig:
  """Fills in what the data and the machine decide.

  Args:
    cfg: resolved.
    vocab_size: the tokenizer's.
    tokens_per_epoch: training tokens of one pass.
    dtype: what `model.dtype` 'auto' stands for here.

  Returns:
    A config whose vocabulary, precision, sequence length, steps and schedule intervals are numbers.
  """
  model, train = cfg.model, cfg.train
  if model.vocab_size is not None and model.vocab_size < vocab_size:
    raise wrong(model, 'vocab_size', f'at least the {vocab_size} tokens of data.tokenizer={cfg.data.tokenizer!r}')
  model = dataclasses.replace(model, vocab_size=model.vocab_size or vocab_size,
                              dtype=dtype if model.dtype == 'auto' else model.dtype)
  train = dataclasses.replace(train, seq_len=train.seq_len or model.max_seq_len)
  if train.seq_len > model.max_seq_len and model.position == 'learned':
    raise wrong(train, 'seq_len', f'at most model.max_seq_len={model.max_seq_len}, since positions are learned')
  if train.batch_size // train.accumulation * train.seq_len % train.loss_chunks:
    raise wrong(train, 'loss_chunks', f'a divisor of {train.batch_size // train.accumulation * train.seq_len} tokens')
  parameters = count(model).total
  train = train.in_steps(tokens_per_epoch, parameters)
  tokens_per_step = train.batch_size * train.seq_len
  schedule = in_fractions(cfg.schedule, train.steps, tokens_per_step, tokens_per_epoch / tokens_per_step, parameters)
  return dataclasses.replace(cfg, model=model, train=train, schedule=schedule)


# --- in words -------------------------------------------------------------------------------------------------------


def to_json(cfg: RunConfig) -> dict[str, dict[str, Any]]:
  """The config as nested plain dicts; infinities as the word 'inf'."""
  plain = lambda v: str(v) if isinstance(v, float) and v in (float('inf'), -float('inf')) else v
  out: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
  for path, value in flatten(cfg).items():
    section, _, name = path.partition('.')
    out[section][name] = [plain(v) for v in value] if isinstance(value, tuple) else plain(value)
  return out


def from_json(tree: Mapping[str, Any]) -> RunConfig:
  """The inverse of `to_json`."""
  back = lambda v: float(v) if v in ('inf', '-inf') else v
  return resolve({s: {k: tuple(v) if isinstance(v, list) else back(v) for k, v in keys.items()}
                  for s, keys in tree.items()})


def differences(a: RunConfig, b: RunConfig) -> dict[str, tuple[Any, Any]]:
  """Dotted paths whose values differ, with both values."""
  flat_a, flat_b = flatten(a), flatten(b)
  return {path: (flat_a[path], flat_b[path]) for path in flat_a if flat_a[path] != flat_b[path]}


def help_text() -> str:
  """Every key: static or traced, unit, bounds, default, what it does, source."""
  lines = []
  for name, cls in SECTIONS.items():
    lines.append(f'\n{name}: {(cls.__doc__ or "").strip().splitlines()[0]}')
    defaults = {f.name: f.default for f in dataclasses.fields(cls)}
    for key, d in declared(cls).items():
      facts = ['traced' if d.traced else 'static', f'default {json.dumps(defaults[key], default=str)}']
      facts += [d.unit] if d.unit else []
      facts += ['one of ' + ' '.join(map(str, d.choices))] if d.choices else []
      facts += [_bounds(d)] if _bounds(d) else []
      facts += ['also called ' + ', '.join(d.aliases)] if d.aliases else []
      facts += [d.source] if d.source else []
      lines.append(f'  {name}.{key}: {d.doc}\n      {"; ".join(facts)}')
  return '\n'.join(lines)


def _bounds(d: Any) -> str:
  low = '' if d.low is None else f'{"above" if d.open_low else "at least"} {d.low}'
  high = '' if d.high is None else f'{"below" if d.open_high else "at most"} {d.high}'
  return ' and '.join(x for x in (low, high) if x)
