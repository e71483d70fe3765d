"""Training curves of all runs: loss, train-validation gap, gradient norm; and one run in panels.

Dimension key: T runs, S points of a curve.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.report.document import Figure
from lmhp.analysis.report.figures import marks
from lmhp.analysis.report.figures.curve_lines import (
  BLOCKS,
  EVAL,
  FEWEST_POINTS,
  MANY_RUNS,
  TRAIN,
  Curve,
  clocks_of,
  curves_of,
  end_labels,
  groups_of,
  loss_range,
  series,
  smoothed,
  thinned,
  traces_of,
  views_of,
)
from lmhp.analysis.report.figures.style import axis as new_axis
from lmhp.analysis.report.figures.style import label, layout, note
from lmhp.analysis.report.numbers import number
from lmhp.analysis.runs.table import Runs

# --- figures --------------------------------------------------------------------------------------------------------


def training_curves(runs: Runs) -> Figure | None:
  """The loss of every run as it trained, with winner and base; views at equal steps, tokens, FLOPs or seconds.

  Train losses are smoothed lines; evaluations are lines with dots. None where no run has a curve.
  """
  train, evaluated = (
    curves_of(runs, TRAIN, smoothly=True),
    curves_of(runs, _eval_column(runs)),
  )
  groups = groups_of(runs, train, 'lines', ', train') + groups_of(
    runs, evaluated, 'lines+markers', ', evaluation'
  )
  if not groups:
    return None
  if train and evaluated:  # of what is in the background one kind is enough
    groups = [g for g in groups if g[0] != 'others, evaluation']
  clocks, drawn = clocks_of(runs), [curve for group in groups for curve in group[4]]
  x = np.concatenate([clocks[0][2](curve) for curve in drawn])
  shape = layout(
    marks.ranged(new_axis(clocks[0][1]), x, 0.02),
    new_axis('loss (nats)', range=loss_range(drawn)),
    annotations=end_labels(groups),
  )
  n = len({curve.number for curve in drawn})
  return Figure(
    'training-curves',
    'Training curves',
    _curves_caption(groups, n, bool(train)),
    traces_of(groups, clocks[0][2], ''),
    shape,
    height=420,
    views=views_of(groups, clocks, ''),
  )


def _eval_column(runs: Runs) -> str:
  there = {name for curve in runs.curves.values() for name in curve}
  return (
    runs.objective_name if runs.objective_name in there or EVAL not in there else EVAL
  )


def _curves_caption(groups: Sequence[tuple], n: int, train: bool) -> str:
  ends = {g[0].split(',')[0]: g[4][-1] for g in groups}
  said = [
    f'{name} ends at {number(float(ends[name].y[-1]))}'
    for name in ('winner', 'base')
    if name in ends
  ]
  text = f'{n} run{"s" if n > 1 else ""}' + (
    ': ' + ', '.join(f'the {one}' for one in said) if said else ''
  )
  return text + ('; lines without dots are train losses, smoothed.' if train else '.')


def gap(runs: Runs) -> Figure | None:
  """Evaluation loss less smoothed train loss, of every run; None where no run has both."""
  train = {c.number: c for c in curves_of(runs, TRAIN, True, BLOCKS)}
  pairs = []
  for c in curves_of(runs, _eval_column(runs)):
    if c.number in train and len(train[c.number].y) > 1:
      own = train[c.number]
      inside = (c.step >= own.step[0]) & (c.step <= own.step[-1])
      if inside.any():
        pairs.append(
          Curve(
            c.number, c.step[inside], (c.y - np.interp(c.step, own.step, own.y))[inside]
          )
        )
  groups = groups_of(runs, pairs, 'lines+markers')
  if not groups or _eval_column(runs) != EVAL:
    return None
  clocks = clocks_of(runs)[:1]
  values = np.concatenate([c.y for g in groups for c in g[4]])
  low, high = np.quantile(values, [0.01, 0.99])
  pad = 0.1 * (high - low) or 0.1
  zero = {
    'type': 'line',
    'xref': 'paper',
    'x0': 0,
    'x1': 1,
    'y0': 0,
    'y1': 0,
    'layer': 'below',
    'line': {'color': '$muted', 'width': 1, 'dash': 'dash'},
  }
  x = np.concatenate([c.step for g in groups for c in g[4]])
  shape = layout(
    marks.ranged(new_axis('step'), x, 0.02),
    new_axis(
      'evaluation minus train loss (nats)',
      range=[float(min(low, 0) - pad), float(max(high, 0) + pad)],
    ),
    shapes=[zero],
    annotations=end_labels(groups),
  )
  ends = [float(c.y[-1]) for g in groups for c in g[4]]
  middle = number(float(np.median(ends)), 3)
  caption = (
    f'At their last evaluation the {len(ends)} runs have a median gap of {middle} nats'
  )
  own = next((g[4][-1].y[-1] for g in groups if g[0] == 'winner'), None)
  caption += f', the winner {number(float(own), 3)}.' if own is not None else '.'
  return Figure(
    'gap',
    'Evaluation minus train',
    caption,
    traces_of(groups, clocks[0][2], 'nats'),
    shape,
  )


def grad_norm(runs: Runs) -> Figure | None:
  """The gradient norm of every run, smoothed, on a logarithmic axis; None where no run has it."""
  curves = [
    dataclasses.replace(c, y=np.maximum(c.y, 1e-12))
    for c in curves_of(
      runs, 'grad_norm', True, FEWEST_POINTS if len(runs) > MANY_RUNS else None
    )
  ]
  groups = groups_of(runs, curves, 'lines')
  if not groups:
    return None
  drawn = [c for g in groups for c in g[4]]
  values = np.concatenate([c.y for c in drawn])
  yaxis = marks.ranged(
    new_axis('gradient norm', True, values),
    np.clip(values, *np.quantile(values, [0.002, 0.998])),
  )
  last = np.array([float(np.median(c.y[-max(1, len(c.y) // 4) :])) for c in drawn])
  shape = layout(
    marks.ranged(new_axis('step'), np.concatenate([c.step for c in drawn]), 0.02),
    yaxis,
    annotations=end_labels(groups, log=True),
  )
  caption = (
    f'In the last quarter the norm is {number(float(np.median(last)), 2)} in the median run, and from '
    f'{number(float(last.min()), 2)} to {number(float(last.max()), 2)} over the {len(drawn)} runs.'
  )
  return Figure(
    'grad-norm',
    'Gradient norm',
    caption,
    traces_of(groups, lambda c: c.step, ''),
    shape,
  )


# --- one run --------------------------------------------------------------------------------------------------------

PANEL, ROOM = 150, 46
"""Height of a panel, and of the room over it, pixels."""


def one_run(runs: Runs) -> Figure | None:
  """A single training run in panels: loss and evaluations, learning rate, gradient norm, tokens in a second."""
  number_, curve = next(
    ((int(n), runs.curves[n]) for n in runs.number.tolist() if n in runs.curves),
    (0, {}),
  )
  step = np.asarray(curve.get('step', ()), np.float64)
  panels = [
    (name, *series(curve, column))
    for name, column in (
      ('learning rate', 'learning_rate'),
      ('gradient norm', 'grad_norm'),
    )
    if column in curve
  ]
  panels.append(('tokens a second', *_speed(step, curve)))
  train, evaluated = series(curve, TRAIN), series(curve, _eval_column(runs))
  panels = [panel for panel in panels if len(panel[1]) > 1]
  if not len(train[0]) and not len(evaluated[0]):
    return None
  count = len(panels) + 1
  height = count * (PANEL + ROOM) + 60
  shape, notes = (
    layout(new_axis('step', anchor=f'y{count}' if count > 1 else 'y'), {}),
    [],
  )
  share = (PANEL + ROOM) / (count * (PANEL + ROOM))
  domain = lambda i: [
    1 - (i + 1) * share,
    1 - i * share - share * ROOM / (PANEL + ROOM),
  ]
  span = loss_range([Curve(number_, *s) for s in (train, evaluated) if len(s[0])])
  shape['yaxis'] = new_axis('', range=span, domain=domain(0))
  traces = _loss_traces(number_, train, evaluated)
  notes.append(_panel_title('loss (nats)', domain(0)[1]))
  for i, (name, x, y) in enumerate(panels, start=1):
    log = name == 'gradient norm' and bool((y > 0).all()) and y.max() > 20 * y.min()
    shape[f'yaxis{i + 1}'] = new_axis(
      '',
      log,
      y,
      domain=domain(i),
      **({'exponentformat': 'e'} if 'rate' in name else {'rangemode': 'tozero'}),
    )
    kept = thinned(len(x), 600)
    traces.append(
      marks.line(
        x[kept],
        y[kept],
        '$blue',
        1.3,
        yaxis=f'y{i + 1}',
        hoverinfo='all',
        hovertemplate=f'{name} %{{y:.4~g}}<br>step %{{x}}<extra></extra>',
      )
    )
    notes.append(_panel_title(name, domain(i)[1]))
  shape['annotations'], shape['margin'] = notes, {'l': 56, 'r': 20, 't': 6, 'b': 48}
  return Figure(
    'one-run',
    'The run',
    _run_caption(train, evaluated, panels),
    traces,
    shape,
    height=height,
  )


def _speed(step: np.ndarray, curve: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
  """Tokens a second between rows a fortieth of the run's time apart at least; at the later one's step.

  Metrics are read a chunk at a time, so that rows of one chunk are written within a moment of each other.
  """
  tokens, seconds = (
    np.asarray(curve.get(key, ()), np.float64) for key in ('tokens', 'seconds')
  )
  if len(tokens) != len(step) or len(seconds) != len(step):
    return np.zeros(0), np.zeros(0)
  known = np.isfinite(tokens) & np.isfinite(seconds)
  tokens, seconds, at = tokens[known], seconds[known], step[known]
  if not len(at):
    return at, tokens
  rows, least = [0], (seconds[-1] - seconds[0]) / 40
  for i in range(1, len(at)):
    if (
      seconds[i] - seconds[rows[-1]] >= max(least, 1e-9)
      and tokens[i] > tokens[rows[-1]]
    ):
      rows.append(i)
  return at[rows][1:], np.diff(tokens[rows]) / np.diff(seconds[rows])


def _loss_traces(number_: int, train, evaluated) -> list[dict[str, Any]]:
  out = []
  if len(train[0]):
    kept = thinned(len(train[0]), 800)
    out += [
      marks.line(train[0][kept], train[1][kept], '$grey/0.5', 1),
      marks.line(
        *smoothed(*train),
        '$blue',
        2,
        hoverinfo='all',
        hovertemplate='train %{y:.4~g}<br>step %{x}<extra></extra>',
      ),
    ]
  if len(evaluated[0]):
    kept = thinned(len(evaluated[0]), 200)
    n = np.full(len(kept), number_)
    out.append(
      marks.points(
        evaluated[0][kept],
        evaluated[1][kept],
        n,
        '$vermillion',
        'diamond',
        '<br>evaluation %{y:.5~g}<br>step %{x}',
        mode='lines+markers',
        line={'color': '$vermillion', 'width': 1},
        marker={'size': 7},
      )
    )
  return out


def _panel_title(text: str, y: float) -> dict[str, Any]:
  return note(
    label(text),
    0,
    y,
    '$ink',
    xref='paper',
    yref='paper',
    xanchor='left',
    yanchor='bottom',
    yshift=3,
  )


def _run_caption(train, evaluated, panels) -> str:
  said = []
  if len(evaluated[0]):
    best = int(np.argmin(evaluated[1]))
    said.append(
      f'the evaluation loss (dots) ends at {number(float(evaluated[1][-1]))} nats'
      + (
        ''
        if best == len(evaluated[1]) - 1
        else f', above its lowest of {number(float(evaluated[1][best]))} at step '
        f'{number(float(evaluated[0][best]))}'
      )
    )
  if len(train[0]):
    said.append(f'the smoothed train loss at {number(float(smoothed(*train)[1][-1]))}')
  speed = next((y for name, _, y in panels if name == 'tokens a second'), None)
  if speed is not None:
    said.append(
      f'the median speed is {number(float(round(np.median(speed))))} tokens a second'
    )
  text = ', '.join(said) + '.'
  return text[0].upper() + text[1:]
