"""Training curves as lines: which runs, thinned and smoothed, in few traces, on several clocks.

Dimension key: T runs, S points of a curve.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from lmhp.analysis.report.document import View
from lmhp.analysis.report.figures import marks
from lmhp.analysis.report.figures.style import axis as new_axis
from lmhp.analysis.report.figures.style import label, note
from lmhp.analysis.runs.table import CONFIRM, Runs
from lmhp.analysis.winner import answer
from lmhp.statistics.smoothing import lowess

MOST_POINTS, FEW_POINTS, FEWEST_POINTS, MANY_RUNS = 100, 60, 30, 200
"""Points of a run's curve that are drawn, and of more than so many runs; the fewest of what is only glanced at."""
BLOCKS = 250
"""Number of block means of a curve before it is smoothed."""
SMOOTHED_FRACTION = 0.08
"""Fraction of a curve to which each line of the smoothing is fitted."""
TRAIN, EVAL = 'loss_nats', 'eval_loss_nats'
CLOCKS = (('tokens', 'tokens'), ('flops', 'training FLOPs'), ('seconds', 'seconds'))
"""What else than steps runs may be compared at: a curve's column, or a run's total in proportion to its steps."""
PROPORTIONAL = 0.01
"""Relative spread of a clock's rate between runs below which it would show the same picture as steps."""


@dataclasses.dataclass(frozen=True)
class Curve:
  """One run's curve of one quantity.

  Attributes:
    number: of the run.
    step: (S,) rising.
    y: (S,) finite.
  """

  number: int
  step: np.ndarray
  y: np.ndarray


def thinned(n: int, most: int) -> np.ndarray:
  """At most so many of n places, evenly, the first and the last among them.

  >>> thinned(10, 4).tolist(), thinned(3, 4).tolist()
  ([0, 3, 6, 9], [0, 1, 2])
  """
  return (
    np.arange(n)
    if n <= most
    else np.unique(np.linspace(0, n - 1, most).round().astype(int))
  )


def smoothed(
  step: np.ndarray, y: np.ndarray, fraction: float = SMOOTHED_FRACTION
) -> tuple[np.ndarray, np.ndarray]:
  """Smooths a curve without a lag: means of blocks, and a local line around each.

  Args:
    step: (S,) increasing steps.
    y: (S,) finite values.
    fraction: Fraction of the curve to which each line is fitted.

  Returns:
    Steps and values, (C,) each, with C at most `BLOCKS`.

  >>> steps = np.arange(1000.0)
  >>> block_steps, values = smoothed(steps, 5 - steps / 500)
  >>> len(block_steps), bool(np.allclose(values, 5 - block_steps / 500))
  (250, True)
  """
  if len(y) > BLOCKS:
    starts = np.linspace(0, len(y), BLOCKS + 1).astype(int)[:-1]
    sizes = np.diff(np.r_[starts, len(y)])
    step = np.add.reduceat(step, starts) / sizes
    y = np.add.reduceat(y, starts) / sizes
  window = round(fraction * len(y))
  if window < 3:
    return step, y
  return step, lowess(y, window, rounds=0)


def curves_of(
  runs: Runs, column: str, smoothly: bool = False, most: int | None = None
) -> list[Curve]:
  """The curves of a column, finite values alone, smoothed and then thinned; of the objective also scores at rungs.

  Args:
    runs: those to draw, in this order.
    column: its name.
    smoothly: whether to smooth.
    most: points of each; by the number of runs, if None.
  """
  most = most or (FEW_POINTS if len(runs) > MANY_RUNS else MOST_POINTS)
  found = []
  for i, n in enumerate(runs.number.tolist()):
    step, y = series(runs.curves.get(n, {}), column)
    if not len(y) and column == runs.objective_name:
      step = np.array(sorted(runs.scores[i]), np.float64)
      y = np.array([runs.scores[i][s] for s in sorted(runs.scores[i])], np.float64)
      step, y = step[np.isfinite(y)], y[np.isfinite(y)]
    if not len(y):
      continue
    step, y = smoothed(step, y) if smoothly else (step, y)
    kept = thinned(len(y), most)
    found.append(Curve(n, step[kept], y[kept]))
  return found


def series(rows: Mapping[str, Any], column: str) -> tuple[np.ndarray, np.ndarray]:
  """Steps and values of a column where it is finite; empty where it is not there."""
  step, y = (np.asarray(rows.get(name, ()), np.float64) for name in ('step', column))
  known = (
    np.isfinite(y) & np.isfinite(step) if len(y) == len(step) else np.zeros(0, bool)
  )
  return (step[known], y[known]) if known.any() else (np.zeros(0), np.zeros(0))


# --- which runs, on which clocks ------------------------------------------------------------------------------------


def highlighted(runs: Runs) -> tuple[list[tuple[str, str, set[int]]], set[int]]:
  """(name, colour, numbers) of the winner and of the base, and the numbers of all that are drawn.

  Of the runs on fresh seeds one of the base is drawn, and none of the winner, where the search has it.
  """
  search = runs.searched()
  chosen = answer.winner(runs)
  out = []
  if chosen is not None:
    own = search.number[search.point == chosen.point]
    out.append(('winner', '$vermillion', {int(own[0])}))
  base = runs.number[(runs.point == answer.BASE) & (runs.cohort == CONFIRM)]
  if len(base):
    out.append(('base', '$blue', {int(base[0])}))
  drawn = set(search.number.tolist()).union(*(numbers for _, _, numbers in out))
  return out, drawn


def clocks_of(runs: Runs) -> list[tuple[str, str, Callable[[Curve], np.ndarray]]]:
  """(label, axis, places of a curve) of steps, and of what shows another picture than steps do."""
  out = [('equal steps', 'step', lambda curve: curve.step)]
  for name, words in CLOCKS:
    rates = {
      n: _rate(runs, i, name)
      for i, n in enumerate(runs.number.tolist())
      if n in runs.curves or runs.scores[i]
    }
    known = np.array(list(rates.values()), np.float64)
    if not len(known) or not np.isfinite(known).all():
      continue
    if np.ptp(known) <= PROPORTIONAL * known.max():
      continue
    out.append(
      (
        f'equal {words}',
        words,
        lambda curve, rates=rates: curve.step * rates[curve.number],
      )
    )
  return out


def _rate(runs: Runs, row: int, name: str) -> float:
  """Of a run how much of a clock goes by in a step; NaN where not known."""
  curve = runs.curves.get(int(runs.number[row]), {})
  step, own = (np.asarray(curve.get(key, ()), np.float64) for key in ('step', name))
  known = np.isfinite(own) & (step > 0) if len(own) == len(step) else np.zeros(0, bool)
  if known.any():
    return float(own[known][-1] / step[known][-1])
  total, steps = (
    runs.measured.get(key, np.full(len(runs), math.nan))[row] for key in (name, 'steps')
  )
  return float(total / steps) if steps > 0 else math.nan


def joined(
  curves: Sequence[Curve], places: Callable[[Curve], np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """x, y and numbers of runs, parted by NaN."""
  if not curves:
    return np.zeros(0), np.zeros(0), np.zeros(0, int)
  x = np.concatenate([np.r_[places(c), np.nan] for c in curves])
  y = np.concatenate([np.r_[c.y, np.nan] for c in curves])
  return x, y, np.repeat([c.number for c in curves], [len(c.y) + 1 for c in curves])


def traces_of(
  groups: Sequence[tuple[str, str, float, str, Sequence[Curve]]], places, words: str
) -> list[dict[str, Any]]:
  """A trace for each (name, colour, width, mode, curves)."""
  out = []
  for name, color, width, mode, curves in groups:
    x, y, numbers = joined(curves, places)
    out.append(
      {
        'type': 'scatter',
        'mode': mode,
        'x': x,
        'y': y,
        'meta': 'run',
        'customdata': numbers,
        'name': name,
        'line': {'color': color, 'width': width},
        'marker': {'size': 5 if width < 2 else 7, 'color': color},
        'connectgaps': False,
        'hovertemplate': f'run %{{customdata}}, {label(name)}<br>%{{x:.4~g}}: %{{y:.4~g}} {words}'
        '<extra></extra>',
      }
    )
  return out


def groups_of(
  runs: Runs, curves: Sequence[Curve], mode: str, name: str = ''
) -> list[tuple[str, str, float, str, list[Curve]]]:
  """Curves parted into the rest, the base and the winner."""
  special, drawn = highlighted(runs)
  taken = set().union(*(numbers for _, _, numbers in special)) if special else set()
  faint = '$grey/0.35' if len(drawn) > 8 else '$grey/0.7'
  out = [
    (
      f'others{name}',
      faint,
      1.0,
      mode,
      [c for c in curves if c.number in drawn and c.number not in taken],
    )
  ]
  for who, color, numbers in reversed(special):
    out.append(
      (f'{who}{name}', color, 2.2, mode, [c for c in curves if c.number in numbers])
    )
  return [group for group in out if group[4]]


def views_of(groups, clocks, words: str) -> tuple[View, ...]:
  if len(clocks) < 2:
    return ()
  return tuple(
    View(
      text,
      [{'x': joined(group[4], places)[0]} if i else {} for group in groups],
      {
        'xaxis': marks.ranged(
          new_axis(title),
          np.concatenate([joined(g[4], places)[0] for g in groups]),
          0.02,
        )
      },
    )
    for i, (text, title, places) in enumerate(clocks)
  )


def end_labels(groups: Sequence[tuple], log: bool = False) -> list[dict[str, Any]]:
  """The names of what is highlighted, at the right edge, apart from one another."""
  ends = sorted(
    (g[4][-1].y[-1], g[0].split(',')[0], g[1])
    for g in groups
    if g[0].split(',')[0] in ('winner', 'base')
  )
  seen: dict[str, tuple] = {}
  for y, name, color in ends:
    seen.setdefault(name, (y, name, color))
  out = []
  for i, (y, name, color) in enumerate(seen.values()):
    shift = (
      {'yshift': -9, 'yanchor': 'top'} if i == 0 else {'yshift': 9, 'yanchor': 'bottom'}
    )
    out.append(
      note(
        name,
        1.0,
        math.log10(y) if log else float(y),
        color,
        xref='paper',
        xanchor='right',
        bgcolor='$paper/0.7',
        **shift,
      )
    )
  return out


def loss_range(curves: Sequence[Curve]) -> list[float]:
  """From the lowest to what curves have left after their first few steps: an initial loss flattens all else."""
  low = min(float(c.y.min()) for c in curves)
  early = [float(c.y[min(len(c.y) - 1, max(1, len(c.y) // 12))]) for c in curves]
  high = max(
    float(np.quantile(early, 0.9)), float(np.quantile([c.y[-1] for c in curves], 0.75))
  )
  pad = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
  return [low - 1.5 * pad, high + pad]
