"""Tables of a study: every run, and the best settings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lmhp.analysis.report.document import Column, Table
from lmhp.analysis.report.figures.style import UNITS
from lmhp.analysis.report.numbers import number
from lmhp.analysis.runs.table import SEARCH, Runs
from lmhp.statistics.intervals import mean_interval

MEASURED = ('steps', 'tokens', 'parameters', 'flops', 'seconds', 'diverged_at')
"""Of what was measured, what the table of all runs shows, where it is known."""


def named(name: str) -> Column:
  """A column of a quantity, its unit apart.

  >>> named('eval_loss_nats')
  Column(name='eval loss', unit='nats', kind='number')
  """
  stem, _, unit = name.rpartition('_')
  if '.' in name or unit not in UNITS or not stem:
    return Column(name if '.' in name else name.replace('_', ' '))
  return Column(stem.replace('_', ' '), 'FLOPs' if unit == 'flops' else unit)


def trials_table(runs: Runs) -> Table:
  """Every run: its values, its objective, what became of it, and what it cost.

  >>> from lmhp.analysis.runs.table import Axis
  >>> trials_table(
  ...   Runs('s', {'x': Axis('x')}, {'x': np.array([1.0, 2.0])}, np.array([3.0, 2.5]))
  ... ).rows[1]
  (1, 2.0, 2.5, 'complete', 0, 'search')
  """
  measured = [
    name
    for name in MEASURED
    if name in runs.measured and np.isfinite(runs.measured[name]).any()
  ]
  columns = [
    Column('run', '', 'run'),
    *(_axis_column(runs, name) for name in runs.axes),
    named(runs.objective_name),
    Column('status', '', 'text'),
    Column('seed'),
    Column('cohort', '', 'text'),
    *map(named, measured),
  ]
  rows = [
    (
      int(runs.number[i]),
      *(_cell(runs.values[name][i]) for name in runs.axes),
      float(runs.objective[i]),
      str(runs.status[i]),
      int(runs.seed[i]),
      str(runs.cohort[i]),
      *(float(runs.measured[name][i]) for name in measured),
    )
    for i in range(len(runs))
  ]
  return Table('trials', 'All runs', columns, rows, _counted(runs))


def _counted(runs: Runs) -> str:
  words, counts = np.unique(runs.status, return_counts=True)
  said = ', '.join(f'{n} {word}' for word, n in zip(words, counts))
  return f'{len(runs)} runs: {said}.' if len(runs) else 'No runs.'


def _axis_column(runs: Runs, name: str) -> Column:
  return Column(name, '', 'number' if runs.axes[name].kind == 'number' else 'text')


def _cell(value: Any) -> Any:
  if value is None or isinstance(value, float) and math.isnan(value):
    return None
  value = value.item() if isinstance(value, np.generic) else value
  return value if isinstance(value, (int, float, str, bool)) else str(value)


def best_table(runs: Runs, n: int = 10) -> Table:
  """The best settings of the search, by the mean over their seeds; a setting with a seed that diverged is not there.

  Args:
    runs: a study.
    n: at most so many.
  """
  search = runs.where(
    (runs.cohort == SEARCH) & np.isin(runs.status, ('complete', 'diverged'))
  )
  losses = np.where(search.status == 'complete', search.losses, math.nan)
  found = sorted(
    (
      (float(losses[rows].mean()), rows)
      for rows in search.points().values()
      if np.isfinite(losses[rows]).all()
    ),
    key=lambda one: one[0],
  )
  several = any(len(rows) > 1 for _, rows in found)
  objective = named(runs.objective_name)
  columns = [
    Column('rank'),
    Column('run', '', 'run'),
    objective,
    *(
      [Column('seeds'), Column('95% interval', objective.unit, 'text')]
      if several
      else []
    ),
    Column('behind the best', objective.unit),
    *(_axis_column(runs, name) for name in runs.axes),
  ]
  rows = []
  for rank, (loss, own) in enumerate(found[:n], start=1):
    seeds = ()
    if several:
      _, low, high = mean_interval(search.objective[own])
      seeds = (
        len(own),
        f'{number(low)} to {number(high)}' if math.isfinite(low) else None,
      )
    rows.append(
      (
        rank,
        int(search.number[own[0]]),
        float(runs.shown(loss)),
        *seeds,
        loss - found[0][0],
        *(_cell(search.values[name][own[0]]) for name in runs.axes),
      )
    )
  return Table(
    'best', 'The best settings', columns, rows, _best_caption(runs, found, len(rows))
  )


def _best_caption(runs: Runs, found: list, n: int) -> str:
  if not found:
    return 'No setting came to its end.'
  if n == 1:
    return (
      f'The one setting that came to its end: {number(float(runs.shown(found[0][0])))}.'
    )
  return (
    f'The best {n} of {len(found)} settings that came to their end lie within '
    f'{number(float(found[n - 1][0] - found[0][0]), 3)} of each other.'
  )
