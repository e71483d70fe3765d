"""The text of `--help_config`: every key of a config with the facts of its declaration."""

from __future__ import annotations

import dataclasses

from lmhp.config_keys import SECTIONS, keys
from lmhp.declarations import Declaration, declared
from lmhp.sections import Section

INTRODUCTION = """The second line of each key gives these facts:
- static: the value is part of the compiled program.
- traced: the value is a number of the compiled program's input, so a sweep over it compiles once.
- default: None stands for a value that follows from other keys or from the data.
- also called: names of the same thing in other libraries.
- converted from: names in other libraries with another unit; typing one shows the conversion."""


def format_config_help() -> str:
  """Returns the help on every key of a run's config."""
  keys()  # loads the plugins, which may add keys to sections
  lines = [INTRODUCTION]
  for name, cls in SECTIONS.items():
    lines += format_section_help(name, cls)
  return '\n'.join(lines)


def format_section_help(name: str, cls: type[Section]) -> list[str]:
  """Returns the help on the keys of one section, in lines.

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
  kind = 'traced' if declaration.traced else 'static'
  labeled = (
    ('unit ', '' if declaration.unit == 'seed' else declaration.unit),
    ('one of ', ' '.join(str(choice) for choice in declaration.choices or ())),
    ('', declaration.bounds),
    ('also called ', ', '.join(declaration.aliases)),
    ('converted from ', ', '.join(declaration.converted_aliases)),
    ('', declaration.source),
  )
  items = default if isinstance(default, tuple) else (default,)
  default_text = '()' if default == () else ','.join(str(item) for item in items)
  facts = [label + text for label, text in labeled if text]
  return [kind, f'default {default_text}', *facts]
