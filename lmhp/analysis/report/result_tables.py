"""Tables of results: effects, parameters by kind, the scaling law, and divergence."""

from __future__ import annotations

from collections.abc import Sequence
import math

from lmhp.analysis.curves.divergence import Divergence
from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.hyperparameters.parameter_kinds import KindEffects
from lmhp.analysis.phrases import counted
from lmhp.analysis.report.document import Column, Table
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.laws import ScalingLaw


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
      _cell(effect.best_value),
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
  estimates = {
    'E': law.E,
    'A': law.A,
    'B': law.B,
    'alpha': law.alpha,
    'beta': law.beta,
    'a': law.beta / (law.alpha + law.beta),
  }
  names = {'a': 'a (compute-optimal N ~ C^a)'}
  unknown = (math.nan, math.nan)
  rows = [
    (names.get(name, name), estimate, *law.intervals.get(name, unknown))
    for name, estimate in estimates.items()
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


def _cell(value: object) -> str | None:
  if value is None:
    return None
  return f'{value:.4g}' if isinstance(value, float) else str(value)
