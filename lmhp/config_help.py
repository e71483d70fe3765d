"""The text of `--help_config`: every key of a config with the facts of its declaration."""

from __future__ import annotations

import dataclasses

from lmhp.config_keys import SECTIONS, keys
from lmhp.declarations import Declaration, declared
from lmhp.sections import Section

INTRODUCTION = """The second line of each key gives these facts:
- static: the value is part of the compiled program, so each value compiles a new program.
- traced: the value is an input of the compiled program, so a sweep over it compiles once.
- default: value of a key that is not set. None often means that other keys or the data decide.
- also called: names of this key in other libraries.
- converted from: names in other libraries whose values have to be converted. An error message
shows the conversion if you use such a name."""


def format_config_help() -> str:
  """Returns the help on every key of the config of a run."""
  keys()  # loads the plugins, which may add keys to sections
  lines = [INTRODUCTION]
  for name, cls in SECTIONS.items():
    lines += format_section_help(name, cls)
  return '\n'.join(lines)


def format_section_help(name: str, cls: type[Section]) -> list[str]:
  """Returns the lines of the help on the keys of one section.

  Args:
    name: Name of the section.
    cls: Class of the section.
  """
  summary = (cls.__doc__ or '').strip().splitlines()[0]
  lines = [f'\n{name}: {summary}']
  defaults = {field.name: field.default for field in dataclasses.fields(cls)}
  for key, declaration in declared(cls).items():
    lines.append(f'  {name}.{key}: {declaration.doc}')
    lines.append(f'      {"; ".join(_facts(declaration, defaults[key]))}')
  return lines


def _facts(declaration: Declaration, default: object) -> list[str]:
  """Returns the facts that the second line of a key gives."""
  kind = 'traced' if declaration.traced else 'static'
  # Label and text of each fact. A fact without a text is left out. 'seed' is no real unit: it
  # marks the keys that are random seeds.
  labeled = (
    ('unit ', '' if declaration.unit == 'seed' else declaration.unit),
    ('one of ', ' '.join(str(choice) for choice in declaration.choices or ())),
    ('', declaration.bounds),
    ('also called ', ', '.join(declaration.aliases)),
    ('converted from ', ', '.join(declaration.converted_aliases)),
    ('', declaration.source),
  )
  # A tuple is shown as the user may type it: 1,2
  items = default if isinstance(default, tuple) else (default,)
  default_text = '()' if default == () else ','.join(str(item) for item in items)
  facts = [label + text for label, text in labeled if text]
  return [kind, f'default {default_text}', *facts]
