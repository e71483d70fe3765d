"""Tables of what was fitted: effects, what parameters bought by kind, a scaling law."""

from __future__ import annotations

import math
from typing import Any, Sequence

from lmhp.analysis.curves.divergence import Divergence
from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.hyperparameters.parameter_kinds import Kinds
from lmhp.analysis.report.document import Column, Table
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.laws import ScalingLaw


def effects_table(runs: Runs, found: Sequence[Effect], unit: str) -> Table:
  """Of each hyperparameter its role, what the right value is worth, and how sure that is."""
  columns = [
    Column('hyperparameter', '', 'text'),
    Column('role', '', 'text'),
    Column('worth', unit),
    Column('low', unit),
    Column('high', unit),
    Column('best value', '', 'text'),
    Column('p (Holm)'),
    Column('points'),
    Column('not said because', '', 'text'),
  ]
  rows = [
    (
      one.axis,
      runs.axes[one.axis].role,
      one.range_nats,
      one.range_low,
      one.range_high,
      _cell(one.best_value),
      one.p_holm,
      one.points,
      one.reason or None,
    )
    for one in found
  ]
  return Table(
    'effects',
    'What each is worth',
    columns,
    rows,
    'Worth: how much worse a typical value is than the best one, '
    'the others at their best; 90% intervals.',
  )


def kinds_table(found: Kinds, unit: str) -> Table:
  """What 1% of the parameters, moved to a kind from the others, did."""
  columns = [
    Column('kind', '', 'text'),
    Column('of 1% moved to it', unit),
    Column('low', unit),
    Column('high', unit),
    Column('p'),
    Column('mean share'),
    Column('range of shares'),
  ]
  rows = [
    (kind.replace('_', '-'), *map(float, row))
    for kind, *row in zip(
      found.kinds,
      found.nats_per_percent,
      found.low,
      found.high,
      found.p_value,
      found.share,
      found.share_range,
    )
  ]
  return Table(
    'kinds',
    'What parameters bought, by kind',
    columns,
    rows,
    f'At equal totals, {found.points} models; below 0 the objective falls.',
  )


def law_table(law: ScalingLaw) -> Table:
  """The numbers of L(N, D) = E + A / N^alpha + B / D^beta."""
  nothing = (math.nan, math.nan)
  rows = [
    (name, getattr(law, name), *law.intervals.get(name, nothing))
    for name in ('E', 'A', 'B', 'alpha', 'beta')
  ]
  rows.append(
    (
      'a: best N grows as C^a',
      law.beta / (law.alpha + law.beta),
      *law.intervals.get('a', nothing),
    )
  )
  return Table(
    'law',
    'L(N, D) = E + A / N^alpha + B / D^beta',
    [
      Column('number', '', 'text'),
      Column('estimate'),
      Column('low', '90%'),
      Column('high', '90%'),
    ],
    rows,
    f'Of {law.n} runs' + (f'; {law.reason}.' if law.reason else '.'),
  )


def stability_table(found: Divergence) -> Table:
  """What diverged: how many, and on which side of what."""
  rows = [('all', found.runs, found.diverged, found.share, None)] if found.runs else []
  for cut in found.cuts:
    side = {'above': '≥', 'below': '≤'}.get(cut.side, '=')
    threshold = (
      f'{cut.threshold:.3g}'
      if isinstance(cut.threshold, (int, float))
      else str(cut.threshold)
    )
    rows.append(
      (
        f'{cut.axis} {side} {threshold}',
        cut.runs,
        cut.diverged,
        cut.diverged / cut.runs,
        cut.p_value,
      )
    )
  largest = f' The largest {found.rate} below which fewer than a tenth diverge is {found.largest_stable:.3g}.'
  return Table(
    'stability',
    'What diverged',
    [
      Column('where', '', 'text'),
      Column('runs'),
      Column('diverged'),
      Column('share'),
      Column('p'),
    ],
    rows if found.diverged else [],
    f'{found.share:.0%} of {found.runs} runs, {found.confidence:.0%} interval {found.low:.0%} to {found.high:.0%}.'
    + (largest if math.isfinite(found.largest_stable) else ''),
  )


def _cell(value: Any) -> Any:
  return (
    None
    if value is None
    else f'{value:.4g}'
    if isinstance(value, float)
    else str(value)
  )
