"""ConfigDict <-> the sections' dataclasses: defaults, overrides, and errors that name the path.

A `RunConfig` is the resolved, frozen form of a user's ConfigDict. `resolve` checks each value against its declaration;
`complete` fills in what the data and the machine decide (vocabulary, steps, precision).
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import difflib
import math
import types
import typing
from typing import Any, Mapping

from ml_collections import ConfigDict, config_dict
import numpy as np

from lmhp.counting.parameters import count
from lmhp.errors import ConfigError, suggest, wrong
from lmhp.hypers import declared, flatten
from lmhp.optim.schedules import in_fractions
from lmhp.training.config import RunConfig

SECTIONS: dict[str, type] = typing.get_type_hints(RunConfig)
HINTS: dict[str, dict[str, Any]] = {
  name: typing.get_type_hints(cls) for name, cls in SECTIONS.items()
}
FLOAT32 = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
KEYS: dict[str, Any] = {
  f'{name}.{key}': d
  for name, cls in SECTIONS.items()
  for key, d in declared(cls).items()
}


def default_config() -> ConfigDict:
  """Every key at its default, for an experiment file to change.

  A key may be set to another value of its own type, to None where its declaration says so, and no key can be added.
  """
  config = ConfigDict()
  for name, cls in SECTIONS.items():
    config[name] = ConfigDict(
      {f.name: f.default for f in dataclasses.fields(cls)}, type_safe=False
    )
  config.lock()
  return config


def to_config_dict(config: Any) -> ConfigDict:
  """A ConfigDict of our own, whatever a config came as; references between its keys stay references.

  Args:
    config: a ConfigDict (frozen or not), a mapping of mappings, or a `RunConfig`.

  Raises:
    ConfigError: where it is none of these.
  """
  if isinstance(config, RunConfig):
    return ConfigDict(
      {
        s: ConfigDict(keys, type_safe=False)
        for s, keys in _tree(flatten(config)).items()
      }
    )
  if not isinstance(config, (ConfigDict, Mapping)):
    raise ConfigError(
      f'config: got {type(config).__name__}, expected a ConfigDict, a RunConfig or the path of an '
      'experiment file'
    )
  try:
    return copy.deepcopy(ConfigDict(config))
  except (TypeError, ValueError) as error:
    raise ConfigError(_one_line(f'config: {error}')) from None


def _tree(flat: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
  """{section: {key: value}} of {dotted path: value}."""
  tree: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
  for path, value in flat.items():
    section, _, name = path.partition('.')
    tree[section][name] = value
  return tree


# --- overrides ------------------------------------------------------------------------------------------------------


def override(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
  """Sets dotted paths, each to a value or to the text of one. Whether the value fits is `resolve`'s to say.

  Args:
    config: changed in place and returned.
    overrides: {dotted path: value}; text is read by `parse`.

  Raises:
    ConfigError: for a path that does not exist, with the nearest that does.
  """
  for path, value in overrides.items():
    if path in SECTIONS:
      raise ConfigError(
        f'{path}: got {value!r} for a whole section, expected one of its keys, as {_keys_of(path)[0]}'
      )
    if path not in KEYS:
      raise ConfigError(f'{path}: no such key{nearest_key(path)}')
    section, _, name = path.partition('.')
    if section not in config:
      with config.unlocked():
        config[section] = ConfigDict()
    keys = config[section]
    if not isinstance(keys, ConfigDict):
      raise ConfigError(f'{section}: got {keys!r}, expected a section of keys')
    with keys.unlocked(), keys.ignore_type():
      keys[name] = (
        parse(value, HINTS[section][name]) if isinstance(value, str) else value
      )
  return config


def parse(text: str, hint: Any) -> Any:
  """A value from its text, as the type of its key says.

  Words and paths are taken as they stand; numbers, tuples, True and None as Python writes them (`3e-3`, `inf`,
  `('local', 'global')`). A tuple may also be written with commas alone, a bool as 0 or 1. What is none of these stays
  text, for `resolve` to refuse.

  Args:
    text: what the user wrote.
    hint: the type of the key.

  >>> (
  ...   parse('none', str),
  ...   parse('none', str | None),
  ...   parse('1e-3', float),
  ...   parse('a,b', tuple[str, ...]),
  ... )
  ('none', None, 0.001, ('a', 'b'))
  """
  options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
  word = text.strip().lower()
  if word == 'none' and type(None) in options:
    return None
  element = next(
    (typing.get_args(o)[0] for o in options if typing.get_origin(o) is tuple), None
  )
  if element is not None:
    value = _literal(text)
    whole = isinstance(value, (tuple, list))
    return (
      value
      if whole
      else tuple(
        parse(part.strip(), element) for part in text.split(',') if part.strip()
      )
    )
  if bool in options and word in _BOOLS:
    return _BOOLS[word]
  if str in options:
    return value if isinstance(value := _literal(text), str) else text
  return float(word) if word in _NOT_FINITE else _literal(text)


_BOOLS = {'true': True, 'false': False, '1': True, '0': False}
_NOT_FINITE = ('inf', '+inf', '-inf', 'nan')


def _literal(text: str) -> Any:
  try:
    return ast.literal_eval(text.strip())
  except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
    return text


def _keys_of(section: str) -> list[str]:
  return [path for path in KEYS if path.startswith(f'{section}.')]


def nearest_key(path: str) -> str:
  """'; did you mean X?' for a key that does not exist: one of that name or alias elsewhere, else the nearest."""
  section, _, name = path.rpartition('.')
  meant = [
    key
    for key, d in KEYS.items()
    if key.rpartition('.')[2] == name or name in d.aliases
  ]
  for among in (_keys_of(section), KEYS if section else (*KEYS, *SECTIONS)):
    names = {key.rpartition('.')[2]: key for key in among}
    meant = meant or [
      names[near] for near in difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    ]
  return (
    f'; did you mean {" or ".join(map(repr, meant))}?'
    if meant
    else suggest(path, SECTIONS)
  )


# --- from words to a checked config ---------------------------------------------------------------------------------


def resolve(config: Any) -> RunConfig:
  """The frozen, checked form of a config; keys left out take their defaults.

  Args:
    config: a ConfigDict, a mapping of mappings, or a `RunConfig`, which is resolved already.

  Raises:
    ConfigError: one line with the dotted path, what came and what is accepted.
  """
  if isinstance(config, RunConfig):
    return config
  if unknown := [name for name in config if name not in SECTIONS]:
    raise ConfigError(
      f'{unknown[0]}: no such section{suggest(str(unknown[0]), SECTIONS)}'
    )
  return RunConfig(
    **{name: _section(name, config) for name in SECTIONS if name in config}
  )


def _section(name: str, config: Mapping[str, Any]) -> Any:
  """One section, from the values that the config has for its keys."""
  keys = config[name]
  if not isinstance(keys, (ConfigDict, Mapping)):
    raise ConfigError(_one_line(f'{name}: got {keys!r}, expected a section of keys'))
  values = {}
  for key in keys:
    path = f'{name}.{key}'
    if path not in KEYS:
      raise ConfigError(f'{path}: no such key{nearest_key(path)}')
    try:
      values[key] = keys[key]
    except config_dict.RequiredValueError:
      raise ConfigError(
        f'{path}: got no value for a required placeholder, expected one'
      ) from None
    values[key] = _plain(path, values[key])
  try:
    return SECTIONS[name](**values)
  except ConfigError as error:
    raise ConfigError(_one_line(str(error))) from None


def _plain(path: str, value: Any) -> Any:
  """The value, numpy's arrays as tuples; no number larger or smaller than the program can hold."""
  if isinstance(value, np.ndarray):
    value = tuple(value.tolist()) if value.ndim else value.item()
  for one in value if isinstance(value, (tuple, list)) else (value,):
    if (
      not isinstance(one, (int, float, np.number))
      or one == 0
      or one in (math.inf, -math.inf)
      or one != one
    ):
      continue
    if not -(2**63) < one < 2**63 and not KEYS[path].traced:
      raise ConfigError(
        f'{path}: got a number of more than 18 digits, expected one below 2**63'
      )
    if KEYS[path].traced and not FLOAT32[0] <= abs(one) <= FLOAT32[1]:
      raise ConfigError(
        f'{path}: got a number that float32 cannot hold, expected 0, or 1.2e-38 to 3.4e38'
      )
  return value


def _one_line(text: str, most: int = 500) -> str:
  """The text without line breaks, and without its middle where it is very long."""
  text = ' '.join(line.strip() for line in text.splitlines())
  return text if len(text) <= most else f'{text[: most // 2]} ... {text[-most // 2 :]}'


OBJECTIVES = {'decoder': 'causal', 'encoder': 'masked', 'encoder_decoder': 'span'}
"""What each architecture learns."""


def complete(
  cfg: RunConfig, *, vocab_size: int, tokens_per_epoch: int, dtype: str
) -> RunConfig:
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
  objective = 'prefix' if model.prefix else OBJECTIVES[model.architecture]
  if cfg.data.objective != objective:
    raise wrong(
      cfg.data,
      'objective',
      f'{objective} where model.architecture is {model.architecture} and model.prefix '
      f'{model.prefix}',
    )
  if model.vocab_size is not None and model.vocab_size < vocab_size:
    raise wrong(
      model,
      'vocab_size',
      f'at least the {vocab_size} tokens of data.tokenizer={cfg.data.tokenizer!r}',
    )
  model = dataclasses.replace(
    model,
    vocab_size=model.vocab_size or vocab_size,
    dtype=dtype if model.dtype == 'auto' else model.dtype,
  )
  train = dataclasses.replace(train, seq_len=train.seq_len or model.max_seq_len)
  if train.seq_len > model.max_seq_len and model.position == 'learned':
    raise wrong(
      train,
      'seq_len',
      f'at most model.max_seq_len={model.max_seq_len}, since positions are learned',
    )
  if objective == 'span' and train.loss_chunks > 1:
    raise wrong(train, 'loss_chunks', '1 where data.objective is span')
  if train.batch_size // train.accumulation * train.seq_len % train.loss_chunks:
    raise wrong(
      train,
      'loss_chunks',
      f'a divisor of {train.batch_size // train.accumulation * train.seq_len} tokens',
    )
  parameters = count(model).total
  train = train.in_steps(tokens_per_epoch, parameters)
  tokens_per_step = train.batch_size * train.seq_len
  schedule = in_fractions(
    cfg.schedule,
    train.steps,
    tokens_per_step,
    tokens_per_epoch / tokens_per_step,
    parameters,
  )
  return dataclasses.replace(cfg, model=model, train=train, schedule=schedule)


# --- in words -------------------------------------------------------------------------------------------------------


def to_json(cfg: RunConfig) -> dict[str, dict[str, Any]]:
  """The config as nested plain dicts; infinities as the word 'inf'."""
  plain = lambda v: str(v) if isinstance(v, float) and math.isinf(v) else v
  return _tree(
    {
      path: [plain(v) for v in value] if isinstance(value, tuple) else plain(value)
      for path, value in flatten(cfg).items()
    }
  )


def from_json(tree: Mapping[str, Mapping[str, Any]]) -> RunConfig:
  """The inverse of `to_json`.

  Raises:
    ConfigError: where the tree is not what `to_json` made.
  """
  if not isinstance(tree, Mapping) or not all(
    isinstance(keys, Mapping) for keys in tree.values()
  ):
    raise ConfigError('config: expected sections of keys')
  back = lambda path, v: (
    float(v) if v in ('inf', '-inf') and KEYS[path].neutral == math.inf else v
  )
  return resolve(
    {
      s: {
        key: back(f'{s}.{key}', v) if f'{s}.{key}' in KEYS else v
        for key, v in keys.items()
      }
      for s, keys in tree.items()
    }
  )


def differences(a: RunConfig, b: RunConfig) -> dict[str, tuple[Any, Any]]:
  """Dotted paths whose values differ, with both values."""
  flat_a, flat_b = flatten(a), flatten(b)
  return {
    path: (flat_a[path], flat_b[path])
    for path in flat_a
    if flat_a[path] != flat_b[path]
  }
