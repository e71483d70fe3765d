"""What a study did: whether its winner holds, how it went, what became of its runs, what early scores are worth.

Dimension key: T runs, A axes, S seeds, K numbers of trials.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lmhp.analysis.report.document import Figure
from lmhp.analysis.report.figures import marks
from lmhp.analysis.report.figures import parallel_coordinates as coordinates
from lmhp.analysis.report.figures.style import (
  SERIES,
  band,
  label,
  layout,
  note,
  shown_range,
  vertical,
  with_unit,
)
from lmhp.analysis.report.figures.style import axis as new_axis
from lmhp.analysis.report.numbers import number
from lmhp.analysis.runs.table import STATUSES, Runs
from lmhp.analysis.winner import answer
from lmhp.analysis.winner.trial_count import BestOfN
from lmhp.statistics.ranks import spearman

STATUS_COLORS = {
  'complete': '$blue',
  'pruned': '$orange',
  'diverged': '$vermillion',
  'failed': '$purple',
  'running': '$green',
  'waiting': '$grey',
}
MOST_LINES = 400
"""Runs of which parallel coordinates draw a line: the best half of that, and of the rest evenly."""


def confirmation(runs: Runs) -> Figure | None:
  """The winner and the base config on fresh seeds: both, and their differences with mean and interval; None without."""
  chosen = answer.winner(runs)
  found = answer.confirmation(runs, chosen.point) if chosen is not None else None
  if found is None or not len(found.seeds):
    return None
  both = runs.shown(found.winner), runs.shown(found.base)
  difference = both[0] - both[1]
  mean, low, high = (
    float(runs.shown(v)) for v in (found.difference, found.low, found.high)
  )
  low, high = min(low, high), max(low, high)
  gaps = np.full(len(found.seeds), np.nan)
  own = [
    marks.line(
      np.c_[both[0], both[1], gaps].ravel(),
      np.tile([0.0, 1.0, np.nan], len(found.seeds)),
      '$grey',
      1,
    )
  ]
  for y, point, name, values, (color, symbol, _) in zip(
    (0, 1), (chosen.point, answer.BASE), ('winner', 'base'), both, SERIES
  ):
    numbers = _numbers_of(runs, point, found.seeds)
    own.append(
      marks.points(
        values,
        np.full(len(values), float(y)),
        numbers,
        f'${color}',
        symbol,
        f'<br>{name} %{{x:.5~g}}',
        marker={'size': 9},
      )
    )
  lower = [
    marks.points(
      difference,
      np.zeros(len(difference)),
      _numbers_of(runs, chosen.point, found.seeds),
      '$grey',
      'circle-open',
      '<br>difference %{x:.4~g}',
      xaxis='x2',
      yaxis='y2',
    )
  ]
  if math.isfinite(mean):
    lower.append(
      {
        'type': 'scatter',
        'mode': 'markers',
        'x': [mean],
        'y': [-0.6],
        'xaxis': 'x2',
        'yaxis': 'y2',
        'error_x': {
          'type': 'data',
          'symmetric': False,
          'array': [high - mean],
          'arrayminus': [mean - low],
          'color': '$ink',
          'thickness': 2,
          'width': 7,
        },
        'hoverinfo': 'skip',
        'marker': {'symbol': 'diamond', 'size': 11, 'color': '$ink'},
      }
    )
  zero = {**vertical(0, '$muted', 'dash'), 'xref': 'x2', 'y1': 0.38}
  names = [
    note(
      name,
      0,
      y,
      f'${SERIES[y][0]}',
      xref='paper',
      yref='y',
      xanchor='left',
      yanchor='bottom',
      yshift=7,
    )
    for y, name in enumerate(('winner', 'base'))
  ]
  names.append(
    note(
      f'mean and {found.confidence:.0%} interval',
      0,
      -0.6,
      '$ink',
      xref='paper',
      yref='y2',
      xanchor='left',
      yanchor='top',
      yshift=-8,
    )
  )
  shape = layout(
    new_axis(with_unit(runs.objective_name), anchor='y'),
    {'visible': False, 'range': [1.6, -0.7], 'domain': [0.6, 1], 'fixedrange': True},
    xaxis2=new_axis(
      f'winner minus base, {len(found.seeds)} seeds',
      anchor='y2',
      range=_with_zero(np.r_[difference, low, high]),
    ),
    yaxis2={
      'visible': False,
      'range': [-1.3, 0.6],
      'domain': [0, 0.38],
      'anchor': 'x2',
      'fixedrange': True,
    },
    shapes=[zero],
    annotations=names,
    margin={'l': 16, 'r': 16, 't': 8, 'b': 48},
  )
  return Figure(
    'confirmation',
    'Winner and base on fresh seeds',
    _confirmation_caption(runs, found, mean, low, high),
    own + lower,
    shape,
    height=400,
  )


def _numbers_of(runs: Runs, point: int, seeds: np.ndarray) -> np.ndarray:
  own = {
    int(s): int(n)
    for s, n, p, c in zip(runs.seed, runs.number, runs.point, runs.cohort)
    if p == point and c == 'confirm'
  }
  return np.array([own[int(seed)] for seed in seeds], int)


def _with_zero(values: np.ndarray) -> list[float]:
  values = np.r_[values[np.isfinite(values)], 0.0]
  pad = 0.06 * np.ptp(values) or 1.0
  return [float(values.min() - pad), float(values.max() + pad)]


def _confirmation_caption(
  runs: Runs, found: answer.Confirmation, mean: float, low: float, high: float
) -> str:
  n = len(found.seeds)
  if any(found.diverged):
    return f'Of {n} fresh seeds {found.diverged[0]} of the winner and {found.diverged[1]} of the base diverged.'
  if not math.isfinite(low):
    return f'On {n} fresh seed the winner differs from the base by {number(mean, 3)}; one pair has no interval.'
  verdict = {'better': 'better than', 'worse': 'worse than'}.get(
    found.verdict, 'not shown to differ from'
  )
  return (
    f'On {n} fresh seeds the winner is {verdict} the base: the difference is {number(mean, 3)} '
    f'({found.confidence:.0%} interval {number(low, 3)} to {number(high, 3)}).'
  )


# --- how it went ----------------------------------------------------------------------------------------------------


def last_scores(runs: Runs) -> np.ndarray:
  """(T,) the objective, less is better; of a run that was stopped its last score, NaN without any."""
  sign = -1.0 if runs.maximize else 1.0
  scored = [sign * s[max(s)] if s else math.nan for s in runs.scores]
  return np.where(np.isfinite(runs.objective), runs.losses, scored)


def history(runs: Runs) -> Figure:
  """The objective by trial, and the best so far."""
  search = runs.searched()
  losses, span = last_scores(search), shown_range(search)
  order = np.argsort(search.number, kind='stable')
  done = np.where(
    (search.status == 'complete') & np.isfinite(search.objective), search.losses, np.inf
  )[order]
  best = np.minimum.accumulate(done) if len(done) else done
  first = int(np.sum(~np.isfinite(best)))
  x, y = search.number[order][first:], best[first:]
  yname = with_unit(runs.objective_name)
  traces = marks.by_status(
    search.number,
    losses,
    search.status,
    search.number,
    span,
    runs,
    f'<br>{label(yname)} %{{y:.5~g}}',
  )
  traces += (
    [
      marks.line(
        x,
        runs.shown(y),
        '$vermillion',
        2,
        name='best so far',
        line={'color': '$vermillion', 'width': 2, 'shape': 'hv'},
      )
    ]
    if len(x)
    else []
  )
  xaxis = marks.ranged(new_axis('trial'), search.number, 0.03)
  notes, top = marks.over_lines(
    marks.edge_label(losses, search.status, span, runs), xaxis
  )
  caption = 'No trial came to its end.'
  if len(x):
    at = int(np.argmin(y))
    place = first + at
    caption = (
      f'The best, {number(float(runs.shown(y[-1])))}, is trial {x[at]}; {len(search) - 1 - place} trials '
      'after it brought nothing better.'
      if place < len(search) - 1
      else f'The best, {number(float(runs.shown(y[-1])))}, is the last trial, {x[at]}: the search was '
      'still improving.'
    )
    low = (
      {'yanchor': 'bottom', 'yshift': 4}
      if runs.maximize
      else {'yanchor': 'top', 'yshift': -4}
    )
    notes.append(
      note(
        'best so far',
        1,
        float(runs.shown(y[-1])),
        '$vermillion',
        xref='paper',
        xanchor='right',
        **low,
      )
    )
  span = (span[0] - 0.05 * (span[1] - span[0]), span[1])
  return Figure(
    'history',
    'Trial by trial',
    caption,
    traces,
    layout(
      xaxis,
      new_axis(yname, range=marks.objective_axis(runs, span)),
      annotations=notes,
      margin={'l': 56, 'r': 20, 't': top, 'b': 48},
    ),
  )


def best_of_n(runs: Runs, curve: BestOfN) -> Figure:
  """The best of k trials: median over studies, its band, and the mean."""
  shown = np.r_[curve.median, curve.expected]
  shown = shown[np.isfinite(shown)]
  low, high = (float(shown.min()), float(shown.max())) if shown.size else (0.0, 1.0)
  pad = 0.35 * (high - low) or 0.05 * abs(high) or 1.0
  span = (low - pad, high + pad)
  median_low, median_high = (
    np.clip(v, *span) for v in (curve.median_low, curve.median_high)
  )
  xaxis = marks.ranged(
    new_axis(
      'trials',
      len(curve.trials) > 1,
      curve.trials,
      dtick=None,
      tickvals=_doublings(curve.trials),
    ),
    curve.trials,
    0.02,
  )
  traces = [
    band(curve.trials, *(runs.shown(v) for v in (median_low, median_high))),
    marks.line(
      curve.trials, runs.shown(curve.expected), '$muted', 1.5, 'dot', name='mean'
    ),
    marks.line(
      curve.trials,
      runs.shown(curve.median),
      '$blue',
      2.5,
      name='median',
      hoverinfo='all',
      hovertemplate='best of %{x}: %{y:.5~g}<extra></extra>',
    ),
  ]
  open_end = bool(np.isinf(curve.median_low[-1]) or np.isinf(curve.median_high[-1]))
  shown = lambda i: f'{number(float(runs.shown(curve.median[i])))}'
  fewer = len(curve.trials) // 4 - 1
  caption = (
    f'Half of all such searches of {curve.trials[-1]} trials find {shown(-1)} or better'
  )
  caption += (
    f', of {curve.trials[fewer]} trials {shown(fewer)}'
    if curve.trials[max(fewer, 0)] > 1
    else ''
  )
  caption += f'; the band holds the whole median curve with {curve.confidence:.0%} (dots: the mean)'
  caption += ', and is open where it meets the edge.' if open_end else '.'
  return Figure(
    'best-of-n',
    'The best of k trials',
    caption,
    traces,
    layout(
      xaxis,
      new_axis(
        f'best {with_unit(runs.objective_name)}', range=marks.objective_axis(runs, span)
      ),
    ),
  )


def _doublings(trials: np.ndarray) -> list[int]:
  return [
    1 << i
    for i in range(int(trials[-1]).bit_length())
    if trials[0] <= 1 << i <= trials[-1]
  ]


def status(runs: Runs) -> Figure:
  """What became of each run of the search, as one bar."""
  search = runs.searched()
  counts = {name: int(np.sum(search.status == name)) for name in STATUSES}
  order = [name for name in STATUS_COLORS if counts[name]]
  traces, labels, before = [], [], 0
  for name in order:
    traces.append(
      {
        'type': 'bar',
        'orientation': 'h',
        'x': [counts[name]],
        'y': [0],
        'base': [before],
        'width': 0.9,
        'name': name,
        'hovertemplate': f'{counts[name]} {name}<extra></extra>',
        'marker': {
          'color': STATUS_COLORS[name],
          'line': {'color': '$paper', 'width': 1},
        },
      }
    )
    labels.append(
      (f'{counts[name]} {name}', before + counts[name] / 2, STATUS_COLORS[name])
    )
    before += counts[name]
  xaxis = {'visible': False, 'range': [0, max(before, 1)], 'fixedrange': True}
  notes, top = marks.over_lines(labels, xaxis, 340)
  share = ', '.join(f'{counts[name]} {name}' for name in order)
  caption = (
    f'Of {len(search)} runs of the search: {share}.'
    if order
    else 'The search has no runs.'
  )
  shape = layout(
    xaxis,
    {'visible': False, 'range': [-0.5, 0.5], 'fixedrange': True},
    barmode='overlay',
    annotations=notes,
    margin={'l': 16, 'r': 16, 't': top, 'b': 10},
  )
  return Figure(
    'status', 'What became of the runs', caption, traces, shape, height=top + 50
  )


# --- all axes at once -----------------------------------------------------------------------------------------------

_GROUPS = (
  (0.1, '$vermillion/0.9', 2.0, 'best tenth'),
  (0.33, '$orange/0.6', 1.2, 'best third'),
  (1.0, '$grey/0.3', 0.8, 'the rest'),
)


def parallel(runs: Runs) -> Figure | None:
  """Every run as a line through its values, one row for each hyperparameter; None below two axes.

  Rows lie one under the other, so that names and bounds fit a telephone.
  """
  used, rung = runs.for_response()
  used = used.where(np.isfinite(used.losses))
  names = list(used.varied())
  if len(names) < 2 or len(used) < 2:
    return None
  order = np.argsort(used.losses, kind='stable')
  if len(order) > MOST_LINES:
    rest = order[MOST_LINES // 2 :]
    order = np.r_[
      order[: MOST_LINES // 2],
      rest[np.linspace(0, len(rest) - 1, MOST_LINES // 2).astype(int)],
    ]
  share = np.argsort(np.argsort(used.losses, kind='stable'), kind='stable')[
    order
  ] / max(len(used) - 1, 1)
  places, notes = np.full((len(names), len(used)), np.nan), []
  for row, name in enumerate(names):
    places[row], ends = coordinates.across(runs, used, name)
    notes += coordinates.row_labels(row, name, *ends)
  traces, after = [], -1.0
  groups = []
  for upto, color, width, text in _GROUPS:
    own = order[(share > after) & (share <= upto)]
    after = upto
    if len(own):
      groups.append((own, color, width, text))
  for own, color, width, text in reversed(groups):
    traces.append(
      coordinates.lines(
        places[:, own], used.number[own], used.objective[own], color, width, text
      )
    )
  best = used.values, order[0]
  words = ', '.join(f'{name} {_value(best[0][name][best[1]])}' for name in names[:4])
  caption = (
    f'The best run, {used.number[order[0]]}, has {words}; the best tenth of {len(used)} is drawn thick, '
    'the best third in orange' + (f', all compared at step {rung}.' if rung else '.')
  )
  shape = layout(
    {'visible': False, 'range': [-0.02, 1.02], 'fixedrange': True},
    {'visible': False, 'range': [len(names) - 0.55, -0.45], 'fixedrange': True},
    annotations=notes,
    shapes=[
      {
        'type': 'line',
        'x0': 0,
        'x1': 1,
        'y0': row,
        'y1': row,
        'layer': 'below',
        'line': {'color': '$axis', 'width': 1},
      }
      for row in range(len(names))
    ],
    margin={'l': 16, 'r': 16, 't': 8, 'b': 8},
  )
  return Figure(
    'parallel',
    'All runs across all hyperparameters',
    caption,
    traces,
    shape,
    height=30 + 84 * len(names),
  )


def _value(value: Any) -> str:
  return (
    value
    if isinstance(value, str)
    else number(value, 3)
    if isinstance(value, (int, float))
    else str(value)
  )


# --- early scores ---------------------------------------------------------------------------------------------------


def rungs(runs: Runs) -> Figure | None:
  """Scores at each rung against the final objective, with their rank correlation; None without early scores."""
  done = runs.complete()
  steps = sorted({step for scores in done.scores for step in scores})
  last = [max(scores) for scores in done.scores if scores]
  steps = [step for step in steps if any(step < end for end in last)]
  found = []
  for step in steps:
    x = np.array([scores.get(step, math.nan) for scores in done.scores], np.float64)
    rows = np.isfinite(x) & np.array(
      [bool(s) and max(s) > step for s in done.scores], bool
    )
    if rows.sum() >= 3:
      found.append(
        (
          step,
          x[rows],
          done.objective[rows],
          done.number[rows],
          spearman(x[rows], done.objective[rows]),
        )
      )
  if not found:
    return None
  if len(found) > len(SERIES):
    found = [found[i] for i in np.linspace(0, len(found) - 1, len(SERIES)).astype(int)]
  yname, traces, labels = f'final {with_unit(runs.objective_name)}', [], []
  for (color, symbol, _), (step, x, y, numbers, rank) in zip(SERIES, found):
    traces.append(
      marks.points(
        x,
        y,
        numbers,
        f'${color}',
        symbol,
        f'<br>at step {step} %{{x:.5~g}}<br>at the end %{{y:.5~g}}',
      )
    )
    labels.append((f'step {step}: rank {rank:.2f}', float(np.median(x)), f'${color}'))
  xaxis = marks.ranged(
    new_axis(f'{with_unit(runs.objective_name)} at the rung'),
    np.concatenate([f[1] for f in found]),
  )
  notes, top = marks.over_lines(labels, xaxis)
  step, _, _, numbers, rank = found[0]
  caption = (
    f'Scores at step {step} rank the {len(numbers)} runs that went on with a correlation of {rank:.2f} to '
    'their end'
    + (f', at step {found[-1][0]} with {found[-1][4]:.2f}' if len(found) > 1 else '')
    + '; what was pruned is not here.'
  )
  yaxis = marks.ranged(new_axis(yname), np.concatenate([f[2] for f in found]))
  return Figure(
    'rungs',
    'Do early scores foretell the end?',
    caption,
    traces,
    layout(
      xaxis, yaxis, annotations=notes, margin={'l': 56, 'r': 20, 't': top, 'b': 48}
    ),
  )
