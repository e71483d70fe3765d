"""Traces of figures: runs by status, lines and bands.

Dimension key: T runs, S points of a line.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from lmhp.analysis.phrases import is_number
from lmhp.analysis.report.document import PlotlyDict
from lmhp.analysis.report.figures.labels import Label
from lmhp.analysis.report.figures.style import axis_positions, plain_text
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import SEARCH, Runs
from lmhp.analysis.winner.winner import Winner

MAX_OPAQUE = 200
"""Number of markers above which they are small and transparent."""


# --- markers and lines ------------------------------------------------------------------


def run_markers(
  x: npt.ArrayLike,
  y: npt.ArrayLike,
  numbers: npt.ArrayLike,
  color: str = '$blue',
  symbol: str = 'circle',
  hover: str = '',
  marker: PlotlyDict | None = None,
  **more: object,
) -> PlotlyDict:
  """Returns markers of runs. Runs without a finite position are left out.

  Args:
    x: (T,) positions across.
    y: (T,) positions up.
    numbers: (T,) run numbers.
    color: Token of a colour.
    symbol: Symbol of Plotly.
    hover: Hover text after the run number.
    marker: Properties of the marker that replace the usual ones.
    **more: Further properties of Plotly.
  """
  points = np.array([x, y], np.float64)
  finite = np.isfinite(points).all(axis=0)
  usual: PlotlyDict = {'color': color, 'symbol': symbol, 'size': 8}
  if symbol.endswith('open'):
    usual['line'] = {'color': color, 'width': 1.5}
  return {
    'type': 'scatter',
    'mode': 'markers',
    'x': points[0, finite],
    'y': points[1, finite],
    'meta': 'run',
    'customdata': np.asarray(numbers, int)[finite],
    'marker': usual | (marker or {}),
    'cliponaxis': False,
    'hovertemplate': f'run %{{customdata}}{hover}<extra></extra>',
  } | more


def plain_line(
  x: npt.ArrayLike,
  y: npt.ArrayLike,
  color: str = '$blue',
  width: float = 2.0,
  dash: str = 'solid',
  **more: object,
) -> PlotlyDict:
  """Returns a line without hover text."""
  return {
    'type': 'scatter',
    'mode': 'lines',
    'x': np.asarray(x),
    'y': np.asarray(y, np.float64),
    'line': {'color': color, 'width': width, 'dash': dash},
    'hoverinfo': 'skip',
  } | more


def step_line(x: npt.ArrayLike, y: npt.ArrayLike, **more: object) -> PlotlyDict:
  """Returns a line of steps, each of which holds until the next x."""
  line = {'color': '$vermillion', 'width': 2, 'shape': 'hv'}
  return plain_line(x, y, line=line) | more


def band(
  x: npt.ArrayLike,
  low: npt.ArrayLike,
  high: npt.ArrayLike,
  color: str = '$blue',
) -> PlotlyDict:
  """Returns the area between two curves."""
  points = np.array([x, low, high], np.float64)
  across, lower, upper = points[:, np.isfinite(points[1:]).all(axis=0)]
  return {
    'type': 'scatter',
    'mode': 'lines',
    # Along the upper curve, and back along the lower one.
    'x': np.r_[across, across[::-1]],
    'y': np.r_[upper, lower[::-1]],
    'fill': 'toself',
    'fillcolor': f'{color}/0.16',
    'line': {'width': 0, 'color': color},
    'hoverinfo': 'skip',
    'name': 'interval',
  }


def separated(*columns: npt.ArrayLike) -> np.ndarray:
  """Interleaves columns (T,), with NaN after each row, so that a line has gaps between rows.

  >>> separated([1, 2], [3, 4]).tolist()[:3]
  [1.0, 3.0, nan]
  """
  return np.column_stack(np.broadcast_arrays(*columns, np.nan)).ravel()


def evenly(values: np.ndarray, most: int) -> np.ndarray:
  """Returns at most some of the values, evenly spaced, with the first and the last.

  >>> evenly(np.arange(10), 4), evenly(np.arange(3), 4)
  (array([0, 3, 6, 9]), array([0, 1, 2]))
  """
  n = len(values)
  return values[np.linspace(0, n - 1, min(n, most)).astype(int)]


def hover_text(x_name: str, y_name: str) -> str:
  """Returns the hover text of a marker after its run number."""
  return f'<br>{plain_text(x_name)} %{{x:.4~g}}<br>{plain_text(y_name)} %{{y:.5~g}}'


# --- runs by status ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class PlottedRuns:
  """Runs in a figure of the objective.

  Attributes:
    x: (T,) positions across.
    losses: (T,) losses, less is better.
    status: (T,) status of each run.
    number: (T,) run numbers.
    span: (low, high) of the losses that are shown. Runs above are drawn at the edge.
    maximize: True if a larger objective is better.
  """

  x: np.ndarray
  losses: np.ndarray
  status: np.ndarray
  number: np.ndarray
  span: tuple[float, float]
  maximize: bool

  @property
  def diverged(self) -> np.ndarray:
    """(T,) True for a run that diverged."""
    return (self.status == 'diverged') | (np.isinf(self.losses) & (self.losses > 0))

  @property
  def outside(self) -> np.ndarray:
    """(T,) True for a run that did not diverge and is beyond the shown losses."""
    return ~self.diverged & (self.losses > self.span[1])

  @property
  def direction(self) -> str:
    """Direction of bad runs: 'above', or 'below' if the objective is maximized."""
    return 'below' if self.maximize else 'above'

  def traces(self, hover: str, color: str = '$blue') -> list[PlotlyDict]:
    """Returns the runs as markers by status.

    Complete runs are filled and pruned ones hollow. A run beyond the shown losses is a
    triangle at the edge, and a diverged run a cross at the edge.

    Args:
      hover: Hover text, as of `hover_text`.
      color: Token of the colour. Diverged runs have another one if it is '$blue'.
    """
    inside = ~self.diverged & ~self.outside
    is_pruned = self.status == 'pruned'
    triangle = 'triangle-down-open' if self.maximize else 'triangle-up-open'
    of_diverged = '$vermillion' if color == '$blue' else color
    beyond = f'<br>{self.direction} the shown range'
    # Runs beyond the range are triangles at its edge, and runs that diverged are crosses.
    groups = (
      (inside & is_pruned, color, 'circle-open', f'{hover}<br>pruned'),
      (inside & ~is_pruned, color, 'circle', hover),
      (self.outside, color, triangle, beyond),
      (self.diverged, of_diverged, 'x', '<br>diverged'),
    )
    is_dense = len(self.losses) > MAX_OPAQUE
    marker: PlotlyDict = {'size': 5, 'opacity': 0.75} if is_dense else {'size': 8}
    losses = np.where(inside, self.losses, self.span[1])
    y = -losses if self.maximize else losses
    return [
      run_markers(
        self.x[rows],
        y[rows],
        self.number[rows],
        own_color,
        symbol,
        text,
        marker=marker,
      )
      for rows, own_color, symbol, text in groups
      if rows.any()
    ]

  def edge_labels(self) -> list[Label]:
    """Returns a label at the right that counts the runs at the edge."""
    is_pruned = self.status == 'pruned'
    counted = (
      (self.diverged, '✕ {} diverged'),
      (self.outside & is_pruned, f'{{}} pruned {self.direction}'),
      (self.outside & ~is_pruned, f'{{}} {self.direction}'),
    )
    words = ', '.join(text.format(rows.sum()) for rows, text in counted if rows.any())
    color = '$vermillion' if self.diverged.any() else '$muted'
    return [Label(words, math.inf, color)] if words else []


def last_scores(runs: Runs) -> np.ndarray:
  """Returns (T,) the last score of each run as a loss. NaN without a score."""
  last = [scores[max(scores)] if scores else math.nan for scores in runs.scores]
  return runs.to_objective(np.array(last, np.float64))


def winner_row(runs: Runs, winner: Winner | None, plotted: PlottedRuns) -> int | None:
  """Returns the row of the winner's best run. None if it is not in the figure."""
  if winner is None:
    return None
  # A point with several seeds has its ring around the best of them.
  winner_runs = runs.number[(runs.point == winner.point) & (runs.cohort == SEARCH)]
  is_plotted = np.isfinite(plotted.x) & np.isfinite(plotted.losses)
  rows = np.flatnonzero(np.isin(plotted.number, winner_runs) & is_plotted)
  return int(rows[np.argmin(plotted.losses[rows])]) if rows.size else None


def base_position(axis: Axis) -> float:
  """Returns the position of the base config's value. NaN if it cannot be drawn."""
  if axis.base_value is None or axis.is_number and not is_number(axis.base_value):
    return math.nan
  position = float(axis_positions(axis, [axis.base_value])[0][0])
  return position if position > 0 or not axis.log else math.nan
