"""Checks of a space against the declarations of the keys that it sets.

A declaration holds the bounds and the choices of a key, among other facts. The checks find
mistakes before a program is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lmhp.declarations import Declaration, is_within_bounds
from lmhp.errors import ConfigError, suggest
from lmhp.sweeping.space.combinators import SpaceLike, as_space
from lmhp.sweeping.space.compiled_space import CompiledSpace
from lmhp.sweeping.space.domains import ROLES, Choice, Domain, Fixed, Value, is_number
from lmhp.sweeping.space.entries import SpaceEntry
from lmhp.sweeping.space.intervals import Float, Int

_TYPE_WORDS = {
  bool: 'True or False',
  int: 'whole numbers',
  float: 'numbers',
  str: 'words',
}
"""{type of the value in the base config: accepted values, for error messages}."""


def check_space(
  space: SpaceLike,
  declarations: Mapping[str, Declaration],
  defaults: Mapping[str, object],
  suggest_key: Callable[[str], str] | None = None,
) -> None:
  """Checks that a space fits the config.

  A value must have the type of the value in the base config. If one of these two values is None,
  the type is not checked here. The config of each trial checks it.

  Args:
    space: A space or a dict.
    declarations: {dotted path: declaration of the key}, for all keys.
    defaults: {dotted path: value in the base config}.
    suggest_key: Function that returns the suggestion for an unknown path, as
      `lmhp.config_keys.suggest_key` does. If None, the nearest path is suggested.

  Raises:
    ConfigError: In one of these cases, or for the reasons of `CompiledSpace`:
      - A path is unknown.
      - A value does not fit its key.
      - The bounds of an interval are reversed, equal or infinite, or the lower bound is not
        above 0 on a logarithmic scale.
      - A Choice is empty or repeats a value, or a Zip repeats a row.
      - A role does not exist.
      - The number of points of a Subsample is not a whole number of at least 1.

  >>> check_space(
  ...   {'optimizer.b2': Float(0.99, 0.9)},
  ...   {'optimizer.b2': Declaration()},
  ...   {'optimizer.b2': 0.95},
  ... )  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  lmhp...ConfigError: optimizer.b2: got Float(0.99, 0.9), expected a lower bound below the ...
  """
  entries = list(as_space(space).entries())
  # An unknown path is reported before wrong values of known paths.
  for entry in entries:
    for path in entry.paths:
      if path not in declarations:
        near = suggest_key(path) if suggest_key else suggest(path, declarations)
        raise ConfigError(f'{path}: no such key{near}')
  for entry in entries:
    _check_role(entry)
    _check_subsamples(entry)
    for path, domain in _domain_of_path(entry).items():
      domain.check(path)
      _check_path(path, domain, declarations[path], defaults[path])
  # Compilation checks the names and the conditions.
  CompiledSpace(space)


def _check_role(entry: SpaceEntry) -> None:
  role = entry.domain.role
  if role not in ROLES:
    raise ConfigError(
      f'{entry.label}: got role={role!r}, expected {" or ".join(ROLES)}'
      f'{suggest(role, ROLES)}'
    )
  if role == 'fixed' and not isinstance(entry.domain, Fixed):
    raise ConfigError(
      f'{entry.label}: got role={role!r} for {entry.domain!r}, expected scientific or '
      'nuisance, or a single value'
    )


def _check_subsamples(entry: SpaceEntry) -> None:
  for subsample in entry.subsamples:
    n = subsample.n
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
      raise ConfigError(
        f'{entry.label}: got a Subsample of {n!r} points, expected a whole number, at least 1'
      )


def _domain_of_path(entry: SpaceEntry) -> dict[str, Domain]:
  """Returns the domain of each path of an entry.

  For a Zip, it is a Choice of the values of the path. Different rows may have the same value of
  one path, but no two rows may be equal.
  """
  if entry.rows is None:
    return dict.fromkeys(entry.paths, entry.domain)
  if len(set(entry.rows)) < len(entry.rows):
    raise ConfigError(
      f'{entry.label}: got a Zip with the rows {entry.rows!r}, expected different rows'
    )
  return {path: Choice(*dict.fromkeys(entry.column(path))) for path in entry.paths}


# --- one path -------------------------------------------------------------------------


def _check_path(
  path: str, domain: Domain, declaration: Declaration, base: object
) -> None:
  """Checks that a domain fits a key.

  Args:
    path: Dotted path of the key.
    domain: Domain of the path.
    declaration: Declaration of the key.
    base: Value of the key in the base config.
  """
  # Check the class of the domain.
  is_base_int = isinstance(base, int) and not isinstance(base, bool)
  if isinstance(domain, Float) and is_base_int:
    raise ConfigError(
      f'{path}: got {domain!r}, expected whole numbers, as Int or Choice'
    )
  if isinstance(domain, (Float, Int)) and declaration.choices is not None:
    choices = ', '.join(str(choice) for choice in declaration.choices)
    raise ConfigError(f'{path}: got {domain!r}, expected a Choice of {choices}')

  # Check the values of a Choice, or both ends of an interval. If the base value is a tuple, each
  # item of a value is compared with the first item of the base value.
  base_item = next(iter(base), None) if isinstance(base, tuple) else base
  for value in domain.values_to_check():
    if isinstance(value, tuple) and base is not None and not isinstance(base, tuple):
      choice = ', '.join(map(repr, value))
      raise ConfigError(
        f'{path}: got {_in_domain(value, domain)}, expected one value, as {base!r}, or '
        f'lmhp.Choice({choice}) for several'
      )
    items = value if isinstance(value, tuple) else (value,)
    for item in items:
      _check_item(path, item, domain, declaration, base_item)


def _in_domain(value: Value, domain: Domain) -> str:
  """Describes a value and its domain, for an error message."""
  return repr(value) if isinstance(domain, Fixed) else f'{value!r} in {domain!r}'


def _check_item(
  path: str, value: Value, domain: Domain, declaration: Declaration, base: object
) -> None:
  """Checks one number or word against a key.

  Args:
    path: Dotted path of the key.
    value: The number or word.
    domain: Domain that contains it, for the error message.
    declaration: Declaration of the key.
    base: Number or word of the base config, or None if it has none.
  """
  got = f'{path}: got {_in_domain(value, domain)}, expected '
  if value is None:
    return
  if not isinstance(value, (bool, int, float, str)):
    raise ConfigError(
      f'{got}a number, a word, None, or a tuple of them; a range is lmhp.Float(LOW, HIGH, '
      'log=True) or lmhp.Int(LOW, HIGH), and a list is lmhp.Choice(A, B)'
    )
  if declaration.choices is not None and value not in declaration.choices:
    choices = [str(choice) for choice in declaration.choices]
    raise ConfigError(f'{got}one of {", ".join(choices)}{suggest(value, choices)}')
  if base is not None and not _has_type_of(value, base):
    raise ConfigError(f'{got}{_TYPE_WORDS[type(base)]}')
  if is_number(value) and not is_within_bounds(value, declaration):
    raise ConfigError(f'{got}{declaration.bounds or "a finite number"}')


def _has_type_of(value: Value, base: object) -> bool:
  """Returns True if the config accepts a value in place of `base`.

  The config accepts 2.0 for an int, and 2 for a float.
  """
  if isinstance(base, (bool, str)):
    return isinstance(value, type(base))
  if not is_number(value):
    return False
  return isinstance(base, float) or isinstance(value, int) or value.is_integer()
