"""Tables of a report: every run, the best points, effects, the scaling law, and divergence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
RELATIONS = {'above': '≥', 'below': '≤', 'at': '='}
"""{side of a cut: relation of its subset to the threshold}."""


def column_of(name: str) -> Column:
  """Returns the column of a measurement, with its unit apart.

  >>> column_of('eval_loss_nats')
  Column(name='eval loss', unit='nats', kind='number')
  """
  return Column(*name_and_unit(name))


# --- all runs ---------------------------------------------------------------------------


def _table_of(
  id: str,
  title: str,
  columns: Sequence[tuple[Column, Iterable[object]]],
  caption: str,
) -> Table:
  """Returns a table from columns, each with its cells."""
  names, cells = zip(*columns, strict=True)
  return Table(id, title, names, list(zip(*cells, strict=True)), caption)


def trials_table(runs: Runs) -> Table:
  """Returns every run with its values, objective, status and cost.

  >>> from lmhp.analysis.runs.axis import Axis
  >>> x = np.array([1.0, 2.0])
  >>> trials_table(Runs('s', {'x': Axis('x')}, {'x': x}, np.array([3.0, 2.5]))).rows[1]
  (1, 2.0, 2.5, 'complete', 0, 'search')
  """
  words, counts = np.unique(runs.status, return_counts=True)
  listing = ', '.join(f'{count} {word}' for word, count in zip(words, counts))
  measured = [
    (column_of(name), runs.measured[name].tolist())
    for name in MEASURED
    if name in runs.measured and np.isfinite(runs.measured[name]).any()
  ]
  return _table_of(
    'trials',
    'All runs',
    [
      (Column('run', kind='run'), runs.number.tolist()),
      *_axis_columns(runs),
      (column_of(runs.objective_name), runs.objective.tolist()),
      (Column('status', kind='text'), runs.status.tolist()),
      (Column('seed'), runs.seed.tolist()),
      (Column('cohort', kind='text'), runs.cohort.tolist()),
      *measured,
    ],
    f'{counted(len(runs), "run")}: {listing}.',
  )


def _axis_columns(runs: Runs) -> list[tuple[Column, Iterable[object]]]:
  """Returns the columns of all hyperparameters."""
  return [
    (
      Column(name, kind='number' if axis.is_number else 'text'),
      map(_cell, runs.values[name]),
    )
    for name, axis in runs.axes.items()
  ]


def _cell(value: object) -> object:
  if value is None or isinstance(value, float) and math.isnan(value):
    return None
  value = value.item() if isinstance(value, np.generic) else value
  return value if isinstance(value, (int, float, str, bool)) else str(value)


# --- best points ------------------------------------------------------------------------


def best_table(runs: Runs) -> Table | None:
  """Returns the best points of the search, by the mean over their seeds.

  A point with a seed that diverged is left out. Returns None if no point is complete.
  """
  search = runs.select(
    (runs.cohort == SEARCH) & np.isin(runs.status, ('complete', 'diverged'))
  )
  # A point with a run that diverged is not among the best, as for the winner.
  losses = np.where(search.status == 'complete', search.losses, math.nan)
  points = [
    rows for rows in search.rows_by_point().values() if np.isfinite(losses[rows]).all()
  ]
  if not points:
    return None
  n_complete = len(points)
  has_seeds = any(len(rows) > 1 for rows in points)
  points = sorted(points, key=lambda rows: losses[rows].mean())[:N_BEST]
  means = np.array([losses[rows].mean() for rows in points])
  first = search.select([rows[0] for rows in points])
  objective = column_of(runs.objective_name)
  columns: list[tuple[Column, Iterable[object]]] = [
    (Column('rank'), range(1, 1 + len(points))),
    (Column('run', kind='run'), first.number.tolist()),
    (objective, runs.to_objective(means).tolist()),
  ]
  if has_seeds:
    intervals = [_interval_cell(search.objective[rows]) for rows in points]
    columns += [
      (Column('seeds'), map(len, points)),
      (Column('95% interval', objective.unit, 'text'), intervals),
    ]
  columns.append((Column('difference to best', objective.unit), means - means[0]))
  caption = (
    f'The best {len(points)} of {counted(n_complete, "complete point")} differ by at most '
    f'{number(means[-1] - means[0], 3)}.'
  )
  if n_complete == 1:
    best = number(runs.to_objective(means[0]))
    caption = f'Only one point is complete, with {best}.'
  return _table_of('best', 'Best points', [*columns, *_axis_columns(first)], caption)


def _interval_cell(objective: np.ndarray) -> str | None:
  _, low, high = mean_interval(objective)
  return f'{number(low)} to {number(high)}' if math.isfinite(low) else None


# --- results ----------------------------------------------------------------------------


def effects_table(runs: Runs, effects: Sequence[Effect]) -> Table:
  """Returns the gain from the best value of each hyperparameter, and its p-value."""
  return Table(
    'effects',
    'Effects',
    [
      Column('hyperparameter', kind='text'),
      Column('role', kind='text'),
      Column('gain', runs.unit),
      Column('low', runs.unit),
      Column('high', runs.unit),
      Column('best value', kind='text'),
      Column('p (Holm)'),
      Column('points'),
      Column('reason for no result', kind='text'),
    ],
    [
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
    ],
    'The gain is how much better the best value is than a typical one, with the other '
    'hyperparameters at their best. Intervals are 90%.',
  )


def _rounded(value: object) -> str | None:
  text = f'{value:.4g}' if isinstance(value, float) else str(value)
  return None if value is None else text


def kinds_table(runs: Runs, kind_effects: KindEffects | None) -> Table | None:
  """Returns the effect of moving 1% of the parameters to each kind."""
  if kind_effects is None or kind_effects.reason:
    return None
  return _table_of(
    'kinds',
    'Effect of parameters by kind',
    [
      (
        Column('kind', kind='text'),
        [kind.replace('_', '-') for kind in kind_effects.kinds],
      ),
      (Column('effect of 1% more', runs.unit), kind_effects.per_percent.tolist()),
      (Column('low', runs.unit), kind_effects.low.tolist()),
      (Column('high', runs.unit), kind_effects.high.tolist()),
      (Column('p'), kind_effects.p_value.tolist()),
      (Column('mean fraction'), kind_effects.fraction.tolist()),
      (Column('range of fractions'), kind_effects.fraction_range.tolist()),
    ],
    'The effect of moving 1% of all parameters to a kind, at an equal total, over '
    f'{counted(kind_effects.n_points, "model")}. Below 0, the loss falls.',
  )


def law_table(scaling_law: ScalingLaw | None) -> Table | None:
  """Returns the parameters of L(N, D) = E + A / N^alpha + B / D^beta."""
  if scaling_law is None:
    return None
  estimates = (
    ('E', 'E', scaling_law.E),
    ('A', 'A', scaling_law.A),
    ('B', 'B', scaling_law.B),
    ('alpha', 'alpha', scaling_law.alpha),
    ('beta', 'beta', scaling_law.beta),
    (
      'a',
      'a (compute-optimal N ~ C^a)',
      scaling_law.beta / (scaling_law.alpha + scaling_law.beta),
    ),
  )
  reason = f'; {scaling_law.reason}' if scaling_law.reason else ''
  return Table(
    'law',
    'L(N, D) = E + A / N^alpha + B / D^beta',
    [
      Column('parameter', kind='text'),
      Column('estimate'),
      Column('low', '90%'),
      Column('high', '90%'),
    ],
    [
      (title, estimate, *scaling_law.intervals.get(name, (math.nan, math.nan)))
      for name, title, estimate in estimates
    ],
    f'Fitted to {counted(scaling_law.n_runs, "run")}{reason}.',
  )


def divergence_table(divergence: Divergence) -> Table | None:
  """Returns the number of runs that diverged, and the best cut of each axis."""
  if not divergence.n_diverged:
    return None
  rows: list[tuple[object, ...]] = [
    ('all', divergence.n_runs, divergence.n_diverged, divergence.fraction, None)
  ]
  for cut in divergence.cuts:
    threshold = cut.threshold
    if isinstance(threshold, (int, float)):
      threshold = f'{threshold:.3g}'
    rows.append(
      (
        f'{cut.axis} {RELATIONS[cut.side]} {threshold}',
        cut.n_runs,
        cut.n_diverged,
        cut.n_diverged / cut.n_runs,
        cut.p_value,
      )
    )
  stable = (
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
    f'{divergence.fraction:.0%} of {counted(divergence.n_runs, "run")} diverged '
    f'({divergence.confidence:.0%} interval {divergence.low:.0%} to {divergence.high:.0%}).'
    f'{stable if math.isfinite(divergence.largest_stable) else ""}',
  )
