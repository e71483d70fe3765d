"""Training curves as lines: which runs, smoothed and thinned, in few traces, on several axes.

Dimension key: T runs, S points of a curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.report.document import PlotlyDict, View
from lmhp.analysis.report.figures.style import (
  annotation,
  plot_axis,
  with_range,
)
from lmhp.analysis.runs.columns import finite_rows
from lmhp.analysis.runs.table import BASE_POINT, CONFIRM, Runs
from lmhp.analysis.winner.winner import Winner
from lmhp.statistics.smoothing import lowess

TRAIN_LOSS = 'loss_nats'
EVAL_LOSS = 'eval_loss_nats'
MANY_RUNS = 200
MAX_POINTS = 100
"""Points of a curve that are drawn."""
MAX_POINTS_OF_MANY = 60
"""Points of a curve that are drawn if there are more than `MANY_RUNS` runs."""
N_BLOCKS = 250
"""Number of means that a curve is reduced to before it is smoothed."""
SMOOTHED_FRACTION = 0.08
"""Fraction of a curve to which each line of the smoothing is fitted."""
MIN_RATE_SPREAD = 0.01
"""If the budget of a step differs between runs by less than this fraction, an axis of the budget
would look like the axis of steps."""
BUDGETS = (('tokens', 'tokens'), ('flops', 'training FLOPs'), ('seconds', 'seconds'))
"""(column, title) of the budgets at which runs can be compared, besides steps."""
STEPS: Mapping[int, float] = {}
"""Budget of a step for an axis of steps. A run without an entry has 1 for each step."""


@dataclasses.dataclass(frozen=True)
class Line:
  """Curve of one quantity of one run.

  Attributes:
    number: Run number.
    step: (S,) rising steps.
    y: (S,) finite values.
  """

  number: int
  step: np.ndarray
  y: np.ndarray


# --- curves as lines --------------------------------------------------------------------


def thinned(x: np.ndarray, y: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns at most `most` points, evenly spaced by index, with the first and the last.

  >>> thinned(np.arange(10), np.arange(10), 4)[0].tolist()
  [0, 3, 6, 9]
  """
  kept = np.linspace(0, len(x) - 1, min(len(x), most)).round().astype(int)
  return x[kept], y[kept]


def smooth_curve(step: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Averages a curve in blocks, and smooths it by local lines, which do not lag.

  Args:
    step: (S,) rising steps.
    y: (S,) finite values.

  Returns:
    Steps and values, at most `N_BLOCKS` of them.

  >>> step = np.arange(1000.0)
  >>> at, smoothed = smooth_curve(step, 5 - step / 500)
  >>> len(at), bool(np.allclose(smoothed, 5 - at / 500))
  (250, True)
  """
  if len(y) > N_BLOCKS:
    # Means of at most `N_BLOCKS` blocks bound the time of the local lines.
    starts = np.linspace(0, len(y), N_BLOCKS + 1).astype(int)[:-1]
    sizes = np.diff(np.r_[starts, len(y)])
    step = np.add.reduceat(step, starts) / sizes
    y = np.add.reduceat(y, starts) / sizes
  window = round(SMOOTHED_FRACTION * len(y))
  return step, y if window < 3 else lowess(y, window, rounds=0)


def lines_of(
  runs: Runs, column: str, smooth: bool = False, max_points: int | None = None
) -> list[Line]:
  """Returns the curves of a column as thinned lines.

  The line of a run without a curve of the objective goes through its scores at rungs.

  Args:
    runs: Table of runs.
    column: Name of the column.
    smooth: If True, curves are smoothed.
    max_points: Largest number of points of a line. None takes one by the number of runs.
  """
  usual = MAX_POINTS_OF_MANY if len(runs) > MANY_RUNS else MAX_POINTS
  lines = []
  for row, number in enumerate(runs.number.tolist()):
    step, y = finite_rows(runs.curves.get(number, {}), column)
    # A run without such a curve has its scores at rungs.
    if not len(y) and column == runs.objective_name:
      scores = runs.scores[row]
      steps = sorted(scores)
      step, y = finite_rows({'step': steps, column: [scores[s] for s in steps]}, column)
    if smooth:
      step, y = smooth_curve(step, y)
    if len(y):
      lines.append(Line(number, *thinned(step, y, max_points or usual)))
  return lines


# --- groups of runs ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class LineGroup:
  """Lines that are drawn as one trace.

  Attributes:
    runs: 'winner', 'base' or 'others'.
    quantity: Quantity of the lines, such as 'train'. Empty if the figure has only one.
    color: Token of a colour.
    width: Width of the lines.
    mode: 'lines' or 'lines+markers'.
    lines: The lines.
  """

  runs: str
  quantity: str
  color: str
  width: float
  mode: str
  lines: Sequence[Line]

  @property
  def end(self) -> float:
    """Last value of the last line."""
    return float(self.lines[-1].y[-1])

  def positions(self, per_step: Mapping[int, float]) -> np.ndarray:
    """Returns the horizontal positions of all lines. A NaN separates two lines.

    Args:
      per_step: Budget per step of each run, by its number. `STEPS` stands for the steps.
    """
    return np.concatenate(
      [np.r_[line.step * per_step.get(line.number, 1.0), np.nan] for line in self.lines]
    )

  def trace(self, unit: str = '') -> PlotlyDict:
    """Returns the lines as one trace over the steps."""
    name = f'{self.runs}, {self.quantity}' if self.quantity else self.runs
    # One NaN after each line separates it from the next.
    sizes = [len(line.y) + 1 for line in self.lines]
    return {
      'type': 'scatter',
      'mode': self.mode,
      'x': self.positions(STEPS),
      'y': np.concatenate([np.r_[line.y, np.nan] for line in self.lines]),
      'meta': 'run',
      'customdata': np.repeat([line.number for line in self.lines], sizes),
      'name': name,
      'line': {'color': self.color, 'width': self.width},
      'marker': {'size': 5 if self.width < 2 else 7, 'color': self.color},
      'connectgaps': False,
      'hovertemplate': (
        f'run %{{customdata}}, {name}<br>%{{x:.4~g}}: %{{y:.4~g}} {unit}<extra></extra>'
      ),
    }


def group_lines(
  runs: Runs,
  winner: Winner | None,
  lines: Sequence[Line],
  mode: str = 'lines',
  quantity: str = '',
) -> list[LineGroup]:
  """Groups lines into other runs, base config and winner. Empty groups are left out.

  The base config has one run of the confirmation. The winner's runs of the confirmation are
  not drawn, because the search has it.
  """
  # Run numbers of each group.
  of_winner = set() if winner is None else {runs.first_run(winner.point)}
  is_base = (runs.point == BASE_POINT) & (runs.cohort == CONFIRM)
  of_base = set(runs.number[is_base][:1].tolist())
  others = set(runs.search_runs().number.tolist()) - of_winner - of_base
  # Many lines must be fainter than few.
  faint = '$grey/0.35' if len(others | of_winner | of_base) > 8 else '$grey/0.7'
  groups = []
  for name, color, width, numbers in (
    ('others', faint, 1.0, others),
    ('base', '$blue', 2.2, of_base),
    ('winner', '$vermillion', 2.2, of_winner),
  ):
    members = [line for line in lines if line.number in numbers]
    if members:
      groups.append(LineGroup(name, quantity, color, width, mode, members))
  return groups


def end_labels(groups: Sequence[LineGroup], log: bool = False) -> list[PlotlyDict]:
  """Returns the names of winner and base config at the right edge, apart from each other."""
  # The lower label is placed below its line, and the other one above.
  lowest: dict[str, LineGroup] = {}
  for group in sorted(groups, key=lambda each: each.end):
    if group.runs != 'others':
      lowest.setdefault(group.runs, group)
  return [
    annotation(
      name,
      1.0,
      math.log10(group.end) if log else group.end,
      group.color,
      xref='paper',
      xanchor='right',
      bgcolor='$paper/0.7',
      yshift=9 if i else -9,
      yanchor='bottom' if i else 'top',
    )
    for i, (name, group) in enumerate(lowest.items())
  ]


# --- horizontal axes --------------------------------------------------------------------


def budget_axis(
  groups: Sequence[LineGroup],
  title: str = 'step',
  per_step: Mapping[int, float] = STEPS,
) -> PlotlyDict:
  """Returns the horizontal axis of lines over steps, or over a budget.

  Args:
    groups: The lines.
    title: Title of the axis.
    per_step: Budget per step of each run, by its number.
  """
  positions = np.concatenate([group.positions(per_step) for group in groups])
  return with_range(plot_axis(title), positions, 0.02)


def budget_views(runs: Runs, groups: Sequence[LineGroup]) -> tuple[View, ...]:
  """Returns a view over steps, and one for each budget that looks different.

  Returns no view if all budgets would give the same picture as the steps.
  """
  # The first view is the figure itself, and changes nothing.
  views = [View('equal steps', [{} for _ in groups], {'xaxis': budget_axis(groups)})]
  for column, title in BUDGETS:
    per_step = {
      number: _budget_per_step(runs, row, column)
      for row, number in enumerate(runs.number.tolist())
      if number in runs.curves or runs.scores[row]
    }
    rates = np.array(list(per_step.values()), np.float64)
    # A budget that grows alike in all runs would give the same picture as the steps.
    if np.isfinite(rates).all() and np.ptp(rates) > MIN_RATE_SPREAD * rates.max():
      changes: list[PlotlyDict] = [{'x': group.positions(per_step)} for group in groups]
      axis = budget_axis(groups, title, per_step)
      views.append(View(f'equal {title}', changes, {'xaxis': axis}))
  return tuple(views) if len(views) > 1 else ()


def _budget_per_step(runs: Runs, row: int, column: str) -> float:
  """Returns a run's budget per step, from its curve or else from its totals."""
  step, budget = finite_rows(runs.curves.get(int(runs.number[row]), {}), column)
  # The last row of the curve gives the mean rate of the whole run.
  if len(step) and step[-1] > 0:
    return float(budget[-1] / step[-1])
  unknown = np.full(len(runs), math.nan)
  steps = runs.measured.get('steps', unknown)[row]
  return (
    float(runs.measured.get(column, unknown)[row] / steps) if steps > 0 else math.nan
  )


def loss_limits(lines: Sequence[Line]) -> list[float]:
  """Returns the range of losses that is shown, without the first steps of the curves."""
  # Losses after the first twelfth of each curve, so that the start does not set the range.
  low = min(float(line.y.min()) for line in lines)
  early = [line.y[min(len(line.y) - 1, max(1, len(line.y) // 12))] for line in lines]
  ends = [line.y[-1] for line in lines]
  high = max(float(np.quantile(early, 0.9)), float(np.quantile(ends, 0.75)))
  pad = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
  return [low - 1.5 * pad, high + pad]
