"""What each hyperparameter is worth, and how important it is, as dots with intervals."""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np

from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.hyperparameters.importances import Importance
from lmhp.analysis.phrases import p_words
from lmhp.analysis.report.document import Figure
from lmhp.analysis.report.figures import marks
from lmhp.analysis.report.figures.style import axis as new_axis
from lmhp.analysis.report.figures.style import label
from lmhp.analysis.report.numbers import number


def effects(found: Sequence[Effect], unit: str = 'nats', id: str = 'effects') -> Figure:
  """What the right value of each axis is worth, with its interval; hollow where it is not shown to matter.

  >>> effects(
  ...   [
  ...     Effect('lr', 0.001, 0.002, 0.1, 0.3, 0.2, 0.4),
  ...     Effect('wd', reason='not varied'),
  ...   ]
  ... ).caption
  'lr is worth the most, 0.30 nats (90% interval 0.20 to 0.40); 1 of 2 is shown to matter (filled).'
  """
  said = sorted(
    (one for one in found if math.isfinite(one.range_nats)),
    key=lambda one: -one.range_nats,
  )
  cap = 4 * said[0].range_nats if said and said[0].range_nats > 0 else math.inf
  ends = [
    v for one in said for v in (one.range_nats, one.range_high) if math.isfinite(v)
  ]
  high = min(max(ends, default=1.0), cap) or 1.0
  rows = [
    (_effect_words(one), one.range_nats, one.range_low, one.range_high, one.shown())
    for one in said + [one for one in found if not math.isfinite(one.range_nats)]
  ]
  xaxis = new_axis(
    f'worth of the right value{f" ({unit})" if unit else ""}',
    range=[-0.04 * high, 1.06 * high],
  )
  caption = 'Of no axis can it be said what it is worth.'
  if said:
    shown, first = sum(one.shown() for one in said), said[0]
    caption = (
      f'{first.axis} is worth the most, {number(first.range_nats, 2)} {unit}'.rstrip()
      + f' ({first.confidence:.0%} interval {number(first.range_low, 2)} to '
      f'{"no bound" if math.isinf(first.range_high) else number(first.range_high, 2)}); {shown} of '
      f'{len(found)} {"is" if shown == 1 else "are"} shown to matter (filled).'
    )
  return marks.rows_figure(
    id, 'What each hyperparameter is worth', caption, rows, xaxis
  )


def _effect_words(one: Effect) -> str:
  if one.reason:
    return f'{label(one.axis, 32)}: {label(one.reason, 60)}'
  return label(one.axis, 40) + (
    f', {p_words(one.p_holm)}' if math.isfinite(one.p_holm) else ''
  )


def importance(found: Importance, id: str = 'importance') -> Figure:
  """The share of each axis of the importance of all, with its interval; hollow where noise may be all."""
  rows = [
    (
      label(name, 40) + (f', {p_words(p)}' if math.isfinite(p) else ''),
      float(share),
      float(low),
      float(high),
      name in found.shown,
    )
    for name, share, low, high, p in zip(
      found.names, found.share, found.low, found.high, found.p_value
    )
  ]
  caption = f'Nothing is said: {found.refused or "no axis was assessed"}.'
  if not found.refused and len(rows) and np.isfinite(found.share).any():
    i = int(np.nanargmax(found.share))
    caption = (
      f'{found.names[i]} has {found.share[i]:.0%} of the importance ({found.confidence:.0%} interval '
      f'{found.low[i]:.0%} to {found.high[i]:.0%}) by {found.method} of {found.points} points; '
      f'{len(found.shown)} of {len(rows)} {"is" if len(found.shown) == 1 else "are"} more than '
      'noise (filled).'
    )
  xaxis = new_axis('share of the importance', range=[-0.04, 1.04], tickformat='.0%')
  return marks.rows_figure(id, f'Importance ({found.method})', caption, rows, xaxis)
