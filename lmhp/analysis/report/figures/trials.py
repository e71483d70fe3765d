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
  SERIES,
  annotation,
  hidden_axis,
  layout,
  margin,
  name_with_unit,
  objective_range,
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
}


# --- history ----------------------------------------------------------------------------


def history_figure(runs: Runs) -> Figure:
  """Draws the objective by trial, and the best so far."""
  search = runs.search_runs()
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
  order = np.argsort(search.number, kind='stable')
  is_complete = (search.status == 'complete') & np.isfinite(search.objective)
  best = np.minimum.accumulate(np.where(is_complete, search.losses, np.inf)[order])
  first = int(np.sum(~np.isfinite(best)))
  numbers = search.number[order][first:]
  best = best[first:]

  y_name = name_with_unit(runs.objective_name)
  traces = plotted.traces(f'<br>{plain_text(y_name)} %{{y:.5~g}}')
  x_axis = with_range(plot_axis('trial'), search.number, 0.03)
  annotations, top = stack_labels(plotted.edge_labels(), x_axis)
  if len(best):
    traces.append(step_line(numbers, runs.to_objective(best), name='best so far'))
    annotations.append(_best_label(runs, float(best[-1])))
  return Figure(
    'history',
    'Objective by trial',
    _history_caption(runs, numbers, best, len(search) - first),
    traces,
    layout(
      x_axis,
      plot_axis(y_name, range=list(runs.objective_interval(*plotted.span))),
      annotations=annotations,
      margin=margin(t=top),
    ),
  )


def _best_label(runs: Runs, best: float) -> PlotlyDict:
  return annotation(
    'best so far',
    1,
    float(runs.to_objective(best)),
    '$vermillion',
    xref='paper',
    xanchor='right',
    yanchor='bottom' if runs.maximize else 'top',
    yshift=4 if runs.maximize else -4,
  )


def _history_caption(
  runs: Runs, numbers: np.ndarray, best: np.ndarray, n_trials: int
) -> str:
  """Returns the caption, for trials from the first complete one on."""
  if not len(best):
    return 'No trial is complete.'
  at = int(np.argmin(best))
  value = number(runs.to_objective(best[-1]))
  n_after = n_trials - 1 - at
  if not n_after:
    return (
      f'The best objective is {value}, in the last trial ({numbers[at]}): the search was '
      'still improving.'
    )
  none = 'it is not' if n_after == 1 else 'none of them is'
  return (
    f'The best objective is {value}, in trial {numbers[at]}. '
    f'{counted(n_after, "trial")} came after it, and {none} better.'
  )


# --- best of n --------------------------------------------------------------------------


def best_of_n_figure(runs: Runs, best_of_n: BestOfN | None) -> Figure | None:
  """Draws the best of n trials: median over studies, its band, and the mean."""
  curve = best_of_n
  if curve is None:
    return None
  # The range holds both curves. The band may go beyond it, and is cut.
  finite = np.r_[curve.median, curve.expected]
  finite = finite[np.isfinite(finite)]
  low = float(finite.min()) if finite.size else 0.0
  high = float(finite.max()) if finite.size else 1.0
  pad = 0.35 * (high - low) or 0.05 * abs(high) or 1.0
  span = (low - pad, high + pad)
  powers = [1 << i for i in range(int(curve.trials[-1]).bit_length())]
  ticks = plot_axis(
    'trials',
    len(curve.trials) > 1,
    curve.trials,
    dtick=None,
    tickvals=[power for power in powers if power >= curve.trials[0]],
  )
  traces = [
    band(
      curve.trials,
      runs.to_objective(np.clip(curve.median_low, *span)),
      runs.to_objective(np.clip(curve.median_high, *span)),
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
        range=list(runs.objective_interval(*span)),
      ),
    ),
  )


def _best_of_n_caption(runs: Runs, curve: BestOfN) -> str:
  def median_at(index: int) -> str:
    return number(float(runs.to_objective(float(curve.median[index]))))

  caption = f'Half of all searches with {curve.trials[-1]} trials find {median_at(-1)} or better'
  # Compare with a quarter of the trials.
  quarter = len(curve.trials) // 4 - 1
  if curve.trials[max(quarter, 0)] > 1:
    caption += f', and with {curve.trials[quarter]} trials {median_at(quarter)}'
  caption += (
    f'. The band contains the whole median curve with {curve.confidence:.0%} confidence; the '
    'dotted line is the mean'
  )
  if np.isinf(curve.median_low[-1]) or np.isinf(curve.median_high[-1]):
    caption += '. The band has no bound at the edge of the figure'
  return f'{caption}.'


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
    if not count:
      continue
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
  caption = 'The search has no runs.'
  if labels:
    words = ', '.join(label.text for label in labels)
    caption = f'The search has {counted(len(search), "run")}: {words}.'
  return Figure(
    'status',
    'Status of the runs',
    caption,
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
  objectives = np.concatenate([rung.objective for rung in rungs])
  x_axis = with_range(
    plot_axis(f'{y_name} at the rung'), np.concatenate([rung.scores for rung in rungs])
  )
  annotations, top = stack_labels(labels, x_axis)
  return Figure(
    'rungs',
    'Scores at rungs and final objective',
    _rungs_caption(rungs),
    traces,
    layout(
      x_axis,
      with_range(plot_axis(f'final {y_name}'), objectives),
      annotations=annotations,
      margin=margin(t=top),
    ),
  )


def _rungs_caption(rungs: Sequence[RungScores]) -> str:
  first = rungs[0]
  caption = (
    f'Scores at step {first.step} of the {counted(len(first.number), "complete run")} have a '
    f'rank correlation of {first.spearman:.2f} with their final objective'
  )
  if len(rungs) > 1:
    caption += f', and scores at step {rungs[-1].step} one of {rungs[-1].spearman:.2f}'
  return f'{caption}. Pruned runs are left out.'
