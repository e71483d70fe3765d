"""Parallel coordinates: where each run crosses the row of each hyperparameter, and what is written there.

Dimension key: T runs, A axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lmhp.analysis.report.figures import marks
from lmhp.analysis.report.figures.style import label, note, on_axis
from lmhp.analysis.report.numbers import number
from lmhp.analysis.runs.table import Runs


def across(
  runs: Runs, used: Runs, name: str
) -> tuple[np.ndarray, tuple[list[float], list[str]]]:
  """(T,) of 0 to 1 where each run crosses a row, and what is written under it: places and words."""
  axis = runs.axes[name]
  x, _ = on_axis(axis, used.values[name])
  rng = np.random.default_rng(0)
  if axis.kind == 'choice':
    choices = list(axis.choices) or sorted(
      {v for v in used.values[name] if v is not None}, key=repr
    )
    n = len(choices)
    spread = rng.uniform(-0.25, 0.25, len(x)) if n > 1 else np.zeros(len(x))
    return (x + 0.5 + spread) / n, (
      [(i + 0.5) / n for i in range(n)],
      [label(c, 16) for c in choices],
    )
  low, high = np.nanmin(x), np.nanmax(x)
  to = np.log if axis.log and low > 0 else np.asarray
  unit = (
    (to(x) - to(low)) / (to(high) - to(low)) if high > low else np.full(len(x), 0.5)
  )
  return unit, ([0.0, 1.0], [number(float(low), 2), number(float(high), 2)])


def row_labels(
  row: int, name: str, at: list[float], words: list[str]
) -> list[dict[str, Any]]:
  anchor = lambda x: 'left' if x == 0 else 'right' if x == 1 else 'center'
  if len(words) > 6 or sum(len(w) for w in words) * marks.LETTER > marks.NARROW:
    at, words = [0.0, 1.0], [words[0], words[-1]]
  under = [
    note(
      w,
      x,
      row,
      '$muted',
      xanchor=anchor(x),
      yanchor='top',
      yshift=-3,
      bgcolor='$paper/0.7',
    )
    for x, w in zip(at, words)
  ]
  return [
    note(
      label(name, 44),
      0,
      row,
      '$ink',
      xanchor='left',
      yanchor='bottom',
      yshift=3,
      bgcolor='$paper/0.7',
    ),
    *under,
  ]


def lines(
  places: np.ndarray,
  numbers: np.ndarray,
  objective: np.ndarray,
  color: str,
  width: float,
  name: str,
):
  """One trace of many runs' lines (A, T), parted by NaN."""
  rows = len(places)
  x = np.vstack([places, np.full(len(numbers), np.nan)]).T.ravel()
  y = np.tile(np.r_[np.arange(rows, dtype=float), np.nan], len(numbers))
  return {
    'type': 'scatter',
    'mode': 'lines',
    'x': x,
    'y': y,
    'meta': 'run',
    'customdata': np.repeat(numbers, rows + 1),
    'line': {'color': color, 'width': width},
    'name': name,
    'hovertemplate': f'run %{{customdata}}, {name}<extra></extra>',
    'connectgaps': False,
  }
