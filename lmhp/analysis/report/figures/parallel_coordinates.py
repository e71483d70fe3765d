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
from lmhp.analysis.runs.axis import Axis
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
  drawn = by_loss
  if len(by_loss) > MAX_LINES:
    half = MAX_LINES // 2
    drawn = np.r_[by_loss[:half], evenly(by_loss[half:], half)]
  rows = [_row(runs.axes[name], comparable.values[name]) for name in names]
  annotations = [
    label for i, row in enumerate(rows) for label in _row_annotations(i, names[i], row)
  ]

  traces: list[PlotlyDict] = []
  after = -1.0
  for quantile, color, width, group in GROUPS:
    members = drawn[(quantiles[drawn] > after) & (quantiles[drawn] <= quantile)]
    after = quantile
    if len(members):
      # The lines of many runs, separated by NaN. Better runs are drawn later, above others.
      traces.insert(
        0,
        {
          'type': 'scatter',
          'mode': 'lines',
          'x': separated(*(row.positions[members] for row in rows)),
          'y': np.tile(np.r_[np.arange(len(rows)), np.nan], len(members)),
          'meta': 'run',
          'customdata': np.repeat(comparable.number[members], len(rows) + 1),
          'line': {'color': color, 'width': width},
          'name': group,
          'hovertemplate': f'run %{{customdata}}, {group}<extra></extra>',
          'connectgaps': False,
        },
      )
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


@dataclasses.dataclass(frozen=True)
class _Row:
  """Row of one hyperparameter.

  Attributes:
    positions: (T,) positions of the runs, from 0 to 1.
    ticks: Positions of the labels.
    labels: Labels below the row.
  """

  positions: np.ndarray
  ticks: Sequence[float]
  labels: Sequence[str]


def _row(axis: Axis, values: np.ndarray) -> _Row:
  x, _ = axis_positions(axis, values)
  if axis.is_choice:
    labels = [plain_text(choice, 16) for choice in choices_of(axis, values)]
    n = len(labels)
    # A random shift separates the lines of runs with the same choice.
    shift = np.random.default_rng(0).uniform(-JITTER, JITTER, len(x)) if n > 1 else 0.0
    # Too many labels would overlap.
    if n > MAX_LABELS or LETTER * len(''.join(labels)) > NARROW:
      return _Row((x + 0.5 + shift) / n, [0.0, 1.0], [labels[0], labels[-1]])
    return _Row((x + 0.5 + shift) / n, ((np.arange(n) + 0.5) / n).tolist(), labels)
  ends = np.array([np.nanmin(x), np.nanmax(x)])
  labels = [number(end, 2) for end in ends]
  if axis.log and ends[0] > 0:
    x = np.log(x)
    ends = np.log(ends)
  spread = np.ptp(ends)
  positions = (x - ends[0]) / spread if spread else np.full(len(x), 0.5)
  return _Row(positions, [0.0, 1.0], labels)


def _row_annotations(row: int, name: str, content: _Row) -> list[PlotlyDict]:
  """Returns the name of a row, and the labels below it."""
  return [
    annotation(
      plain_text(name, 44),
      0,
      row,
      '$ink',
      xanchor='left',
      yanchor='bottom',
      yshift=3,
      bgcolor='$paper/0.7',
    ),
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
      for label, tick in zip(content.labels, content.ticks)
    ),
  ]


def _caption(
  comparable: Runs, names: Sequence[str], best: int, rung: int | None
) -> str:
  values = {name: comparable.values[name][best] for name in names[:4]}
  words = ', '.join(
    f'{name} {number(value, 3) if is_numeric(value) else value}'
    for name, value in values.items()
  )
  note = f' All are compared at step {rung:,}.' if rung else ''
  return (
    f'The best run, {comparable.number[best]}, has {words}. The best tenth of '
    f'{counted(len(comparable), "run")} is drawn thick, the best third in orange.{note}'
  )
