"""Figures of contours: the fitted objective over two hyperparameters.

Dimension key: T runs, G values across, H values up.
"""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np

from lmhp.analysis.hyperparameters.contours import Contour
from lmhp.analysis.phrases import counted, number
from lmhp.analysis.report.document import Figure, PlotlyDict
from lmhp.analysis.report.figures.style import (
  axis_positions,
  is_log,
  layout,
  name_with_unit,
  objective_range,
  plain_text,
  with_range,
)
from lmhp.analysis.report.figures.traces import hover_text, run_markers
from lmhp.analysis.runs.table import Runs

UPPER_QUANTILE = 0.85
"""Quantile of the fitted losses at which the colours end."""
N_LEVELS = 8


def contour_figures(
  runs: Runs, comparable_runs: Runs, contours: Sequence[Contour]
) -> list[Figure]:
  """Draws the fitted objective over pairs of axes, and the runs."""
  return [
    _contour_figure(runs, comparable_runs, contour, f'contour-{i}')
    for i, contour in enumerate(contours)
  ]


def _contour_figure(
  runs: Runs, comparable_runs: Runs, contour: Contour, id: str
) -> Figure:
  x, x_axis = axis_positions(contour.x_axis, contour.x)
  y, y_axis = axis_positions(contour.y_axis, contour.y)
  x_points, _ = axis_positions(contour.x_axis, contour.x_points)
  y_points, _ = axis_positions(contour.y_axis, contour.y_points)
  x_axis = with_range(x_axis, np.r_[x, x_points], 0.03)
  y_axis = with_range(y_axis, np.r_[y, y_points], 0.03)
  # The colours end where the other figures of the objective do.
  traces = [_field(runs, contour, x, y, objective_range(comparable_runs)[1])]
  diverged = contour.status == 'diverged'
  groups = ((~diverged, '$ink', 'circle'), (diverged, '$vermillion', 'x'))
  traces += [
    run_markers(
      x_points[rows],
      y_points[rows],
      contour.number[rows],
      color,
      symbol,
      hover_text(contour.x_axis.name, contour.y_axis.name),
      marker={'size': 5},
    )
    for rows, color, symbol in groups
    if rows.any()
  ]

  # A cross at the best place of the fit.
  best_x = float(axis_positions(contour.x_axis, [contour.best[0]])[0][0])
  best_y = float(axis_positions(contour.y_axis, [contour.best[1]])[0][0])
  traces.append(
    {
      'type': 'scatter',
      'mode': 'markers',
      'x': [best_x],
      'y': [best_y],
      'hoverinfo': 'skip',
      'marker': {'symbol': 'cross', 'size': 10, 'color': '$vermillion'},
    }
  )
  label = {
    'text': 'best of the fit',
    'x': math.log10(best_x) if is_log(x_axis) else best_x,
    'y': math.log10(best_y) if is_log(y_axis) else best_y,
    'showarrow': True,
    'arrowhead': 0,
    'ax': 0,
    'ay': -26,
    'arrowcolor': '$vermillion',
    'bgcolor': '$paper/0.8',
    'font': {'size': 12, 'color': '$vermillion'},
  }
  best_place = [
    number(value, 3) if isinstance(value, (int, float)) else str(value)
    for value in contour.best
  ]
  n_diverged = int(diverged.sum())
  crosses = f', and crosses the {n_diverged} that diverged' if n_diverged else ''
  return Figure(
    id,
    f'{contour.x_axis.name} and {contour.y_axis.name}',
    (
      f'The fit is best at {contour.x_axis.name} = {best_place[0]} and '
      f'{contour.y_axis.name} = {best_place[1]}, with '
      f'{number(runs.to_objective(contour.z.min()))}. Dots are the '
      f'{counted(len(contour.number), "run")}{crosses}.'
    ),
    traces,
    layout(x_axis, y_axis, annotations=[label]),
    height=430,
  )


def _field(
  runs: Runs, contour: Contour, x: np.ndarray, y: np.ndarray, largest: float
) -> PlotlyDict:
  """Returns the fitted objective as contours, or as a heat map if an axis is a choice."""
  z = runs.to_objective(np.asarray(contour.z, np.float64))
  # A few very bad places would leave one colour for all others.
  upper = min(largest, float(np.quantile(contour.z, UPPER_QUANTILE)))
  low, high = runs.objective_interval(*sorted((float(contour.z.min()), upper)))
  has_choice = contour.x_axis.is_choice or contour.y_axis.is_choice
  field: PlotlyDict = {
    'type': 'heatmap' if has_choice else 'contour',
    'x': x,
    'y': y,
    # Five digits, which keeps the page small.
    'z': [[float(f'{value:.5g}') for value in row] for row in z],
    'zmin': low,
    'zmax': high,
    'hoverinfo': 'skip',
    'connectgaps': False,
    'colorscale': [[0, '$sky'], [1, '$paper']],
    'reversescale': runs.maximize,
    'colorbar': {
      'title': {
        'text': plain_text(name_with_unit(runs.objective_name)),
        'side': 'right',
        'font': {'size': 12},
      },
      'thickness': 10,
      'outlinewidth': 0,
      'len': 0.9,
    },
  }
  if not has_choice:
    # Contours at round values: 1, 2 or 5 times a power of ten, at least `step` apart.
    step = (high - low) / N_LEVELS
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    size = power * next(f for f in (1, 2, 5, 10) if power * f >= step * (1 - 1e-9))
    field |= {
      'autocontour': False,
      'line': {'color': '$axis', 'width': 0.7},
      'contours': {'start': math.ceil(low / size) * size, 'end': high, 'size': size},
    }
  return field
