"""Keys of a config: their declarations and types, parsing of values, and unknown keys."""

from __future__ import annotations

import ast
from collections.abc import Mapping
import difflib
import functools
import typing

from lmhp import sections
from lmhp.declarations import Declaration, declared, options_of
from lmhp.errors import ConfigError, suggest
from lmhp.registry import load_installed_plugins
from lmhp.renamed_keys import RENAMED_KEYS
from lmhp.sections import Section
from lmhp.training.config import RunConfig

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
