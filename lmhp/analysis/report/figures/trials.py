"""Figures of the trials: history, best of n, status, and scores at rungs.

Dimension key: T runs, K numbers of trials.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmhp.analysis.phrases import counted, number
from lmhp.analysis.report.document import Figure, PlotlyDict
from lmhp.analysis.report.figures.labels import Label, stack_labels
from lmhp.analysis.report.figures.style import (
  MARGIN,
  SERIES,
  annotation,
  hidden_axis,
  layout,
  name_with_unit,
  objective_range,
  padded_range,
  plain_text,
  plot_axis,
  with_range,
)
from lmhp.analysis.report.figures.traces import (
  PlottedRuns,
  band,
  evenly,
  last_scores,
  plain_line,
  run_markers,
  step_line,
)
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.best_of_n_curve import BestOfN
from lmhp.analysis.winner.rung_agreement import RungScores

STATUS_COLORS = {
  'complete': '$blue',
  'pruned': '$orange',
  'diverged': '$vermillion',
  'failed': '$purple',
  'running': '$green',
  'waiting': '$grey',
  'missing': '$grey/0.5',
}


# --- history ----------------------------------------------------------------------------


def history_figure(runs: Runs) -> Figure:
  """Draws the objective by trial, and the best so far."""
  search = runs.search_runs()
  search = search.select(np.argsort(search.number, kind='stable'))
  low, high = objective_range(search)
  plotted = PlottedRuns(
    x=np.asarray(search.number, np.float64),
    losses=np.where(np.isfinite(search.objective), search.losses, last_scores(search)),
    status=search.status,
    number=search.number,
    span=(low - 0.05 * (high - low), high),
    maximize=runs.maximize,
  )

  # Best complete run so far, from the first complete one on.
  is_complete = (search.status == 'complete') & np.isfinite(search.objective)
  best = np.minimum.accumulate(np.where(is_complete, search.losses, np.inf))
  numbers = search.number[np.isfinite(best)]
  best = runs.to_objective(best[np.isfinite(best)])

  y_name = name_with_unit(runs.objective_name)
  traces = plotted.traces(f'<br>{plain_text(y_name)} %{{y:.5~g}}')
  x_axis = with_range(plot_axis('trial'), search.number, 0.03)
  annotations, top = stack_labels(plotted.edge_labels(), x_axis)
  if len(best):
    traces.append(step_line(numbers, best, name='best so far'))
    annotations.append(
      annotation(
        'best so far',
        1,
        float(best[-1]),
        '$vermillion',
        xref='paper',
        xanchor='right',
        yanchor='bottom' if runs.maximize else 'top',
        yshift=4 if runs.maximize else -4,
      )
    )
  return Figure(
    'history',
    'Objective by trial',
    _history_caption(numbers, best),
    traces,
    layout(
      x_axis,
      plot_axis(y_name, range=list(runs.objective_interval(*plotted.span))),
      annotations=annotations,
      margin=MARGIN | {'t': top},
    ),
  )


def _history_caption(numbers: np.ndarray, best: np.ndarray) -> str:
  """Returns the caption. Both columns start at the first complete trial."""
  if not len(best):
    return 'No trial is complete.'
  # The first trial that has the final best.
  at = int(np.argmax(best == best[-1]))
  value = number(best[-1])
  n_after = len(best) - 1 - at
  if not n_after:
    return (
      f'The best objective is {value}, in the last trial ({numbers[at]}): the search was '
      'still improving.'
    )
  return (
    f'The best objective is {value}, in trial {numbers[at]}. {counted(n_after, "trial")} came '
    f'after it, and {"it is not" if n_after == 1 else "none of them is"} better.'
  )


# --- best of n --------------------------------------------------------------------------


def best_of_n_figure(runs: Runs, best_of_n: BestOfN | None) -> Figure | None:
  """Draws the best of n trials: median over studies, its band, and the mean."""
  curve = best_of_n
  if curve is None:
    return None
  # The range holds both curves. The band may go beyond it, and is cut.
  shown = np.r_[curve.median, curve.expected]
  shown = shown[np.isfinite(shown)]
  low, high = padded_range(shown, 0.35, 0.05 * abs(float(shown.max())) or 1.0)
  powers = 1 << np.arange(int(curve.trials[-1]).bit_length())
  ticks = plot_axis(
    'trials',
    len(curve.trials) > 1,
    curve.trials,
    dtick=None,
    tickvals=powers[powers >= curve.trials[0]].tolist(),
  )
  traces = [
    band(
      curve.trials,
      runs.to_objective(np.clip(curve.median_low, low, high)),
      runs.to_objective(np.clip(curve.median_high, low, high)),
    ),
    plain_line(
      curve.trials,
      runs.to_objective(curve.expected),
      '$muted',
      1.5,
      'dot',
      name='mean',
    ),
    plain_line(
      curve.trials,
      runs.to_objective(curve.median),
      '$blue',
      2.5,
      name='median',
      hoverinfo='all',
      hovertemplate='best of %{x}: %{y:.5~g}<extra></extra>',
    ),
  ]
  return Figure(
    'best-of-n',
    'Best of n trials',
    _best_of_n_caption(runs, curve),
    traces,
    layout(
      with_range(ticks, curve.trials, 0.02),
      plot_axis(
        f'best {name_with_unit(runs.objective_name)}',
        range=list(runs.objective_interval(low, high)),
      ),
    ),
  )


def _best_of_n_caption(runs: Runs, curve: BestOfN) -> str:
  def median_at(index: int) -> str:
    return number(float(runs.to_objective(float(curve.median[index]))))

  # Compare with a quarter of the trials, or with the nearest smaller number.
  quarter = int(np.searchsorted(curve.trials, curve.trials[-1] // 4, side='right')) - 1
  compared = f', and with {curve.trials[quarter]} trials {median_at(quarter)}'
  is_open = np.isinf([curve.median_low[-1], curve.median_high[-1]]).any()
  edge = ' The band has no bound at the edge of the figure.' if is_open else ''
  return (
    f'Half of all searches with {curve.trials[-1]} trials find {median_at(-1)} or better'
    f'{compared if curve.trials[max(quarter, 0)] > 1 else ""}. The band contains the whole '
    f'median curve with {curve.confidence:.0%} confidence; the dotted line is the mean.{edge}'
  )


# --- status -----------------------------------------------------------------------------


def status_figure(runs: Runs) -> Figure:
  """Draws the number of runs by status, as one bar."""
  search = runs.search_runs()

  # One bar of segments, each with a label above it.
  traces: list[PlotlyDict] = []
  labels = []
  before = 0
  for name, color in STATUS_COLORS.items():
    count = int(np.sum(search.status == name))
    if count:
      traces.append(
        {
          'type': 'bar',
          'orientation': 'h',
          'x': [count],
          'y': [0],
          'base': [before],
          'width': 0.9,
          'name': name,
          'hovertemplate': f'{count} {name}<extra></extra>',
          'marker': {'color': color, 'line': {'color': '$paper', 'width': 1}},
        }
      )
      labels.append(Label(f'{count} {name}', before + count / 2, color))
    before += count
  x_axis = hidden_axis(0, max(before, 1))
  annotations, top = stack_labels(labels, x_axis, 340)
  words = ', '.join(label.text for label in labels)
  return Figure(
    'status',
    'Status of the runs',
    f'The search has {counted(len(search), "run")}: {words}.',
    traces,
    layout(
      x_axis,
      hidden_axis(-0.5, 0.5),
      barmode='overlay',
      annotations=annotations,
      margin={'l': 16, 'r': 16, 't': top, 'b': 10},
    ),
    height=top + 50,
  )


# --- scores at rungs --------------------------------------------------------------------


def rungs_figure(runs: Runs, rung_scores: Sequence[RungScores]) -> Figure | None:
  """Draws scores at each rung against the final objective. None without rungs."""
  if not rung_scores:
    return None
  # At most as many rungs as there are colours.
  rungs = [rung_scores[i] for i in evenly(np.arange(len(rung_scores)), len(SERIES))]

  # One series per rung, with its rank correlation as label.
  traces = [
    run_markers(
      rung.scores,
      rung.objective,
      rung.number,
      f'${color}',
      symbol,
      f'<br>at step {rung.step} %{{x:.5~g}}<br>at the end %{{y:.5~g}}',
    )
    for (color, symbol, _), rung in zip(SERIES, rungs)
  ]
  labels = [
    Label(
      f'step {rung.step}: rank correlation {rung.spearman:.2f}',
      float(np.median(rung.scores)),
      f'${color}',
    )
    for (color, _, _), rung in zip(SERIES, rungs)
  ]
  y_name = name_with_unit(runs.objective_name)
  x_axis = with_range(
    plot_axis(f'{y_name} at the rung'), np.concatenate([rung.scores for rung in rungs])
  )
  annotations, top = stack_labels(labels, x_axis)
  first = rungs[0]
  last = rungs[-1]
  other = f', and scores at step {last.step} one of {last.spearman:.2f}'
  return Figure(
    'rungs',
    'Scores at rungs and final objective',
    (
      f'Scores at step {first.step} of the {counted(len(first.number), "complete run")} '
      f'have a rank correlation of {first.spearman:.2f} with their final objective'
      f'{other if len(rungs) > 1 else ""}. Pruned runs are left out.'
    ),
    traces,
    layout(
      x_axis,
      with_range(
        plot_axis(f'final {y_name}'), np.concatenate([rung.objective for rung in rungs])
      ),
      annotations=annotations,
      margin=MARGIN | {'t': top},
    ),
  )
