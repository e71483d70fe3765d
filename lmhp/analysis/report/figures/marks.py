"""What is put on a figure: runs by what became of them, lines, labels over vertical lines that do not run into another.

Dimension key: T runs, S points of a line.
"""

from __future__ import annotations

import math
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.report.document import Figure
from lmhp.analysis.report.figures.style import label, layout, note, on_axis, vertical
from lmhp.analysis.report.numbers import is_number, number
from lmhp.analysis.runs.table import SEARCH, Axis, Runs
from lmhp.analysis.winner.answer import winner

NARROW = 300
"""Pixels between the axes of a figure on a telephone: where labels must not overlap."""
LETTER, ROW = 6.4, 16
"""Pixels that a letter is wide, and a row of labels high."""


def points(
  x: Any,
  y: Any,
  numbers: Any,
  color: str = '$blue',
  symbol: str = 'circle',
  hover: str = '',
  **more: Any,
) -> dict[str, Any]:
  """Markers, each of which is a run; those without a place are left out."""
  x, y, numbers = (
    np.asarray(x, np.float64),
    np.asarray(y, np.float64),
    np.asarray(numbers, int),
  )
  known = np.isfinite(x) & np.isfinite(y)
  hollow = {'line': {'color': color, 'width': 1.5}} if symbol.endswith('open') else {}
  marker = {'color': color, 'symbol': symbol, 'size': 8, **hollow} | more.pop(
    'marker', {}
  )
  return {
    'type': 'scatter',
    'mode': 'markers',
    'x': x[known],
    'y': y[known],
    'meta': 'run',
    'customdata': numbers[known],
    'marker': marker,
    'cliponaxis': False,
    'hovertemplate': f'run %{{customdata}}{hover}<extra></extra>',
  } | more


def line(
  x: Any,
  y: Any,
  color: str = '$blue',
  width: float = 2.0,
  dash: str = 'solid',
  **more: Any,
) -> dict[str, Any]:
  """A line that nothing is asked of."""
  return {
    'type': 'scatter',
    'mode': 'lines',
    'x': np.asarray(x),
    'y': np.asarray(y, np.float64),
    'line': {'color': color, 'width': width, 'dash': dash},
    'hoverinfo': 'skip',
  } | more


def hover_of(x: str, y: str) -> str:
  """What a marker says beside its run's number."""
  return f'<br>{label(x)} %{{x:.4~g}}<br>{label(y)} %{{y:.5~g}}'


def by_status(
  x: Any,
  losses: Any,
  status: Any,
  numbers: Any,
  span: tuple[float, float],
  runs: Runs,
  hover: str,
) -> list[dict[str, Any]]:
  """Runs by what became of them: filled where complete, hollow where pruned, a cross at the bad edge where diverged.

  Args:
    x: (T,) places.
    losses: (T,) less is better.
    status: (T,) of each run.
    numbers: (T,) what a run is called.
    span: (low, high) of the losses that are shown; what is above is a triangle at the edge.
    runs: that the objective's name and direction are of.
    hover: as of `hover_of`.
  """
  x, losses = np.asarray(x, np.float64), np.asarray(losses, np.float64)
  status, numbers = np.asarray(status), np.asarray(numbers)
  diverged = (status == 'diverged') | (np.isinf(losses) & (losses > 0))
  over = ~diverged & (losses > span[1])
  near = ~diverged & ~over
  edge = runs.shown(np.full(len(losses), span[1]))
  up = 'triangle-down' if runs.maximize else 'triangle-up'
  groups = [
    (
      near & (status == 'pruned'),
      runs.shown(losses),
      '$blue',
      'circle-open',
      hover + '<br>pruned',
    ),
    (near & (status != 'pruned'), runs.shown(losses), '$blue', 'circle', hover),
    (over, edge, '$blue', f'{up}-open', f'<br>{beyond(runs)} the picture'),
    (diverged, edge, '$vermillion', 'x', '<br>diverged'),
  ]
  out = []
  for rows, y, color, symbol, text in groups:
    if rows.any():
      marker = {'size': 8 if len(losses) <= 200 else 5} | (
        {'opacity': 0.75} if len(losses) > 200 else {}
      )
      out.append(
        points(x[rows], y[rows], numbers[rows], color, symbol, text, marker=marker)
      )
  return out


def beyond(runs: Runs) -> str:
  """Where the bad ones are."""
  return 'below' if runs.maximize else 'above'


def edge_label(
  losses: Any, status: Any, span: tuple[float, float], runs: Runs
) -> list[tuple[str, float, str]]:
  """A label for `over_lines`, at the right, that counts what lies at the bad edge."""
  losses, status = np.asarray(losses, np.float64), np.asarray(status)
  diverged = (status == 'diverged') | (np.isinf(losses) & (losses > 0))
  over, pruned = ~diverged & (losses > span[1]), status == 'pruned'
  counted = (
    (diverged, '✕ {} diverged'),
    (over & pruned, f'{{}} pruned {beyond(runs)}'),
    (over & ~pruned, f'{{}} {beyond(runs)}'),
  )
  words = [text.format(rows.sum()) for rows, text in counted if rows.any()]
  return (
    [(', '.join(words), math.inf, '$vermillion' if diverged.any() else '$muted')]
    if words
    else []
  )


def objective_axis(runs: Runs, span: tuple[float, float]) -> list[float]:
  """Range of the objective's axis that shows a span of losses."""
  return sorted(float(runs.shown(v)) for v in span)


def ring(
  x: float, y: float, text: str, axis: Mapping[str, Any], below: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
  """A ring around one point, and its label under or over it, within the axis of `ranged`."""
  color = '$vermillion'
  trace = {
    'type': 'scatter',
    'mode': 'markers',
    'x': [x],
    'y': [y],
    'hoverinfo': 'skip',
    'cliponaxis': False,
    'marker': {
      'symbol': 'circle-open',
      'size': 15,
      'color': color,
      'line': {'color': color, 'width': 2},
    },
  }
  where = (
    {'yanchor': 'top', 'yshift': -9} if below else {'yanchor': 'bottom', 'yshift': 9}
  )
  at, anchor, _ = _within(text, x, axis, NARROW)
  return trace, note(text, at, y, color, xanchor=anchor, **where)


def _within(
  text: str, x: float, axis: Mapping[str, Any], width: float
) -> tuple[float, str, float]:
  """Where a label begins that must lie between the ends of an axis: place, anchor, and left end in pixels."""
  low, high = axis['range']
  at = math.log10(x) if axis.get('type') == 'log' and x > 0 else float(x)
  share = min(max((at - low) / (high - low), 0.0), 1.0)
  wide = LETTER * len(text)
  anchor, start = 'center', share * width - wide / 2
  if start < 0:
    anchor, start = 'left', share * width
  elif start + wide > width:
    anchor, start = 'right', share * width - wide
  return low + share * (high - low), anchor, start


def ranged(axis: Mapping[str, Any], values: Any, pad: float = 0.05) -> dict[str, Any]:
  """An axis with the range that its values need, in logarithms where it is logarithmic."""
  if 'range' in axis:
    return dict(axis)
  values = np.asarray(values, np.float64)
  values = values[np.isfinite(values) & ((values > 0) | (axis.get('type') != 'log'))]
  if not values.size:
    return dict(axis)
  values = np.log10(values) if axis.get('type') == 'log' else values
  low, high = float(values.min()), float(values.max())
  room = pad * (high - low) or 0.1 * abs(high) or 0.5
  out = {**axis, 'range': [low - room, high + room]}
  if out.get('type') == 'log' and not isinstance(
    out.get('dtick'), str
  ):  # Plotly draws powers larger than all else
    out.setdefault('tickfont', {'size': 10.5})
  return out


def over_lines(
  labels: Sequence[tuple[str, float, str]],
  axis: Mapping[str, Any],
  width: float = NARROW,
) -> tuple[list[dict[str, Any]], int]:
  """Labels over vertical lines, in rows where they would run into another.

  Args:
    labels: (text, value on the axis, colour), those that matter most first.
    axis: of `ranged`.
    width: pixels between the axes.

  Returns:
    Annotations, and pixels that the top margin must have for them.

  >>> found, top = over_lines(
  ...   [('first', 1.0, '$ink'), ('second', 1.1, '$ink')], {'range': [0, 10]}
  ... )
  >>> [one['yshift'] for one in found]
  [5, 21]
  """
  taken: list[list[tuple[float, float]]] = []
  out = []
  for text, value, color in labels:
    at, anchor, start = _within(text, value, axis, width)
    wide = LETTER * len(text)
    own = (start - 5, start + wide + 5)
    row = next(
      (
        i
        for i, used in enumerate(taken)
        if all(own[1] <= a or own[0] >= b for a, b in used)
      ),
      len(taken),
    )
    if row == len(taken):
      taken.append([])
    taken[row].append(own)
    out.append(
      note(
        text,
        at,
        1.0,
        color,
        yref='paper',
        yanchor='bottom',
        xanchor=anchor,
        yshift=5 + ROW * row,
      )
    )
  return out, 14 + ROW * max(len(taken), 1)


def winner_place(
  runs: Runs, x: np.ndarray, losses: np.ndarray, numbers: np.ndarray
) -> tuple[float, float, int] | None:
  """Where the study's winner is drawn, of runs at (T,) places: place, loss and number; None where it is not."""
  chosen = winner(runs)
  if chosen is None:
    return None
  own = runs.number[(runs.point == chosen.point) & (runs.cohort == SEARCH)]
  rows = np.flatnonzero(np.isin(numbers, own) & np.isfinite(x) & np.isfinite(losses))
  if not rows.size:
    return None
  row = rows[np.argmin(losses[rows])]
  return float(x[row]), float(losses[row]), int(numbers[row])


def base_place(axis: Axis) -> float | None:
  """Where the base config lies on an axis; None where it is not known, or cannot be drawn."""
  if axis.base is None or axis.kind == 'number' and not is_number(axis.base):
    return None
  at = float(on_axis(axis, [axis.base])[0][0])
  return at if math.isfinite(at) and (at > 0 or not axis.log) else None


Row = tuple[str, float, float, float, bool]
"""Name, value, low, high, and whether it is shown to be more than noise."""


def rows_of_intervals(
  rows: Sequence[Row], xaxis: Mapping[str, Any], high: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
  """Dots with intervals, one under the other, each under its own name: long names fit a telephone.

  What is not a number has no dot.

  Args:
    rows: the first on top.
    xaxis: across, with a range.
    high: the right edge; what is beyond it ends there.

  Returns:
    Traces, annotations, and the figure's height in pixels.
  """
  names = [
    note(
      name,
      0,
      i,
      '$ink' if shown else '$muted',
      xref='paper',
      xanchor='left',
      yanchor='bottom',
      yshift=6,
    )
    for i, (name, _, _, _, shown) in enumerate(rows)
  ]
  traces, span = [], (xaxis['range'][0], high)
  for wanted, color, symbol in (
    (True, '$blue', 'circle'),
    (False, '$grey', 'circle-open'),
  ):
    own = [
      (i, *row[1:4])
      for i, row in enumerate(rows)
      if row[4] == wanted and math.isfinite(row[1])
    ]
    if not own:
      continue
    y, middle, low, up = (np.array(column, np.float64) for column in zip(*own))
    ends = [np.clip(np.where(np.isnan(end), middle, end), *span) for end in (low, up)]
    gaps = np.full(len(y), np.nan)
    traces.append(
      line(np.c_[ends[0], ends[1], gaps].ravel(), np.c_[y, y, gaps].ravel(), color, 3)
    )
    words = [
      f'{number(a, 3)} ({number(b, 3)} to {"no bound" if math.isinf(c) else number(c, 3)})'
      for a, b, c in zip(middle, low, up)
    ]
    traces.append(
      {
        'type': 'scatter',
        'mode': 'markers',
        'x': np.clip(middle, *span),
        'y': y,
        'text': words,
        'hovertemplate': '%{text}<extra></extra>',
        'marker': {
          'color': color,
          'symbol': symbol,
          'size': 10,
          'line': {'color': color, 'width': 2},
        },
      }
    )
  return traces, names, 84 + 40 * len(rows)


def rows_figure(
  id: str, title: str, caption: str, rows: Sequence[Row], xaxis: Mapping[str, Any]
) -> Figure:
  """A figure of `rows_of_intervals`, with a line at 0."""
  traces, names, height = rows_of_intervals(rows, xaxis, xaxis['range'][1])
  shape = layout(
    xaxis,
    {'visible': False, 'range': [len(rows) - 0.6, -0.9], 'fixedrange': True},
    annotations=names,
    shapes=[vertical(0, '$axis', 'solid')],
    margin={'l': 16, 'r': 16, 't': 4, 'b': 48},
  )
  return Figure(id, title, caption, traces, shape, height=height)
