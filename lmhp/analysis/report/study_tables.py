"""Several studies beside each other: what each is expected to give, and all their runs in one table."""

from __future__ import annotations

import math
from typing import Mapping, Sequence

import numpy as np

from lmhp.analysis.analysis import Analysis
from lmhp.analysis.report.document import Column, Figure, Table
from lmhp.analysis.report.figures import marks
from lmhp.analysis.report.figures.style import axis, label, layout, with_unit
from lmhp.analysis.report.numbers import number
from lmhp.analysis.report.tables import trials_table
from lmhp.analysis.runs.table import Runs


def studies(names: Sequence[str], found: Sequence[Analysis]) -> Figure | None:
  """Of each study what its best point is expected to give on a fresh seed, with its interval; None where none ended."""
  done = [(name, one) for name, one in zip(names, found) if one.won is not None]
  if not done or len({one.runs.objective_name for _, one in done}) > 1:
    return None
  shown = [
    (
      name,
      *(float(one.runs.shown(v)) for v in (_expected(one), one.won.low, one.won.high)),
    )
    for name, one in done
  ]
  finite = np.array([v for _, *values in shown for v in values if math.isfinite(v)])
  pad = 0.08 * float(np.ptp(finite)) or 0.05 * abs(float(finite[0])) or 1.0
  xaxis = axis(
    with_unit(done[0][1].runs.objective_name),
    range=[float(finite.min()) - pad, float(finite.max()) + pad],
  )
  rows = [
    (label(name, 40), value, *sorted((low, high)), math.isfinite(low))
    for name, value, low, high in shown
  ]
  traces, notes, height = marks.rows_of_intervals(
    rows, xaxis, float(finite.max()) + pad
  )
  best = min(done, key=lambda pair: _expected(pair[1]))
  caption = (
    f'{best[0]} is expected to give the best, {number(float(best[1].runs.shown(_expected(best[1]))))}; hollow where '
    'no interval can be said.'
  )
  return Figure(
    'studies',
    'Best of each study, on a fresh seed',
    caption,
    traces,
    layout(
      xaxis,
      {'visible': False, 'range': [len(rows) - 0.6, -0.8], 'fixedrange': True},
      annotations=notes,
      margin={'l': 16, 'r': 16, 't': 8, 'b': 48},
    ),
    height=height,
  )


def _expected(one: Analysis) -> float:
  return one.won.expected if math.isfinite(one.won.expected) else one.won.mean


def trials_of_several(named: Sequence[tuple[str, Runs, Mapping[int, int]]]) -> Table:
  """All runs of all studies; a run's number is its place in the report, its study's own number beside it.

  Args:
    named: of each study its name, its runs, and the report's number of each of its own.
  """
  tables = [(name, trials_table(runs), numbers) for name, runs, numbers in named]
  columns = list(
    dict.fromkeys(column for _, table, _ in tables for column in table.columns[1:])
  )
  rows = []
  for name, table, numbers in tables:
    for row in table.rows:
      own = dict(zip(table.columns, row))
      rows.append(
        (numbers[row[0]], name, row[0], *(own.get(column) for column in columns))
      )
  return Table(
    'trials',
    'All runs',
    [
      Column('run', '', 'run'),
      Column('study', '', 'text'),
      Column('its number'),
      *columns,
    ],
    rows,
    f'{len(rows)} runs of {len(tables)} studies.',
  )
