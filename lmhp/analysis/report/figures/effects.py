"""Figures of effects and importances, as dots with intervals."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.hyperparameters.importances import Importance
from lmhp.analysis.phrases import interval, number, p_text
from lmhp.analysis.report.document import Block, Figure, PlotlyDict, Text
from lmhp.analysis.report.figures.style import (
  annotation,
  hidden_axis,
  layout,
  plain_text,
  plot_axis,
  range_of,
  vertical_line,
)
from lmhp.analysis.report.figures.traces import plain_line, separated
from lmhp.analysis.runs.table import Runs

MAX_REASON = 54
"""Length of a reason that fits a phone of 390 pixels. The table of effects has all of it."""


# --- dots with intervals ----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class IntervalRow:
  """One row: a dot with an interval.

  Attributes:
    name: Name above the dot.
    value: Position of the dot. NaN draws none.
    low: Lower end of the interval.
    high: Upper end of the interval.
    filled: True for a filled dot, False for a hollow one.
    reason: Reason why there is no dot, which is shown in its place.
  """

  name: str
  value: float
  low: float
  high: float
  filled: bool
  reason: str = ''


def interval_traces(
  rows: Sequence[IntervalRow], span: tuple[float, float]
) -> list[PlotlyDict]:
  """Returns dots with intervals, cut to a span."""
  traces = []
  for filled, color, symbol in (
    (True, '$blue', 'circle'),
    (False, '$grey', 'circle-open'),
  ):
    drawn = [
      (i, row.value, row.low, row.high)
      for i, row in enumerate(rows)
      if row.filled == filled and math.isfinite(row.value)
    ]
    if not drawn:
      continue
    y, values, low, high = np.array(drawn, np.float64).T
    # A row without an interval has one of length 0. All are cut at the ends of the
    # figure.
    ends = [np.clip(np.where(np.isnan(e), values, e), *span) for e in (low, high)]
    traces.append(plain_line(separated(*ends), separated(y, y), color, 3))
    traces.append(
      {
        'type': 'scatter',
        'mode': 'markers',
        'x': np.clip(values, *span),
        'y': y,
        'text': [
          f'{number(value, 3)} ({number(lower, 3)} to '
          f'{"no upper bound" if math.isinf(upper) else number(upper, 3)})'
          for _, value, lower, upper in drawn
        ],
        'hovertemplate': '%{text}<extra></extra>',
        'marker': {
          'color': color,
          'symbol': symbol,
          'size': 10,
          'line': {'color': color, 'width': 2},
        },
      }
    )
  return traces


def interval_figure(
  id: str, title: str, caption: str, rows: Sequence[IntervalRow], xaxis: PlotlyDict
) -> Figure:
  """Returns a figure of dots with intervals, and a line at 0.

  The name of a row is above its dot, so that long ones fit a phone.
  """
  texts = [
    annotation(
      text,
      0,
      i,
      '$ink' if row.filled else '$muted',
      xref='paper',
      xanchor='left',
      yanchor=anchor,
      yshift=shift,
    )
    for i, row in enumerate(rows)
    for text, anchor, shift in ((row.name, 'bottom', 6), (row.reason, 'middle', -1))
    if text
  ]
  return Figure(
    id,
    title,
    caption,
    interval_traces(rows, range_of(xaxis)),
    layout(
      xaxis,
      hidden_axis(len(rows) - 0.6, -0.9),
      annotations=texts,
      shapes=[vertical_line(0, '$axis', 'solid')],
      margin={'l': 16, 'r': 16, 't': 4, 'b': 48},
    ),
    height=84 + 40 * len(rows),
  )


# --- effects and importances -----------------------------------------------------------


def effects_figure(runs: Runs, effects: Sequence[Effect]) -> Figure | None:
  """Draws the gain of each axis with its interval. Hollow if it is not significant.

  The gain is the loss at a typical value minus the loss at the best value.

  >>> known = Effect('lr', 0.001, 0.002, gain=0.3, gain_low=0.2, gain_high=0.4)
  >>> unknown = Effect('wd', reason='it was not varied')
  >>> runs = Runs('s', {}, {}, np.zeros(0), 'eval_loss_nats')
  >>> print(effects_figure(runs, [known, unknown]).caption)
  lr has the largest gain, 0.3 nats (90% interval 0.2 to 0.4). 1 of 2 is significant (filled).
  """
  if not effects:
    return None
  # The largest gain first. Effects that cannot be estimated come last.
  ordered = sorted(effects, key=lambda effect: -np.nan_to_num(effect.gain, nan=-np.inf))
  rows = [
    IntervalRow(
      _with_p_value(effect.axis, effect.p_holm),
      effect.gain,
      effect.gain_low,
      effect.gain_high,
      effect.significant(),
      plain_text(effect.reason, MAX_REASON),
    )
    for effect in ordered
  ]
  first = ordered[0]
  caption = 'The gain cannot be estimated for any hyperparameter.'
  if math.isfinite(first.gain):
    gain = f'{number(first.gain, 2)} {runs.unit}'.rstrip()
    caption = (
      f'{first.axis} has the largest gain, {gain} ({first.confidence:.0%} interval '
      f'{interval(first.gain_low, first.gain_high)}). {_significant_note(rows)}'
    )
  # Intervals beyond 4 times the largest gain are cut.
  ends = np.array([(row.value, row.high) for row in rows])
  high = float(np.max(ends, where=np.isfinite(ends), initial=0.0)) or 1.0
  if first.gain > 0:
    high = min(high, 4 * first.gain)
  unit = f' ({runs.unit})' if runs.unit else ''
  return interval_figure(
    'effects',
    'Gain from the best value of each hyperparameter',
    caption,
    rows,
    plot_axis(f'gain from the best value{unit}', range=[-0.04 * high, 1.06 * high]),
  )


def _with_p_value(name: str, p: float) -> str:
  """Returns a name with its p-value, if that is known."""
  name = plain_text(name, 40)
  return f'{name}, {p_text(p)}' if math.isfinite(p) else name


def _significant_note(rows: Sequence[IntervalRow]) -> str:
  n = sum(row.filled for row in rows)
  return f'{n} of {len(rows)} {"is" if n == 1 else "are"} significant (filled).'


def importance_figures(importances: Sequence[Importance]) -> list[Block]:
  """Draws the importance of each axis by each method, or states why there is none."""
  figures = [_importance_figure(each) for each in importances if not each.reason]
  reasons = dict.fromkeys(each.reason for each in importances if each.reason)
  return [
    *figures,
    *(Text(f'Importance is not computed: {reason}.') for reason in reasons),
  ]


def _importance_figure(importance: Importance) -> Figure:
  rows = [
    IntervalRow(
      _with_p_value(name, p), value, low, high, name in importance.significant
    )
    for name, p, value, low, high in zip(
      importance.names,
      importance.p_value.tolist(),
      importance.fraction.tolist(),
      importance.low.tolist(),
      importance.high.tolist(),
    )
  ]
  # The most important hyperparameter is the first.
  first = rows[0]
  caption = (
    f'{importance.names[0]} has {first.value:.0%} of the importance '
    f'({importance.confidence:.0%} interval {first.low:.0%} to {first.high:.0%}) by '
    f'{importance.method} over {importance.n_points} points. {_significant_note(rows)}'
  )
  return interval_figure(
    f'importance-{importance.method}',
    f'Importance ({importance.method})',
    caption,
    rows,
    plot_axis('fraction of the importance', range=[-0.04, 1.04], tickformat='.0%'),
  )
