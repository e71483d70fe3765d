"""Anyone's table of runs: a CSV, TSV, JSONL or parquet file with one row for each run."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.runs.columns import axis_of_values, columns_of, points_of
from lmhp.analysis.runs.table import STATUSES, Runs
from lmhp.errors import ConfigError, suggest
from lmhp.files import as_path

OBJECTIVES = (
  'objective',
  'value',
  'eval_loss_nats',
  'eval_loss',
  'val_loss',
  'validation_loss',
  'loss',
)
"""Columns that are the objective where none is named, the first that is there."""

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
_STATES = {
  'complete': 'complete',
  'completed': 'complete',
  'finished': 'complete',
  'done': 'complete',
  'ok': 'complete',
  'pruned': 'pruned',
  'stopped': 'pruned',
  'diverged': 'diverged',
  'nan': 'diverged',
  'failed': 'failed',
  'fail': 'failed',
  'crashed': 'failed',
  'running': 'running',
  'waiting': 'waiting',
}
_OWN = ('number', 'trial', 'run', 'name', 'id', 'seed', 'status', 'state')


def read_table(
  path: Any,
  objective: str | None = None,
  maximize: bool = False,
  parameters: Sequence[str] | None = None,
) -> Runs:
  """A file of runs.

  A row without a finite objective is a run that diverged, unless its `status` (or `state`) says otherwise; it counts as
  the worst of the others. Rows that agree in all parameters are seeds of one point.

  Args:
    path: `.csv` or `.tsv` with a first line of names, `.jsonl` with an object a line (nested ones by dotted path), or
      `.parquet`.
    objective: its column; None takes the first of `OBJECTIVES` that is there.
    maximize: whether more is better.
    parameters: columns that are hyperparameters; None takes all but the objective, names, seeds, states and what is
      `MEASURED`.

  Raises:
    ConfigError: for a column that is not there, no rows, or a file that cannot be read.
  """
  path = as_path(path)
  rows = _rows(path)
  if not rows:
    raise ConfigError(f'{path}: got no rows, expected one for each run')
  names = list(dict.fromkeys(name for row in rows for name in row))
  objective = _objective(path, names, objective)
  for name in parameters or ():
    _known(path, '--parameters', name, names)
  if parameters is None:
    parameters = [
      n for n in names if n != objective and n.lower() not in (*MEASURED, *_OWN)
    ]
  axes, values = {}, {}
  for name in parameters:
    axis, column = axis_of_values(
      name, [_missing_as_none(row.get(name)) for row in rows]
    )
    if len(axis.choices) > 1 or axis.kind == 'number':
      axes[name], values[name] = axis, column
  found = np.array([_float(row.get(objective)) for row in rows], np.float64)
  status = _status(rows, found)
  return Runs(
    name=path.stem,
    axes=axes,
    values=values,
    objective=_filled(found, status, maximize),
    objective_name=objective,
    maximize=maximize,
    status=status,
    point=points_of(values, len(rows)),
    seed=np.array(
      [
        int(_float(row.get('seed')))
        if _float(row.get('seed')) == _float(row.get('seed'))
        else i
        for i, row in enumerate(rows)
      ],
      int,
    ),
    measured=_measured(rows, names, (objective, *axes)),
    configs=dict(enumerate(rows)),
    about={'source': str(path), 'kind': 'table', 'objectives': [objective]},
  )


def _objective(path: Any, names: Sequence[str], asked: str | None) -> str:
  if asked is not None:
    _known(path, '--objective', asked, names)
    return asked
  for name in OBJECTIVES:
    if name in names:
      return name
  raise ConfigError(
    f'--objective: got none, expected the column to judge runs by, of {", ".join(names)} in {path}'
  )


def _known(path: Any, flag: str, name: str, names: Sequence[str]) -> None:
  if name not in names:
    raise ConfigError(
      f'{flag}: got {name!r}, expected a column of {path}, of {", ".join(names)}{suggest(name, names)}'
    )


# --- files ----------------------------------------------------------------------------------------------------------


def _rows(path: Any) -> list[dict[str, Any]]:
  suffix = path.suffix.lower()
  try:
    if suffix == '.parquet':
      from lmhp.sweeping.execution import curves

      return curves.read(path).to_pylist()
    text = path.read_text()
    if suffix == '.jsonl':
      return [_flat(json.loads(line)) for line in text.splitlines() if line.strip()]
    read = csv.DictReader(
      io.StringIO(text), delimiter='\t' if suffix == '.tsv' else ','
    )
    return [
      {k.strip(): _parsed(v) for k, v in row.items() if k is not None} for row in read
    ]
  except (
    ValueError,
    AttributeError,
    csv.Error,
  ) as error:  # UnicodeDecodeError and pyarrow's are ValueErrors
    raise ConfigError(
      f'{path}: cannot be read as {suffix[1:]} ({str(error).splitlines()[0]})'
    ) from None


def _flat(row: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """Nested objects by dotted path; lists as tuples."""
  out: dict[str, Any] = {}
  for key, value in row.items():
    if isinstance(value, Mapping):
      out |= _flat(value, f'{prefix}{key}.')
    else:
      out[f'{prefix}{key}'] = tuple(value) if isinstance(value, list) else value
  return out


def _parsed(text: str | None) -> Any:
  """A cell of a CSV file: an int, a float, true or false, None where empty, else its text."""
  text = (text or '').strip()
  if not text:
    return None
  if text.lower() in ('true', 'false'):
    return text.lower() == 'true'
  for kind in (int, float):
    try:
      return kind(text)
    except ValueError:
      continue
  return text


def _missing_as_none(value: Any) -> Any:
  return None if isinstance(value, float) and math.isnan(value) else value


def _float(value: Any) -> float:
  try:
    return math.nan if value is None or isinstance(value, bool) else float(value)
  except (TypeError, ValueError):
    return math.nan


def _status(rows: Sequence[Mapping[str, Any]], objective: np.ndarray) -> np.ndarray:
  said = [
    str(row.get('status', row.get('state', '')) or '')
    .lower()
    .removeprefix('trialstate.')
    for row in rows
  ]
  word = lambda text, value: (
    _STATES.get(text)
    or (text if text in STATUSES else None)
    or ('complete' if math.isfinite(value) else 'diverged')
  )
  found = [word(text, value) for text, value in zip(said, objective)]
  return np.array(
    [
      'diverged' if s == 'complete' and not math.isfinite(v) else s
      for s, v in zip(found, objective)
    ]
  )


def _filled(objective: np.ndarray, status: np.ndarray, maximize: bool) -> np.ndarray:
  """The worst finite objective for runs that diverged without one."""
  finite = objective[np.isfinite(objective)]
  if not len(finite):
    return np.where(np.isfinite(objective), objective, math.nan)
  worst = finite.min() if maximize else finite.max()
  return np.where(
    np.isfinite(objective), objective, np.where(status == 'diverged', worst, math.nan)
  )


def _measured(
  rows: Sequence[Mapping[str, Any]], names: Sequence[str], taken: Sequence[str]
) -> dict[str, np.ndarray]:
  """Columns of numbers that are neither the objective nor a hyperparameter."""
  left = [n for n in names if n not in taken and n.lower() not in _OWN]
  columns = columns_of([{n: _float(row.get(n)) for n in left} for row in rows])
  renamed = {'step': 'steps', 'n_parameters': 'parameters'}
  return {renamed.get(n, n): c for n, c in columns.items() if np.isfinite(c).any()}
