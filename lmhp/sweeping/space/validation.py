"""A space against the declarations of the paths that it sets: every mistake found before anything runs."""

from __future__ import annotations

import math
from typing import Any, Mapping

from lmhp.declarations import Declaration
from lmhp.errors import ConfigError, suggest
from lmhp.sweeping.space.compiled_space import CompiledSpace
from lmhp.sweeping.space.domains import (
  MOST,
  ROLES,
  Choice,
  Domain,
  Fixed,
  Float,
  Int,
  is_number,
)
from lmhp.sweeping.space.flattening import Leaf, leaves

_KINDS = {bool: 'True or False', int: 'whole numbers', float: 'numbers', str: 'words'}


def check(
  space: Any, declarations: Mapping[str, Declaration], defaults: Mapping[str, Any]
) -> None:
  """Refuses a space that cannot be what was meant.

  A value is of the right type if it is of the base value's; where that is None, or the value is, no type is known here,
  and the config's own check decides.

  Args:
    space: a space or a dict.
    declarations: {dotted path: its declaration}, of every path there is.
    defaults: {dotted path: its value in the base config}.

  Raises:
    ConfigError: for an unknown path; bounds that are reversed, equal, not finite, or not above 0 where logarithmic; a
      value that is not the path's; an empty list or one that repeats itself; a role that is none; and as
      `parameters.Plan` says.

  >>> check(
  ...   {'optimizer.b2': Float(0.99, 0.9)},
  ...   {'optimizer.b2': Declaration()},
  ...   {'optimizer.b2': 0.95},
  ... )
  ... # doctest: +ELLIPSIS
  Traceback (most recent call last):
  lmhp...ConfigError: optimizer.b2: got Float(0.99, 0.9), expected the lower bound below the upper
  """
  found = leaves(space)
  for leaf in found:
    for path in leaf.paths:
      if path not in declarations:
        raise ConfigError(f'{path}: no such key{suggest(path, declarations)}')
  for leaf in found:
    _check_role(leaf)
    _check_samples(leaf)
    for path, domain in _columns(leaf):
      _check_domain(path, domain)
      _check_path(path, domain, declarations[path], defaults[path])
  CompiledSpace(space)


def _columns(leaf: Leaf) -> list[tuple[str, Domain]]:
  """What each path of a leaf takes; the rows of a Zip may repeat a value of one path."""
  if leaf.rows is None:
    return [(path, leaf.domain) for path in leaf.paths]
  if len(set(leaf.rows)) < len(leaf.rows):
    raise ConfigError(f'{leaf.label}: got {leaf.rows!r}, expected rows that differ')
  columns = [tuple(dict.fromkeys(column)) for column in zip(*leaf.rows)]
  return [(path, Choice(*values)) for path, values in zip(leaf.paths, columns)]


def _check_role(leaf: Leaf) -> None:
  if leaf.role not in ROLES:
    raise ConfigError(
      f'{leaf.label}: got role={leaf.role!r}, expected {" or ".join(ROLES)}{suggest(leaf.role, ROLES)}'
    )
  if leaf.role == 'fixed' and not isinstance(leaf.domain, Fixed):
    raise ConfigError(
      f'{leaf.label}: got role={leaf.role!r} for {leaf.domain!r}, expected scientific or nuisance, or '
      'one value for what is fixed'
    )


def _check_samples(leaf: Leaf) -> None:
  for sample in leaf.samples:
    n = sample.subsample.n
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
      raise ConfigError(
        f'{leaf.label}: got a Subsample of {n!r} points, expected a whole number, at least 1'
      )


def _check_domain(path: str, domain: Domain) -> None:
  """What is wrong with a domain whatever the path."""
  if isinstance(domain, Fixed):
    return
  if isinstance(domain, Choice):
    if not domain.values:
      raise ConfigError(f'{path}: got Choice(), expected at least one value')
    for i, value in enumerate(domain.values):
      if value in domain.values[:i]:
        raise ConfigError(
          f'{path}: got {value!r} twice in {domain!r}, expected values that differ'
        )
    return
  ends = (domain.low, domain.high)
  whole = isinstance(domain, Int)
  if not all(
    is_number(end) and abs(end) <= MOST and (isinstance(end, int) or not whole)
    for end in ends
  ):
    raise ConfigError(
      f'{path}: got {domain!r}, expected {"whole" if whole else "finite"} numbers as its bounds'
    )
  if domain.log and domain.low <= 0:
    raise ConfigError(
      f'{path}: got {domain!r}, expected a lower bound above 0, since its logarithm is taken'
    )
  if domain.low >= domain.high:
    raise ConfigError(
      f'{path}: got {domain!r}, expected the lower bound below the upper'
    )


# --- against the declaration ----------------------------------------------------------------------------------------


def _check_path(path: str, domain: Domain, declaration: Declaration, base: Any) -> None:
  """What is wrong with a domain on this path."""
  if isinstance(domain, Float) and isinstance(base, int) and not isinstance(base, bool):
    raise ConfigError(
      f'{path}: got {domain!r}, expected whole numbers, as Int or Choice'
    )
  if isinstance(domain, (Float, Int)):
    if declaration.choices is not None:
      raise ConfigError(
        f'{path}: got {domain!r}, expected a Choice of {", ".join(map(str, declaration.choices))}'
      )
    values = (domain.low, domain.high)
  else:
    values = domain.values if isinstance(domain, Choice) else (domain.value,)
  for value in values:
    kind = value if isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) and base is not None and not isinstance(base, tuple):
      raise ConfigError(
        f'{path}: got {value!r}{_of(domain)}, expected one value, as {base!r}'
      )
    like = (
      base[0]
      if isinstance(base, tuple) and base
      else None
      if isinstance(base, tuple)
      else base
    )
    for one in kind:
      _check_value(path, one, domain, declaration, like)


def _of(domain: Domain) -> str:
  return '' if isinstance(domain, Fixed) else f' in {domain!r}'


def _check_value(
  path: str, value: Any, domain: Domain, declaration: Declaration, like: Any
) -> None:
  got = f'{path}: got {value!r}{_of(domain)}, expected '
  if value is None:
    return
  if not isinstance(value, (bool, int, float, str)):
    raise ConfigError(f'{got}a number, a word, None, or a tuple of these')
  if declaration.choices is not None and value not in declaration.choices:
    raise ConfigError(
      f'{got}one of {", ".join(map(str, declaration.choices))}'
      f'{suggest(value, map(str, declaration.choices))}'
    )
  if like is not None and not _alike(value, like):
    raise ConfigError(f'{got}{_KINDS[type(like)]}')
  if is_number(value) and not _within(value, declaration):
    raise ConfigError(f'{got}{declaration.bounds or "a finite number"}')


def _alike(value: Any, base: Any) -> bool:
  """Whether the config takes a value where its base is another: whole floats for ints, ints for floats."""
  if isinstance(base, bool) or isinstance(base, str):
    return isinstance(value, type(base))
  return is_number(value) and (
    isinstance(base, float) or isinstance(value, int) or value.is_integer()
  )


def _within(value: float, d: Declaration) -> bool:
  above = d.low is None or (value > d.low if d.open_low else value >= d.low)
  below = d.high is None or (value < d.high if d.open_high else value <= d.high)
  return above and below and (-math.inf < value < math.inf or value == d.neutral)
