"""Reads a table of runs from an lmhp study or run, an Optuna study, or a file."""

from __future__ import annotations

from collections.abc import Sequence
import os
from typing import TypedDict, Unpack

from lmhp.analysis.runs.files import read_table
from lmhp.analysis.runs.lmhp_studies import read_study
from lmhp.analysis.runs.optuna_studies import read_optuna
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.runs.training_runs import read_runs
from lmhp.errors import ConfigError
from lmhp.files import as_path
from lmhp.sweeping.store.study_header import HEADER
from lmhp.typing import PathLike

TABLE_SUFFIXES = ('.csv', '.tsv', '.jsonl', '.parquet')
OPTUNA_SUFFIXES = ('.journal', '.log', '.db', '.sqlite', '.sqlite3')
OBJECT_STORES = ('gs://', 's3://')


class ReadOptions(TypedDict, total=False):
  """Options of `read`. None stands for an option that is not given.

  Attributes:
    storage: URL of the database that holds an lmhp study.
    study: Name of one of several studies in an Optuna storage.
    objective: Column of the objective in a file of runs.
    maximize: True if a larger objective is better, in a file of runs.
    parameters: Columns of the hyperparameters in a file of runs.
  """

  storage: str | None
  study: str | None
  objective: str | None
  maximize: bool | None
  parameters: Sequence[str] | None


def read(path: PathLike, **options: Unpack[ReadOptions]) -> Runs:
  """Reads a table of runs.

  Args:
    path: Directory of an lmhp study, of a training run or of several runs; an Optuna
      journal (`.journal`, `.log`), database file (`.db`, `.sqlite`) or URL; or a `.csv`,
      `.tsv`, `.jsonl` or `.parquet` file with one row per run.
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
  text = os.fspath(path)
  # A URL is a database of Optuna, unless it is a path in an object store.
  if '://' in text and not text.startswith(OBJECT_STORES):
    return _read_optuna(text, options)

  file = as_path(text)
  # A directory is a study if it has the header of one, or else a run or several.
  if (file / HEADER).exists():
    _check_options(text, 'an lmhp study', options, ('storage',))
    return read_study(file, storage=options.get('storage'))
  if file.is_dir():
    _check_options(text, 'a directory of runs', options, ())
    return read_runs(file)
  if not file.exists():
    raise ConfigError(
      f'{text}: no such file or directory, expected a study, a run or a file of runs'
    )

  # The suffix of a file decides how it is read.
  suffix = file.suffix.lower()
  if suffix in TABLE_SUFFIXES:
    _check_options(
      text, 'a file of runs', options, ('objective', 'maximize', 'parameters')
    )
    return read_table(
      file,
      objective=options.get('objective'),
      maximize=bool(options.get('maximize')),
      parameters=options.get('parameters'),
    )
  if suffix in OPTUNA_SUFFIXES:
    return _read_optuna(text, options)
  raise ConfigError(
    f'{text}: got a file with the suffix {suffix!r}, expected a directory, an Optuna journal, '
    f'or a file that ends in {", ".join(TABLE_SUFFIXES)}'
  )


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
