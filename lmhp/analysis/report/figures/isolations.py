"""Figures of isolations: the best over all other hyperparameters, for each value of one.

Dimension key: B bins.
"""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np

from lmhp.analysis.hyperparameters.isolations import Isolation
from lmhp.analysis.phrases import counted, number, setting
from lmhp.analysis.report.document import Figure
from lmhp.analysis.report.figures.style import (
  axis_positions,
  layout,
  name_with_unit,
  padded_range,
  plot_axis,
  with_range,
)
from lmhp.analysis.report.figures.traces import (
  hover_text,
  plain_line,
  run_markers,
  separated,
)
from lmhp.analysis.runs.table import Runs


def isolation_figures(runs: Runs, isolations: Sequence[Isolation]) -> list[Figure]:
  """Draws the best objective for each value of each scientific axis."""
  return [
    _isolation_figure(runs, isolation, f'isolation-{i}')
    for i, isolation in enumerate(isolations)
  ]


def _isolation_figure(runs: Runs, isolation: Isolation, id: str) -> Figure:
  """Draws the best of each value, with its interval on a fresh seed."""
  axis = runs.axes[isolation.axis]
  x, x_axis = axis_positions(axis, isolation.values)
  if axis.is_number:
    x_axis = with_range(x_axis, np.r_[x, isolation.edges.ravel()])
  low = runs.to_objective(isolation.low)
  high = runs.to_objective(isolation.high)
  best = runs.to_objective(isolation.best)
  traces = [plain_line(separated(x, x), separated(low, high), '$blue/0.6', 3)]
  if np.isfinite(isolation.edges).any():
    # Horizontal lines show the width of the bins.
    edges = separated(*isolation.edges.T)
    traces.append(plain_line(edges, separated(best, best), '$grey', 1.5))
  y_name = f'best {name_with_unit(runs.objective_name)}'
  traces.append(
    run_markers(
      x,
      best,
      isolation.number,
      hover=hover_text(isolation.axis, y_name),
      marker={'size': 10},
    )
  )
  # The vertical axis shows all finite ends.
  values = np.r_[best, low, high]
  values = values[np.isfinite(values)]
  y_axis = plot_axis(y_name)
  if len(values) and np.ptp(values):
    y_axis['range'] = padded_range(values, 0.08)
  return Figure(
    id,
    f'Best for each {isolation.axis}',
    _caption(runs, isolation),
    traces,
    layout(x_axis, y_axis),
  )


def _caption(runs: Runs, isolation: Isolation) -> str:
  if not np.isfinite(isolation.best).any():
    return f'No run with a value of {isolation.axis} is complete.'
  i = int(np.nanargmin(isolation.best))
  left, right = isolation.edges[i]
  value = f'= {setting(isolation.values[i])}'
  if left < right:
    value = f'from {setting(float(left))} to {setting(float(right))}'
  fewest = int(isolation.n_points.min())
  most = int(isolation.n_points.max())
  points = (
    counted(most, 'point') if fewest == most else f'from {fewest} to {most} points'
  )
  sentence = (
    f'With all other hyperparameters at their best, {isolation.axis} {value} is best, with '
    f'{number(runs.to_objective(isolation.best[i]))} ({points} per value).'
  )
  if not math.isfinite(isolation.high[i]):
    return f'{sentence} Its selection bias is unknown.'
  interval = f'{isolation.confidence:.0%} interval on a fresh seed (bar)'
  # NaN fails the comparison, so an unknown interval counts as one that overlaps.
  if np.all(isolation.high[i] < np.delete(isolation.low, i)):
    return f'{sentence} Its {interval} does not overlap any other.'
  return f'{sentence} Its {interval} overlaps others: no significant difference.'
