"""The command `lmhp report`."""

from __future__ import annotations

import argparse
import os

from lmhp.commands.flags import CommandParser
from lmhp.errors import ConfigError
from lmhp.statistics.column_names import ROLES

FORMATS = ('html', 'md', 'json')
"""Formats of a report. A report file ends in the name of its format, as in report.md."""


def report(arguments: list[str]) -> int:
  """Writes a report of sweeps, runs, Optuna studies or tables of runs."""
  parser = CommandParser('report', 'Write one page on the results of sweeps or runs.')
  parser.add_argument(
    'path',
    nargs='*',
    help='directories of sweeps or runs, the URL of an Optuna storage, or tables of runs '
    '(.csv, .tsv, .json, .jsonl, .parquet)',
  )
  parser.add_argument(
    '--output',
    help='file to write, or `-` for the terminal; by default report.html (or .md, .json), in '
    'the first path if it is a directory, else in the current directory',
  )
  parser.add_argument(
    '--format',
    choices=FORMATS,
    help='html, md (for a paper or a pull request) or json (for a program); by default the '
    'ending of --output, md for `--output=-`, and html without --output',
  )
  parser.add_argument(
    '--objective', help='column of a table of runs that holds the result to compare'
  )
  parser.add_switch(
    'maximize',
    None,
    'for a table of runs: larger values of the objective are better (by default, the direction '
    'of a known metric)',
  )
  parser.add_argument(
    '--minimize',
    action='store_false',
    dest='maximize',
    default=None,
    help='smaller values of the objective are better in a table of runs',
  )
  parser.add_argument(
    '--roles',
    type=_parse_roles,
    help='roles of columns of a table of runs, such as lr=hyperparameter,tokens=size; the '
    f'roles are {", ".join(ROLES)}',
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
    '--storage',
    help='URL of the Optuna storage of an lmhp study, if the study is not stored in the file '
    'study.journal of its directory',
  )
  values = parser.parse(arguments)
  if not values.path:
    raise ConfigError(
      'report: got no path, expected a directory of a sweep or a run, or a table of runs'
    )
  format_name = _format_of(values)

  # The import is slow, so it follows the checks of the flags.
  from lmhp import api

  page = api.report(
    *values.path,
    objective=values.objective,
    maximize=values.maximize,
    parameters=values.parameters,
    roles=values.roles,
    study=values.study,
    storage=values.storage,
  )
  if values.output == '-':
    print(page.text(format_name))
    return 0
  directory = values.path[0] if os.path.isdir(values.path[0]) else '.'
  path = values.output or os.path.join(directory, f'report.{format_name}')
  page.save(path, format_name)
  # `page.answer` has the main results in at most three sentences.
  print('\n'.join([*page.answer, '', f'  {path}']))
  return 0


def _parse_roles(text: str) -> dict[str, str]:
  """Returns {column: role} of `column=role,column=role`."""
  pairs = [part.rpartition('=') for part in text.split(',')]
  return {column: role for column, _, role in pairs}


def _format_of(values: argparse.Namespace) -> str:
  """Returns `--format`, or the format that `--output` implies."""
  if values.format is not None:
    return values.format
  if values.output is None:
    return 'html'
  if values.output == '-':
    return 'md'
  ending = os.path.splitext(values.output)[1].removeprefix('.')
  if ending not in FORMATS:
    raise ConfigError(
      f'--output: got {values.output!r}, expected a name that ends in '
      f'.{", .".join(FORMATS)}, or the flag --format'
    )
  return ending
