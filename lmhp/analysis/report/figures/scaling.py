"""Figures of size and cost: the objective against cost, and the scaling law.

Dimension key: T runs, K places.
"""

from __future__ import annotations

import math

import numpy as np

from lmhp.analysis.phrases import counted, number
from lmhp.analysis.report.document import Figure, PlotlyDict
from lmhp.analysis.report.figures.labels import Label, stack_labels
from lmhp.analysis.report.figures.style import (
  MARGIN,
  annotation,
  layout,
  name_and_unit,
  name_with_unit,
  objective_range,
  padded_range,
  plot_axis,
  vertical_line,
  with_range,
)
from lmhp.analysis.report.figures.traces import (
  PlottedRuns,
  band,
  evenly,
  hover_text,
  plain_line,
  run_markers,
  step_line,
)
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.laws import ScalingLaw
from lmhp.statistics.pareto import pareto_front

COSTS = ('parameters', 'flops', 'seconds', 'tokens')
MIN_RATIO = 1.05
"""Ratio of the largest to the smallest cost from which it has a figure."""
LOG_RATIO = 3.0
MAX_SIZES = 8
PREDICTED_FACTOR = 10.0
"""The compute-optimal frontier continues to this many times the largest compute."""


# --- Pareto fronts ----------------------------------------------------------------------


def pareto_figures(runs: Runs) -> list[Figure]:
  """Draws the objective against each cost that differs between complete runs.

  Seconds are drawn only if another cost is, because they always differ.
  """
  complete = runs.complete_runs()
  figures: list[Figure] = []
  for cost in COSTS:
    costs = complete.measured.get(cost, np.array([]))
    known = np.isfinite(costs)
    # Seconds also vary by chance, so they are drawn only beside another cost that
    # differs.
    differ = known.sum() > 2 and costs[known].max() > MIN_RATIO * costs[known].min()
    if differ and (cost != 'seconds' or figures):
      figures.append(_pareto_figure(complete.select(known), cost))
  return figures


def _pareto_figure(complete: Runs, cost: str) -> Figure:
  """Draws the objective against a cost, and the runs that no other run dominates."""
  costs = complete.measured[cost]
  x_name = name_with_unit(cost)
  y_name = name_with_unit(complete.objective_name)

  # Runs on the front are diamonds, joined by steps. Other runs are dots.
  is_best = pareto_front(complete.losses, costs)
  order = np.argsort(costs, kind='stable')
  best = complete.select(order[is_best[order]])
  rest = complete.select(~is_best)
  plotted = PlottedRuns(
    x=rest.measured[cost],
    losses=rest.losses,
    status=rest.status,
    number=rest.number,
    span=objective_range(complete),
    maximize=complete.maximize,
  )
  hover = hover_text(x_name, y_name)
  best_costs = best.measured[cost]
  is_wide = costs.min() > 0 and costs.max() > LOG_RATIO * costs.min()
  name, unit = name_and_unit(cost)
  words = [
    f'{number(objective)} with {number(spent, 3)} {unit or name}'
    for objective, spent in zip(best.objective, best_costs)
  ]
  caption = (
    f'{len(best)} of {counted(len(costs), "run")} are on the Pareto front (diamonds), from '
    f'{words[0]} to {words[-1]}.'
  )
  if len(best) == 1:
    caption = (
      f'Run {best.number[0]} is better than the other {counted(len(rest), "run")} in both: '
      f'{words[0]}.'
    )
  return Figure(
    f'pareto-{cost}',
    f'{y_name} against {x_name}',
    caption,
    [
      *plotted.traces(hover, '$grey'),
      step_line(best_costs, best.objective),
      run_markers(
        best_costs, best.objective, best.number, '$vermillion', 'diamond', hover
      ),
    ],
    layout(
      with_range(plot_axis(x_name, bool(is_wide), costs), costs),
      plot_axis(y_name, range=list(complete.objective_interval(*plotted.span))),
    ),
  )


# --- scaling law ------------------------------------------------------------------------


def scaling_figure(runs: Runs, scaling_law: ScalingLaw | None) -> Figure | None:
  """Draws losses against compute, the law at each size, and the compute-optimal frontier."""
  law = scaling_law
  if law is None:
    return None
  complete = runs.complete_runs()
  complete = complete.select(
    (complete.measured['parameters'] > 0) & (complete.measured['tokens'] > 0)
  )
  sizes = complete.measured['parameters']
  tokens = complete.measured['tokens']

  # Compute of each run, C = 6 N D, and of the frontier beyond the largest run.
  flops = 6 * sizes * tokens
  frontier_flops = np.geomspace(flops.min(), PREDICTED_FACTOR * flops.max(), 60)
  best = law.compute_optimal(frontier_flops)
  low, high = law.interval(best.parameters, best.tokens)

  is_bounded = np.isfinite(low) & np.isfinite(high)
  interval = f'{law.confidence:.0%} interval {number(low[-1])} to {number(high[-1])}'

  # Band and line of the frontier, the law at each size, and the runs.
  traces = [
    *([band(frontier_flops, low, high, '$vermillion')] if is_bounded.any() else []),
    _size_lines(law, sizes, tokens),
    plain_line(
      frontier_flops,
      best.losses,
      '$vermillion',
      2.5,
      hoverinfo='all',
      hovertemplate='frontier %{y:.4~g} nats<br>%{x:.3~g} FLOPs<extra></extra>',
    ),
    run_markers(
      flops,
      complete.losses,
      complete.number,
      '$blue',
      hover='<br>%{x:.3~g} FLOPs<br>%{y:.4~g} nats',
      marker={'size': 7},
    ),
  ]
  x_axis = with_range(
    plot_axis('training FLOPs (6 N D)', True, frontier_flops), frontier_flops
  )

  # The vertical axis shows runs and frontier.
  largest = float(flops.max())
  annotations, top = stack_labels([Label('largest run', largest, '$muted')], x_axis)
  at_end = annotation(
    number(best.losses[-1], 3),
    math.log10(frontier_flops[-1]),
    float(best.losses[-1]),
    '$vermillion',
    xanchor='right',
    yanchor='bottom',
    yshift=6,
  )
  return Figure(
    'scaling',
    'Loss against compute',
    (
      f'With {number(PREDICTED_FACTOR)} times the largest compute, the law predicts '
      f'{number(best.losses[-1])} nats '
      f'({interval if is_bounded[-1] else "without an interval"}) at '
      f'{number(best.parameters[-1], 2)} parameters and {number(best.tokens[-1], 2)} tokens. '
      f'It is fitted to {law.n_runs} runs: {number(law.E, 3)} + '
      f'{number(law.A, 3)}/N^{number(law.alpha, 2)} + '
      f'{number(law.B, 3)}/D^{number(law.beta, 2)}.'
    ),
    traces,
    layout(
      x_axis,
      plot_axis(
        'loss (nats)',
        range=padded_range(np.r_[complete.losses, best.losses], 0.08, 0.1),
      ),
      shapes=[vertical_line(largest, '$muted')],
      annotations=[*annotations, at_end],
      margin=MARGIN | {'t': top},
    ),
  )


def _size_lines(law: ScalingLaw, sizes: np.ndarray, tokens: np.ndarray) -> PlotlyDict:
  """Returns the law along the tokens of each size, for at most `MAX_SIZES` sizes."""
  x = []
  y = []
  for size in evenly(np.unique(sizes), MAX_SIZES):
    size_tokens = tokens[sizes == size]
    along = np.r_[np.geomspace(size_tokens.min(), size_tokens.max(), 25), np.nan]
    x.append(6 * size * along)
    y.append(law.predict(size, along))
  return plain_line(np.concatenate(x), np.concatenate(y), '$blue/0.5', 1.2)
