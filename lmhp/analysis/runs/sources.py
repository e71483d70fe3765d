"""A table of runs from wherever they are: an lmhp study or run, an Optuna study, a CSV, JSONL or parquet file."""

from __future__ import annotations

import os
from typing import Any, Mapping

from lmhp.analysis.runs.lmhp_studies import read_study
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError
from lmhp.files import as_path
from lmhp.sweeping.store.study_header import HEADER

TABLES = ('.csv', '.tsv', '.jsonl', '.parquet')


def read(path: Any, **options: Any) -> Runs:
  """The table of runs of a path.

  Args:
    path: an lmhp study's directory, a training run's or one with several of them in it; an Optuna journal
      (`.journal`, `.log`), database file (`.db`) or URL; a `.csv`, `.tsv`, `.jsonl` or `.parquet` file of runs.
    **options: `storage` of an lmhp study in a database; `study` of an Optuna storage with several; `objective`,
      `maximize` and `parameters` of a file, as in `lmhp.analysis.runs.files.read_table`.

  Raises:
    ConfigError: where nothing of the kind is there.
  """
  asked = {name: value for name, value in options.items() if value is not None}
  text = os.fspath(path)
  if '://' in text and not text.startswith(('gs://', 's3://')):
    return _optuna(text, asked)
  path = as_path(text)
  if (path / HEADER).exists():
    return read_study(path, **asked)
  if path.is_dir():
    return _directory(path, asked)
  if not path.exists():
    raise ConfigError(
      f'{text}: no such file or directory, expected a study, a run, or a table of runs'
    )
  suffix = path.suffix.lower()
  if suffix in TABLES:
    from lmhp.analysis.runs.files import read_table

    return read_table(path, **asked)
  if suffix in ('.journal', '.log', '.db', '.sqlite', '.sqlite3'):
    return _optuna(text, asked)
  raise ConfigError(
    f'{text}: got a {suffix or "file without suffix"}, expected a directory, an Optuna journal, or one '
    f'of {", ".join(TABLES)}'
  )


def _optuna(where: str, options: Mapping[str, Any]) -> Runs:
  from lmhp.analysis.runs.optuna_studies import read_optuna

  return read_optuna(where, **options)


def _directory(path: Any, options: Mapping[str, Any]) -> Runs:
  if options:
    raise ConfigError(
      f'--{next(iter(options))}: is for a file of runs or an Optuna storage, and {path} is a directory'
    )
  from lmhp.analysis.runs.training_runs import read_runs

  return read_runs(path)


# --- an lmhp study --------------------------------------------------------------------------------------------------
