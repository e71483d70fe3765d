"""Keys of a config: declarations, types, values from text, unknown keys, unread keys."""

from __future__ import annotations

import ast
from collections.abc import Mapping
import dataclasses
import difflib
import functools
import typing
from typing import Any, TypeAlias

from lmhp import sections
from lmhp.data import config as data_config
from lmhp.declarations import Declaration, declared, options_of
from lmhp.errors import ConfigError, suggest
from lmhp.hypers import flatten
from lmhp.model.config import read_rules
from lmhp.model.mixers.registry import mixers_that_read
from lmhp.optim import config as optim_config
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.schedules.config import INTERVALS, ScheduleConfig
from lmhp.registry import load_installed_plugins
from lmhp.renamed_keys import RENAMED_KEYS
from lmhp.sections import Section
from lmhp.training.config import RunConfig

Values: TypeAlias = Mapping[str, Any]
"""{dotted path: value} of all keys of a config."""

SECTIONS: dict[str, type[Section]] = typing.get_type_hints(RunConfig)
"""{name of a section: class of the section}."""


def keys() -> dict[str, Declaration]:
  """Returns {dotted path: declaration} of all keys, including those of plugins."""
  load_installed_plugins()
  return _keys(sections.keys_version())


@functools.lru_cache(maxsize=1)
def _keys(version: int) -> dict[str, Declaration]:
  """Implements `keys`. When a plugin adds a key, `version` changes, so the dict is built anew."""
  declarations = {}
  for name, cls in SECTIONS.items():
    declarations |= {f'{name}.{key}': value for key, value in declared(cls).items()}
  return declarations


def type_of(path: str) -> object:
  """Returns the type annotation of a key.

  Args:
    path: Dotted path of a key that exists.
  """
  section, _, name = path.partition('.')
  return sections.types_of(SECTIONS[section])[name]


def keys_of_section(section: str) -> list[str]:
  """Returns the dotted paths of the keys of a section."""
  return [path for path in keys() if path.startswith(f'{section}.')]


# --- unknown names ------------------------------------------------------------------


def unknown_key(path: str) -> ConfigError:
  """Builds the error for a key that does not exist, with a suggestion."""
  return ConfigError(f'{path}: no such key{suggest_key(path)}')


def suggest_key(
  path: str, declarations: Mapping[str, Declaration] | None = None
) -> str:
  """Returns `; did you mean X?` for a key that does not exist, or an empty string.

  The first of these that exists is suggested:

  1. The new name of a renamed key.
  2. Each key, in any section, that has this name or has it as an alias.
  3. The key with the most similar name in the section of `path`.
  4. The key with the most similar name in any section, or the section with the most similar
     name.

  Args:
    path: Dotted path, or the name of a key without its section.
    declarations: {dotted path: declaration} of the keys to choose from. None means all keys
      of a run's config.

  >>> suggest_key('schedule.min_lr')
  "; did you mean 'schedule.final_lr_ratio' (min_lr / optimizer.learning_rate)?"
  """
  if declarations is None:
    declarations = keys()
  section, _, name = path.rpartition('.')
  # First a key that had this name before it was renamed.
  for new, old in RENAMED_KEYS.items():
    is_old_name = path == old or not section and name == old.rpartition('.')[2]
    if is_old_name and new in declarations:
      return f'; did you mean {new!r}?'

  # Then a key with this name as an alias.
  matches = _keys_called(name, declarations)
  if matches:
    return f'; did you mean {" or ".join(matches)}?'

  # Then a similar name, first in the same section and then everywhere.
  sections_of_keys = list(dict.fromkeys(key.partition('.')[0] for key in declarations))
  in_section = [key for key in declarations if key.startswith(f'{section}.')]
  everywhere = [*declarations] if section else [*declarations, *sections_of_keys]
  for candidates in (in_section, everywhere):
    names = {candidate.rpartition('.')[2]: candidate for candidate in candidates}
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
      return f'; did you mean {names[near[0]]!r}?'
  return suggest(path, sections_of_keys)


def _keys_called(name: str, declarations: Mapping[str, Declaration]) -> list[str]:
  """Returns the keys that have this name or alias, as text for the error message.

  If the value has to be converted, the text includes the conversion.
  """
  called = []
  for key, declaration in declarations.items():
    if key.rpartition('.')[2] == name or name in declaration.aliases:
      called.append(repr(key))
    elif name in declaration.converted_aliases:
      called.append(f'{key!r} ({declaration.converted_aliases[name]})')
  return called


# --- values from text ---------------------------------------------------------------

_BOOLS = {'true': True, 'false': False, '1': True, '0': False}
_NONFINITE = ('inf', '+inf', '-inf', 'nan')


def parse(text: str, hint: object) -> object:
  """Converts a text on the command line to the value of a key.

  For a key of type str, the text is the value, except that quotes around it are removed.
  Numbers, tuples, True and None are written as in Python (`3e-3`, `('local', 'global')`).
  `inf` and `nan` are numbers. A tuple may also be written without brackets and quotes
  (`local,global`), and a bool as 0 or 1. Any other text is returned unchanged, and the check
  of the config refuses it.

  Args:
    text: Text that the user typed.
    hint: Type annotation of the key, such as `float | None`.

  >>> parse('none', str), parse('none', str | None), parse('1e-3', float)
  ('none', None, 0.001)
  >>> parse('a,b', tuple[str, ...])
  ('a', 'b')
  """
  # The type of the key decides how its text is read.
  options = options_of(hint)
  word = text.strip().lower()
  if word == 'none' and type(None) in options:
    return None
  for option in options:
    if typing.get_origin(option) is tuple:
      return _parse_tuple(text, typing.get_args(option)[0])
  if bool in options and word in _BOOLS:
    return _BOOLS[word]
  if str in options:
    # A quoted text loses its quotes. All other text stays as it is.
    value = _literal(text)
    return value if isinstance(value, str) else text
  if word in _NONFINITE:
    return float(word)
  return _literal(text)


def _parse_tuple(text: str, item_type: object) -> object:
  value = _literal(text)
  if isinstance(value, (tuple, list)):
    return value
  parts = [part.strip() for part in text.split(',')]
  return tuple(parse(part, item_type) for part in parts if part)


def _literal(text: str) -> object:
  """Returns the value of a Python literal. A text that is no literal is returned unchanged."""
  try:
    return ast.literal_eval(text.strip())
  except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
    return text


# --- keys that have no effect -------------------------------------------------------

READ_RULES = (*data_config.READ_RULES, *read_rules.READ_RULES, *optim_config.READ_RULES)
"""Rules for all keys but those that single optimizers, schedules and token mixers read."""

BY_NAME: dict[str, type[OptimizerConfig | ScheduleConfig]] = {
  'optimizer': OptimizerConfig,
  'schedule': ScheduleConfig,
}
"""Sections whose key `name` decides which of their keys are read."""


@dataclasses.dataclass(frozen=True)
class Unread:
  """Reason for which a key has no effect.

  Attributes:
    decider: Dotted path of the key that switches it off.
    value: Value of this key.
    accepted: Description of the values with which the key would have an effect.
  """

  decider: str
  value: object
  accepted: str

  def __str__(self) -> str:
    return f'it has no effect with {self.decider}={self.value!r}'


def reason_unread(path: str, values: Values) -> Unread | None:
  """Returns the reason for which a key has no effect, or None if it has an effect.

  Args:
    path: Dotted path of the key.
    values: Values of all keys.
  """
  section, _, key = path.partition('.')
  if section in BY_NAME and key != 'name':
    name_path = f'{section}.name'
    name = values[name_path]
    if key not in _keys_read(section, name, sections.keys_version()):
      return Unread(name_path, name, 'a name that reads it')
  mixers = mixers_that_read(key) if section == 'model' else []
  if mixers and not set(mixers) & set(values['model.mixer_pattern']):
    accepted = f'a pattern with {" or ".join(mixers)}'
    return Unread('model.mixer_pattern', values['model.mixer_pattern'], accepted)
  for rule in READ_RULES:
    if path in rule.paths and not rule.accepts(values[rule.decider]):
      return Unread(rule.decider, values[rule.decider], rule.accepted)
  # The start of a warmup that does not exist.
  if path == 'schedule.initial_lr_ratio' and not _has_warmup(values):
    return Unread('schedule.warmup_fraction', 0.0, 'a number above 0')
  return None


@functools.lru_cache(maxsize=1000)
def _keys_read(section: str, name: str, version: int) -> frozenset[str]:
  """Returns the keys that an optimizer or a schedule reads. See `_keys` for `version`."""
  return BY_NAME[section](name=name).keys_read()


def _has_warmup(values: Values) -> bool:
  """Returns True if the learning rate begins with a warmup."""
  names = [f'{INTERVALS[0]}_fraction', *_other_units(INTERVALS[0])]
  return any(values[f'schedule.{name}'] for name in names)


def _other_units(interval: str) -> list[str]:
  """Returns the keys that give an interval in another unit than a fraction."""
  return [
    name
    for name in ScheduleConfig.__dataclass_fields__
    if name.startswith(f'{interval}_') and name != f'{interval}_fraction'
  ]


# --- keys that are set ----------------------------------------------------------------


def is_set(section: Section, key: str) -> bool:
  """Returns True if the value of a key differs from its default.

  A derived key that was None has been replaced by a number that depends on other keys. So the
  value is compared with that of a section in which the key has its default.

  Args:
    section: Section of a resolved config.
    key: Name of the key, without the section.
  """
  default = type(section).__dataclass_fields__[key].default
  value = getattr(section, key)
  if value == default:
    return False
  try:
    with_default = dataclasses.replace(section, **{key: default})
  except ConfigError:
    # Another key needs the value.
    return True
  return getattr(with_default, key) != value


def unread_set_keys(cfg: RunConfig) -> dict[str, Unread]:
  """Returns {dotted path: reason} of the keys that are set but have no effect.

  The keys of a model that comes from a checkpoint (`train.init_from`) are left out, because
  published configs have keys without an effect.

  >>> cfg = RunConfig(optimizer=OptimizerConfig(name='adamw', momentum=0.5))
  >>> {path: str(reason) for path, reason in unread_set_keys(cfg).items()}
  {'optimizer.momentum': "it has no effect with optimizer.name='adamw'"}
  """
  unread = {}
  values = flatten(cfg)
  for name in SECTIONS:
    if name == 'model' and cfg.train.init_from is not None:
      continue
    section = getattr(cfg, name)
    for path in keys_of_section(name):
      key = path.rpartition('.')[2]
      reason = reason_unread(path, values)
      if reason is not None and is_set(section, key):
        unread[path] = reason
  return unread


def check_set_keys_are_read(cfg: RunConfig) -> None:
  """Checks that each key that is set has an effect.

  Args:
    cfg: Resolved config.

  Raises:
    ConfigError: If a key is set and has no effect. The message names the first.
  """
  for path, reason in unread_set_keys(cfg).items():
    raise ConfigError(
      f'{path}: got {flatten(cfg)[path]!r}, expected the default, since {reason}'
    )
