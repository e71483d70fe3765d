"""The command `lmhp report`."""

from __future__ import annotations

import argparse
import os

from lmhp.commands.flags import CommandParser
from lmhp.errors import ConfigError

FORMATS = {'html': '.html', 'md': '.md', 'json': '.json'}
"""{format of a report: ending of its file}."""


def report(arguments: list[str]) -> int:
  """Writes a report of sweeps, runs, Optuna studies or tables of runs."""
  parser = CommandParser('report', 'Write one page on what was found.')
  parser.add_argument(
    'path',
    nargs='*',
    help='directory of a sweep or a run (or several), an Optuna storage, or a table of runs '
    '(.csv, .tsv, .jsonl, .parquet)',
  )
  parser.add_argument(
    '--output',
    help='file to write, or `-` for the terminal; by default report.html (.md, .json) in '
    'the first directory',
  )
  parser.add_argument(
    '--format',
    choices=tuple(FORMATS),
    help='html; md for a paper or a pull request; json for a program; by default as the '
    'name of the output ends',
  )
  parser.add_argument('--objective', help='column that a table of runs is judged by')
  parser.add_switch(
    'maximize', None, 'larger values of the objective are better in a table of runs'
  )
  parser.add_argument(
    '--parameters',
    type=lambda text: text.split(','),
    help='columns of a table of runs that are hyperparameters, separated by commas',
  )
  parser.add_argument(
    '--study', help='name of the study, if an Optuna storage has several'
  )
  parser.add_argument(
    '--storage', help='URL of the storage of an lmhp study that has no journal'
  )
  values = parser.parse(arguments)
  if values is None:
    return 0
  if not values.path:
    raise ConfigError(
      'report: got nothing, expected a directory of a sweep or a run, or a table of runs'
    )
  format_name = _format_of(values)

  from lmhp import api

  page = api.report(
    *values.path,
    objective=values.objective,
    maximize=values.maximize,
    parameters=values.parameters,
    study=values.study,
    storage=values.storage,
  )
  if values.output == '-':
    print(page.text(format_name))
    return 0
  path = values.output or _default_path(values.path[0], format_name)
  page.save(path, format_name)
  print('\n'.join([*page.answer, '', f'  {path}']))
  return 0


def _format_of(values: argparse.Namespace) -> str:
  """Returns the format that was given, or the one that the output's name ends in."""
  if values.format is not None:
    return values.format
  if values.output is None:
    return 'html'
  if values.output == '-':
    return 'md'
  ending = os.path.splitext(values.output)[1]
  for name, suffix in FORMATS.items():
    if ending == suffix:
      return name
  raise ConfigError(
    f'--output: got {values.output!r}, expected a name that ends in '
    f'{", ".join(FORMATS.values())}, or --format'
  )


def _default_path(source: str, format_name: str) -> str:
  directory = source if os.path.isdir(source) else '.'
  return os.path.join(directory, f'report{FORMATS[format_name]}')
