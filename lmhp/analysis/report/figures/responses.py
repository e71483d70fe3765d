"""Figures of the objective against one hyperparameter: responses and isolations.

A response has all runs. An isolation has the best over all other hyperparameters, for each value.

Dimension key: T runs, G values of a curve, B bins.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.hyperparameters.isolations import Isolation
from lmhp.analysis.hyperparameters.responses import Response
from lmhp.analysis.phrases import counted, interval, number, setting
from lmhp.analysis.report.document import Figure, PlotlyDict
from lmhp.analysis.report.figures.labels import Label, ring, stack_labels
from lmhp.analysis.report.figures.style import (
  MARGIN,
  axis_positions,
  layout,
  name_with_unit,
  objective_range,
  padded_range,
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
  run_markers,
  separated,
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
    x_axis = with_range(x_axis, np.r_[plotted.x, axis.low, axis.high, base])
  at_rung = f' at step {response.rung}' if response.rung else ''
  y_name = f'{name_with_unit(runs.objective_name)}{at_rung}'
  traces = _fit_traces(runs, response)
  traces += plotted.traces(hover_text(axis.name, y_name))

  # Marks of the optimum and of the base config, with labels above the figure.
  marks = _optimum_marks(response, base)
  labels = [label for _, label in marks] + plotted.edge_labels()
  annotations, top = stack_labels(labels, x_axis)
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
      shapes=[shape for shape, _ in marks],
      annotations=annotations,
      margin=MARGIN | {'t': top},
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
  # At a rung, all runs that reached it count as complete. Draw them by their own
  # status.
  own_status = dict(zip(runs.number.tolist(), runs.status.tolist()))
  status = [
    s if s == 'diverged' else own_status.get(n, s)
    for n, s in zip(response.number.tolist(), response.status.tolist())
  ]
  plotted = PlottedRuns(
    x=x,
    losses=response.losses,
    status=np.array(status, str),
    number=response.number,
    span=span,
    maximize=runs.maximize,
  )
  if response.rung is None:
    # Pruned runs are drawn with their last score, though they were not fitted.
    has_score = np.array([len(scores) > 0 for scores in runs.scores], bool)
    pruned = runs.select(has_score & (runs.status == 'pruned')).search_runs()
    own_x, _ = axis_positions(response.axis, pruned.values[response.axis.name])
    plotted = dataclasses.replace(
      plotted,
      x=np.r_[x, own_x],
      losses=np.r_[plotted.losses, last_scores(pruned)],
      status=np.r_[plotted.status, pruned.status],
      number=np.r_[plotted.number, pruned.number],
    )
  return plotted, x_axis


# --- fit --------------------------------------------------------------------------------


def _fit_traces(runs: Runs, response: Response) -> list[PlotlyDict]:
  """Returns the fitted curve with its band, and the envelope of the best runs."""
  traces: list[PlotlyDict] = []
  curve = response.curve
  if curve is not None:
    x, _ = axis_positions(response.axis, curve.values)
    median = runs.to_objective(curve.median)
    high = runs.to_objective(curve.high)
    if response.axis.is_number:
      traces += [
        band(x, runs.to_objective(curve.low), high),
        plain_line(x, median, '$blue', 2.5, name='fit'),
      ]
    else:
      traces.append(
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
      )
  if response.axis.is_number and len(response.envelope) > 1:
    traces.append(
      plain_line(
        response.envelope_values,
        runs.to_objective(response.envelope),
        '$muted',
        1,
        'dot',
        name='envelope',
      )
    )
  return traces


def _optimum_marks(response: Response, base: float) -> list[tuple[PlotlyDict, Label]]:
  """Returns lines and bands at optimum, basin and base config, each with its label."""
  optimum = response.optimum
  low, high = optimum.basin
  marks = []
  if math.isfinite(optimum.value):
    label = Label(f'optimum {number(optimum.value, 2)}', optimum.value, '$green')
    marks.append((vertical_line(optimum.value, '$green', 'solid'), label))
  if math.isfinite(low) and math.isfinite(high):
    # The middle of the band as it is drawn.
    middle = math.sqrt(low * high) if response.axis.log else (low + high) / 2
    label = Label(f'within {optimum.rise_fraction:.0%}', middle, '$green')
    marks.append((vertical_band(low, high, '$green'), label))
  if math.isfinite(base) and response.axis.is_number:
    label = Label(f'base {number(base, 2)}', base, '$muted')
    marks.append((vertical_line(base, '$muted', 'dash'), label))
  elif math.isfinite(base):
    label = Label('base', base, '$muted')
    marks.append((vertical_band(base - 0.4, base + 0.4, '$grey'), label))
  return marks


# --- caption ----------------------------------------------------------------------------


def _caption(response: Response, runs: Runs, n_pruned: int) -> str:
  sentence = _optimum_sentence(response, runs)
  if response.rung is not None:
    return (
      f'{sentence} All runs are compared at step {response.rung:,}, because most were pruned '
      '(hollow).'
    )
  pruned = f' {n_pruned} pruned runs (hollow) are shown with their last score.'
  return sentence + pruned if n_pruned else sentence


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
  basin = ''
  if np.isfinite(optimum.basin).all():
    start, end = optimum.basin
    basin = (
      f', and within {optimum.rise_fraction:.0%} of its best from {number(start, 2)} to '
      f'{number(end, 2)}'
    )
  return (
    f'The fit is best at {name} = {value} ({optimum.confidence:.0%} interval '
    f'{interval(low, optimum.high)}){basin}.'
  )


def _best_choice_sentence(response: Response, runs: Runs) -> str:
  name = response.axis.name
  if not len(response.envelope) or not np.isfinite(response.envelope).any():
    return f'No run with a value of {name} is complete.'
  i = int(np.nanargmin(response.envelope))
  best = number(runs.to_objective(response.envelope[i]))
  fit = ' The bars are the fit, with the other hyperparameters at their best.'
  return (
    f'The best run has {name} = {response.envelope_values[i]}, with {best}.'
    f'{"" if response.curve is None else fit}'
  )


# --- isolations --------------------------------------------------------------------------


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
  y_name = f'best {name_with_unit(runs.objective_name)}'
  intervals = plain_line(separated(x, x), separated(low, high), '$blue/0.6', 3)
  # Horizontal lines show the width of the bins, if the values are binned.
  edges = separated(*isolation.edges.T)
  bins = plain_line(edges, separated(best, best), '$grey', 1.5)
  # The vertical axis shows all finite ends.
  ends = np.r_[best, low, high]
  ends = ends[np.isfinite(ends)]
  more = {'range': padded_range(ends, 0.08)} if ends.size and np.ptp(ends) else {}
  return Figure(
    id,
    f'Best for each {isolation.axis}',
    _isolation_caption(runs, isolation),
    [
      intervals,
      *([bins] if np.isfinite(isolation.edges).any() else []),
      run_markers(
        x,
        best,
        isolation.number,
        hover=hover_text(isolation.axis, y_name),
        marker={'size': 10},
      ),
    ],
    layout(x_axis, plot_axis(y_name) | more),
  )


def _isolation_caption(runs: Runs, isolation: Isolation) -> str:
  if not np.isfinite(isolation.best).any():
    return f'No run with a value of {isolation.axis} is complete.'
  i = int(np.nanargmin(isolation.best))
  left, right = isolation.edges[i]
  value = f'= {setting(isolation.values[i])}'
  if left < right:
    value = f'from {setting(float(left))} to {setting(float(right))}'
  most = counted(int(isolation.n_points.max()), 'point')
  points = (
    f'from {isolation.n_points.min()} to {most}' if np.ptp(isolation.n_points) else most
  )
  sentence = (
    f'With all other hyperparameters at their best, {isolation.axis} {value} is best, with '
    f'{number(runs.to_objective(isolation.best[i]))} ({points} per value).'
  )
  if not math.isfinite(isolation.high[i]):
    return f'{sentence} Its selection bias is unknown.'
  fresh = f'{isolation.confidence:.0%} interval on a fresh seed (bar)'
  # NaN fails the comparison, so an unknown interval counts as one that overlaps.
  if np.all(isolation.high[i] < np.delete(isolation.low, i)):
    return f'{sentence} Its {fresh} does not overlap any other.'
  return f'{sentence} Its {fresh} overlaps others: no significant difference.'
