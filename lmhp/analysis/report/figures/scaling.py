"""What more would bring: loss against cost, the scaling law, batch size against steps.

Dimension key: T runs, n runs of a fit, K places.
"""

from __future__ import annotations

import math
from typing import Any, Sequence

import numpy as np

from lmhp.analysis.report.document import Figure
from lmhp.analysis.report.figures import marks
from lmhp.analysis.report.figures.style import axis as new_axis
from lmhp.analysis.report.figures.style import (
  band,
  label,
  layout,
  note,
  shown_range,
  vertical,
  with_unit,
)
from lmhp.analysis.report.numbers import number
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.critical_batch_size import CriticalBatch
from lmhp.analysis.scaling.gradient_noise import NoiseScale
from lmhp.analysis.scaling.laws import ScalingLaw
from lmhp.errors import ConfigError, suggest
from lmhp.statistics.pareto import pareto_front

MOST_SIZES = 8


def pareto(runs: Runs, cost: str) -> Figure:
  """The objective against a cost, and the runs that no other beats in both.

  Args:
    runs: a study, of which those of the search that came to their end are used.
    cost: one of `Runs.measured`, or an axis of numbers.

  Raises:
    ConfigError: no such column.
  """
  done = runs.complete()
  columns = {
    **{n: v for n, v in done.values.items() if done.axes[n].kind == 'number'},
    **done.measured,
  }
  if cost not in columns:
    raise ConfigError(
      f'cost: got {cost!r}, expected one of {", ".join(sorted(columns))}{suggest(cost, columns)}'
    )
  costs = np.asarray(columns[cost], np.float64)
  done = done.where(np.isfinite(costs))
  costs = costs[np.isfinite(costs)]
  span, xname, yname = (
    shown_range(done),
    with_unit(cost),
    with_unit(runs.objective_name),
  )
  log = bool(len(costs) and costs.min() > 0 and costs.max() > 3 * costs.min())
  front = (
    np.flatnonzero(pareto_front(done.losses, costs)) if len(costs) else np.zeros(0, int)
  )
  front = front[np.argsort(costs[front], kind='stable')]
  rest = np.setdiff1d(np.arange(len(costs)), front)
  traces = marks.by_status(
    costs[rest],
    done.losses[rest],
    done.status[rest],
    done.number[rest],
    span,
    done,
    marks.hover_of(xname, yname),
  )
  for trace in traces:
    trace['marker'] = {**trace['marker'], 'color': '$grey'}
  if len(front):
    y = runs.shown(done.losses[front])
    traces.append(
      marks.line(
        costs[front],
        y,
        '$vermillion',
        2,
        line={'color': '$vermillion', 'width': 2, 'shape': 'hv'},
      )
    )
    traces.append(
      marks.points(
        costs[front],
        y,
        done.number[front],
        '$vermillion',
        'diamond',
        marks.hover_of(xname, yname),
      )
    )
  xaxis = marks.ranged(new_axis(xname, log, costs), costs)
  return Figure(
    f'pareto-{cost.replace(".", "-")}',
    f'{yname} against {xname}',
    _pareto_caption(done, costs, front, xname),
    traces,
    layout(xaxis, new_axis(yname, range=marks.objective_axis(runs, span))),
  )


def _pareto_caption(done: Runs, costs: np.ndarray, front: np.ndarray, name: str) -> str:
  if not len(front):
    return f'No run has both an objective and {name}.'
  shown = lambda i: (
    f'{number(float(done.objective[i]))} at {number(float(costs[i]), 3)}'
  )
  if len(front) == 1:
    return f'Run {done.number[front[0]]} beats the other {len(costs) - 1} in both: {shown(front[0])}.'
  return (
    f'{len(front)} of {len(costs)} runs are not beaten in both (diamonds), from {shown(front[0])} to '
    f'{shown(front[-1])} {name}.'
  )


# --- the scaling law ------------------------------------------------------------------------------------------------


def scaling(
  law: ScalingLaw,
  parameters: Any,
  tokens: Any,
  losses: Any,
  numbers: Any = None,
  ahead: float = 10.0,
) -> Figure:
  """Losses against compute, the law at each size, and its compute-optimal frontier with what more compute would bring.

  Args:
    law: fitted to these runs.
    parameters: (n,) N.
    tokens: (n,) D.
    losses: (n,) nats.
    numbers: (n,) of the runs; their places by default.
    ahead: how many times the largest compute the frontier goes on.
  """
  sizes, tokens, losses = (
    np.asarray(v, np.float64) for v in (parameters, tokens, losses)
  )
  numbers = np.arange(len(losses)) if numbers is None else np.asarray(numbers, int)
  known = np.isfinite(losses) & (sizes > 0) & (tokens > 0)
  sizes, tokens, losses, numbers = (
    sizes[known],
    tokens[known],
    losses[known],
    numbers[known],
  )
  flops = 6 * sizes * tokens
  flops_along = np.geomspace(flops.min(), ahead * flops.max(), 60)
  best = law.compute_optimal(flops_along)
  low, high = law.interval(best.parameters, best.tokens)
  known = np.isfinite(low) & np.isfinite(high)
  traces = [band(flops_along, low, high, '$vermillion')] if known.any() else []
  traces += _size_lines(law, sizes, tokens)
  traces.append(
    marks.line(
      flops_along,
      best.losses,
      '$vermillion',
      2.5,
      hoverinfo='all',
      hovertemplate='frontier %{y:.4~g} nats<br>%{x:.3~g} FLOPs<extra></extra>',
    )
  )
  traces.append(
    marks.points(
      flops,
      losses,
      numbers,
      '$blue',
      hover='<br>%{x:.3~g} FLOPs<br>%{y:.4~g} nats',
      marker={'size': 7},
    )
  )
  xaxis = marks.ranged(
    new_axis('training FLOPs (6 N D)', True, flops_along), flops_along
  )
  every = np.r_[losses, best.losses]
  pad = 0.08 * np.ptp(every) or 0.1
  yaxis = new_axis(
    'loss (nats)', range=[float(every.min() - pad), float(every.max() + pad)]
  )
  shapes = [vertical(float(flops.max()), '$muted')]
  notes, top = marks.over_lines([('largest run', float(flops.max()), '$muted')], xaxis)
  at = math.log10(flops_along[-1])
  notes.append(
    note(
      number(float(best.losses[-1]), 3),
      at,
      float(best.losses[-1]),
      '$vermillion',
      xanchor='right',
      yanchor='bottom',
      yshift=6,
    )
  )
  return Figure(
    'scaling',
    'Loss against compute',
    _scaling_caption(law, best, low, high, ahead),
    traces,
    layout(
      xaxis,
      yaxis,
      shapes=shapes,
      annotations=notes,
      margin={'l': 56, 'r': 20, 't': top, 'b': 48},
    ),
  )


def _size_lines(
  law: ScalingLaw, sizes: np.ndarray, tokens: np.ndarray
) -> list[dict[str, Any]]:
  """The law along the tokens of each size that was run, for few sizes."""
  different = np.unique(sizes)
  if len(different) > MOST_SIZES:
    different = different[np.linspace(0, len(different) - 1, MOST_SIZES).astype(int)]
  x, y = [], []
  for size in different:
    own = tokens[sizes == size]
    along = np.geomspace(own.min(), own.max(), 25)
    x += [6 * size * along, [np.nan]]
    y += [law.predict(size, along), [np.nan]]
  return [marks.line(np.concatenate(x), np.concatenate(y), '$blue/0.5', 1.2)]


def _scaling_caption(
  law: ScalingLaw, best: Any, low: np.ndarray, high: np.ndarray, ahead: float
) -> str:
  said = f'With {number(ahead)} times the largest compute the law gives {number(float(best.losses[-1]))} nats'
  said += (
    f' ({law.confidence:.0%} interval {number(float(low[-1]))} to {number(float(high[-1]))})'
    if np.isfinite(low[-1]) and np.isfinite(high[-1])
    else ' (no interval can be said)'
  )
  return (
    f'{said}, at {number(float(best.parameters[-1]), 2)} parameters and '
    f'{number(float(best.tokens[-1]), 2)} tokens; '
    f'fitted to {law.n} runs as {number(law.E, 3)} + {number(law.A, 3)}/N^{number(law.alpha, 2)} + '
    f'{number(law.B, 3)}/D^{number(law.beta, 2)}.'
  )


# --- batch size -----------------------------------------------------------------------------------------------------


def critical_batch(
  found: CriticalBatch,
  batch_sizes: Any,
  steps: Any,
  numbers: Any = None,
  unit: str = 'sequences',
) -> Figure:
  """Steps against examples to a target: each batch size a point, the fitted trade-off, and the critical batch on it.

  Args:
    found: the fit.
    batch_sizes: (T,) of the runs, in the unit.
    steps: (T,) to the target; what is not finite did not reach it.
    numbers: (T,) of the runs; their places by default.
    unit: of the batch sizes.
  """
  batches, steps = np.asarray(batch_sizes, np.float64), np.asarray(steps, np.float64)
  numbers = np.arange(len(steps)) if numbers is None else np.asarray(numbers, int)
  known = np.isfinite(steps)
  batches, steps, numbers = batches[known], steps[known], numbers[known]
  examples = batches * steps
  traces = []
  xs, ys = [steps], [examples]
  fits = math.isfinite(found.steps_min) and math.isfinite(found.examples_min)
  if fits and len(batches):
    b = np.geomspace(
      min(batches.min(), found.batch_size) / 2,
      max(batches.max(), found.batch_size) * 2,
      80,
    )
    traces.append(marks.line(found.steps(b), found.examples(b), '$blue', 2))
    xs.append(found.steps(b))
    ys.append(found.examples(b))
  traces.append(
    marks.points(
      steps,
      examples,
      numbers,
      '$blue',
      hover=f'<br>%{{x:.4~g}} steps<br>%{{y:.4~g}} {label(unit)}',
      marker={'size': 9},
    )
  )
  xaxis = marks.ranged(
    new_axis('steps to the target', True, np.concatenate(xs)), np.concatenate(xs)
  )
  yaxis = marks.ranged(
    new_axis(f'{unit} to the target', True, np.concatenate(ys)), np.concatenate(ys)
  )
  first = {float(batch): i for i, batch in reversed(list(enumerate(batches.tolist())))}
  notes = [
    note(
      number(batch),
      math.log10(steps[i]),
      math.log10(examples[i]),
      '$muted',
      xanchor='left',
      yanchor='bottom',
      xshift=6,
      yshift=2,
    )
    for batch, i in first.items()
  ]
  if fits:
    at = float(found.steps(found.batch_size)), float(found.examples(found.batch_size))
    traces.append(
      {
        'type': 'scatter',
        'mode': 'markers',
        'x': at[:1],
        'y': at[1:],
        'hoverinfo': 'skip',
        'marker': {'symbol': 'x', 'size': 11, 'color': '$vermillion'},
      }
    )
    notes.append(
      note(
        f'critical {number(found.batch_size, 2)}',
        math.log10(at[0]),
        math.log10(at[1]),
        '$vermillion',
        xanchor='right',
        yanchor='top',
        xshift=-8,
        yshift=-4,
      )
    )
  return Figure(
    'critical-batch',
    'What a larger batch buys',
    _batch_caption(found, len(steps), unit),
    traces,
    layout(xaxis, yaxis, annotations=notes),
  )


def _batch_caption(found: CriticalBatch, n: int, unit: str) -> str:
  if not math.isfinite(found.batch_size):
    return f'Of {n} runs that reached the target no critical batch size can be said: {found.reason}.'
  low = (
    'below all tried' if found.batch_size_low <= 0 else number(found.batch_size_low, 2)
  )
  high = (
    'above all tried'
    if not math.isfinite(found.batch_size_high)
    else number(found.batch_size_high, 2)
  )
  return (
    f'The critical batch size is {number(found.batch_size, 3)} {unit} ({found.confidence:.0%} interval {low} to '
    f'{high}): there the target takes twice the fewest steps, {number(2 * found.steps_min, 3)}.'
  )


def noise_scale(
  found: Sequence[NoiseScale],
  steps: Any,
  batch_size: float | None = None,
  unit: str = 'sequences',
) -> Figure:
  """The gradient noise scale as training goes on, with intervals, and the batch size that was used.

  Args:
    found: K estimates, each over a stretch of the run.
    steps: (K,) the middles of these.
    batch_size: that was trained with, in the same unit.
    unit: of batch sizes.
  """
  steps = np.asarray(steps, np.float64)
  y = np.array([one.batch_size for one in found], np.float64)
  known = np.isfinite(y) & (y > 0)
  steps, y = steps[known], y[known]
  ends = np.array([(one.low, one.high) for one in found], np.float64).reshape(-1, 2)[
    known
  ]
  top = 4 * y.max() if len(y) else 1.0
  ends = np.c_[
    np.clip(ends[:, 0], y / 4 if len(y) else 0, None), np.clip(ends[:, 1], None, top)
  ]
  trace = {
    'type': 'scatter',
    'mode': 'markers+lines',
    'x': steps,
    'y': y,
    'marker': {'color': '$blue', 'size': 9},
    'line': {'color': '$blue', 'width': 1},
    'hovertemplate': f'step %{{x}}: %{{y:.3~g}} {label(unit)}<extra></extra>',
    'error_y': {
      'type': 'data',
      'symmetric': False,
      'array': ends[:, 1] - y,
      'arrayminus': y - ends[:, 0],
      'color': '$blue',
      'width': 5,
    },
  }
  every = np.r_[ends.ravel(), y, [] if batch_size is None else batch_size]
  shapes, notes = [], []
  if batch_size is not None:
    shapes = [
      {
        'type': 'line',
        'xref': 'paper',
        'x0': 0,
        'x1': 1,
        'y0': batch_size,
        'y1': batch_size,
        'line': {'color': '$vermillion', 'width': 1.5, 'dash': 'dash'},
      }
    ]
    notes = [
      note(
        f'batch {number(batch_size)}',
        1,
        math.log10(batch_size),
        '$vermillion',
        xref='paper',
        xanchor='right',
        yanchor='bottom',
      )
    ]
  reasons = (
    '; '.join(sorted({one.reason for one in found if one.reason}))
    or 'none was measured'
  )
  caption = f'No noise scale can be said: {reasons}.'
  if len(y):
    caption = f'The noise scale goes from {number(float(y[0]), 3)} to {number(float(y[-1]), 3)} {unit}'
    caption += (
      f'; the batch of {number(batch_size)} is {"below" if batch_size < y[-1] else "above"} the last.'
      if batch_size is not None
      else '.'
    )
  return Figure(
    'noise-scale',
    'Gradient noise scale',
    caption,
    [trace],
    layout(
      marks.ranged(new_axis('step'), steps),
      marks.ranged(new_axis(f'batch size ({unit})', True, every), every),
      shapes=shapes,
      annotations=notes,
    ),
  )
