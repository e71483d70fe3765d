"""Every key of a config in words, as its declaration has it."""

from __future__ import annotations

import dataclasses
from typing import Any

from lmhp.config import SECTIONS
from lmhp.hypers import bounds_in_words, declared


def help_text() -> str:
  """Every key: static or traced, unit, bounds, default, what it does, source."""
  return '\n'.join(
    line for name, cls in SECTIONS.items() for line in help_of(name, cls)
  )


def help_of(name: str, cls: type) -> list[str]:
  """The keys of one section, in lines."""
  lines = [f'\n{name}: {(cls.__doc__ or "").strip().splitlines()[0]}']
  defaults = {f.name: f.default for f in dataclasses.fields(cls)}
  for key, d in declared(cls).items():
    facts = ['traced' if d.traced else 'static', f'default {_shown(defaults[key])}']
    facts += [d.unit] if d.unit else []
    facts += ['one of ' + ' '.join(map(str, d.choices))] if d.choices else []
    facts += [bounds_in_words(d)] if bounds_in_words(d) else []
    facts += ['also called ' + ', '.join(d.aliases)] if d.aliases else []
    facts += [d.source] if d.source else []
    lines.append(f'  {name}.{key}: {d.doc}\n      {"; ".join(facts)}')
  return lines


def _shown(value: Any) -> str:
  return ','.join(map(str, value)) or '()' if isinstance(value, tuple) else str(value)
