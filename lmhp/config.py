"""Conversion of configs: from a ConfigDict to a `RunConfig`, and from that to JSON and back.

A `RunConfig` is the checked, frozen form of a ConfigDict, with one dataclass for each section
(`model`, `data`, `train`, ...). `resolve` checks each value against the declaration of its key
(type, bounds, choices). `complete` fills in values that depend on the data and the machine:
the vocabulary size, the number of steps and the precision.

Only this file imports ml_collections.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
import copy
import dataclasses
import math
from typing import Any, TypeVar

from ml_collections import ConfigDict, config_dict
import numpy as np

from lmhp.config_keys import (
  SECTIONS,
  keys,
  keys_of_section,
  parse,
  type_of,
  unknown_key,
)
from lmhp.counting.parameters import count
from lmhp.errors import ConfigError, suggest, wrong_value
from lmhp.files import to_jsonable
from lmhp.hypers import flatten
from lmhp.model.config import ModelConfig
from lmhp.optim.schedules.config import in_fractions
from lmhp.params import KINDS
from lmhp.sections import require
from lmhp.training.config import RunConfig, TrainConfig
from lmhp.typing import JSON

T = TypeVar('T')

SMALLEST_FLOAT32 = float(np.finfo(np.float32).tiny)
"""Smallest positive normal number of float32."""
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
MAX_MESSAGE_LENGTH = 500
"""Largest number of characters of an error message. The middle of a longer one is cut out."""


def default_config() -> ConfigDict:
  """Returns a config with every key at its default, for an experiment file to change.

  A key can be set to another value of its type, and to None if its type allows None. No key
  can be added.
  """
  keys()  # loads the plugins, which may add keys to sections
  config = ConfigDict()
  for name, cls in SECTIONS.items():
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    # `resolve` checks the types, so the ConfigDict does not.
    config[name] = ConfigDict(defaults, type_safe=False)
  config.lock()
  return config


def to_config_dict(config: object) -> ConfigDict:
  """Returns a config as a new ConfigDict. References between keys (`get_ref`) are kept.

  Args:
    config: ConfigDict (frozen or not), mapping of mappings, or `RunConfig`.

  Raises:
    ConfigError: If the config has another type, or cannot be converted.
  """
  if isinstance(config, RunConfig):
    sections = sections_of(flatten(config))
    return ConfigDict(
      {name: ConfigDict(values, type_safe=False) for name, values in sections.items()}
    )
  if not isinstance(config, (ConfigDict, Mapping)):
    raise ConfigError(
      f'config: got {type(config).__name__}, expected a ConfigDict, a RunConfig or the '
      'path of an experiment file'
    )
  try:
    # The constructor accepts a ConfigDict, although its annotation does not.
    return copy.deepcopy(ConfigDict(config))  # pyright: ignore[reportArgumentType]
  except (TypeError, ValueError) as error:
    raise ConfigError(_one_line(f'config: {error}')) from None


def sections_of(values: Mapping[str, T]) -> dict[str, dict[str, T]]:
  """Converts {dotted path: value} to {section: {key: value}}."""
  sections: dict[str, dict[str, T]] = {name: {} for name in SECTIONS}
  for path, value in values.items():
    section, _, name = path.partition('.')
    sections[section][name] = value
  return sections


def override(config: ConfigDict, overrides: Mapping[str, object]) -> ConfigDict:
  """Sets keys of a config. `resolve` checks the values later.

  Args:
    config: Config to change in place.
    overrides: {dotted path: value}. A string is converted to the type of the key, by
      `lmhp.config_keys.parse`.

  Returns:
    The same config.

  Raises:
    ConfigError: If a path does not exist. The message names the nearest one.
  """
  for path, value in overrides.items():
    if not isinstance(path, str):
      raise wrong_value('overrides', path, 'the dotted path of a key as text')
    if path in SECTIONS:
      raise wrong_value(
        path,
        value,
        f'the path of a key and not of a whole section, such as {keys_of_section(path)[0]}',
      )
    if path not in keys():
      raise unknown_key(path)

    # Add the section if the config does not have it.
    section, _, name = path.partition('.')
    if section not in config:
      with config.unlocked():
        config[section] = ConfigDict()
    section_config = config[section]
    if not isinstance(section_config, ConfigDict):
      raise wrong_value(section, section_config, 'a section of keys')
    # The ConfigDict of a user may be locked, and may refuse a value of another type than the
    # present one.
    with section_config.unlocked(), section_config.ignore_type():
      try:
        section_config[name] = (
          parse(value, type_of(path)) if isinstance(value, str) else value
        )
      except OverflowError:
        raise wrong_value(path, value, 'a number in the range of a float') from None
  return config


# --- resolve ------------------------------------------------------------------------


def resolve(config: ConfigDict | Mapping[str, object] | RunConfig) -> RunConfig:
  """Returns the frozen, checked form of a config. Missing keys take their defaults.

  Args:
    config: ConfigDict, mapping of mappings, or `RunConfig` (returned unchanged).

  Raises:
    ConfigError: If a section or a key does not exist, or a value is not accepted. The message
      is one line with the dotted path, the value, and what is accepted.
  """
  if isinstance(config, RunConfig):
    return config
  for name in config:
    if name not in SECTIONS:
      raise ConfigError(f'{name}: no such section{suggest(str(name), SECTIONS)}')
  return RunConfig(
    **{
      name: _resolve_section(name, config[name]) for name in SECTIONS if name in config
    }
  )


def _resolve_section(
  name: str, section_config: object
) -> Any:  # the class of the section is only known at run time
  if not isinstance(section_config, (ConfigDict, Mapping)):
    raise ConfigError(
      _one_line(f'{name}: got {section_config!r}, expected a section of keys')
    )

  values = {}
  for key in section_config:
    path = f'{name}.{key}'
    if path not in keys():
      raise unknown_key(path)
    try:
      value = section_config[key]
    except config_dict.RequiredValueError:
      raise ConfigError(
        f'{path}: got no value for a required placeholder, expected a value'
      ) from None
    values[key] = _check_representable(path, value)
  try:
    return SECTIONS[name](**values)
  except ConfigError as error:
    raise ConfigError(_one_line(str(error))) from None


def _check_representable(path: str, value: object) -> object:
  """Checks that int64 or float32 can hold the numbers of a value.

  Returns the value, or a tuple if it is a numpy array.
  """
  if isinstance(value, np.ndarray):
    value = tuple(value.tolist()) if value.ndim else value.item()
  is_traced = keys()[path].traced
  for item in value if isinstance(value, (tuple, list)) else (value,):
    is_number = isinstance(item, (int, float, np.number))
    # Zero, infinities and NaN (the only number that differs from itself) need no check.
    if not is_number or item in (0, math.inf, -math.inf) or item != item:
      continue
    # A static number (part of the compiled program) must fit into int64. A traced number (an
    # argument of the program) must be a normal float32.
    if not is_traced and not -(2**63) < item < 2**63:
      raise ConfigError(
        f'{path}: got a number of more than 18 digits, expected one between -2**63 and 2**63'
      )
    if is_traced and not SMALLEST_FLOAT32 <= abs(item) <= LARGEST_FLOAT32:
      raise ConfigError(
        f'{path}: got a number that float32 cannot hold, expected 0 or an absolute '
        'value of 1.2e-38 to 3.4e38'
      )
  return value


def _one_line(text: str) -> str:
  """Returns a text without line breaks. The middle of a very long text is cut out."""
  text = ' '.join(line.strip() for line in text.splitlines())
  if len(text) <= MAX_MESSAGE_LENGTH:
    return text
  half = MAX_MESSAGE_LENGTH // 2
  return f'{text[:half]} ... {text[-half:]}'


# --- complete -----------------------------------------------------------------------

OBJECTIVES = {'decoder': 'causal', 'encoder': 'masked', 'encoder_decoder': 'span'}
"""{value of model.architecture: value of data.objective that it requires}.

A decoder with `model.prefix_lm` requires 'prefix' instead.
"""


def complete(
  cfg: RunConfig, *, vocab_size: int, tokens_per_epoch: int, dtype: str
) -> RunConfig:
  """Fills in the values that depend on the data and on the machine.

  Args:
    cfg: Resolved config.
    vocab_size: Vocabulary size of the tokenizer.
    tokens_per_epoch: Training tokens of one pass over the data.
    dtype: Precision to use for `model.dtype='auto'`.

  Returns:
    A config in which the vocabulary size, the precision, the sequence length, the number
    of steps and the intervals of the schedule (such as the warmup) are set.

  Raises:
    ConfigError: If the data, the model and the batch do not fit together.
  """
  _check_objective(cfg)
  # Complete the model first, because its context is the default sequence length.
  model = _complete_model(cfg, vocab_size, dtype)
  train = dataclasses.replace(cfg.train, seq_len=cfg.train.seq_len or model.max_seq_len)
  _check_batch(train, model, cfg.data.objective)

  # Convert the length of training (such as `train.tokens`) to a number of steps, and the
  # intervals of the schedule (such as `schedule.warmup_steps`) to fractions of that.
  n_parameters = count(model).total
  train = train.in_steps(tokens_per_epoch, n_parameters)
  tokens_per_step = train.batch_size * train.seq_len
  schedule = in_fractions(
    cfg.schedule,
    train.steps,
    tokens_per_step,
    tokens_per_epoch / tokens_per_step,
    n_parameters,
  )
  return dataclasses.replace(cfg, model=model, train=train, schedule=schedule)


def _complete_model(cfg: RunConfig, vocab_size: int, dtype: str) -> ModelConfig:
  """Returns the model with the vocabulary of the data and the precision of the machine."""
  model = cfg.model
  is_large_enough = model.vocab_size is None or model.vocab_size >= vocab_size
  accepted = (
    f'at least the {vocab_size} tokens of data.tokenizer={cfg.data.tokenizer!r}'
  )
  require(model, is_large_enough, 'vocab_size', accepted)
  return dataclasses.replace(
    model,
    vocab_size=model.vocab_size or vocab_size,
    dtype=dtype if model.dtype == 'auto' else model.dtype,
  )


def _check_batch(train: TrainConfig, model: ModelConfig, objective: str) -> None:
  """Checks that sequences fit into the model.

  Also checks that the tokens of a microbatch can be split into `loss_chunks` equal parts.
  """
  fits = train.seq_len <= model.max_seq_len or model.position != 'learned'
  accepted = (
    f'at most model.max_seq_len={model.max_seq_len}, since positions are learned'
  )
  require(train, fits, 'seq_len', accepted)
  # The check below uses the number of tokens. With span corruption, the number of targets
  # differs from it, so only one chunk is accepted.
  is_accepted = objective != 'span' or train.loss_chunks == 1
  require(train, is_accepted, 'loss_chunks', '1 if data.objective is span')
  tokens_per_microbatch = (
    train.batch_size // train.grad_accumulation_steps * train.seq_len
  )
  is_divisor = tokens_per_microbatch % train.loss_chunks == 0
  accepted = f'a divisor of {tokens_per_microbatch}, the tokens of a microbatch'
  require(train, is_divisor, 'loss_chunks', accepted)


def _check_objective(cfg: RunConfig) -> None:
  model = cfg.model
  objective = 'prefix' if model.prefix_lm else OBJECTIVES[model.architecture]
  accepted = (
    f'{objective} if model.architecture is {model.architecture} and model.prefix_lm is '
    f'{model.prefix_lm}'
  )
  require(cfg.data, cfg.data.objective == objective, 'objective', accepted)


def unread_multipliers(cfg: RunConfig) -> list[str]:
  """Returns the learning-rate multipliers of the kinds of which the model has no parameter.

  Args:
    cfg: Complete config.

  Returns:
    Dotted paths, such as 'optimizer.positional_lr_multiplier' for a model without a table of
    positions.
  """
  by_kind = count(cfg.model).by_kind
  return [f'optimizer.{kind}_lr_multiplier' for kind in KINDS if not by_kind.get(kind)]


def check_multipliers_are_read(cfg: RunConfig, varied: Collection[str] = ()) -> None:
  """Checks that no learning-rate multiplier is set for a kind without parameters.

  Args:
    cfg: Complete config.
    varied: Dotted paths that a sweep varies.

  Raises:
    ConfigError: If such a multiplier is set or varied.
  """
  for path in unread_multipliers(cfg):
    value = getattr(cfg.optimizer, path.rpartition('.')[2])
    if value != 1.0 or path in varied:
      raise ConfigError(
        f'{path}: got {"a parameter" if path in varied else value}, expected 1.0, since '
        'the model has no parameter of this kind'
      )


# --- JSON ---------------------------------------------------------------------------


def to_json(cfg: RunConfig) -> dict[str, dict[str, JSON]]:
  """Returns a config as {section: {key: value}} for JSON. Infinity is the word 'inf'."""
  return sections_of(to_jsonable(flatten(cfg)))


def from_json(sections: Mapping[str, Mapping[str, JSON]]) -> RunConfig:
  """Returns the config that `to_json` wrote.

  Raises:
    ConfigError: If `sections` has another form, or a value is not accepted.
  """
  is_mapping = isinstance(sections, Mapping)
  if not is_mapping or not all(isinstance(v, Mapping) for v in sections.values()):
    raise ConfigError('config: got another form, expected {section: {key: value}}')
  config: dict[str, dict[str, JSON]] = {}
  for section, values in sections.items():
    config[section] = {
      key: _word_to_infinity(f'{section}.{key}', value) for key, value in values.items()
    }
  return resolve(config)


def _word_to_infinity(path: str, value: JSON) -> JSON:
  """Converts 'inf' and '-inf' to floats for a key that has no effect if it is infinity.

  Such a key is `optimizer.clip_norm`. For other keys, these words stay unchanged.
  """
  declaration = keys().get(path)
  accepts_infinity = declaration is not None and declaration.neutral == math.inf
  if accepts_infinity and isinstance(value, str) and value in ('inf', '-inf'):
    return float(value)
  return value
