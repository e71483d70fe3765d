"""The error that a user's mistake raises, and its one line: where, what came, what is accepted, the nearest name.

This file imports nothing of the rest; who declares or reads a config takes these names from `lmhp.hypers`.
"""

from __future__ import annotations

import difflib
from typing import Any, Iterable


class ConfigError(ValueError):
  """A user's mistake in a config, a flag or a file: one line that names where, what came and what is accepted."""


def path_of(cfg: Any, field: str) -> str:
  """The dotted path of a section's field, as the user writes it."""
  return f'{cfg.SECTION}.{field}' if getattr(cfg, 'SECTION', '') else field


def suggest(name: str, names: Iterable[str]) -> str:
  """'; did you mean X?' for the nearest of `names`, or '' where none is near."""
  near = difflib.get_close_matches(str(name), [str(n) for n in names], n=1, cutoff=0.6)
  return f'; did you mean {near[0]!r}?' if near else ''


def wrong(
  cfg: Any, field: str, accepted: str, names: Iterable[str] = ()
) -> ConfigError:
  """The error for a field's value: its dotted path, what came, what is accepted, the nearest valid name."""
  value = getattr(cfg, field)
  try:
    got, near = repr(value), suggest(value, names)
  except ValueError:  # Python writes out no int of more than 4300 digits
    got, near = 'a number too long to write out', ''
  return ConfigError(f'{path_of(cfg, field)}: got {got}, expected {accepted}{near}')
