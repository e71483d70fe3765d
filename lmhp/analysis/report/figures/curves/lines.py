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
"""Relative spread between runs of a budget per step, below which an axis of this budget would
look like that of steps."""
BUDGETS = (('tokens', 'tokens'), ('flops', 'training FLOPs'), ('seconds', 'seconds'))
"""(column, title) of the budgets at which runs can be compared, besides steps."""


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
  """Returns at most some of n points, evenly, with the first and the last.

  >>> thinned(np.arange(10), np.arange(10), 4)[0].tolist()
  [0, 3, 6, 9]
  """
  if len(x) <= most:
    return x, y
  kept = np.unique(np.linspace(0, len(x) - 1, most).round().astype(int))
  return x[kept], y[kept]


def smooth_curve(
  step: np.ndarray, y: np.ndarray, fraction: float = SMOOTHED_FRACTION
) -> tuple[np.ndarray, np.ndarray]:
  """Smooths a curve by local lines, which have no lag, after means of blocks.

  Args:
    step: (S,) rising steps.
    y: (S,) finite values.
    fraction: Fraction of the curve to which each line is fitted.

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
  window = round(fraction * len(y))
  if window < 3:
    return step, y
  return step, lowess(y, window, rounds=0)


def lines_of(
  runs: Runs, column: str, smooth: bool = False, max_points: int | None = None
) -> list[Line]:
  """Returns the curves of a column as thinned lines.

  A run without a curve of the objective has its scores at rungs.

  Args:
    runs: Table of runs.
    column: Name of the column.
    smooth: If True, curves are smoothed.
    max_points: Largest number of points of a line. None takes one by the number of runs.
  """
  if max_points is None:
    max_points = MAX_POINTS_OF_MANY if len(runs) > MANY_RUNS else MAX_POINTS
  lines = []
  for row, number in enumerate(runs.number.tolist()):
    step, y = finite_rows(runs.curves.get(number, {}), column)
    # A run without such a curve has its scores at rungs.
    if not len(y) and column == runs.objective_name:
      scores = runs.scores[row]
      steps = sorted(scores)
      step, y = finite_rows({'step': steps, column: [scores[s] for s in steps]}, column)
    if len(y) and smooth:
      step, y = smooth_curve(step, y)
    if len(y):
      lines.append(Line(number, *thinned(step, y, max_points)))
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
  def name(self) -> str:
    """Name of the group in hover text."""
    return f'{self.runs}, {self.quantity}' if self.quantity else self.runs

  @property
  def end(self) -> float:
    """Last value of the last line."""
    return float(self.lines[-1].y[-1])

  @property
  def is_highlighted(self) -> bool:
    """True for the winner and the base config."""
    return self.runs != 'others'

  def positions(self, axis: BudgetAxis) -> np.ndarray:
    """Returns the positions across of all lines, separated by NaN."""
    return np.concatenate([np.r_[axis.positions(line), np.nan] for line in self.lines])

  def trace(self, axis: BudgetAxis, unit: str) -> PlotlyDict:
    """Returns the lines as one trace."""
    # One NaN after each line separates it from the next.
    sizes = [len(line.y) + 1 for line in self.lines]
    return {
      'type': 'scatter',
      'mode': self.mode,
      'x': self.positions(axis),
      'y': np.concatenate([np.r_[line.y, np.nan] for line in self.lines]),
      'meta': 'run',
      'customdata': np.repeat([line.number for line in self.lines], sizes),
      'name': self.name,
      'line': {'color': self.color, 'width': self.width},
      'marker': {'size': 5 if self.width < 2 else 7, 'color': self.color},
      'connectgaps': False,
      'hovertemplate': (
        f'run %{{customdata}}, {self.name}<br>%{{x:.4~g}}: %{{y:.4~g}} {unit}'
        '<extra></extra>'
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
  search = runs.search_runs()
  of_winner = set() if winner is None else {runs.first_run(winner.point)}
  is_base = (runs.point == BASE_POINT) & (runs.cohort == CONFIRM)
  of_base = set(runs.number[is_base][:1].tolist())
  others = set(search.number.tolist()) - of_winner - of_base
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
  ends: dict[str, tuple[float, str]] = {}
  for group in sorted(groups, key=lambda each: each.end):
    if group.is_highlighted:
      ends.setdefault(group.runs, (group.end, group.color))
  labels = []
  for i, (name, (y, color)) in enumerate(ends.items()):
    labels.append(
      annotation(
        name,
        1.0,
        math.log10(y) if log else y,
        color,
        xref='paper',
        xanchor='right',
        bgcolor='$paper/0.7',
        yshift=9 if i else -9,
        yanchor='bottom' if i else 'top',
      )
    )
  return labels


# --- horizontal axes --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class BudgetAxis:
  """Horizontal axis of training curves: steps, or a budget in proportion to them.

  Attributes:
    label: Label of the view.
    title: Title of the axis.
    per_step: Budget per step of each run, by its number. Empty for steps.
  """

  label: str
  title: str
  per_step: Mapping[int, float] = dataclasses.field(default_factory=dict)

  def positions(self, line: Line) -> np.ndarray:
    """Returns the positions of a line."""
    return line.step * self.per_step[line.number] if self.per_step else line.step


STEP_AXIS = BudgetAxis('equal steps', 'step')


def budget_axes(runs: Runs) -> list[BudgetAxis]:
  """Returns the axis of steps, and those of budgets that look different."""
  axes = [STEP_AXIS]
  for column, title in BUDGETS:
    per_step = {
      number: _budget_per_step(runs, row, column)
      for row, number in enumerate(runs.number.tolist())
      if number in runs.curves or runs.scores[row]
    }
    values = np.array(list(per_step.values()), np.float64)
    if not len(values) or not np.isfinite(values).all():
      continue
    # A budget that grows alike in all runs would give the same picture as the steps.
    if np.ptp(values) > MIN_RATE_SPREAD * values.max():
      axes.append(BudgetAxis(f'equal {title}', title, per_step))
  return axes


def _budget_per_step(runs: Runs, row: int, column: str) -> float:
  """Returns a run's budget per step, from its curve or else from its totals."""
  step, budget = finite_rows(runs.curves.get(int(runs.number[row]), {}), column)
  # The last row of the curve gives the mean rate of the whole run.
  if len(step) and step[-1] > 0:
    return float(budget[-1] / step[-1])
  unknown = np.full(len(runs), math.nan)
  total = runs.measured.get(column, unknown)[row]
  steps = runs.measured.get('steps', unknown)[row]
  return float(total / steps) if steps > 0 else math.nan


def budget_views(
  groups: Sequence[LineGroup], axes: Sequence[BudgetAxis]
) -> tuple[View, ...]:
  """Returns a view for each axis, if there are several."""
  if len(axes) < 2:
    return ()
  views = []
  for axis in axes:
    positions = [group.positions(axis) for group in groups]
    # The first view is the figure itself, and changes nothing.
    changes: list[PlotlyDict] = [{'x': x} if views else {} for x in positions]
    x_axis = with_range(plot_axis(axis.title), np.concatenate(positions), 0.02)
    views.append(View(axis.label, changes, {'xaxis': x_axis}))
  return tuple(views)


def loss_limits(lines: Sequence[Line]) -> list[float]:
  """Returns the range of losses that is shown, without the first steps of the curves."""

  # Losses after the first twelfth of each curve, so that the start does not set the range.
  low = min(float(line.y.min()) for line in lines)
  early = [line.y[min(len(line.y) - 1, max(1, len(line.y) // 12))] for line in lines]
  ends = [line.y[-1] for line in lines]
  high = max(float(np.quantile(early, 0.9)), float(np.quantile(ends, 0.75)))
  pad = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
  return [low - 1.5 * pad, high + pad]
