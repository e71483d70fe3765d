"""Figures of responses: the objective against one hyperparameter.

Dimension key: T runs, G values of a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np

from lmhp.analysis.hyperparameters.responses import Response
from lmhp.analysis.phrases import interval, number
from lmhp.analysis.report.document import Figure, PlotlyDict
from lmhp.analysis.report.figures.labels import Label, ring, stack_labels
from lmhp.analysis.report.figures.style import (
  axis_positions,
  layout,
  margin,
  name_with_unit,
  objective_range,
  plot_axis,
  vertical_band,
  vertical_line,
  with_range,
)
from lmhp.analysis.report.figures.traces import (
  PlottedRuns,
  band,
  base_position,
  hover_text,
  last_scores,
  plain_line,
  winner_row,
)
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.winner import Winner


def response_figures(
  runs: Runs,
  comparable_runs: Runs,
  responses: Sequence[Response],
  winner: Winner | None,
) -> list[Figure]:
  """Draws the objective against each axis that has a figure."""
  low, high = objective_range(comparable_runs if len(comparable_runs) else runs)
  # Leave space for the label of the winner.
  span = (low - 0.08 * (high - low), high)
  return [
    _response_figure(runs, response, winner, span, f'response-{i}')
    for i, response in enumerate(responses)
  ]


def _response_figure(
  runs: Runs,
  response: Response,
  winner: Winner | None,
  span: tuple[float, float],
  id: str,
) -> Figure:
  """Draws runs, envelope of the best, fitted curve with its band, optimum and basin."""
  axis = response.axis
  plotted, x_axis = _plotted_runs(runs, response, span)

  # The axis spans the searched range, the runs and the base config.
  base = base_position(axis)
  if axis.is_number:
    ends = [axis.low, axis.high, *([] if base is None else [base])]
    x_axis = with_range(x_axis, np.r_[plotted.x, ends])
  y_name = name_with_unit(runs.objective_name)
  if response.rung:
    y_name += f' at step {response.rung}'
  traces = _curve_traces(runs, response) + _envelope_traces(runs, response)
  traces += plotted.traces(hover_text(axis.name, y_name))

  # Marks of the optimum and of the base config, with labels above the figure.
  shapes, labels = _optimum_marks(response, base)
  annotations, top = stack_labels(labels + plotted.edge_labels(), x_axis)
  best = winner_row(runs, winner, plotted)
  if best is not None:
    trace, label = ring(
      float(plotted.x[best]),
      float(runs.to_objective(plotted.losses[best])),
      f'winner: run {plotted.number[best]}',
      x_axis,
      below=not runs.maximize,
    )
    traces.append(trace)
    annotations.append(label)
  return Figure(
    id,
    f'Response to {axis.name}',
    _caption(response, runs, int(np.sum(plotted.status == 'pruned'))),
    traces,
    layout(
      x_axis,
      plot_axis(y_name, range=list(runs.objective_interval(*span))),
      shapes=shapes,
      annotations=annotations,
      margin=margin(t=top),
    ),
  )


# --- runs -------------------------------------------------------------------------------


def _plotted_runs(
  runs: Runs, response: Response, span: tuple[float, float]
) -> tuple[PlottedRuns, PlotlyDict]:
  """Returns the runs of a response, and its axis.

  If runs are compared at their end, pruned runs are added with their last score.
  """
  x, x_axis = axis_positions(response.axis, response.values)
  losses = response.losses
  number_ = response.number
  # At a rung, all runs that reached it count as complete. Draw them by their own
  # status.
  own_status = dict(zip(runs.number.tolist(), runs.status.tolist()))
  status = [
    s if s == 'diverged' else own_status.get(n, s)
    for n, s in zip(number_.tolist(), response.status.tolist())
  ]
  if response.rung is None:
    # Pruned runs are drawn with their last score, though they were not fitted.
    has_score = np.array([len(scores) > 0 for scores in runs.scores], bool)
    pruned = runs.select(has_score & (runs.status == 'pruned')).search_runs()
    own_x, _ = axis_positions(response.axis, pruned.values[response.axis.name])
    x = np.r_[x, own_x]
    losses = np.r_[losses, last_scores(pruned)]
    number_ = np.r_[number_, pruned.number]
    status += ['pruned'] * len(pruned)
  plotted = PlottedRuns(
    x=x,
    losses=losses,
    status=np.array(status, str),
    number=number_,
    span=span,
    maximize=runs.maximize,
  )
  return plotted, x_axis


# --- fit --------------------------------------------------------------------------------


def _curve_traces(runs: Runs, response: Response) -> list[PlotlyDict]:
  curve = response.curve
  if curve is None:
    return []
  x, _ = axis_positions(response.axis, curve.values)
  median = runs.to_objective(curve.median)
  high = runs.to_objective(curve.high)
  if response.axis.is_number:
    return [
      band(x, runs.to_objective(curve.low), high),
      plain_line(x, median, '$blue', 2.5, name='fit'),
    ]
  return [
    {
      'type': 'scatter',
      'mode': 'markers',
      # Beside the runs of the choice, so that they do not hide the fit.
      'x': x + 0.22,
      'y': median,
      'hoverinfo': 'skip',
      'name': 'fit',
      'error_y': {
        'type': 'data',
        'array': np.abs(high - median),
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


def _envelope_traces(runs: Runs, response: Response) -> list[PlotlyDict]:
  if response.axis.is_choice or len(response.envelope) < 2:
    return []
  return [
    plain_line(
      response.envelope_values,
      runs.to_objective(response.envelope),
      '$muted',
      1,
      'dot',
      name='envelope',
    )
  ]


def _optimum_marks(
  response: Response, base: float | None
) -> tuple[list[PlotlyDict], list[Label]]:
  """Returns lines and bands at optimum, basin and base config, and their labels."""
  if response.axis.is_choice:
    if base is None:
      return [], []
    return (
      [vertical_band(base - 0.4, base + 0.4, '$grey')],
      [Label('base', base, '$muted')],
    )
  shapes = []
  labels = []
  optimum = response.optimum
  if math.isfinite(optimum.value):
    shapes.append(vertical_line(optimum.value, '$green', 'solid'))
    labels.append(Label(f'optimum {number(optimum.value, 2)}', optimum.value, '$green'))
  low, high = optimum.basin
  if math.isfinite(low) and math.isfinite(high):
    shapes.append(vertical_band(low, high, '$green'))
    # The middle of the band as it is drawn.
    middle = math.sqrt(low * high) if response.axis.log else (low + high) / 2
    labels.append(Label(f'within {optimum.rise_fraction:.0%}', middle, '$green'))
  if base is not None:
    shapes.append(vertical_line(base, '$muted', 'dash'))
    labels.append(Label(f'base {number(base, 2)}', base, '$muted'))
  return shapes, labels


# --- caption ----------------------------------------------------------------------------


def _caption(response: Response, runs: Runs, n_pruned: int) -> str:
  caption = _optimum_sentence(response, runs)
  if response.rung is not None:
    caption += (
      f' All runs are compared at step {response.rung:,}, because most were pruned '
      '(hollow).'
    )
  elif n_pruned:
    caption += f' {n_pruned} pruned runs (hollow) are shown with their last score.'
  return caption


def _optimum_sentence(response: Response, runs: Runs) -> str:
  name = response.axis.name
  optimum = response.optimum
  if response.axis.is_choice:
    return _best_choice_sentence(response, runs)
  if not math.isfinite(optimum.value):
    return (
      f'The optimum of {name} cannot be estimated: {optimum.reason or response.reason}.'
    )
  value = number(optimum.value, 3)
  if optimum.at_bound:
    end = 'lowest' if optimum.at_bound == 'low' else 'highest'
    return (
      f'The fit is best at the {end} {name} that was tried, {value}: the optimum may lie '
      'beyond it.'
    )
  low = -math.inf if response.axis.log and optimum.low <= 0 else optimum.low
  sentence = (
    f'The fit is best at {name} = {value} ({optimum.confidence:.0%} interval '
    f'{interval(low, optimum.high)})'
  )
  low, high = optimum.basin
  if math.isfinite(low) and math.isfinite(high):
    sentence += (
      f', and within {optimum.rise_fraction:.0%} of its best from {number(low, 2)} to '
      f'{number(high, 2)}'
    )
  return f'{sentence}.'


def _best_choice_sentence(response: Response, runs: Runs) -> str:
  name = response.axis.name
  if not len(response.envelope) or not np.isfinite(response.envelope).any():
    return f'No run with a value of {name} is complete.'
  i = int(np.nanargmin(response.envelope))
  best = number(runs.to_objective(float(response.envelope[i])))
  sentence = f'The best run has {name} = {response.envelope_values[i]}, with {best}.'
  if response.curve is not None:
    sentence += ' The bars are the fit, with the other hyperparameters at their best.'
  return sentence
