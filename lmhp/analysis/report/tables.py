"""Tables of a report: every run, the best points, effects, the scaling law, and divergence."""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np

from lmhp.analysis.curves.divergence import Divergence
from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.hyperparameters.parameter_kinds import KindEffects
from lmhp.analysis.phrases import counted, number
from lmhp.analysis.report.document import Column, Table
from lmhp.analysis.report.figures.style import name_and_unit
from lmhp.analysis.runs.table import SEARCH, Runs
from lmhp.analysis.scaling.laws import ScalingLaw
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
  rows = zip(
    runs.number.tolist(),
    *(map(_cell, runs.values[name]) for name in runs.axes),
    runs.objective.tolist(),
    runs.status.tolist(),
    runs.seed.tolist(),
    runs.cohort.tolist(),
    *(runs.measured[name].tolist() for name in measured),
  )
  return Table('trials', 'All runs', columns, list(rows), _status_caption(runs))


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
    rows for rows in search.rows_by_point().values() if np.isfinite(losses[rows]).all()
  ]
  points.sort(key=lambda rows: losses[rows].mean())
  means = [float(losses[rows].mean()) for rows in points]
  has_seeds = any(len(rows) > 1 for rows in points)
  objective = column_of(runs.objective_name)
  columns = [Column('rank'), Column('run', kind='run'), objective]
  if has_seeds:
    columns += [Column('seeds'), Column('95% interval', objective.unit, 'text')]
  columns.append(Column('difference to best', objective.unit))
  columns += [_axis_column(runs, name) for name in runs.axes]

  table = []
  for rank, rows in enumerate(points[:N_BEST]):
    first = int(search.number[rows[0]])
    row: list[object] = [1 + rank, first, float(runs.to_objective(means[rank]))]
    if has_seeds:
      row += [len(rows), _interval_cell(search.objective[rows])]
    row.append(means[rank] - means[0])
    row += [_cell(search.values[name][rows[0]]) for name in runs.axes]
    table.append(row)
  return Table('best', 'Best points', columns, table, _best_caption(runs, means))


def _interval_cell(objective: np.ndarray) -> str | None:
  _, low, high = mean_interval(objective)
  return f'{number(low)} to {number(high)}' if math.isfinite(low) else None


def _best_caption(runs: Runs, means: Sequence[float]) -> str:
  if not means:
    return 'No point is complete.'
  if len(means) == 1:
    return f'Only one point is complete, with {number(runs.to_objective(means[0]))}.'
  n = min(N_BEST, len(means))
  spread = number(means[n - 1] - means[0], 3)
  return f'The best {n} of {counted(len(means), "complete point")} differ by at most {spread}.'


# --- results ----------------------------------------------------------------------------


def effects_table(runs: Runs, effects: Sequence[Effect]) -> Table | None:
  """Returns the gain from the best value of each hyperparameter, and its p-value."""
  if not effects:
    return None
  columns = [
    Column('hyperparameter', kind='text'),
    Column('role', kind='text'),
    Column('gain', runs.unit),
    Column('low', runs.unit),
    Column('high', runs.unit),
    Column('best value', kind='text'),
    Column('p (Holm)'),
    Column('points'),
    Column('reason for no result', kind='text'),
  ]
  rows = [
    (
      effect.axis,
      runs.axes[effect.axis].role,
      effect.gain,
      effect.gain_low,
      effect.gain_high,
      _rounded(effect.best_value),
      effect.p_holm,
      effect.n_points,
      effect.reason or None,
    )
    for effect in effects
  ]
  return Table(
    'effects',
    'Effects',
    columns,
    rows,
    'The gain is how much better the best value is than a typical one, with the other '
    'hyperparameters at their best. Intervals are 90%.',
  )


def _rounded(value: object) -> str | None:
  if value is None:
    return None
  return f'{value:.4g}' if isinstance(value, float) else str(value)


def kinds_table(runs: Runs, kind_effects: KindEffects | None) -> Table | None:
  """Returns the effect of moving 1% of the parameters to each kind."""
  if kind_effects is None or kind_effects.reason:
    return None
  columns = [
    Column('kind', kind='text'),
    Column('effect of 1% more', runs.unit),
    Column('low', runs.unit),
    Column('high', runs.unit),
    Column('p'),
    Column('mean fraction'),
    Column('range of fractions'),
  ]
  rows = [
    (
      kind.replace('_', '-'),
      float(kind_effects.per_percent[i]),
      float(kind_effects.low[i]),
      float(kind_effects.high[i]),
      float(kind_effects.p_value[i]),
      float(kind_effects.fraction[i]),
      float(kind_effects.fraction_range[i]),
    )
    for i, kind in enumerate(kind_effects.kinds)
  ]
  return Table(
    'kinds',
    'Effect of parameters by kind',
    columns,
    rows,
    'The effect of moving 1% of all parameters to a kind, at an equal total, over '
    f'{counted(kind_effects.n_points, "model")}. Below 0, the loss falls.',
  )


def law_table(scaling_law: ScalingLaw | None) -> Table | None:
  """Returns the parameters of L(N, D) = E + A / N^alpha + B / D^beta."""
  if scaling_law is None:
    return None
  law = scaling_law
  estimates = (
    ('E', 'E', law.E),
    ('A', 'A', law.A),
    ('B', 'B', law.B),
    ('alpha', 'alpha', law.alpha),
    ('beta', 'beta', law.beta),
    ('a', 'a (compute-optimal N ~ C^a)', law.beta / (law.alpha + law.beta)),
  )
  rows = [
    (title, estimate, *law.intervals.get(name, (math.nan, math.nan)))
    for name, title, estimate in estimates
  ]
  caption = f'Fitted to {counted(law.n_runs, "run")}'
  if law.reason:
    caption += f'; {law.reason}'
  return Table(
    'law',
    'L(N, D) = E + A / N^alpha + B / D^beta',
    [
      Column('parameter', kind='text'),
      Column('estimate'),
      Column('low', '90%'),
      Column('high', '90%'),
    ],
    rows,
    f'{caption}.',
  )


def divergence_table(divergence: Divergence) -> Table | None:
  """Returns the number of runs that diverged, and the best cut of each axis."""
  if not divergence.n_diverged:
    return None
  rows: list[tuple[object, ...]] = [
    ('all', divergence.n_runs, divergence.n_diverged, divergence.fraction, None)
  ]
  for cut in divergence.cuts:
    relation = {'above': '≥', 'below': '≤', 'at': '='}[cut.side]
    threshold = str(cut.threshold)
    if isinstance(cut.threshold, (int, float)):
      threshold = f'{cut.threshold:.3g}'
    rows.append(
      (
        f'{cut.axis} {relation} {threshold}',
        cut.n_runs,
        cut.n_diverged,
        cut.n_diverged / cut.n_runs,
        cut.p_value,
      )
    )
  caption = (
    f'{divergence.fraction:.0%} of {counted(divergence.n_runs, "run")} diverged '
    f'({divergence.confidence:.0%} interval {divergence.low:.0%} to {divergence.high:.0%}).'
  )
  if math.isfinite(divergence.largest_stable):
    caption += (
      f' Less than a tenth diverge up to {divergence.learning_rate} = '
      f'{divergence.largest_stable:.3g}.'
    )
  return Table(
    'stability',
    'Divergence',
    [
      Column('subset', kind='text'),
      Column('runs'),
      Column('diverged'),
      Column('fraction'),
      Column('p'),
    ],
    rows,
    caption,
  )
