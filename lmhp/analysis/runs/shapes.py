"""Tables in other shapes than one row per run, turned into that shape.

These shapes are known:
- W&B's export of a chart, with one column per run.
- A log with one row per step of each run.
- Long form, with a column for the name of the swept hyperparameter and one for its value.
- Settings that stand in the names of the runs, such as `lr_0.001`.
- A mean, a spread and a number of seeds in each row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import math
import re

import numpy as np

from lmhp.analysis.runs.columns import number_column, to_float
from lmhp.analysis.runs.raw_table import Curve, RawTable, from_records, n_distinct
from lmhp.analysis.runs.run_names import settings_in_names
from lmhp.statistics.column_names import (
  HYPERPARAMETER,
  IDENTITY,
  METADATA_ROLE,
  OUTCOME,
  PROGRESS,
  SPREADS,
  STATISTICS,
  STATUSES,
  column_name,
)

SWEPT_NAMES = frozenset(
  """sweep swept param parameter hyperparameter hparam axis variable factor knob param_name
  parameter_name hyperparameter_name""".split()
)
SWEPT_VALUES = (
  'param_value',
  'parameter_value',
  'hyperparameter_value',
  'value',
  'val',
  'setting',
  'level',
)
UNFINISHED = 0.9
"""A run whose curve ends before this fraction of the longest one is unfinished."""
STANDARD_ERRORS = frozenset('sem se stderr'.split())
REPEATED = 1.6
"""Ratio of successive differences to variance from which rows are repeats."""
MIN_STEPS = 5
"""Mean number of rows per run from which rows are read as the steps of a run."""

_CHART_COLUMN = re.compile(r'(.+) - ([^-]+?)(__MIN|__MAX)?')


def one_row_per_run(
  table: RawTable, given: Mapping[str, str] | None = None
) -> RawTable:
  """Returns a table with one row per run, whatever the shape of the given one is.

  Args:
    table: The table.
    given: {column: role} as the user states them. Such a column is no step.

  >>> table = RawTable({'sweep': ['lr', 'wd'], 'value': [0.1, 0.2], 'loss': [3.0, 3.1]})
  >>> dict(one_row_per_run(table).columns)
  {'loss': [3.0, 3.1], 'lr': [0.1, None], 'wd': [None, 0.2]}
  """
  table = _lists_as_curves(table)
  for reshape in (_from_chart, _from_steps, _from_long_form):
    if reshape is _from_steps and _step_name(table) in (given or {}):
      continue
    reshaped = reshape(table)
    if reshaped is not None:
      return dataclasses.replace(reshaped, notes=(*table.notes, *reshaped.notes))
  return table


def _lists_as_curves(table: RawTable) -> RawTable:
  """Moves columns of lists of numbers, such as `val_losses`, to the curves of the runs."""
  columns: dict[str, Sequence[object]] = {}
  roles = dict(table.roles)
  curves = {row: dict(curve) for row, curve in table.curves.items()}
  for name, column in table.columns.items():
    if _is_history(name, column):
      lists = [tuple(enumerate(v)) if isinstance(v, tuple) else () for v in column]
    elif _is_pairs(column):
      lists = [v if isinstance(v, tuple) else () for v in column]
      # The last value stands for the run.
      columns[name] = [pairs[-1][1] if pairs else None for pairs in lists]
      roles[name] = OUTCOME
    else:
      columns[name] = column
      continue
    for row, pairs in enumerate(lists):
      if pairs:
        _add_to_curve(curves.setdefault(row, {}), name, np.asarray(pairs, np.float64))
  return dataclasses.replace(table, columns=columns, curves=curves, roles=roles)


def _add_to_curve(curve: dict[str, np.ndarray], name: str, pairs: np.ndarray) -> None:
  """Adds (S, 2) pairs of a step and a value, if they have the steps of the curve."""
  step = curve.setdefault('step', pairs[:, 0])
  if np.array_equal(step, pairs[:, 0]):
    curve[name] = pairs[:, 1]


def _is_pairs(column: Sequence[object]) -> bool:
  """Returns True for lists of pairs of a rising step and a value."""
  lists = [value for value in column if value is not None]
  for value in lists:
    if not isinstance(value, tuple) or not value:
      return False
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
      return False
    if not all(isinstance(each, (int, float)) for pair in value for each in pair):
      return False
    steps = [pair[0] for pair in value]
    if any(after <= before for before, after in zip(steps, steps[1:])):
      return False
  return bool(lists)


def _is_history(name: str, column: Sequence[object]) -> bool:
  """Returns True for lists of at least `MIN_STEPS` numbers under the name of a metric."""
  lists = [value for value in column if isinstance(value, tuple)]
  if not lists or len(lists) < sum(value is not None for value in column):
    return False
  are_numbers = all(isinstance(each, (int, float)) for value in lists for each in value)
  is_long = np.median([len(value) for value in lists]) >= MIN_STEPS
  return are_numbers and bool(is_long) and column_name(name).is_metric


# --- charts -----------------------------------------------------------------------------


def _from_chart(table: RawTable) -> RawTable | None:
  """Reads W&B's export of a chart: a step, and columns called `RUN - METRIC`."""
  names = list(table.columns)
  if len(names) < 2 or column_name(names[0]).text not in (*PROGRESS, 'relative_time'):
    return None
  matches = {name: _CHART_COLUMN.fullmatch(name) for name in names[1:]}
  if not all(matches.values()):
    return None

  # {run: {metric: values}}. The columns of smallest and largest values repeat the metric.
  runs: dict[str, dict[str, np.ndarray]] = {}
  for name, match in matches.items():
    if match and not match.group(3):
      run = runs.setdefault(match.group(1), {})
      run[match.group(2)] = number_column(table.columns[name])
  step = number_column(table.columns[names[0]])
  records = []
  curves: dict[int, Curve] = {}
  for name, metrics in runs.items():
    has_value = np.any([np.isfinite(column) for column in metrics.values()], 0)
    curve = {'step': step[has_value]}
    record: dict[str, object] = {'run': name}
    for metric, column in metrics.items():
      curve[metric] = column[has_value]
      finite = column[np.isfinite(column)]
      record[metric] = float(finite[-1]) if len(finite) else None
    record['last_step'] = float(curve['step'][-1]) if has_value.any() else None
    curves[len(records)] = curve
    records.append(record)
  return _with_curves(records, curves)


def _with_curves(
  records: Sequence[dict[str, object]], curves: Mapping[int, Curve]
) -> RawTable:
  """Returns the table of runs that have curves. Runs that stopped early are unfinished."""
  lengths = [
    float(curve['step'][-1]) for curve in curves.values() if len(curve['step'])
  ]
  longest = max(lengths, default=0.0)
  settings = settings_in_names([str(record['run']) for record in records])
  n_early = 0
  for i, record in enumerate(records):
    last = record.get('last_step')
    is_early = not isinstance(last, float) or last < UNFINISHED * longest
    n_early += is_early
    record['status'] = 'running' if is_early else 'finished'
    record |= settings[i]
  table = from_records(records)
  notes = ()
  if n_early:
    notes = (f'{n_early} of {len(records)} runs stop early and count as unfinished.',)
  roles = {'run': IDENTITY, 'last_step': METADATA_ROLE}
  roles |= dict.fromkeys(settings[0], HYPERPARAMETER)
  return RawTable(table.columns, curves=curves, roles=roles, notes=notes)


# --- steps ------------------------------------------------------------------------------


def _from_steps(table: RawTable) -> RawTable | None:
  """Reads rows that are the steps of runs: the step rises within each group of rows."""
  step_name = _step_name(table)
  if step_name is None:
    return None
  step = number_column(table.columns[step_name])
  if not np.isfinite(step).all():
    return None

  # Everything but metrics, costs and times identifies a run. So do lengths of episodes, unless
  # the episodes are numbered once.
  is_one_run = step_name.lower() == 'episode' and bool(np.all(np.diff(step) > 0))
  metrics = []
  for name in table.columns:
    words = column_name(name)
    is_count = is_one_run and words.text in STATUSES | {'length', 'steps'}
    if words.is_metric or words.is_cost or words.group == 'metric' or is_count:
      metrics.append(name)
  keys = [n for n in table.columns if n not in metrics and n != step_name]
  changing = [n for n in keys if _changes_with(table.columns[n], step)]
  # A schedule changes the learning rate, but no other setting changes within a run.
  if any(_is_fixed_setting(name) for name in changing):
    return None
  keys = [name for name in keys if name not in changing]
  groups: dict[str, list[int]] = {}
  for i, key in enumerate(table.row_keys(keys)):
    groups.setdefault(key, []).append(i)
  if not metrics or len(table) < MIN_STEPS * len(groups):
    return None
  if any(np.any(np.diff(step[rows]) <= 0) for rows in groups.values()):
    return None
  if len(groups) > 1 and _are_repeats(table, metrics, list(groups.values())):
    return None

  others = [n for n in table.columns if n not in keys and n != step_name]
  records = []
  curves: dict[int, Curve] = {}
  for rows in groups.values():
    record: dict[str, object] = {'run': f'run {len(records)}'}
    record |= {name: table.columns[name][rows[0]] for name in keys}
    curve = {'step': step[rows]}
    for name in others:
      column = number_column(table.columns[name])[rows]
      finite = column[np.isfinite(column)]
      if len(finite):
        curve[name] = column
        record[name] = float(finite[-1])
    record['last_step'] = float(step[rows][-1])
    curves[len(records)] = curve
    records.append(record)
  return _with_curves(records, curves)


def _are_repeats(
  table: RawTable, metrics: Sequence[str], groups: Sequence[list[int]]
) -> bool:
  """Returns True if successive rows differ as much as any two rows.

  Independent values have successive differences of twice their variance (von Neumann, 1941).
  """
  ratios = []
  for name in metrics:
    parts = [number_column(table.columns[name])[rows] for rows in groups]
    variance = np.mean([np.var(part) for part in parts])
    if np.isfinite(variance) and variance > 0:
      ratios.append(np.mean([np.mean(np.diff(part) ** 2) for part in parts]) / variance)
  return bool(ratios) and float(np.median(ratios)) > REPEATED


def _step_name(table: RawTable) -> str | None:
  names = (*PROGRESS, 'global_step')
  return next((n for n in table.columns if column_name(n).text in names), None)


def _is_fixed_setting(name: str) -> bool:
  words = column_name(name)
  is_rate = bool({'lr', 'learning', 'momentum', 'temperature'} & set(words.words))
  return words.is_hyperparameter and not is_rate


def _changes_with(column: Sequence[object], step: np.ndarray) -> bool:
  """Returns True for a number of about as many values as steps, which changes with most steps."""
  if not all(isinstance(value, (int, float)) for value in column if value is not None):
    return False
  n_values = n_distinct(column)
  if n_values <= 2 or n_values < 0.5 * len(np.unique(step)):
    return False
  is_later = np.diff(step) > 0
  is_changed = np.array([a != b for a, b in zip(column, column[1:])])
  return 2 * int(is_changed[is_later].sum()) > int(is_later.sum())


# --- long form --------------------------------------------------------------------------


def _from_long_form(table: RawTable) -> RawTable | None:
  """Reads a column of names of hyperparameters, and a column of their values.

  A row is a run of which one hyperparameter was changed, or one hyperparameter of a run.
  """
  # Prefixes such as `param_` belong to these names.
  words = {name.lower().replace(' ', '_'): name for name in table.columns}
  swept = next((words[word] for word in words if word in SWEPT_NAMES), None)
  value = next((words[word] for word in SWEPT_VALUES if word in words), None)
  if swept is None or value is None:
    return None
  names = table.columns[swept]
  distinct = dict.fromkeys(name for name in names if name is not None)
  if not all(isinstance(name, str) for name in distinct):
    return None
  if not 1 < len(distinct) <= len(names) / 2 and len(names) > 2:
    return None
  others = {n: c for n, c in table.columns.items() if n not in (swept, value)}
  labels = {
    name: str(name) if str(name) not in others else f'{name} (swept)'
    for name in distinct
  }

  # Rows that agree in all else, and name different hyperparameters, are one run.
  groups: dict[str, list[int]] = {}
  for row, key in enumerate(table.row_keys(list(others))):
    groups.setdefault(key, []).append(row)
  is_split = len(groups) < len(names) and all(
    len({names[row] for row in rows}) == len(rows) for rows in groups.values()
  )
  runs = list(groups.values()) if is_split else [[row] for row in range(len(names))]
  records = []
  for rows in runs:
    record = {name: column[rows[0]] for name, column in others.items()}
    record |= dict.fromkeys(labels.values())
    for row in rows:
      record[labels[names[row]]] = table.columns[value][row]
    records.append(record)
  roles = dict.fromkeys(labels.values(), HYPERPARAMETER)
  curves = {} if is_split else table.curves
  return RawTable(from_records(records).columns, curves=curves, roles=roles)


# --- aggregated seeds -------------------------------------------------------------------


def expand_seeds(
  table: RawTable, seeds: Sequence[str], objective: str
) -> tuple[RawTable, tuple[str, ...]]:
  """Turns rows of a mean, a spread and a number of seeds into one row per seed.

  The values have exactly the given mean and standard deviation, so every test of means gives
  what it would give for the runs themselves.
  """
  counts = [name for name in seeds if is_number_of_seeds(name)]
  spreads = [name for name in table.columns if _is_spread_of(name, objective)]
  if not counts or not spreads:
    return table, ()
  rows: list[int] = []
  values: list[object] = []
  for i in range(len(table)):
    mean = to_float(table.columns[objective][i])
    spread = to_float(table.columns[spreads[0]][i])
    n = table.columns[counts[0]][i]
    if not isinstance(n, int) or n < 2 or not math.isfinite(mean + spread):
      rows.append(i)
      values.append(table.columns[objective][i])
      continue
    if column_name(spreads[0]).words[-1] in STANDARD_ERRORS:
      spread = spread * math.sqrt(n)
    # Evenly spaced numbers, scaled to a standard deviation of 1.
    pattern = np.arange(n) - (n - 1) / 2
    pattern = pattern / np.std(pattern, ddof=1)
    rows += [i] * n
    values += (mean + spread * pattern).tolist()
  columns = {**table.select(rows).columns, objective: values}
  note = f'{counts[0]} runs stand for each row, with the mean and the spread in {spreads[0]}.'
  return RawTable(columns, roles=table.roles, notes=table.notes), (note,)


def _is_spread_of(name: str, objective: str) -> bool:
  """Returns True for the spread of the objective, such as `loss_std` of `loss_mean`."""
  words = column_name(name)
  if not words.is_spread:
    return False
  other = set(column_name(objective).words) - STATISTICS
  return set(words.words) - SPREADS - STATISTICS == other


def is_number_of_seeds(name: str) -> bool:
  """Returns True for a number of seeds, such as `num_seeds` and `n_seeds`."""
  return column_name(name).words[0] in ('n', 'num', 'number') or name.lower() == 'seeds'
