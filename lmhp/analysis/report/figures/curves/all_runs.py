"""Figures of the training curves of all runs: loss, evaluation gap and gradient norm.

Dimension key: S points of a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

import numpy as np

from lmhp.analysis.phrases import counted, number
from lmhp.analysis.report.document import Figure, Text
from lmhp.analysis.report.figures.curves.lines import (
  EVAL_LOSS,
  MANY_RUNS,
  N_BLOCKS,
  TRAIN_LOSS,
  Line,
  LineGroup,
  budget_axis,
  budget_views,
  end_labels,
  group_lines,
  lines_of,
  loss_limits,
)
from lmhp.analysis.report.figures.style import (
  horizontal_line,
  layout,
  plot_axis,
  with_range,
)
from lmhp.analysis.runs.columns import finite_rows
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.winner import Winner

MAX_POINTS_OF_NORMS = 30
"""Points of a gradient norm that are drawn if there are many runs."""
MIN_NORM = 1e-12


def evaluation_column(runs: Runs) -> str:
  """Returns the column of the evaluations: the objective, if curves have it."""
  columns = {name for curve in runs.curves.values() for name in curve}
  is_known = runs.objective_name in columns or EVAL_LOSS not in columns
  return runs.objective_name if is_known else EVAL_LOSS


def training_curves_figure(runs: Runs, winner: Winner | None) -> Figure | None:
  """Draws the loss of every run, with views at equal steps, tokens, FLOPs or seconds.

  Training losses are smoothed lines. Evaluations are lines with dots. Returns None without
  curves.
  """
  if not runs.curves:
    return None
  train = lines_of(runs, TRAIN_LOSS, smooth=True)
  evaluated = lines_of(runs, evaluation_column(runs))
  groups = group_lines(runs, winner, train, quantity='train')
  groups += [
    group
    for group in group_lines(
      runs, winner, evaluated, 'lines+markers', quantity='evaluation'
    )
    # One kind of line is enough for the other runs.
    if group.runs != 'others' or not train
  ]
  if not groups:
    return None
  lines = _lines(groups)
  ends = {group.runs: group.end for group in groups}
  highlighted = ', '.join(
    f'the {name} ends at {number(ends[name])}'
    for name in ('winner', 'base')
    if name in ends
  )
  smoothed = '. Lines without dots are smoothed training losses' if train else ''
  separator = ': ' if highlighted else ''
  n_runs = counted(len({line.number for line in lines}), 'run')
  return Figure(
    'training-curves',
    'Training curves',
    f'{n_runs}{separator}{highlighted}{smoothed}.',
    [group.trace() for group in groups],
    layout(
      budget_axis(groups),
      plot_axis('loss (nats)', range=loss_limits(lines)),
      annotations=end_labels(groups),
    ),
    height=420,
    views=budget_views(runs, groups),
  )


def _lines(groups: Sequence[LineGroup]) -> list[Line]:
  return [line for group in groups for line in group.lines]


def gap_figure(runs: Runs, winner: Winner | None) -> Figure | None:
  """Draws evaluation loss minus smoothed training loss. None if no run has both."""
  if not runs.curves or evaluation_column(runs) != EVAL_LOSS:
    return None
  groups = group_lines(runs, winner, _gaps(runs), 'lines+markers')
  if not groups:
    return None
  lines = _lines(groups)
  values = np.concatenate([line.y for line in lines])
  # Leave out extreme gaps, and keep 0 in the figure.
  low, high = np.quantile(values, [0.01, 0.99])
  pad = 0.1 * (high - low) or 0.1
  ends = [line.y[-1] for line in lines]
  # The winner is the last group.
  of_winner = f', and that of the winner is {number(groups[-1].end, 3)}'
  return Figure(
    'gap',
    'Evaluation minus training loss',
    (
      f'At the last evaluation, the median gap of {counted(len(ends), "run")} is '
      f'{number(np.median(ends), 3)} nats{of_winner if groups[-1].runs == "winner" else ""}.'
    ),
    [group.trace('nats') for group in groups],
    layout(
      budget_axis(groups),
      plot_axis(
        'evaluation - training loss (nats)',
        range=[float(min(low, 0) - pad), float(max(high, 0) + pad)],
      ),
      shapes=[horizontal_line(0, '$muted', layer='below')],
      annotations=end_labels(groups),
    ),
  )


def _gaps(runs: Runs) -> list[Line]:
  """Returns evaluation minus training loss of each run, at its evaluations."""
  train = {line.number: line for line in lines_of(runs, TRAIN_LOSS, True, N_BLOCKS)}
  gaps = []
  for line in lines_of(runs, evaluation_column(runs)):
    of_train = train.get(line.number)
    if of_train is not None and len(of_train.y) > 1:
      # Compare only where the smoothed training loss exists.
      at = np.interp(line.step, of_train.step, of_train.y, left=np.nan, right=np.nan)
      gap = Line(
        line.number, *finite_rows({'step': line.step, 'gap': line.y - at}, 'gap')
      )
      gaps += [gap] if len(gap.y) else []
  return gaps


def grad_norm_figure(runs: Runs, winner: Winner | None) -> Figure | None:
  """Draws the smoothed gradient norm of every run on a log axis. None without norms."""
  max_points = MAX_POINTS_OF_NORMS if len(runs) > MANY_RUNS else None
  norms = [
    dataclasses.replace(line, y=np.maximum(line.y, MIN_NORM))
    for line in lines_of(runs, 'grad_norm', True, max_points)
  ]
  groups = group_lines(runs, winner, norms)
  if not groups:
    return None
  lines = _lines(groups)
  values = np.concatenate([line.y for line in lines])
  # A few spikes do not set the range.
  inner = np.clip(values, *np.quantile(values, [0.002, 0.998]))
  last = [float(np.median(line.y[-max(1, len(line.y) // 4) :])) for line in lines]
  return Figure(
    'grad-norm',
    'Gradient norm',
    (
      f'In the last quarter of training, the median gradient norm is '
      f'{number(np.median(last), 2)}, with a range of {number(min(last), 2)} to '
      f'{number(max(last), 2)} over {counted(len(lines), "run")}.'
    ),
    [group.trace() for group in groups],
    layout(
      budget_axis(groups),
      with_range(plot_axis('gradient norm', True, values), inner),
      annotations=end_labels(groups, log=True),
    ),
  )


def thinning_note(runs: Runs) -> Text | None:
  """Returns a paragraph about thinned curves, for a study of lmhp."""
  if not runs.curves or runs.facts.source_type != 'study':
    return None
  return Text(
    "These curves are thinned. The full ones are in the study's directory, under curves/."
  )
