"""Parallel coordinates: every run as a line through its hyperparameters.

Dimension key: T runs, A axes.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

import numpy as np

from lmhp.analysis.phrases import counted, number
from lmhp.analysis.report.document import Figure, PlotlyDict
from lmhp.analysis.report.figures.labels import LETTER, NARROW
from lmhp.analysis.report.figures.style import (
  annotation,
  axis_positions,
  choices_of,
  hidden_axis,
  layout,
  plain_text,
)
from lmhp.analysis.report.figures.traces import evenly, separated
from lmhp.analysis.runs.columns import is_numeric
from lmhp.analysis.runs.table import Runs

MIN_AXES = 3
MAX_LINES = 400
"""Number of runs that are drawn: half of them the best, the others evenly from the rest."""
MAX_LABELS = 6
JITTER = 0.25
"""Largest random shift of a choice, so that lines do not cover each other."""


GROUPS = (
  (0.1, '$vermillion/0.9', 2.0, 'best tenth'),
  (0.33, '$orange/0.6', 1.2, 'best third'),
  (1.0, '$grey/0.3', 0.8, 'other runs'),
)
"""Quantile of the losses up to which a group of runs goes, with the colour, width and name of
its lines."""


def parallel_figure(
  runs: Runs, comparable_runs: Runs, rung: int | None
) -> Figure | None:
  """Draws every run as a line, with one row per hyperparameter. None with few axes.

  The rows lie below each other, so that names and bounds fit a phone.
  """
  comparable = comparable_runs.select(np.isfinite(comparable_runs.losses))
  names = list(comparable.varied_axes())
  if len(runs.varied_axes()) < MIN_AXES or len(names) < 2 or len(comparable) < 2:
    return None
  # Quantile of each run by its rank, from 0 for the best to 1 for the worst.
  by_loss = np.argsort(comparable.losses, kind='stable')
  quantiles = np.argsort(by_loss, kind='stable') / max(len(comparable) - 1, 1)
  drawn = _drawn_rows(by_loss)
  rows = [_row(runs, comparable, name) for name in names]
  positions = np.array([row.positions for row in rows])
  annotations = []
  for i, row in enumerate(rows):
    annotations += _row_annotations(i, row)

  traces = []
  after = -1.0
  for quantile, color, width, group in GROUPS:
    members = drawn[(quantiles[drawn] > after) & (quantiles[drawn] <= quantile)]
    after = quantile
    if len(members):
      line = {'color': color, 'width': width}
      traces.append(
        _lines(positions[:, members], comparable.number[members], group, line)
      )
  # The best runs are drawn last, above the others.
  traces.reverse()
  return Figure(
    'parallel',
    'All runs across all hyperparameters',
    _caption(comparable, names, int(by_loss[0]), rung),
    traces,
    layout(
      hidden_axis(-0.02, 1.02),
      hidden_axis(len(names) - 0.55, -0.45),
      annotations=annotations,
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
    ),
    height=30 + 84 * len(names),
  )


def _drawn_rows(by_loss: np.ndarray) -> np.ndarray:
  """Returns the indices of the runs that are drawn, by loss."""
  if len(by_loss) <= MAX_LINES:
    return by_loss
  half = MAX_LINES // 2
  return np.r_[by_loss[:half], evenly(by_loss[half:], half)]


@dataclasses.dataclass(frozen=True)
class _Row:
  """Row of one hyperparameter.

  Attributes:
    name: Name of the hyperparameter.
    positions: (T,) positions of the runs, from 0 to 1.
    ticks: Positions of the labels.
    labels: Labels below the row.
  """

  name: str
  positions: np.ndarray
  ticks: Sequence[float]
  labels: Sequence[str]


def _row(runs: Runs, comparable: Runs, name: str) -> _Row:
  axis = runs.axes[name]
  x, _ = axis_positions(axis, comparable.values[name])
  if axis.is_choice:
    choices = choices_of(axis, comparable.values[name])
    n = len(choices)
    # A random shift separates the lines of runs with the same choice.
    shift = np.random.default_rng(0).uniform(-JITTER, JITTER, len(x)) if n > 1 else 0.0
    return _Row(
      name,
      (x + 0.5 + shift) / n,
      [(i + 0.5) / n for i in range(n)],
      [plain_text(choice, 16) for choice in choices],
    )
  low = np.nanmin(x)
  high = np.nanmax(x)
  labels = [number(float(low), 2), number(float(high), 2)]
  if not high > low:
    return _Row(name, np.full(len(x), 0.5), [0.0, 1.0], labels)
  if axis.log and low > 0:
    x = np.log(x)
    low = np.log(low)
    high = np.log(high)
  return _Row(name, (x - low) / (high - low), [0.0, 1.0], labels)


def _row_annotations(row: int, content: _Row) -> list[PlotlyDict]:
  """Returns the name of a row, and the labels below it."""
  ticks = content.ticks
  labels = content.labels
  width = sum(len(label) for label in labels) * LETTER
  if len(labels) > MAX_LABELS or width > NARROW:
    # Too many labels would overlap.
    ticks = [0.0, 1.0]
    labels = [labels[0], labels[-1]]
  name = annotation(
    plain_text(content.name, 44),
    0,
    row,
    '$ink',
    xanchor='left',
    yanchor='bottom',
    yshift=3,
    bgcolor='$paper/0.7',
  )
  return [
    name,
    *(
      annotation(
        label,
        tick,
        row,
        '$muted',
        xanchor={0.0: 'left', 1.0: 'right'}.get(tick, 'center'),
        yanchor='top',
        yshift=-3,
        bgcolor='$paper/0.7',
      )
      for label, tick in zip(labels, ticks)
    ),
  ]


def _lines(
  positions: np.ndarray, numbers: np.ndarray, name: str, line: PlotlyDict
) -> PlotlyDict:
  """Returns one trace with the lines of many runs, separated by NaN.

  Args:
    positions: (A, T) positions.
    numbers: (T,) run numbers.
    name: Name of the group.
    line: Style of the lines.
  """
  n_rows = len(positions)
  return {
    'type': 'scatter',
    'mode': 'lines',
    'x': separated(*positions),
    'y': np.tile(np.r_[np.arange(n_rows, dtype=float), np.nan], len(numbers)),
    'meta': 'run',
    'customdata': np.repeat(numbers, n_rows + 1),
    'line': line,
    'name': name,
    'hovertemplate': f'run %{{customdata}}, {name}<extra></extra>',
    'connectgaps': False,
  }


def _caption(
  comparable: Runs, names: Sequence[str], best: int, rung: int | None
) -> str:
  words = ', '.join(
    f'{name} {_value(comparable.values[name][best])}' for name in names[:4]
  )
  note = f' All are compared at step {rung:,}.' if rung else ''
  return (
    f'The best run, {comparable.number[best]}, has {words}. The best tenth of '
    f'{counted(len(comparable), "run")} is drawn thick, the best third in orange.{note}'
  )


def _value(value: object) -> str:
  return number(value, 3) if is_numeric(value) else str(value)
