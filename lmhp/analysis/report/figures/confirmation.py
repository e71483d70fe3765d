"""Figure of the confirmation: the winner and the base config on fresh seeds.

Dimension key: S seeds.
"""

from __future__ import annotations

import math

import numpy as np

from lmhp.analysis.phrases import counted
from lmhp.analysis.report.document import Figure, PlotlyDict
from lmhp.analysis.report.figures.style import (
  SERIES,
  annotation,
  hidden_axis,
  layout,
  name_with_unit,
  plot_axis,
  vertical_line,
)
from lmhp.analysis.report.figures.traces import plain_line, run_markers, separated
from lmhp.analysis.report.numbers import number
from lmhp.analysis.runs.table import BASE_POINT, CONFIRM, Runs
from lmhp.analysis.winner.winner import Winner
from lmhp.statistics.confirmation import BETTER, WORSE, Confirmation

LOWER_PANEL = 0.38
"""Height of the lower panel as a fraction of the figure."""


def confirmation_figure(
  runs: Runs, winner: Winner | None, confirmation: Confirmation | None
) -> Figure | None:
  """Draws winner and base config on fresh seeds, and their differences with the mean.

  Returns None if there is no confirmation.
  """
  if winner is None or confirmation is None or not len(confirmation.seeds):
    return None
  difference = _Difference(runs, confirmation)
  traces = _seed_traces(runs, winner, confirmation)
  traces += difference.traces(_numbers_of(runs, winner.point, confirmation.seeds))
  return Figure(
    'confirmation',
    'Winner and base config on fresh seeds',
    _caption(confirmation, difference),
    traces,
    _layout(runs, confirmation, difference),
    height=400,
  )


class _Difference:
  """Differences winner - base config in the unit of the objective, pair by pair."""

  def __init__(self, runs: Runs, confirmation: Confirmation):
    winner = runs.to_objective(confirmation.winner)
    base = runs.to_objective(confirmation.base)
    low = float(runs.to_objective(confirmation.low))
    high = float(runs.to_objective(confirmation.high))
    self.values = winner - base
    self.mean = float(runs.to_objective(confirmation.difference))
    self.low = min(low, high)
    self.high = max(low, high)

  def traces(self, numbers: np.ndarray) -> list[PlotlyDict]:
    """Returns the differences as markers, and their mean with its interval."""
    traces = [
      run_markers(
        self.values,
        np.zeros(len(self.values)),
        numbers,
        '$grey',
        'circle-open',
        '<br>difference %{x:.4~g}',
        xaxis='x2',
        yaxis='y2',
      )
    ]
    if math.isfinite(self.mean):
      traces.append(
        {
          'type': 'scatter',
          'mode': 'markers',
          'x': [self.mean],
          'y': [-0.6],
          'xaxis': 'x2',
          'yaxis': 'y2',
          'error_x': {
            'type': 'data',
            'symmetric': False,
            'array': [self.high - self.mean],
            'arrayminus': [self.mean - self.low],
            'color': '$ink',
            'thickness': 2,
            'width': 7,
          },
          'hoverinfo': 'skip',
          'marker': {'symbol': 'diamond', 'size': 11, 'color': '$ink'},
        }
      )
    return traces

  def limits(self) -> list[float]:
    """Returns the range of the axis, which contains 0."""
    values = np.r_[self.values, self.low, self.high]
    values = np.r_[values[np.isfinite(values)], 0.0]
    pad = 0.06 * np.ptp(values) or 1.0
    return [float(values.min() - pad), float(values.max() + pad)]


def _seed_traces(
  runs: Runs, winner: Winner, confirmation: Confirmation
) -> list[PlotlyDict]:
  """Returns the objective of both on each seed, with a line between each pair."""
  seeds = confirmation.seeds
  of_winner = runs.to_objective(confirmation.winner)
  of_base = runs.to_objective(confirmation.base)
  zeros = np.zeros(len(seeds))
  ones = np.ones(len(seeds))

  # A line joins the two results of each seed.
  traces = [
    plain_line(separated(of_winner, of_base), separated(zeros, ones), '$grey', 1)
  ]
  series = (
    ('winner', winner.point, of_winner, zeros),
    ('base', BASE_POINT, of_base, ones),
  )
  for (name, point, values, y), (color, symbol, _) in zip(series, SERIES):
    traces.append(
      run_markers(
        values,
        y,
        _numbers_of(runs, point, seeds),
        f'${color}',
        symbol,
        f'<br>{name} %{{x:.5~g}}',
        marker={'size': 9},
      )
    )
  return traces


def _numbers_of(runs: Runs, point: int, seeds: np.ndarray) -> np.ndarray:
  """Returns (S,) the numbers of a point's runs in the confirmation, by seed."""
  rows = np.flatnonzero((runs.point == point) & (runs.cohort == CONFIRM))
  by_seed = {int(runs.seed[row]): int(runs.number[row]) for row in rows}
  return np.array([by_seed[int(seed)] for seed in seeds], int)


def _layout(
  runs: Runs, confirmation: Confirmation, difference: _Difference
) -> PlotlyDict:
  names = [
    annotation(
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
    annotation(
      f'mean and {confirmation.confidence:.0%} interval',
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
  # No difference, in the lower panel.
  zero = vertical_line(0, '$muted', 'dash') | {'xref': 'x2', 'y1': LOWER_PANEL}
  return layout(
    plot_axis(name_with_unit(runs.objective_name), anchor='y'),
    hidden_axis(1.6, -0.7, domain=[0.6, 1]),
    xaxis2=plot_axis(
      f'winner - base, {counted(len(confirmation.seeds), "seed")}',
      anchor='y2',
      range=difference.limits(),
    ),
    yaxis2=hidden_axis(-1.3, 0.6, domain=[0, LOWER_PANEL], anchor='x2'),
    shapes=[zero],
    annotations=names,
    margin={'l': 16, 'r': 16, 't': 8, 'b': 48},
  )


def _caption(confirmation: Confirmation, difference: _Difference) -> str:
  seeds = counted(len(confirmation.seeds), 'fresh seed')
  if confirmation.winner_diverged or confirmation.base_diverged:
    return (
      f'On {seeds}, the winner diverged {confirmation.winner_diverged} times and the base '
      f'config {confirmation.base_diverged} times.'
    )
  mean = number(difference.mean, 3)
  if not math.isfinite(difference.low):
    return f'On {seeds}, winner minus base config is {mean}. One pair has no interval.'
  relation = 'not significantly different from'
  if confirmation.verdict == BETTER:
    relation = 'better than'
  elif confirmation.verdict == WORSE:
    relation = 'worse than'
  return (
    f'On {seeds}, the winner is {relation} the base config: the difference is {mean} '
    f'({confirmation.confidence:.0%} interval {number(difference.low, 3)} to '
    f'{number(difference.high, 3)}).'
  )
