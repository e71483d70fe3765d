"""The verbs that look: count, before a model exists, and report, after runs do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lmhp.commands.flags import parse

if TYPE_CHECKING:
  from absl import flags


FORMATS = {'html': '.html', 'md': '.md', 'json': '.json'}


def report(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.errors import ConfigError

  fv = flags.FlagValues()
  flags.DEFINE_string(
    'output',
    None,
    'the file to write; `-` is the terminal; report.html (.md, .json) in the first '
    'directory where not given',
    flag_values=fv,
  )
  flags.DEFINE_enum(
    'format',
    None,
    list(FORMATS),
    'html, md for a paper or a pull request, json for a program; by the '
    "output's name where not given",
    flag_values=fv,
  )
  flags.DEFINE_string(
    'objective', None, 'of a file of runs: the column to judge them by', flag_values=fv
  )
  flags.DEFINE_bool(
    'maximize', None, 'of a file of runs: whether more is better', flag_values=fv
  )
  flags.DEFINE_list(
    'parameters',
    None,
    'of a file of runs: the columns that are hyperparameters',
    flag_values=fv,
  )
  flags.DEFINE_string(
    'study', None, 'of an Optuna storage with several: which', flag_values=fv
  )
  flags.DEFINE_string(
    'storage',
    None,
    "of an lmhp study that is not in its directory's journal: the storage's URL",
    flag_values=fv,
  )
  paths = parse(
    fv,
    arguments,
    'lmhp report WORKDIR|FILE... [--output=report.html]: of a sweep, a run, several of '
    'them, an Optuna study, or a table of runs (.csv, .tsv, .jsonl, .parquet)',
  )
  if paths is None:
    return 0
  if not paths:
    raise ConfigError(
      'report: got nothing, expected a directory of a sweep or a run, or a file of runs'
    )
  return _report_with(fv, paths)


def _report_with(fv: flags.FlagValues, paths: list[str]) -> int:
  from lmhp import api
  from lmhp.errors import ConfigError

  ending = os.path.splitext(fv.output or '')[1]
  by_name = next((name for name, suffix in FORMATS.items() if suffix == ending), None)
  if fv.output not in (None, '-') and by_name is None and fv.format is None:
    raise ConfigError(
      f'--output: got {fv.output!r}, expected a name that ends in {", ".join(FORMATS.values())}, or '
      '--format'
    )
  form = fv.format or by_name or ('md' if fv.output == '-' else 'html')
  options = {
    name: fv[name].value
    for name in ('objective', 'maximize', 'parameters', 'study', 'storage')
  }
  found = api.report(*paths, **options)
  if fv.output == '-':
    print(found.text(form))
    return 0
  where = fv.output or os.path.join(
    paths[0] if os.path.isdir(paths[0]) else '.', f'report{FORMATS[form]}'
  )
  found.save(where, form)
  print('\n'.join([*found.answer, '', f'  {where}']))
  return 0
