"""Tables of runs: every run, and the best points."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.phrases import counted
from lmhp.analysis.report.document import Column, Table
from lmhp.analysis.report.figures.style import name_and_unit
from lmhp.analysis.report.numbers import number
from lmhp.analysis.runs.table import SEARCH, Runs
from lmhp.statistics.intervals import mean_interval

MEASURED = ('steps', 'tokens', 'parameters', 'flops', 'seconds', 'diverged_at')
"""Measurements in the table of all runs, if they are known."""
N_BEST = 10


def column_of(name: str) -> Column:
  """Returns the column of a measurement, with its unit apart.

  >>> column_of('eval_loss_nats')
  Column(name='eval loss', unit='nats', kind='number')
  """
  return Column(*name_and_unit(name))


# --- all runs ---------------------------------------------------------------------------


def trials_table(runs: Runs) -> Table:
  """Returns every run with its values, objective, status and cost.

  >>> from lmhp.analysis.runs.axis import Axis
  >>> x = np.array([1.0, 2.0])
  >>> trials_table(Runs('s', {'x': Axis('x')}, {'x': x}, np.array([3.0, 2.5]))).rows[1]
  (1, 2.0, 2.5, 'complete', 0, 'search')
  """
  measured = [
    name
    for name in MEASURED
    if name in runs.measured and np.isfinite(runs.measured[name]).any()
  ]
  columns = [
    Column('run', kind='run'),
    *(_axis_column(runs, name) for name in runs.axes),
    column_of(runs.objective_name),
    Column('status', kind='text'),
    Column('seed'),
    Column('cohort', kind='text'),
    *map(column_of, measured),
  ]
  rows = [_trial_row(runs, row, measured) for row in range(len(runs))]
  return Table('trials', 'All runs', columns, rows, _status_caption(runs))


def _trial_row(runs: Runs, row: int, measured: Sequence[str]) -> tuple[object, ...]:
  return (
    int(runs.number[row]),
    *(_cell(runs.values[name][row]) for name in runs.axes),
    float(runs.objective[row]),
    str(runs.status[row]),
    int(runs.seed[row]),
    str(runs.cohort[row]),
    *(float(runs.measured[name][row]) for name in measured),
  )


def _status_caption(runs: Runs) -> str:
  if not len(runs):
    return 'There are no runs.'
  words, counts = np.unique(runs.status, return_counts=True)
  listing = ', '.join(f'{count} {word}' for word, count in zip(words, counts))
  return f'{counted(len(runs), "run")}: {listing}.'


def _axis_column(runs: Runs, name: str) -> Column:
  return Column(name, kind='number' if runs.axes[name].is_number else 'text')


def _cell(value: object) -> object:
  if value is None or isinstance(value, float) and math.isnan(value):
    return None
  value = value.item() if isinstance(value, np.generic) else value
  return value if isinstance(value, (int, float, str, bool)) else str(value)


# --- best points ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Point:
  """A point of the search: its mean loss, and the indices of its runs."""

  loss: float
  rows: np.ndarray


def best_table(runs: Runs) -> Table:
  """Returns the best points of the search, by the mean over their seeds.

  A point with a seed that diverged is left out.
  """
  search = runs.select(
    (runs.cohort == SEARCH) & np.isin(runs.status, ('complete', 'diverged'))
  )
  # A point with a run that diverged is not among the best, as for the winner.
  losses = np.where(search.status == 'complete', search.losses, math.nan)
  points = [
    _Point(float(losses[rows].mean()), rows)
    for rows in search.rows_by_point().values()
    if np.isfinite(losses[rows]).all()
  ]
  points.sort(key=lambda point: point.loss)
  has_seeds = any(len(point.rows) > 1 for point in points)
  objective = column_of(runs.objective_name)
  columns = [Column('rank'), Column('run', kind='run'), objective]
  if has_seeds:
    columns.append(Column('seeds'))
    columns.append(Column('95% interval', objective.unit, 'text'))
  columns.append(Column('difference to best', objective.unit))
  columns += [_axis_column(runs, name) for name in runs.axes]

  rows = []
  for rank, point in enumerate(points[:N_BEST], start=1):
    row: list[object] = [
      rank,
      int(search.number[point.rows[0]]),
      float(runs.to_objective(point.loss)),
    ]
    if has_seeds:
      row += [len(point.rows), _interval_cell(search.objective[point.rows])]
    row.append(point.loss - points[0].loss)
    row += [_cell(search.values[name][point.rows[0]]) for name in runs.axes]
    rows.append(row)
  return Table('best', 'Best points', columns, rows, _best_caption(runs, points))


def _interval_cell(objective: np.ndarray) -> str | None:
  _, low, high = mean_interval(objective)
  return f'{number(low)} to {number(high)}' if math.isfinite(low) else None


def _best_caption(runs: Runs, points: Sequence[_Point]) -> str:
  if not points:
    return 'No point is complete.'
  if len(points) == 1:
    best = number(float(runs.to_objective(points[0].loss)))
    return f'Only one point is complete, with {best}.'
  n = min(N_BEST, len(points))
  spread = number(float(points[n - 1].loss - points[0].loss), 3)
  return f'The best {n} of {counted(len(points), "complete point")} differ by at most {spread}.'
