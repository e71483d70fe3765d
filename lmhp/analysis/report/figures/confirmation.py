"""Figure of the confirmation: the winner and the base config on fresh seeds.

Dimension key: S seeds.
"""

from __future__ import annotations

import math

import numpy as np

from lmhp.analysis.phrases import counted, number
from lmhp.analysis.report.document import Figure, PlotlyDict
from lmhp.analysis.report.figures.style import (
  annotation,
  hidden_axis,
  layout,
  name_with_unit,
  padded_range,
  plot_axis,
  vertical_line,
)
from lmhp.analysis.report.figures.traces import plain_line, run_markers, separated
from lmhp.analysis.runs.table import BASE_POINT, CONFIRM, Runs
from lmhp.analysis.winner.winner import Winner
from lmhp.statistics.confirmation import BETTER, WORSE, Confirmation

LOWER_PANEL = 0.38
"""Height of the lower panel as a fraction of the figure."""
RELATIONS = {BETTER: 'better than', WORSE: 'worse than'}
WINNER = ('$blue', 'circle')
"""Colour and symbol of the winner."""
BASE = ('$vermillion', 'diamond')
"""Colour and symbol of the base config."""


def confirmation_figure(
  runs: Runs, winner: Winner | None, confirmation: Confirmation | None
) -> Figure | None:
  """Draws winner and base config on fresh seeds, and their differences with the mean.

  Returns None if there is no confirmation.
  """
  if winner is None or confirmation is None or not len(confirmation.seeds):
    return None
  # Differences winner - base config in the unit of the objective, pair by pair.
  of_winner = runs.to_objective(confirmation.winner)
  of_base = runs.to_objective(confirmation.base)
  differences = of_winner - of_base
  mean = float(runs.to_objective(confirmation.difference))
  low, high = runs.objective_interval(confirmation.low, confirmation.high)
  zeros = np.zeros(len(differences))
  winner_numbers = _numbers_of(runs, winner.point, confirmation.seeds)
  marker: PlotlyDict = {'size': 9}
  traces = [
    # A line joins the two results of each seed.
    plain_line(separated(of_winner, of_base), separated(zeros, zeros + 1), '$grey', 1),
    run_markers(
      of_winner, zeros, winner_numbers, *WINNER, '<br>winner %{x:.5~g}', marker
    ),
    run_markers(
      of_base,
      zeros + 1,
      _numbers_of(runs, BASE_POINT, confirmation.seeds),
      *BASE,
      '<br>base %{x:.5~g}',
      marker,
    ),
    run_markers(
      differences,
      zeros,
      winner_numbers,
      '$grey',
      'circle-open',
      '<br>difference %{x:.4~g}',
      xaxis='x2',
      yaxis='y2',
    ),
  ]
  if math.isfinite(mean):
    # The mean of the differences, with its interval.
    traces.append(
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
  at_left = {'xref': 'paper', 'xanchor': 'left'}
  above = {**at_left, 'yref': 'y', 'yanchor': 'bottom', 'yshift': 7}
  below = {**at_left, 'yref': 'y2', 'yanchor': 'top', 'yshift': -8}
  return Figure(
    'confirmation',
    'Winner and base config on fresh seeds',
    _caption(confirmation, mean, low, high),
    traces,
    layout(
      plot_axis(name_with_unit(runs.objective_name), anchor='y'),
      hidden_axis(1.6, -0.7, domain=[0.6, 1]),
      # The axis of the differences contains 0.
      xaxis2=plot_axis(
        f'winner - base, {counted(len(confirmation.seeds), "seed")}',
        anchor='y2',
        range=padded_range(np.r_[differences, low, high, 0.0], 0.06),
      ),
      yaxis2=hidden_axis(-1.3, 0.6, domain=[0, LOWER_PANEL], anchor='x2'),
      # No difference, in the lower panel.
      shapes=[vertical_line(0, '$muted', 'dash') | {'xref': 'x2', 'y1': LOWER_PANEL}],
      annotations=[
        annotation('winner', 0, 0, WINNER[0], **above),
        annotation('base', 0, 1, BASE[0], **above),
        annotation(
          f'mean and {confirmation.confidence:.0%} interval', 0, -0.6, '$ink', **below
        ),
      ],
      margin={'l': 16, 'r': 16, 't': 8, 'b': 48},
    ),
    height=400,
  )


def _numbers_of(runs: Runs, point: int, seeds: np.ndarray) -> np.ndarray:
  """Returns (S,) the numbers of a point's runs in the confirmation, by seed."""
  confirmed = runs.select((runs.point == point) & (runs.cohort == CONFIRM))
  by_seed = dict(zip(confirmed.seed.tolist(), confirmed.number.tolist()))
  return np.array([by_seed[seed] for seed in seeds.tolist()], int)


def _caption(confirmation: Confirmation, mean: float, low: float, high: float) -> str:
  seeds = counted(len(confirmation.seeds), 'fresh seed')
  if confirmation.winner_diverged or confirmation.base_diverged:
    return (
      f'On {seeds}, the winner diverged {confirmation.winner_diverged} times and the base '
      f'config {confirmation.base_diverged} times.'
    )
  difference = number(mean, 3)
  if not math.isfinite(low):
    return (
      f'On {seeds}, winner minus base config is {difference}. One pair has no interval.'
    )
  relation = RELATIONS.get(confirmation.verdict, 'not significantly different from')
  return (
    f'On {seeds}, the winner is {relation} the base config: the difference is '
    f'{difference} ({confirmation.confidence:.0%} interval {number(low, 3)} to '
    f'{number(high, 3)}).'
  )
