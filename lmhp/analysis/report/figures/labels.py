"""Labels of figures that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

from lmhp.analysis.report.document import PlotlyDict
from lmhp.analysis.report.figures.style import annotation, is_log, range_of

NARROW = 300
"""Width in pixels of a figure on a phone, in which labels must not overlap."""
LETTER = 6.4
"""Width of a letter in pixels."""
ROW = 16
"""Height of a row of labels in pixels."""


@dataclasses.dataclass(frozen=True)
class Label:
  """A label above a figure: text, value on the axis, and colour."""

  text: str
  value: float
  color: str


def ring(
  x: float, y: float, text: str, axis: PlotlyDict, below: bool = True
) -> tuple[PlotlyDict, PlotlyDict]:
  """Returns a ring around a point, and its label.

  Args:
    x: Position across.
    y: Position up.
    text: Text of the label.
    axis: Axis across, with a range.
    below: True if the label is below the ring.
  """
  color = '$vermillion'
  trace: PlotlyDict = {
    'type': 'scatter',
    'mode': 'markers',
    'x': [x],
    'y': [y],
    'hoverinfo': 'skip',
    'cliponaxis': False,
    'marker': {
      'symbol': 'circle-open',
      'size': 15,
      'color': color,
      'line': {'color': color, 'width': 2},
    },
  }
  label_x, anchor, _ = _place_label(text, x, axis, NARROW)
  return trace, annotation(
    text,
    label_x,
    y,
    color,
    xanchor=anchor,
    yanchor='top' if below else 'bottom',
    yshift=-9 if below else 9,
  )


def _place_label(
  text: str, value: float, axis: PlotlyDict, width: float
) -> tuple[float, str, float]:
  """Places a label so that it stays between the ends of an axis.

  Returns:
    The position on the axis, the anchor, and the left end in pixels.
  """
  low, high = range_of(axis)
  # Place on the axis as a fraction of its length, cut to the figure.
  position = math.log10(value) if is_log(axis) and value > 0 else float(value)
  fraction = min(max((position - low) / (high - low), 0.0), 1.0)
  size = LETTER * len(text)
  anchor = 'center'
  start = fraction * width - size / 2
  # A label that would leave the figure is anchored at the side it would cross.
  if start < 0:
    anchor = 'left'
    start = fraction * width
  elif start + size > width:
    anchor = 'right'
    start = fraction * width - size
  return low + fraction * (high - low), anchor, start


def stack_labels(
  labels: Sequence[Label], axis: PlotlyDict, width: float = NARROW
) -> tuple[list[PlotlyDict], int]:
  """Places labels above a figure, in rows so that they do not overlap.

  Args:
    labels: Labels, the most important first.
    axis: Axis across, with a range.
    width: Width between the ends of the axis, in pixels.

  Returns:
    Annotations, and the top margin in pixels that they need.

  >>> labels = [Label('first', 1.0, '$ink'), Label('second', 1.1, '$ink')]
  >>> annotations, top = stack_labels(labels, {'range': [0, 10]})
  >>> [each['yshift'] for each in annotations]
  [5, 21]
  """
  rows: list[list[tuple[float, float]]] = [[] for _ in labels]
  annotations = []
  for label in labels:
    x, anchor, start = _place_label(label.text, label.value, axis, width)
    end = start + LETTER * len(label.text) + 10
    # The lowest row in which the label overlaps no other.
    row = next(
      i
      for i, spans in enumerate(rows)
      if all(end <= low or start >= high for low, high in spans)
    )
    rows[row].append((start, end))
    annotations.append(
      annotation(
        label.text,
        x,
        1.0,
        label.color,
        yref='paper',
        yanchor='bottom',
        xanchor=anchor,
        yshift=5 + ROW * row,
      )
    )
  return annotations, 14 + ROW * max(sum(map(bool, rows)), 1)
