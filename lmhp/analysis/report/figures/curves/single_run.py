"""Figure of a single training run, in panels.

Dimension key: S rows of a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

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
from lmhp.analysis.report.figures.style import annotation, layout, margin, plot_axis
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


@dataclasses.dataclass(frozen=True)
class _Panel:
  """A quantity with its steps and values (S,)."""

  title: str
  x: np.ndarray
  y: np.ndarray


def single_run_figure(runs: Runs) -> Figure | None:
  """Draws losses, learning rate, gradient norm and speed of the first run with a curve."""
  numbers = [number for number in runs.number.tolist() if number in runs.curves]
  if not numbers:
    return None
  run_number = numbers[0]
  curve = runs.curves[run_number]
  train = _Panel('train', *finite_rows(curve, TRAIN_LOSS))
  evaluated = _Panel('evaluation', *finite_rows(curve, evaluation_column(runs)))
  if not len(train.x) and not len(evaluated.x):
    return None
  # Panels of equal height, with the space of a title above each.
  panels = _other_panels(curve)
  count = len(panels) + 1

  def domain(i: int) -> list[float]:
    """Returns the vertical extent of a panel as fractions of the figure."""
    height = 1 / count
    return [1 - (i + 1) * height, 1 - i * height - height * SPACE / (PANEL + SPACE)]

  # Stack the panels from the top, with the losses first.
  lines = [Line(run_number, p.x, p.y) for p in (train, evaluated) if len(p.x)]
  axes: PlotlyDict = {
    'yaxis': plot_axis('', range=loss_limits(lines), domain=domain(0))
  }
  traces = _loss_traces(run_number, train, evaluated)
  titles = [_panel_title('loss (nats)', domain(0)[1])]
  for i, panel in enumerate(panels, start=1):
    axes[f'yaxis{i + 1}'] = _panel_axis(panel, domain(i))
    traces.append(
      plain_line(
        *thinned(panel.x, panel.y, MAX_PANEL_POINTS),
        '$blue',
        1.3,
        yaxis=f'y{i + 1}',
        hoverinfo='all',
        hovertemplate=f'{panel.title} %{{y:.4~g}}<br>step %{{x}}<extra></extra>',
      )
    )
    titles.append(_panel_title(panel.title, domain(i)[1]))
  x_axis = plot_axis('step', anchor=f'y{count}' if count > 1 else 'y')
  return Figure(
    'one-run',
    'The run',
    _caption(train, evaluated, panels),
    traces,
    layout(x_axis, {}, annotations=titles, margin=margin(t=6)) | axes,
    height=count * (PANEL + SPACE) + 60,
  )


def _other_panels(curve: Curve) -> list[_Panel]:
  """Returns the panels below the losses that have at least two points."""
  panels = [
    _Panel('learning rate', *finite_rows(curve, 'learning_rate')),
    _Panel('gradient norm', *finite_rows(curve, 'grad_norm')),
    _Panel(SPEED, *_speed(curve)),
  ]
  return [panel for panel in panels if len(panel.x) > 1]


def _speed(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
  """Returns steps and tokens per second between rows that are far enough apart in time.

  Metrics are read after each chunk, so that rows of one chunk are written within a moment of
  each other.
  """
  step, tokens, seconds = (
    np.asarray(curve.get(name, ()), np.float64)
    for name in ('step', 'tokens', 'seconds')
  )
  if not len(step) == len(tokens) == len(seconds):
    return np.zeros(0), np.zeros(0)
  finite = np.isfinite(tokens) & np.isfinite(seconds)
  if not finite.any():
    return np.zeros(0), np.zeros(0)
  step = step[finite]
  tokens = tokens[finite]
  seconds = seconds[finite]

  # Keep rows that are at least a fraction of the whole time apart.
  rows = [0]
  min_seconds = max((seconds[-1] - seconds[0]) / N_SPEEDS, 1e-9)
  for i in range(1, len(tokens)):
    last = rows[-1]
    if seconds[i] - seconds[last] >= min_seconds and tokens[i] > tokens[last]:
      rows.append(i)
  return step[rows][1:], np.diff(tokens[rows]) / np.diff(seconds[rows])


def _panel_axis(panel: _Panel, domain: list[float]) -> PlotlyDict:
  if panel.title == 'learning rate':
    return plot_axis('', domain=domain, exponentformat='e')
  is_wide = bool(panel.y.min() > 0) and panel.y.max() > 20 * panel.y.min()
  is_log = panel.title == 'gradient norm' and bool(is_wide)
  return plot_axis('', is_log, panel.y, domain=domain, rangemode='tozero')


def _loss_traces(run_number: int, train: _Panel, evaluated: _Panel) -> list[PlotlyDict]:
  traces = []
  if len(train.x):
    traces += [
      plain_line(*thinned(train.x, train.y, MAX_TRAIN_POINTS), '$grey/0.5', 1),
      plain_line(
        *smooth_curve(train.x, train.y),
        '$blue',
        2,
        hoverinfo='all',
        hovertemplate='train %{y:.4~g}<br>step %{x}<extra></extra>',
      ),
    ]
  if len(evaluated.x):
    x, y = thinned(evaluated.x, evaluated.y, MAX_EVALUATIONS)
    traces.append(
      run_markers(
        x,
        y,
        np.full(len(x), run_number),
        '$vermillion',
        'diamond',
        '<br>evaluation %{y:.5~g}<br>step %{x}',
        mode='lines+markers',
        line={'color': '$vermillion', 'width': 1},
        marker={'size': 7},
      )
    )
  return traces


def _panel_title(text: str, y: float) -> PlotlyDict:
  return annotation(
    text,
    0,
    y,
    '$ink',
    xref='paper',
    yref='paper',
    xanchor='left',
    yanchor='bottom',
    yshift=3,
  )


def _caption(train: _Panel, evaluated: _Panel, panels: Sequence[_Panel]) -> str:
  sentences = []
  if len(evaluated.x):
    # Report the minimum only if the last evaluation is not the best.
    best = int(np.argmin(evaluated.y))
    sentence = f'The evaluation loss (dots) ends at {number(evaluated.y[-1])} nats'
    if best < len(evaluated.y) - 1:
      sentence += (
        f', above its minimum of {number(evaluated.y[best])} at step '
        f'{number(evaluated.x[best])}'
      )
    sentences.append(f'{sentence}.')
  if len(train.x):
    last = smooth_curve(train.x, train.y)[1][-1]
    sentences.append(f'The smoothed training loss ends at {number(last)} nats.')
  sentences += [
    f'The median speed is {number(round(np.median(panel.y)))} tokens per second.'
    for panel in panels
    if panel.title == SPEED
  ]
  return ' '.join(sentences)
