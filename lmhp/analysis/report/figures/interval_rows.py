"""Figures of dots with intervals, one row per name."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.report.document import Figure, PlotlyDict
from lmhp.analysis.report.figures.style import (
  annotation,
  hidden_axis,
  layout,
  range_of,
  vertical_line,
)
from lmhp.analysis.report.figures.traces import plain_line, separated
from lmhp.analysis.report.numbers import number


@dataclasses.dataclass(frozen=True)
class IntervalRow:
  """One row: a dot with an interval.

  Attributes:
    name: Name above the dot.
    value: Position of the dot. NaN draws none.
    low: Lower end of the interval.
    high: Upper end of the interval.
    filled: True for a filled dot, False for a hollow one.
  """

  name: str
  value: float
  low: float
  high: float
  filled: bool


def interval_traces(
  rows: Sequence[IntervalRow], span: tuple[float, float]
) -> list[PlotlyDict]:
  """Returns dots with intervals, cut to a span."""
  traces = []
  for filled, color, symbol in (
    (True, '$blue', 'circle'),
    (False, '$grey', 'circle-open'),
  ):
    index = [
      i
      for i, row in enumerate(rows)
      if row.filled == filled and math.isfinite(row.value)
    ]
    if not index:
      continue
    y = np.array(index, np.float64)
    values = np.array([rows[i].value for i in index], np.float64)
    low = np.array([rows[i].low for i in index], np.float64)
    high = np.array([rows[i].high for i in index], np.float64)
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
        'text': [_hover(*three) for three in zip(values, low, high)],
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


def _hover(value: float, low: float, high: float) -> str:
  upper = 'no upper bound' if math.isinf(high) else number(high, 3)
  return f'{number(value, 3)} ({number(low, 3)} to {upper})'


def row_names(rows: Sequence[IntervalRow]) -> list[PlotlyDict]:
  """Returns the names of rows, each above its dot, so that long ones fit a phone."""
  return [
    annotation(
      row.name,
      0,
      i,
      '$ink' if row.filled else '$muted',
      xref='paper',
      xanchor='left',
      yanchor='bottom',
      yshift=6,
    )
    for i, row in enumerate(rows)
  ]


def interval_figure(
  id: str, title: str, caption: str, rows: Sequence[IntervalRow], xaxis: PlotlyDict
) -> Figure:
  """Returns a figure of dots with intervals, and a line at 0."""
  return Figure(
    id,
    title,
    caption,
    interval_traces(rows, range_of(xaxis)),
    layout(
      xaxis,
      hidden_axis(len(rows) - 0.6, -0.9),
      annotations=row_names(rows),
      shapes=[vertical_line(0, '$axis', 'solid')],
      margin={'l': 16, 'r': 16, 't': 4, 'b': 48},
    ),
    height=rows_height(rows),
  )


def rows_height(rows: Sequence[IntervalRow]) -> int:
  """Returns the height of a figure of rows in pixels."""
  return 84 + 40 * len(rows)
