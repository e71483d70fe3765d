"""Reads a table of runs from an lmhp study or run, an Optuna study, or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
from typing import TYPE_CHECKING, TypedDict, Unpack

from lmhp.analysis.runs.formats import from_frame, is_table_file, read_file
from lmhp.analysis.runs.lmhp_studies import read_study
from lmhp.analysis.runs.optuna_studies import read_optuna
from lmhp.analysis.runs.raw_table import RawTable
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.runs.tables import TableOptions, runs_of_table
from lmhp.analysis.runs.trackers import (
  is_mlflow,
  is_tensorboard,
  read_mlflow,
  read_tensorboard,
)
from lmhp.analysis.runs.training_runs import has_runs, read_runs
from lmhp.errors import ConfigError
from lmhp.errors.redaction import redact_url
from lmhp.files import STORE_LIBRARIES, as_path, is_remote
from lmhp.sweeping.store.study_header import HEADER
from lmhp.typing import PathLike

if TYPE_CHECKING:
  import pandas as pd

TABLE_SUFFIXES = '.csv, .tsv, .txt, .json, .jsonl, .parquet'
DATABASES = ('.db', '.sqlite', '.sqlite3')
OPTUNA_SUFFIXES = ('.journal', '.log', *DATABASES)


class ReadOptions(TypedDict, total=False):
  """Options of `read`. None stands for an option that is not given.

  Attributes:
    storage: URL of the database that holds an lmhp study.
    study: Name of one of several studies in an Optuna storage.
    objective: Column of the objective in a file of runs.
    maximize: True if a larger objective of a table is better, False if a smaller one is.
    parameters: Columns of the hyperparameters in a table. No other column is then one.
    roles: {column: role} in a table, with the roles of `lmhp.analysis.runs.roles`.
  """

  storage: str | None
  study: str | None
  objective: str | None
  maximize: bool | None
  parameters: Sequence[str] | None
  roles: Mapping[str, str] | None


def read(path: PathLike | pd.DataFrame, **options: Unpack[ReadOptions]) -> Runs:
  """Reads a table of runs.

  Args:
    path: Directory of an lmhp study, of a training run or of several runs; an Optuna
      journal (`.journal`, `.log`), database file (`.db`, `.sqlite`) or URL; a directory or
      database of MLflow, or its URL; a directory of TensorBoard files; a table in a `.csv`,
      `.tsv`, `.json`, `.jsonl` or `.parquet` file, in any of the shapes of
      `lmhp.analysis.runs.shapes`; or a pandas DataFrame.
    **options: Fields of `ReadOptions`.

  Raises:
    ConfigError: If the path does not exist, cannot be read, or an option has no meaning
      for it.

  >>> import pathlib, tempfile
  >>> with tempfile.TemporaryDirectory() as directory:
  ...   file = pathlib.Path(directory) / 'runs.csv'
  ...   _ = file.write_text('lr,val_loss\\n0.001,3.2\\n0.003,3.0\\n0.01,3.1\\n')
  ...   runs = read(file)
  >>> len(runs), list(runs.axes), runs.objective_name
  (3, ['lr'], 'val_loss')
  """
  if not isinstance(path, (str, os.PathLike)):
    return _read_table(from_frame(path), 'table', 'the DataFrame', options)
  text = os.fspath(path)
  # A URL is a server of MLflow, a path in an object store, or a database of Optuna.
  if text.startswith(('http://', 'https://')):
    return _read_table(read_mlflow(text), 'MLflow', redact_url(text), options)
  if is_remote(text) and text.partition('://')[0] not in STORE_LIBRARIES:
    return _read_optuna(text, options)

  file = as_path(text)
  # A directory with the header of a study is a study. Others hold one or more runs.
  if (file / HEADER).exists():
    _check_options(text, 'an lmhp study', options, ('storage',))
    return read_study(file, storage=options.get('storage'))
  if file.is_dir() and not has_runs(file):
    if is_mlflow(file):
      return _read_table(read_mlflow(text), file.name, text, options)
    if is_tensorboard(file):
      return _read_table(read_tensorboard(file), file.name, text, options)
  if file.is_dir():
    _check_options(text, 'a directory of runs', options, ())
    return read_runs(file)
  if not file.exists():
    raise ConfigError(
      f'{text}: no such file or directory, expected a study, a run or a file of runs'
    )

  # The suffix of a file decides how it is read.
  if is_table_file(file):
    return _read_table(read_file(file), file.name.split('.')[0], text, options)
  suffix = file.suffix.lower()
  if suffix in DATABASES and is_mlflow(file):
    return _read_table(read_mlflow(text), file.stem, text, options)
  if suffix in OPTUNA_SUFFIXES:
    return _read_optuna(text, options)
  raise ConfigError(
    f'{text}: got a file with the suffix {suffix!r}, expected a directory, an Optuna journal, '
    f'or a file that ends in {TABLE_SUFFIXES}'
  )


def _read_table(table: RawTable, name: str, source: str, options: ReadOptions) -> Runs:
  accepted = ('objective', 'maximize', 'parameters', 'roles')
  _check_options(source, 'a table of runs', options, accepted)
  given = TableOptions(
    objective=options.get('objective'),
    maximize=options.get('maximize'),
    parameters=options.get('parameters'),
    roles=options.get('roles') or {},
  )
  return runs_of_table(table, name, source, given)


def _read_optuna(source: str, options: ReadOptions) -> Runs:
  _check_options(source, 'an Optuna storage', options, ('study',))
  return read_optuna(source, study=options.get('study'))


def _check_options(
  source: str, source_type: str, options: ReadOptions, accepted: Sequence[str]
) -> None:
  """Checks that each given option has a meaning for the type of a source."""
  for name, value in options.items():
    if value is not None and name not in accepted:
      flags = ', '.join(f'--{each}' for each in accepted) or 'none of these flags'
      raise ConfigError(
        f'--{name}: got {value!r}, but {source} is {source_type}, expected {flags}'
      )
