"""What the loss does as hyperparameters change: one figure for each axis, and two axes at once.

Dimension key: T runs, G places of a curve, A axes.
"""

from __future__ import annotations

import math
from typing import Any, Sequence

import numpy as np

from lmhp.analysis.hyperparameters.contours import Contour
from lmhp.analysis.hyperparameters.isolations import Isolation
from lmhp.analysis.hyperparameters.responses import Response, response
from lmhp.analysis.hyperparameters.surface import Surface, fit_surface
from lmhp.analysis.phrases import setting
from lmhp.analysis.report.document import Figure
from lmhp.analysis.report.figures import marks
from lmhp.analysis.report.figures.style import axis as new_axis
from lmhp.analysis.report.figures.style import (
  band,
  label,
  layout,
  on_axis,
  place,
  shown_range,
  vertical,
  with_unit,
)
from lmhp.analysis.report.numbers import number
from lmhp.analysis.runs.table import SEARCH, Axis, Runs
from lmhp.errors import ConfigError


def responses(
  runs: Runs, found: Sequence[Response] | None = None, seed: int = 0
) -> list[Figure]:
  """A figure for each axis that was varied: the objective against it.

  Args:
    runs: a study.
    found: of each axis, where it was computed before; else it is here, with one surface for all.
    seed: of the fits.

  >>> rng = np.random.default_rng(0)
  >>> x = rng.random(30)
  >>> runs = Runs(
  ...   's',
  ...   {'x': Axis('x', low=0, high=1)},
  ...   {'x': x},
  ...   3 + (x - 0.3) ** 2 + 0.01 * rng.standard_normal(30),
  ... )
  >>> [figure.id for figure in responses(runs)]
  ['response-0']
  """
  if found is None:
    used = runs.for_response()[0]
    surface = _surface(used, seed)
    found = [response(runs, name, surface, seed=seed) for name in used.varied()]
  return [response_figure(runs, one, f'response-{i}') for i, one in enumerate(found)]


def _surface(used: Runs, seed: int) -> Surface | None:
  try:
    return fit_surface(used, seed=seed)
  except ConfigError:
    return None


def response_figure(runs: Runs, found: Response, id: str = 'response') -> Figure:
  """The objective against one axis: runs, envelope of the best, fitted curve with its band, optimum and basin."""
  used, _ = runs.for_response()
  span, number_axis = (
    shown_range(used if len(used) else runs),
    found.axis.kind == 'number',
  )
  x, xaxis = on_axis(found.axis, found.values)
  status, losses, numbers = np.array(found.status), np.array(found.losses), found.number
  own_status = dict(zip(runs.number.tolist(), runs.status.tolist()))
  status = np.array(
    [
      own_status.get(int(n), s) if s != 'diverged' else s
      for n, s in zip(numbers, status)
    ],
    str,
  )
  if found.rung is None:
    extra = _pruned(runs, found.axis)
    x, losses = np.r_[x, extra[0]], np.r_[losses, extra[1]]
    status, numbers = (
      np.r_[status, ['pruned'] * len(extra[0])],
      np.r_[numbers, extra[2]],
    )
  best = marks.winner_place(runs, x, losses, numbers)
  base = marks.base_place(found.axis)
  span = (span[0] - 0.08 * (span[1] - span[0]), span[1])  # room for the winner's name
  if number_axis:
    xaxis = marks.ranged(
      xaxis, np.r_[x, found.axis.low, found.axis.high, [] if base is None else base]
    )
  yname = with_unit(runs.objective_name) + (
    f' at step {found.rung}' if found.rung else ''
  )
  traces = _curve(runs, found, xaxis) + _envelope(runs, found)
  traces += marks.by_status(
    x, losses, status, numbers, span, runs, marks.hover_of(found.axis.name, yname)
  )
  shapes, labels = _verticals(found, base)
  notes, top = marks.over_lines(
    labels + marks.edge_label(losses, status, span, runs), xaxis
  )
  if best is not None:
    trace, text = marks.ring(
      best[0],
      runs.shown(best[1]),
      f'winner: run {best[2]}',
      xaxis,
      below=not runs.maximize,
    )
    traces, notes = traces + [trace], notes + [text]
  yaxis = new_axis(yname, range=marks.objective_axis(runs, span))
  return Figure(
    id,
    f'Response to {found.axis.name}',
    _response_caption(found, runs, status),
    traces,
    layout(
      xaxis,
      yaxis,
      shapes=shapes,
      annotations=notes,
      margin={'l': 56, 'r': 20, 't': top, 'b': 48},
    ),
  )


def _pruned(runs: Runs, axis: Axis) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Places, last scores as losses, and numbers of the runs that were pruned."""
  rows = np.array(
    [
      i
      for i in range(len(runs))
      if runs.status[i] == 'pruned' and runs.cohort[i] == SEARCH and len(runs.scores[i])
    ],
    int,
  )
  if not rows.size:
    return np.zeros(0), np.zeros(0), np.zeros(0, int)
  last = np.array([runs.scores[i][max(runs.scores[i])] for i in rows], np.float64)
  return (
    on_axis(axis, runs.values[axis.name][rows])[0],
    -last if runs.maximize else last,
    runs.number[rows],
  )


def _curve(runs: Runs, found: Response, xaxis: dict[str, Any]) -> list[dict[str, Any]]:
  if not len(found.curve):
    return []
  x = on_axis(found.axis, found.curve_values)[0]
  low, middle, high = (
    runs.shown(np.asarray(c, np.float64))
    for c in (found.curve_low, found.curve, found.curve_high)
  )
  if found.axis.kind == 'number':
    return [band(x, low, high), marks.line(x, middle, '$blue', 2.5, name='fit')]
  return [
    {
      'type': 'scatter',
      'mode': 'markers',
      'x': x + 0.22,
      'y': middle,
      'hoverinfo': 'skip',
      'name': 'fit',
      'error_y': {
        'type': 'data',
        'array': np.abs(high - middle),
        'color': '$blue',
        'thickness': 1.5,
        'width': 5,
      },
      'marker': {
        'symbol': 'line-ew-open',
        'size': 16,
        'color': '$blue',
        'line': {'width': 3, 'color': '$blue'},
      },
    }
  ]


def _envelope(runs: Runs, found: Response) -> list[dict[str, Any]]:
  if found.axis.kind != 'number' or len(found.envelope) < 2:
    return []
  return [
    marks.line(
      found.envelope_values,
      runs.shown(found.envelope),
      '$muted',
      1,
      'dot',
      name='envelope',
    )
  ]


def _verticals(
  found: Response, base: float | None
) -> tuple[list[dict[str, Any]], list[tuple[str, float, str]]]:
  """Lines and bands, and what is written over them."""
  best, (low, high) = found.optimum, found.basin
  if found.axis.kind != 'number':
    return (
      ([], [])
      if base is None
      else ([vertical(base - 0.4, '$grey', x1=base + 0.4)], [('base', base, '$muted')])
    )
  shapes, labels = [], []
  if math.isfinite(best.value):
    shapes.append(vertical(best.value, '$green', 'solid'))
    labels.append((f'optimum {number(best.value, 2)}', best.value, '$green'))
  if math.isfinite(low) and math.isfinite(high):
    shapes.append(vertical(low, '$green', x1=high))
    labels.append(
      (
        f'within {best.share:.0%}',
        math.sqrt(low * high) if found.axis.log else (low + high) / 2,
        '$green',
      )
    )
  if base is not None:
    shapes.append(vertical(base, '$muted', 'dash'))
    labels.append((f'base {number(base, 2)}', base, '$muted'))
  return shapes, labels


def _response_caption(found: Response, runs: Runs, status: np.ndarray) -> str:
  best, name = found.optimum, found.axis.name
  if found.axis.kind == 'choice':
    if not len(found.envelope) or not np.isfinite(found.envelope).any():
      return f'No run of {name} came to its end.'
    i = int(np.nanargmin(found.envelope))
    said = f'The best run has {name} = {found.envelope_values[i]}, at {number(runs.shown(found.envelope[i]))}'
    said += ', beside the fit at the best of all else' if len(found.curve) else ''
  elif not math.isfinite(best.value):
    said = f'No optimum of {name} can be said ({best.reason or found.reason})'
  elif best.at_bound:
    end = 'lowest' if best.at_bound == 'low' else 'highest'
    said = f'The fit is best at the {end} {name} tried, {number(best.value, 3)}: the optimum may lie beyond it'
  else:
    said = (
      f'The fit is best at {name} = {number(best.value, 3)} ({best.confidence:.0%} interval '
      f'{_interval(best, found.axis)})'
    )
    if all(map(math.isfinite, found.basin)):
      low, high = (number(v, 2) for v in found.basin)
      said += f' and within {best.share:.0%} of that from {low} to {high}'
  if found.disagree:
    said += '; two fits, of a valley and of a surface, disagree, and the interval holds both optima'
  if found.rung is not None:
    said += f'; all are compared at step {found.rung}, as most were pruned (hollow)'
  elif np.any(status == 'pruned'):
    said += (
      f'; {np.sum(status == "pruned")} pruned runs (hollow) are at their last score'
    )
  return said + '.'


def _interval(best: Any, axis: Axis) -> str:
  low = (
    'below all tried'
    if not math.isfinite(best.low) or axis.log and best.low <= 0
    else number(best.low, 2)
  )
  return f'{low} to {"above all tried" if not math.isfinite(best.high) else number(best.high, 2)}'


# --- the best over all else, and two axes ---------------------------------------------------------------------------


def isolation(runs: Runs, found: Isolation, id: str = 'isolation') -> Figure:
  """The best over all other hyperparameters for each value of one, with what to expect of it on a fresh seed."""
  axis = runs.axes[found.axis]
  x, xaxis = on_axis(axis, found.values)
  if axis.kind == 'number':
    xaxis = marks.ranged(xaxis, np.r_[x, found.edges.ravel()])
  gaps, parted = (
    np.full(len(x), np.nan),
    lambda *columns: np.column_stack(columns).ravel(),
  )
  every = runs.shown(np.r_[found.best, found.low, found.high])
  every = every[np.isfinite(every)]
  traces = [
    marks.line(
      parted(x, x, gaps),
      runs.shown(parted(found.low, found.high, gaps)),
      '$blue/0.6',
      3,
    )
  ]
  if np.isfinite(found.edges).any():  # how wide a bin is
    traces.append(
      marks.line(
        parted(found.edges[:, 0], found.edges[:, 1], gaps),
        runs.shown(parted(found.best, found.best, gaps)),
        '$grey',
        1.5,
      )
    )
  traces.append(
    marks.points(
      x,
      runs.shown(found.best),
      found.number,
      hover=marks.hover_of(found.axis, f'best {with_unit(runs.objective_name)}'),
      marker={'size': 10},
    )
  )
  pad = 0.08 * float(np.ptp(every)) if len(every) else 0.0
  room = {'range': [float(every.min()) - pad, float(every.max()) + pad]} if pad else {}
  return Figure(
    id,
    f'Best of each {found.axis}',
    _isolation_caption(runs, found),
    traces,
    layout(xaxis, new_axis(f'best {with_unit(runs.objective_name)}', **room)),
  )


def _isolation_caption(runs: Runs, found: Isolation) -> str:
  if not np.isfinite(found.best).any():
    return f'No value of {found.axis} has a run that came to its end.'
  i = int(np.nanargmin(found.best))
  at, (left, right) = f'= {setting(found.values[i])}', found.edges[i]
  at = f'from {setting(left)} to {setting(right)}' if left < right else at
  said = (
    f'With all else at its best, {found.axis} {at} comes first with {number(float(runs.shown(found.best[i])))}, '
    f'of {found.points.min()} to {found.points.max()} points each'
  )
  if not math.isfinite(found.high[i]):
    return said + '; how lucky that was is not known.'
  apart = bool(np.all(found.high[i] < np.delete(found.low, i)))
  return said + (
    f'; its {found.confidence:.0%} interval on a fresh seed (bars) lies apart from all others.'
    if apart
    else f'; {found.confidence:.0%} intervals on a fresh seed (bars) overlap: no difference is shown.'
  )


def _round_step(step: float) -> float:
  """1, 2 or 5 times a power of ten, not below a step."""
  if not step > 0:
    return 1.0
  power = 10.0 ** math.floor(math.log10(step))
  return next(
    power * factor for factor in (1, 2, 5, 10) if power * factor >= step * (1 - 1e-9)
  )


def contour(runs: Runs, found: Contour, id: str = 'contour') -> Figure:
  """The fitted objective over two axes, and the runs it was fitted to."""
  x, xaxis = on_axis(found.x_axis, found.x)
  y, yaxis = on_axis(found.y_axis, found.y)
  x_points, y_points = (
    on_axis(found.x_axis, found.x_points)[0],
    on_axis(found.y_axis, found.y_points)[0],
  )
  xaxis, yaxis = (
    marks.ranged(xaxis, np.r_[x, x_points], 0.03),
    marks.ranged(yaxis, np.r_[y, y_points], 0.03),
  )
  z = runs.shown(np.asarray(found.z, np.float64))
  top = shown_range(runs.for_response()[0])[1]
  low, high = sorted(
    float(runs.shown(v)) for v in (found.z.min(), min(top, np.quantile(found.z, 0.85)))
  )
  grid = 'choice' in (found.x_axis.kind, found.y_axis.kind)
  scale = [[0, '$sky'], [1, '$paper']]
  field = {
    'type': 'heatmap' if grid else 'contour',
    'x': x,
    'y': y,
    'z': [[float(f'{v:.5g}') for v in row] for row in z],
    'zmin': low,
    'zmax': high,
    'hoverinfo': 'skip',
    'connectgaps': False,
    'colorscale': scale,
    'reversescale': runs.maximize,
    'colorbar': {
      'title': {
        'text': label(with_unit(runs.objective_name)),
        'side': 'right',
        'font': {'size': 12},
      },
      'thickness': 10,
      'outlinewidth': 0,
      'len': 0.9,
    },
  }
  if not grid:
    size = _round_step((high - low) / 8)
    field |= {
      'autocontour': False,
      'line': {'color': '$axis', 'width': 0.7},
      'contours': {'start': math.ceil(low / size) * size, 'end': high, 'size': size},
    }
  traces = [field]
  diverged = found.status == 'diverged'
  for rows, symbol, color in (
    (~diverged, 'circle', '$ink'),
    (diverged, 'x', '$vermillion'),
  ):
    if rows.any():
      traces.append(
        marks.points(
          x_points[rows],
          y_points[rows],
          found.number[rows],
          color,
          symbol,
          marks.hover_of(found.x_axis.name, found.y_axis.name),
          marker={'size': 5},
        )
      )
  at = [
    float(on_axis(a, [v])[0][0])
    for a, v in zip((found.x_axis, found.y_axis), found.best)
  ]
  notes = [
    {
      'text': 'fit is best',
      'x': place(at[0], xaxis.get('type') == 'log'),
      'y': place(at[1], yaxis.get('type') == 'log'),
      'showarrow': True,
      'arrowhead': 0,
      'ax': 0,
      'ay': -26,
      'arrowcolor': '$vermillion',
      'bgcolor': '$paper/0.8',
      'font': {'size': 12, 'color': '$vermillion'},
    }
  ]
  traces.append(
    {
      'type': 'scatter',
      'mode': 'markers',
      'x': at[:1],
      'y': at[1:],
      'hoverinfo': 'skip',
      'marker': {'symbol': 'cross', 'size': 10, 'color': '$vermillion'},
    }
  )
  words = [v if isinstance(v, str) else number(v, 3) for v in found.best]
  caption = (
    f'The fit is best at {found.x_axis.name} = {words[0]} and {found.y_axis.name} = {words[1]}, '
    f'{number(float(runs.shown(found.z.min())))}; dots are the {len(found.number)} runs'
    + (f', crosses the {diverged.sum()} that diverged.' if diverged.any() else '.')
  )
  return Figure(
    id,
    f'{found.x_axis.name} and {found.y_axis.name}',
    caption,
    traces,
    layout(xaxis, yaxis, annotations=notes),
    height=430,
  )
