"""A table of runs from a CSV, TSV, JSONL or parquet file with one row per run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
import csv
import io
import json
import math
from typing import SupportsFloat

from etils import epath
import numpy as np

from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.columns import axis_and_column, number_columns, point_numbers
from lmhp.analysis.runs.table import STATUSES, Runs, StudyFacts
from lmhp.errors import ConfigError, suggest
from lmhp.files import as_path
from lmhp.typing import PathLike

OBJECTIVES = (
  'objective',
  'value',
  'eval_loss_nats',
  'eval_loss',
  'val_loss',
  'validation_loss',
  'loss',
)
"""Columns that can be the objective. The first one in a file is taken."""

MEASURED = (
  'steps',
  'step',
  'tokens',
  'flops',
  'seconds',
  'parameters',
  'n_parameters',
  'epochs',
  'memory_bytes',
  'latency_seconds',
)
"""Columns that are no hyperparameters unless they are named as such."""

STATUS_WORDS = {
  'completed': 'complete',
  'finished': 'complete',
  'done': 'complete',
  'ok': 'complete',
  'stopped': 'pruned',
  'nan': 'diverged',
  'fail': 'failed',
  'crashed': 'failed',
  **{status: status for status in STATUSES},
}
"""{status or state in a file: status of a run}."""

RENAMED_COLUMNS = {'step': 'steps', 'n_parameters': 'parameters'}
RUN_COLUMNS = ('number', 'trial', 'run', 'name', 'id', 'seed', 'status', 'state')
"""Columns that identify a run or tell how it ended."""

Row = Mapping[str, object]


def read_table(
  path: PathLike,
  objective: str | None = None,
  maximize: bool = False,
  parameters: Sequence[str] | None = None,
) -> Runs:
  """Reads a file of runs.

  A row without a finite objective is a diverged run, unless its column `status` (or
  `state`) has another status. It gets the worst objective of the other runs. Rows that
  agree in all hyperparameters are seeds of one point.

  Args:
    path: `.csv` or `.tsv` file with column names in the first line, `.jsonl` file with one
      object per line (nested objects become dotted paths), or `.parquet` file.
    objective: Column of the objective. None takes the first of `OBJECTIVES`.
    maximize: True if a larger objective is better.
    parameters: Columns of the hyperparameters. None takes all columns except the
      objective, `RUN_COLUMNS` and `MEASURED`.

  Raises:
    ConfigError: If a column is missing, there are no rows, or the file cannot be read.
  """
  path = as_path(path)
  rows = _rows(path)
  if not rows:
    raise ConfigError(f'{path}: got no rows, expected one row per run')
  # A row of JSONL may lack columns that others have.
  names = list(dict.fromkeys(name for row in rows for name in row))
  objective = _objective_column(path, names, objective)
  for name in parameters or ():
    _check_column(path, '--parameters', name, names)
  if parameters is None:
    others = (*MEASURED, *RUN_COLUMNS)
    parameters = [n for n in names if n != objective and n.lower() not in others]

  # A column with a single choice is no axis.
  axes: dict[str, Axis] = {}
  values: dict[str, np.ndarray] = {}
  for name in parameters:
    axis, column = axis_and_column(name, [_nan_to_none(row.get(name)) for row in rows])
    if len(axis.choices) > 1 or axis.is_number:
      axes[name] = axis
      values[name] = column

  objectives = np.array([_to_float(row.get(objective)) for row in rows], np.float64)
  status = _status(rows, objectives)
  seeds = [_to_float(row.get('seed')) for row in rows]
  return Runs(
    name=path.stem,
    axes=axes,
    values=values,
    objective=_fill_diverged(objectives, status, maximize),
    objective_name=objective,
    maximize=maximize,
    status=status,
    point=point_numbers(values, len(rows)),
    # A run without a seed has the index of its row.
    seed=np.array(
      [i if math.isnan(seed) else int(seed) for i, seed in enumerate(seeds)]
    ),
    measured=_measured(rows, names, (objective, *axes)),
    configs=dict(enumerate(rows)),
    facts=StudyFacts(source=str(path), source_type='table'),
  )


def _objective_column(path: epath.Path, names: Sequence[str], name: str | None) -> str:
  if name is not None:
    _check_column(path, '--objective', name, names)
    return name
  for candidate in OBJECTIVES:
    if candidate in names:
      return candidate
  raise ConfigError(
    f'--objective: got none, expected one of the columns of {path}: {", ".join(names)}'
  )


def _check_column(path: epath.Path, flag: str, name: str, names: Sequence[str]) -> None:
  if name not in names:
    raise ConfigError(
      f'{flag}: got {name!r}, expected one of the columns of {path}: '
      f'{", ".join(names)}{suggest(name, names)}'
    )


# --- files ----------------------------------------------------------------------------


def _rows(path: epath.Path) -> list[dict[str, object]]:
  """Reads the rows of a file.

  Raises:
    ConfigError: If the file cannot be read in the format of its suffix.
  """
  suffix = path.suffix.lower()
  try:
    if suffix == '.parquet':
      from lmhp.sweeping.store import curves

      return curves.read(path).to_pylist()
    text = path.read_text()
    if suffix == '.jsonl':
      lines = [line for line in text.splitlines() if line.strip()]
      return [_flatten(json.loads(line)) for line in lines]
    return _delimited_rows(text, '\t' if suffix == '.tsv' else ',')
  except (ValueError, AttributeError, csv.Error) as error:
    # A UnicodeDecodeError and the errors of pyarrow are ValueErrors.
    raise ConfigError(
      f'{path}: cannot be read as {suffix[1:]} ({str(error).splitlines()[0]})'
    ) from None


def _delimited_rows(text: str, delimiter: str) -> list[dict[str, object]]:
  rows = []
  for cells in csv.DictReader(io.StringIO(text), delimiter=delimiter):
    row = {k.strip(): _parse_cell(cell) for k, cell in cells.items() if k is not None}
    rows.append(row)
  return rows


def _flatten(row: Row, prefix: str = '') -> dict[str, object]:
  """Returns nested objects by dotted path, with lists as tuples."""
  flat: dict[str, object] = {}
  for key, value in row.items():
    if isinstance(value, Mapping):
      flat |= _flatten(value, f'{prefix}{key}.')
    else:
      flat[f'{prefix}{key}'] = tuple(value) if isinstance(value, list) else value
  return flat


def _parse_cell(text: str | None) -> object:
  """Returns a cell of a CSV file as a bool, an int, a float or a text. Empty is None."""
  text = (text or '').strip()
  if not text:
    return None
  if text.lower() in ('true', 'false'):
    return text.lower() == 'true'
  # Try int first, because every int is also a float.
  for number_type in (int, float):
    try:
      return number_type(text)
    except ValueError:
      continue
  return text


# --- columns --------------------------------------------------------------------------


def _nan_to_none(value: object) -> object:
  return None if isinstance(value, float) and math.isnan(value) else value


def _to_float(value: object) -> float:
  """Returns a number, or a text that holds one, as a float. Anything else is NaN."""
  if isinstance(value, bool) or not isinstance(value, (str, SupportsFloat)):
    return math.nan
  try:
    return float(value)
  except (TypeError, ValueError):
    return math.nan


def _status(rows: Sequence[Row], objective: np.ndarray) -> np.ndarray:
  """Returns (T,) the status of each run."""
  status = []
  for row, value in zip(rows, objective):
    text = str(row.get('status', row.get('state', '')) or '').lower()
    name = STATUS_WORDS.get(text.removeprefix('trialstate.'), 'complete')
    is_missing = name == 'complete' and not math.isfinite(value)
    status.append('diverged' if is_missing else name)
  return np.array(status)


def _fill_diverged(
  objective: np.ndarray, status: np.ndarray, maximize: bool
) -> np.ndarray:
  """Gives diverged runs without an objective the worst finite one."""
  finite = np.where(np.isfinite(objective), objective, math.nan)
  # `fmin` and `fmax` ignore NaN. The result is NaN if no objective is finite.
  worst = np.fmin.reduce(finite) if maximize else np.fmax.reduce(finite)
  return np.where(np.isnan(finite) & (status == 'diverged'), worst, finite)


def _measured(
  rows: Sequence[Row], names: Sequence[str], read: Collection[str]
) -> dict[str, np.ndarray]:
  """Returns columns of numbers that are neither the objective nor a hyperparameter."""
  others = [n for n in names if n not in read and n.lower() not in RUN_COLUMNS]
  columns = number_columns([{n: _to_float(row.get(n)) for n in others} for row in rows])
  return {
    RENAMED_COLUMNS.get(name, name): column
    for name, column in columns.items()
    if np.isfinite(column).any()
  }
