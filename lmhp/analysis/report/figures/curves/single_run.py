"""Figure of a single training run, in panels.

Dimension key: S rows of a curve.
"""

from __future__ import annotations

import numpy as np

from lmhp.analysis.phrases import number
from lmhp.analysis.report.document import Figure, PlotlyDict
from lmhp.analysis.report.figures.curves.all_runs import evaluation_column
from lmhp.analysis.report.figures.curves.lines import (
  TRAIN_LOSS,
  Line,
  loss_limits,
  smooth_curve,
  thinned,
)
from lmhp.analysis.report.figures.style import MARGIN, annotation, layout, plot_axis
from lmhp.analysis.report.figures.traces import plain_line, run_markers
from lmhp.analysis.runs.columns import finite_rows
from lmhp.analysis.runs.table import Curve, Runs

PANEL = 150
"""Height of a panel in pixels."""
SPACE = 46
"""Height of the space above a panel in pixels."""
SPEED = 'tokens per second'
MAX_TRAIN_POINTS = 800
MAX_PANEL_POINTS = 600
MAX_EVALUATIONS = 200
N_SPEEDS = 40
"""Largest number of points of the speed."""


def single_run_figure(runs: Runs) -> Figure | None:
  """Draws losses, learning rate, gradient norm and speed of a single run."""
  run_number = int(runs.number[0])
  curve = runs.curves.get(run_number, {})
  train = Line(run_number, *finite_rows(curve, TRAIN_LOSS))
  evaluated = Line(run_number, *finite_rows(curve, evaluation_column(runs)))
  lines = [line for line in (train, evaluated) if len(line.y)]
  if not lines:
    return None
  columns = {
    'learning rate': finite_rows(curve, 'learning_rate'),
    'gradient norm': finite_rows(curve, 'grad_norm'),
    SPEED: _speed(curve),
  }
  panels = {title: column for title, column in columns.items() if len(column[0]) > 1}

  # Vertical extent of each panel as fractions of the figure. Panels have equal heights, with
  # the space of a title above each. The losses are at the top.
  count = len(panels) + 1
  height = 1 / count
  space = height * SPACE / (PANEL + SPACE)
  domains = [[1 - (i + 1) * height, 1 - i * height - space] for i in range(count)]
  axes: PlotlyDict = {
    'yaxis': plot_axis('', range=loss_limits(lines), domain=domains[0])
  }
  traces = _loss_traces(train, evaluated)
  for i, (title, (x, y)) in enumerate(panels.items(), start=1):
    axes[f'yaxis{i + 1}'] = _panel_axis(title, y, domains[i])
    traces.append(
      plain_line(
        *thinned(x, y, MAX_PANEL_POINTS),
        '$blue',
        1.3,
        yaxis=f'y{i + 1}',
        hoverinfo='all',
        hovertemplate=f'{title} %{{y:.4~g}}<br>step %{{x}}<extra></extra>',
      )
    )
  titles = [
    annotation(
      title,
      0,
      domain[1],
      '$ink',
      xref='paper',
      yref='paper',
      xanchor='left',
      yanchor='bottom',
      yshift=3,
    )
    for title, domain in zip(['loss (nats)', *panels], domains)
  ]
  caption = _caption(train, evaluated)
  if SPEED in panels:
    median = round(np.median(panels[SPEED][1]))
    caption += f' The median speed is {number(median)} tokens per second.'
  return Figure(
    'one-run',
    'The run',
    caption,
    traces,
    layout(
      plot_axis('step', anchor=f'y{count}' if count > 1 else 'y'),
      {},
      annotations=titles,
      margin=MARGIN | {'t': 6},
    )
    | axes,
    height=count * (PANEL + SPACE) + 60,
  )


def _speed(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
  """Returns steps and tokens per second between rows that are far enough apart in time.

  Metrics are read after each chunk, so that rows of one chunk are written within a moment of
  each other.
  """
  unknown = np.full(len(curve.get('step', ())), np.nan)
  columns = np.array(
    [curve.get(name, unknown) for name in ('step', 'tokens', 'seconds')]
  )
  step, tokens, seconds = columns[:, np.isfinite(columns).all(axis=0)]
  if not len(step):
    return step, tokens

  # Keep rows that are at least a fraction of the whole time apart.
  rows = [0]
  min_seconds = max((seconds[-1] - seconds[0]) / N_SPEEDS, 1e-9)
  for i in range(1, len(tokens)):
    last = rows[-1]
    if seconds[i] - seconds[last] >= min_seconds and tokens[i] > tokens[last]:
      rows.append(i)
  return step[rows][1:], np.diff(tokens[rows]) / np.diff(seconds[rows])


def _panel_axis(title: str, y: np.ndarray, domain: list[float]) -> PlotlyDict:
  if title == 'learning rate':
    return plot_axis('', domain=domain, exponentformat='e')
  is_wide = bool(y.min() > 0 and y.max() > 20 * y.min())
  is_log = title == 'gradient norm' and is_wide
  return plot_axis('', is_log, y, domain=domain, rangemode='tozero')


def _loss_traces(train: Line, evaluated: Line) -> list[PlotlyDict]:
  traces = []
  if len(train.y):
    traces += [
      plain_line(*thinned(train.step, train.y, MAX_TRAIN_POINTS), '$grey/0.5', 1),
      plain_line(
        *smooth_curve(train.step, train.y),
        '$blue',
        2,
        hoverinfo='all',
        hovertemplate='train %{y:.4~g}<br>step %{x}<extra></extra>',
      ),
    ]
  if len(evaluated.y):
    x, y = thinned(evaluated.step, evaluated.y, MAX_EVALUATIONS)
    traces.append(
      run_markers(
        x,
        y,
        np.full(len(x), evaluated.number),
        '$vermillion',
        'diamond',
        '<br>evaluation %{y:.5~g}<br>step %{x}',
        mode='lines+markers',
        line={'color': '$vermillion', 'width': 1},
        marker={'size': 7},
      )
    )
  return traces


def _caption(train: Line, evaluated: Line) -> str:
  sentences = []
  if len(evaluated.y):
    # Report the minimum only if the last evaluation is not the best.
    best = int(np.argmin(evaluated.y))
    minimum = (
      f', above its minimum of {number(evaluated.y[best])} at step '
      f'{number(evaluated.step[best])}'
    )
    sentences.append(
      f'The evaluation loss (dots) ends at {number(evaluated.y[-1])} nats'
      f'{minimum if best < len(evaluated.y) - 1 else ""}.'
    )
  if len(train.y):
    last = smooth_curve(train.step, train.y)[1][-1]
    sentences.append(f'The smoothed training loss ends at {number(last)} nats.')
  return ' '.join(sentences)
