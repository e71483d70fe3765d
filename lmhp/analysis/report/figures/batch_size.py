"""Figures of the batch size: gradient noise scale and critical batch size.

Dimension key: T runs, K intervals of training with one estimate each.
"""

from __future__ import annotations

import math

import numpy as np

from lmhp.analysis.advice.batch_size import (
  BatchSizeAnalysis,
  CriticalBatchOfRuns,
)
from lmhp.analysis.phrases import counted, interval, number
from lmhp.analysis.report.document import Figure, PlotlyDict
from lmhp.analysis.report.figures.style import (
  annotation,
  horizontal_line,
  layout,
  plot_axis,
  with_range,
)
from lmhp.analysis.report.figures.traces import plain_line, run_markers

MAX_RATIO = 4.0
"""Ratio of an interval's end to the estimate beyond which it is cut."""


# --- noise scale ------------------------------------------------------------------------


def noise_scale_figure(batch_size: BatchSizeAnalysis) -> Figure | None:
  """Draws the noise scale over training, with intervals, and the batch size of the run."""
  measured = batch_size.noise_scale
  if measured is None or not measured.scales:
    return None
  # The `batch_size` of a scale is the noise scale itself, in tokens.
  scales = np.array(
    [(scale.batch_size, scale.low, scale.high) for scale in measured.scales]
  )
  finite = np.isfinite(scales[:, 0]) & (scales[:, 0] > 0)
  estimates, low, high = scales[finite].T
  steps = measured.steps[finite]

  # Intervals that are too wide for the figure are cut.
  low = np.clip(low, estimates / MAX_RATIO, None)
  high = np.clip(high, None, MAX_RATIO * estimates.max(initial=0.0))
  trace: PlotlyDict = {
    'type': 'scatter',
    'mode': 'markers+lines',
    'x': steps,
    'y': estimates,
    'marker': {'color': '$blue', 'size': 9},
    'line': {'color': '$blue', 'width': 1},
    'hovertemplate': 'step %{x}: %{y:.3~g} tokens<extra></extra>',
    'error_y': {
      'type': 'data',
      'symmetric': False,
      'array': high - estimates,
      'arrayminus': estimates - low,
      'color': '$blue',
      'width': 5,
    },
  }
  # The vertical axis shows the estimates, their intervals and the batch of the run.
  drawn = np.r_[low, high, estimates, measured.batch_tokens]
  batch = number(measured.batch_tokens)
  label = annotation(
    f'batch {batch}',
    1,
    math.log10(measured.batch_tokens),
    '$vermillion',
    xref='paper',
    xanchor='right',
    yanchor='bottom',
  )
  reasons = sorted({scale.reason for scale in measured.scales if scale.reason})
  caption = f'The noise scale cannot be estimated: {"; ".join(reasons)}.'
  if len(estimates):
    relation = 'below' if measured.batch_tokens < estimates[-1] else 'above'
    caption = (
      f'The noise scale goes from {number(estimates[0], 3)} to {number(estimates[-1], 3)} '
      f'tokens. The batch of {batch} tokens is {relation} the last one.'
    )
  return Figure(
    'noise-scale',
    'Gradient noise scale',
    caption,
    [trace],
    layout(
      with_range(plot_axis('step'), steps),
      with_range(plot_axis('batch size (tokens)', True, drawn), drawn),
      shapes=[horizontal_line(measured.batch_tokens, '$vermillion', 1.5)],
      annotations=[label],
    ),
  )


# --- critical batch size ----------------------------------------------------------------


def critical_batch_figure(batch_size: BatchSizeAnalysis) -> Figure | None:
  """Draws steps against sequences to a target, the fit, and the critical batch size."""
  critical = batch_size.critical
  if critical is None:
    return None

  # Runs that reached the target.
  reached = np.isfinite(critical.steps)
  batch_sizes = critical.batch_sizes[reached]
  steps = critical.steps[reached]
  examples = batch_sizes * steps
  traces = [
    run_markers(
      steps,
      examples,
      critical.numbers[reached],
      '$blue',
      hover='<br>%{x:.4~g} steps<br>%{y:.4~g} sequences',
      marker={'size': 9},
    )
  ]
  # The batch size beside the first run of each. Plotly places annotations on a log axis by
  # the logarithm.
  annotations = [
    annotation(
      number(batch_sizes[i]),
      math.log10(steps[i]),
      math.log10(examples[i]),
      '$muted',
      xanchor='left',
      yanchor='bottom',
      xshift=6,
      yshift=2,
    )
    for i in np.sort(np.unique(batch_sizes, return_index=True)[1])
  ]

  # Fitted curve, over twice the range of batch sizes.
  fit = critical.fit
  shown_steps = steps
  shown_examples = examples
  if math.isfinite(fit.steps_min) and math.isfinite(fit.examples_min):
    line = np.geomspace(
      min(batch_sizes.min(), fit.batch_size) / 2,
      max(batch_sizes.max(), fit.batch_size) * 2,
      80,
    )
    shown_steps = np.r_[steps, fit.steps(line)]
    shown_examples = np.r_[examples, fit.examples(line)]
    traces.insert(0, plain_line(fit.steps(line), fit.examples(line), '$blue', 2))
    # A cross at the critical batch size, and its label.
    x = float(fit.steps(fit.batch_size))
    y = float(fit.examples(fit.batch_size))
    traces.append(
      {
        'type': 'scatter',
        'mode': 'markers',
        'x': [x],
        'y': [y],
        'hoverinfo': 'skip',
        'marker': {'symbol': 'x', 'size': 11, 'color': '$vermillion'},
      }
    )
    annotations.append(
      annotation(
        f'critical {number(fit.batch_size, 2)}',
        math.log10(x),
        math.log10(y),
        '$vermillion',
        xanchor='right',
        yanchor='top',
        xshift=-8,
        yshift=-4,
      )
    )
  return Figure(
    'critical-batch',
    'Critical batch size',
    _critical_caption(critical, len(steps)),
    traces,
    layout(
      with_range(plot_axis('steps to the target', True, shown_steps), shown_steps),
      with_range(
        plot_axis('sequences to the target', True, shown_examples), shown_examples
      ),
      annotations=annotations,
    ),
  )


def _critical_caption(critical: CriticalBatchOfRuns, n_reached: int) -> str:
  fit = critical.fit
  if not math.isfinite(fit.batch_size):
    return (
      f'The critical batch size cannot be estimated from the {counted(n_reached, "run")} that '
      f'reached the target: {fit.reason}.'
    )
  # A lower end of 0 means that the runs do not bound it.
  low = fit.batch_size_low if fit.batch_size_low > 0 else -math.inf
  return (
    f'The critical batch size is {number(fit.batch_size, 3)} sequences ({fit.confidence:.0%} '
    f'interval {interval(low, fit.batch_size_high)}). At this batch size, the target takes '
    f'{number(2 * fit.steps_min, 3)} steps, twice the minimum.'
  )
