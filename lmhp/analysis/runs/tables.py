"""A table of runs from a file or a data frame: its columns get roles, its rows a status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.columns import (
  axis_and_column,
  is_numeric,
  object_column,
  point_numbers,
)
from lmhp.analysis.runs.raw_table import Column, ColumnValues, RawTable, names_with
from lmhp.analysis.runs.roles import LARGE_SIZE, column_roles
from lmhp.analysis.runs.shapes import expand_seeds, is_number_of_seeds, one_row_per_run
from lmhp.analysis.runs.table import DISCARDED, KEPT, STATUSES, Runs, StudyFacts
from lmhp.errors import ConfigError, suggest
from lmhp.statistics.column_names import (
  HYPERPARAMETER,
  IDENTITY,
  METADATA_ROLE,
  OUTCOME,
  SEED,
  SIZE,
  STATUS,
  YARDSTICK,
  column_name,
)

OBJECTIVES = ('objective', 'value', 'values_0')
"""Columns that are the objective by their name. The first one in a file is taken."""

SPLIT_ORDER = ('validation', '', 'test', 'train')
"""Data on which a metric is preferred as the objective."""

STATUS_WORDS = {
  'complete': 'complete finished done ok success succeeded terminated completed keep kept'
  ' discard discarded best true yes reverted rejected accepted',
  'pruned': 'pruned stopped early_stopped',
  'diverged': 'diverged nan inf exploded divergence',
  'failed': 'failed fail crash crashed error killed preempted oom cancelled canceled timeout'
  ' aborted invalid skipped false no',
  'running': 'running unfinished incomplete in_progress',
  'missing': 'missing',
  'waiting': 'waiting queued pending scheduled planned',
}
"""{status of a run: words for it in files}."""

SIZE_NAMES = {
  'parameters': 'parameters params parameter nparams n',
  'tokens': 'tokens token d',
  'flops': 'flops flop compute c macs',
  'steps': 'steps updates iterations iters',
  'epochs': 'epochs',
  'samples': 'samples examples',
}
"""{name in `Runs.measured`: words of a column}."""

MULTIPLIERS = {'k': 1e3, 'm': 1e6, 'b': 1e9, 'millions': 1e6, 'billions': 1e9}
KEPT_WORDS = frozenset('keep kept accepted'.split())
DISCARDED_WORDS = frozenset('discard discarded reverted rejected'.split())

_STATUS_OF_WORD = {
  word: status for status, words in STATUS_WORDS.items() for word in words.split()
}
_SIZE_OF_WORD = {
  word: size for size, words in SIZE_NAMES.items() for word in words.split()
}


@dataclasses.dataclass(frozen=True)
class TableOptions:
  """Statements of a user about a table.

  Attributes:
    objective: Column of the objective. None finds it by its name.
    maximize: True if more is better, False if less is. None takes the direction of a known
      metric.
    parameters: Columns of the hyperparameters. No other column is then one. None finds them.
    roles: {column: role}.
  """

  objective: str | None = None
  maximize: bool | None = None
  parameters: Sequence[str] | None = None
  roles: Mapping[str, str] = dataclasses.field(default_factory=dict)


def runs_of_table(
  table: RawTable, name: str, source: str, options: TableOptions
) -> Runs:
  """Returns the runs of a table.

  A row without an objective is no result. A row whose objective is NaN or infinite diverged,
  unless its status says otherwise. Rows that agree in all hyperparameters and sizes are
  seeds of one point.

  Args:
    table: The table, in any of the shapes of `lmhp.analysis.runs.shapes`.
    name: Name of the study.
    source: Path that the table was read from, for messages.
    options: Statements of the user about its columns.

  Raises:
    ConfigError: If a column is missing, the objective or its direction is unknown.
  """
  table = one_row_per_run(table, options.roles)
  objective = _objective_column(table, source, options.objective)
  maximize = _direction(objective, options.maximize)
  roles = column_roles(
    table, objective, _given_roles(table, source, options, objective)
  )
  table, notes = _without_duplicates(table, roles)
  table, expanded = expand_seeds(table, names_with(roles, SEED), objective)

  axes, values = _axes(table, names_with(roles, HYPERPARAMETER))
  measured = _measured(table, roles)
  sizes = [_size_name(name, table.columns[name]) for name in names_with(roles, SIZE)]
  sizes = [size for size in dict.fromkeys(sizes) if size in measured]
  status = _status(table, roles, table.columns[objective])
  number = _to_floats(table.columns[objective])
  # The value of a crash or of a pruned run is no result.
  number = np.where(np.isin(status, ('complete', 'diverged')), number, math.nan)
  compared_within = _compared_within(table, roles)
  groups = {**values, **{size: measured[size] for size in sizes}, **compared_within}
  decisions = _decisions(table, roles)
  # Each row of a log is another edit.
  point = np.arange(len(table)) if decisions else point_numbers(groups, len(table))
  return Runs(
    name=name,
    axes=axes,
    values=values,
    objective=_fill_diverged(number, status, maximize),
    objective_name=objective,
    maximize=maximize,
    status=status,
    point=point,
    seed=_seeds(table, roles),
    measured=measured,
    curves=table.curves,
    configs=dict(enumerate(table.rows())),
    columns=roles,
    sizes=tuple(sizes),
    compared_within=compared_within,
    labels=_labels(table, roles),
    decisions=decisions,
    notes=(*table.notes, *notes, *expanded),
    facts=StudyFacts(source=source, source_type='table'),
  )


# --- objective --------------------------------------------------------------------------


def _objective_column(table: RawTable, source: str, name: str | None) -> str:
  names = list(table.columns)
  if name is not None:
    if name not in names:
      raise ConfigError(
        f'--objective: got {name!r}, expected one of the columns of {source}: '
        f'{", ".join(names)}{suggest(name, names)}'
      )
    return name
  by_text = {column_name(each).text: each for each in names}
  for candidate in OBJECTIVES:
    if candidate in by_text:
      return by_text[candidate]

  # The first metric of the validation data, or else of the next best data.
  metrics = [each for each in names if _is_candidate(each, table)]
  if not metrics:
    raise ConfigError(
      f'--objective: got none, expected one of the columns of {source}: {", ".join(names)}'
    )
  return min(metrics, key=lambda each: SPLIT_ORDER.index(column_name(each).split))


def _is_candidate(name: str, table: RawTable) -> bool:
  words = column_name(name)
  has_numbers = any(isinstance(value, (int, float)) for value in table.columns[name])
  return words.is_metric and not words.is_spread and has_numbers


def _direction(objective: str, maximize: bool | None) -> bool:
  if maximize is not None:
    return maximize
  direction = column_name(objective).direction
  if not direction:
    raise ConfigError(
      f'--objective: {objective} is no metric whose direction is known, expected --minimize '
      'if less is better, or --maximize'
    )
  return direction > 0


def _given_roles(
  table: RawTable, source: str, options: TableOptions, objective: str
) -> dict[str, str]:
  """Returns the roles that the user gave, with those that `parameters` gives."""
  given = dict(options.roles)
  if options.parameters is None:
    return given
  for name in options.parameters:
    if name not in table.columns:
      raise ConfigError(
        f'--parameters: got {name!r}, expected one of the columns of {source}: '
        f'{", ".join(table.columns)}{suggest(name, table.columns)}'
      )
    given.setdefault(name, HYPERPARAMETER)
  # All other columns that would be hyperparameters are left out.
  for name, column in column_roles(table, objective, given).items():
    if column.role == HYPERPARAMETER and name not in options.parameters:
      given[name] = OUTCOME
  return given


# --- rows -------------------------------------------------------------------------------


def _without_duplicates(
  table: RawTable, roles: Mapping[str, Column]
) -> tuple[RawTable, tuple[str, ...]]:
  """Leaves out rows that agree in everything that is set and measured."""
  ignored = (IDENTITY, METADATA_ROLE)
  kept_columns = [n for n, column in roles.items() if column.role not in ignored]
  first: dict[str, int] = {}
  for i, key in enumerate(table.row_keys(kept_columns)):
    first.setdefault(key, i)
  rows = list(first.values())
  n_equal = len(table) - len(rows)
  if not n_equal or not names_with(roles, HYPERPARAMETER) + names_with(roles, SIZE):
    return table, ()
  note = (
    f'{n_equal} rows equal another one in setting, seed and outcome, and count once.'
  )
  return table.select(rows), (note,)


def _axes(
  table: RawTable, names: Sequence[str]
) -> tuple[dict[str, Axis], dict[str, np.ndarray]]:
  """Returns the axes and columns of the hyperparameters that vary."""
  axes: dict[str, Axis] = {}
  values: dict[str, np.ndarray] = {}
  for name in names:
    axis, column = axis_and_column(name, [_nan_to_none(v) for v in table.columns[name]])
    if len(axis.choices) > 1 or axis.is_number:
      axes[name] = axis
      values[name] = column
  return axes, values


def _nan_to_none(value: object) -> object:
  return None if isinstance(value, float) and math.isnan(value) else value


def _to_floats(values: Sequence[object]) -> np.ndarray:
  """Returns (T,) values as floats, with NaN for anything that is no number."""
  return np.array([float(v) if is_numeric(v) else math.nan for v in values], np.float64)


def _status(
  table: RawTable, roles: Mapping[str, Column], objective: Sequence[object]
) -> np.ndarray:
  """Returns (T,) the status of each run."""
  columns = {name: table.columns[name] for name in names_with(roles, STATUS)}
  status = []
  for i, value in enumerate(objective):
    word = 'complete'
    for name, column in columns.items():
      found = _status_of(name, column[i])
      word = found if found != 'complete' else word
    if isinstance(value, str):
      word = _STATUS_OF_WORD.get(value.lower(), 'missing')
    elif value is None and word == 'complete':
      word = 'missing'
    elif word == 'complete' and not (is_numeric(value) and math.isfinite(value)):
      word = 'diverged'
    status.append(word)
  return np.array(status)


def _status_of(name: str, value: object) -> str:
  """Returns the status of a run by a cell of a column of statuses."""
  if isinstance(value, bool):
    column = column_name(name).text
    if column in ('diverged', 'failed', 'crashed'):
      return {'crashed': 'failed'}.get(column, column) if value else 'complete'
    return 'complete' if value else 'failed'
  text = str(value or '').lower().removeprefix('trialstate.').replace(' ', '_')
  return _STATUS_OF_WORD.get(text, text if text in STATUSES else 'complete')


def _fill_diverged(
  objective: np.ndarray, status: np.ndarray, maximize: bool
) -> np.ndarray:
  """Gives diverged runs without an objective the worst finite one."""
  finite = np.where(np.isfinite(objective), objective, math.nan)
  # `fmin` and `fmax` ignore NaN. The result is NaN if no objective is finite.
  worst = np.fmin.reduce(finite) if maximize else np.fmax.reduce(finite)
  return np.where(np.isnan(finite) & (status == 'diverged'), worst, finite)


def _seeds(table: RawTable, roles: Mapping[str, Column]) -> np.ndarray:
  """Returns (T,) the seeds, with the row index for a run without one."""
  names = [n for n in names_with(roles, SEED) if not is_number_of_seeds(n)]
  if not names:
    return np.arange(len(table))
  seeds: dict[str, int] = {}
  numbers = []
  for key, value in zip(table.row_keys(names), table.columns[names[0]]):
    is_whole = len(names) == 1 and isinstance(value, int)
    numbers.append(value if is_whole else seeds.setdefault(key, len(seeds)))
  return np.array(numbers, int)


def _labels(table: RawTable, roles: Mapping[str, Column]) -> tuple[str, ...]:
  """Returns a name of each run from a column of names. Empty if there is none.

  A description is a better name than the hash of a commit.
  """
  names = [*names_with(roles, IDENTITY), *names_with(roles, METADATA_ROLE)]
  names.sort(
    key=lambda name: column_name(name).text not in ('description', 'name', 'run')
  )
  for name in names:
    column = table.columns[name]
    is_label = column_name(name).words[-1:] != ('url',) and bool(column)
    if is_label and all(isinstance(value, str) for value in column):
      return tuple(str(value) for value in column)
  return ()


def _decisions(table: RawTable, roles: Mapping[str, Column]) -> tuple[str, ...]:
  """Returns 'kept', 'discarded' or '' of each row of a log of edits. Empty for other tables."""
  for name in names_with(roles, STATUS):
    words = [str(value or '').lower() for value in table.columns[name]]
    if KEPT_WORDS & set(words) and DISCARDED_WORDS & set(words):
      decisions: dict[str, str] = dict.fromkeys(KEPT_WORDS, KEPT)
      decisions |= dict.fromkeys(DISCARDED_WORDS, DISCARDED)
      return tuple(decisions.get(word, '') for word in words)
  return ()


# --- columns ----------------------------------------------------------------------------


def _size_name(name: str, column: Sequence[object]) -> str:
  """Returns the name of a column of sizes in `Runs.measured`.

  A letter such as `d` stands for tokens only if its numbers are large. It may be a width.
  """
  words = column_name(name).words
  if len(name) == 1 and ColumnValues(column).largest < LARGE_SIZE:
    return name
  if words == ('model', 'size'):
    return 'parameters'
  # `n` in `n_train_samples` is a number of samples.
  for word in sorted(words, key=lambda word: len(word) == 1):
    if word in _SIZE_OF_WORD:
      return _SIZE_OF_WORD[word]
  return name


def _compared_within(
  table: RawTable, roles: Mapping[str, Column]
) -> dict[str, np.ndarray]:
  """Returns `Runs.compared_within`: yardsticks such as a data set, and sizes in words."""
  names = names_with(roles, YARDSTICK)
  for name in names_with(roles, SIZE):
    if not any(map(is_numeric, table.columns[name])):
      names.append(name)
  return {name: object_column(table.columns[name]) for name in names}


def _measured(table: RawTable, roles: Mapping[str, Column]) -> dict[str, np.ndarray]:
  """Returns the columns of numbers that are sizes or outcomes."""
  measured: dict[str, np.ndarray] = {}
  for name in (*names_with(roles, SIZE), *names_with(roles, OUTCOME)):
    column = _to_floats(table.columns[name])
    if not np.isfinite(column).any():
      continue
    label = name
    if roles[name].role == SIZE:
      label = _size_name(name, table.columns[name])
      column = column * MULTIPLIERS.get(column_name(name).words[-1], 1.0)
    if label in measured:
      label = name
    measured[label] = column
  if 'tokens' not in measured and {'parameters', 'flops'} <= set(measured):
    # Training takes about 6 N D FLOPs.
    measured['tokens'] = measured['flops'] / (6 * measured['parameters'])
  return measured
