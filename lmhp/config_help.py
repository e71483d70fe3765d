"""The text of `--help_config`: every key of a config with the facts of its declaration."""

from __future__ import annotations

import dataclasses

from lmhp.config_keys import SECTIONS, keys
from lmhp.declarations import Declaration, declared
from lmhp.sections import Section


def format_config_help() -> str:
  """Returns the help on every key of a run's config."""
  keys()  # loads the plugins, which may add keys to sections
  lines = []
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
  facts = ['traced' if declaration.traced else 'static']
  facts.append(f'default {_format_value(default)}')
  if declaration.unit:
    facts.append(f'in {declaration.unit}')
  if declaration.choices:
    facts.append('one of ' + ' '.join(str(choice) for choice in declaration.choices))
  if declaration.bounds:
    facts.append(declaration.bounds)
  names = [*declaration.aliases, *declaration.converted_aliases]
  if names:
    facts.append('also called ' + ', '.join(names))
  if declaration.source:
    facts.append(declaration.source)
  return facts


def _format_value(value: object) -> str:
  if isinstance(value, tuple):
    return ','.join(str(item) for item in value) or '()'
  return str(value)
