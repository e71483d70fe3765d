"""Style of all figures: colours by name, axes, and text that Plotly cannot take for markup.

Plotly reads a subset of HTML in every text that it draws. All text from a person or a file
passes through `plain_text`.
"""

from __future__ import annotations

from collections.abc import Sequence
import html
import math
from typing import cast

import numpy as np
import numpy.typing as npt

from lmhp.analysis.phrases import shortened
from lmhp.analysis.report.document import PlotlyDict
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs

# The hues are those of Okabe and Ito 2008, Color Universal Design. The dark palette has
# lighter ones, for contrast.
PALETTES = {
  'light': {
    'ink': '#1f2328',
    'muted': '#5b636d',
    'grey': '#8a929c',
    'grid': '#e6e4de',
    'axis': '#b9b7b0',
    'paper': '#fdfcf9',
    'blue': '#0072b2',
    'vermillion': '#c84f00',
    'green': '#00805c',
    'purple': '#a3497a',
    'orange': '#b37400',
    'sky': '#2f8fc9',
  },
  'dark': {
    'ink': '#e8e6e1',
    'muted': '#a9adb3',
    'grey': '#7f868f',
    'grid': '#2c3036',
    'axis': '#5a6068',
    'paper': '#16181c',
    'blue': '#63b3ed',
    'vermillion': '#ff9257',
    'green': '#4fd1a5',
    'purple': '#e39cc4',
    'orange': '#f0b94a',
    'sky': '#8fd0f5',
  },
}
SERIES = (
  ('blue', 'circle', 'solid'),
  ('vermillion', 'diamond', 'dash'),
  ('green', 'square', 'dot'),
  ('purple', 'triangle-up', 'dashdot'),
  ('orange', 'cross', 'longdash'),
  ('sky', 'star', 'longdashdot'),
)
"""Colour, symbol and dash of the first, second, ... series. Each alone identifies it."""

FONT = (
  'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
)
UNITS = ('nats', 'steps', 'tokens', 'flops', 'seconds', 'bytes', 'fraction')
MARGIN = {'l': 56, 'r': 20, 't': 26, 'b': 48}


# --- text -------------------------------------------------------------------------------


def plain_text(text: object, length: int = 60) -> str:
  """Returns a text that Plotly draws literally, cut to a length.

  >>> plain_text('<b>a</b> & b')
  '&lt;b&gt;a&lt;/b&gt; &amp; b'
  """
  line = shortened(' '.join(str(text).split()), length)
  return html.escape(line, quote=False)


def name_and_unit(name: str) -> tuple[str, str]:
  """Splits the unit from the name of a column. A dotted path has none.

  >>> name_and_unit('eval_loss_nats'), name_and_unit('optimizer.learning_rate')
  (('eval loss', 'nats'), ('optimizer.learning_rate', ''))
  """
  stem, _, unit = name.rpartition('_')
  if '.' in name:
    return name, ''
  if name == 'flops':
    return 'FLOPs', ''
  if unit not in UNITS or not stem:
    return name.replace('_', ' '), ''
  return stem.replace('_', ' '), 'FLOPs' if unit == 'flops' else unit


def name_with_unit(name: str) -> str:
  """Returns the name of a column as an axis title.

  >>> name_with_unit('eval_loss_nats'), name_with_unit('optimizer.learning_rate')
  ('eval loss (nats)', 'optimizer.learning_rate')
  """
  stem, unit = name_and_unit(name)
  return f'{stem} ({unit})' if unit else stem


# --- axes and layout --------------------------------------------------------------------


def plot_axis(
  title: str, log: bool = False, values: npt.ArrayLike = (), **more: object
) -> PlotlyDict:
  """Returns an axis.

  Args:
    title: Title of the axis.
    log: True for a log axis.
    values: Values that a log axis shows, which determine its ticks.
    **more: Further properties of Plotly.
  """
  axis: PlotlyDict = {
    'title': {'text': plain_text(title, 70), 'standoff': 10},
    'automargin': True,
    'zeroline': False,
    'showline': True,
    'linecolor': '$axis',
    'gridcolor': '$grid',
    'ticks': 'outside',
    'tickcolor': '$axis',
    'ticklen': 4,
  }
  if log:
    positive = np.asarray(values, np.float64)
    positive = positive[np.isfinite(positive) & (positive > 0)]
    decades = math.log10(positive.max() / positive.min()) if positive.size else 1
    axis['type'] = 'log'
    if decades >= 2:
      # Powers of ten, at most eight or so.
      axis |= {'exponentformat': 'power', 'dtick': math.ceil(decades / 8)}
    else:
      # Numbers in full, such as 0.5. Without a format, Plotly writes 5 for it. Ticks are at 1,
      # 2 and 5 times powers of ten, or closer within less than a factor of 5.
      axis |= {'tickformat': ',~g', 'dtick': 'D2' if decades > 0.7 else None}
  return axis | more


def hidden_axis(low: float, high: float, **more: object) -> PlotlyDict:
  """Returns an invisible axis with a fixed range."""
  return {'visible': False, 'range': [low, high], 'fixedrange': True} | more


def is_log(axis: PlotlyDict) -> bool:
  """Returns True for a log axis."""
  return axis.get('type') == 'log'


def range_of(axis: PlotlyDict) -> tuple[float, float]:
  """Returns the range of an axis, in logarithms for a log axis."""
  # A property of Plotly's JSON has no type of its own.
  low, high = cast(Sequence[float], axis['range'])
  return low, high


def with_range(
  axis: PlotlyDict, values: npt.ArrayLike, pad: float = 0.05
) -> PlotlyDict:
  """Returns an axis with the range of some values, if it has no range yet.

  Args:
    axis: The axis.
    values: Values that it must show.
    pad: Space at both ends, as a fraction of the range.
  """
  drawn = np.asarray(values, np.float64)
  if is_log(axis):
    drawn = np.log10(drawn[drawn > 0])
  drawn = drawn[np.isfinite(drawn)]
  if 'range' in axis or not drawn.size:
    return axis
  least = 0.1 * abs(float(drawn.max())) or 0.5
  # Plotly draws powers larger than other ticks.
  has_powers = isinstance(axis.get('dtick'), int)
  font = {'tickfont': {'size': 10.5}} if has_powers else {}
  return {**axis, 'range': padded_range(drawn, pad, least), **font}


def padded_range(values: np.ndarray, pad: float, least: float = 1.0) -> list[float]:
  """Returns the range of the finite values, with space at both ends.

  Args:
    values: Values that the range contains.
    pad: Space as a fraction of the range.
    least: Space if all values are equal.
  """
  finite = values[np.isfinite(values)]
  space = pad * float(np.ptp(finite)) or least
  return [float(finite.min()) - space, float(finite.max()) + space]


def layout(xaxis: PlotlyDict, yaxis: PlotlyDict, **more: object) -> PlotlyDict:
  """Returns the layout of a figure. It has no legend, because series are labelled directly."""
  return {
    'xaxis': dict(xaxis),
    'yaxis': dict(yaxis),
    'showlegend': False,
    'hovermode': 'closest',
    'autosize': True,
    'paper_bgcolor': 'rgba(0,0,0,0)',
    'plot_bgcolor': 'rgba(0,0,0,0)',
    'separators': '.,',
    'font': {'family': FONT, 'size': 13, 'color': '$ink'},
    'margin': MARGIN,
    'hoverlabel': {
      'bgcolor': '$paper',
      'bordercolor': '$axis',
      'font': {'color': '$ink', 'family': FONT},
      'align': 'left',
    },
  } | more


# --- annotations and shapes -------------------------------------------------------------


def annotation(
  text: str, x: float, y: float, color: str = '$muted', **more: object
) -> PlotlyDict:
  """Returns a text in a figure. On a log axis its position is a logarithm."""
  return {
    'text': text,
    'x': x,
    'y': y,
    'showarrow': False,
    'font': {'size': 12, 'color': color},
  } | more


def vertical_line(x: float, color: str, dash: str = 'dot') -> PlotlyDict:
  """Returns a vertical line over the whole figure."""
  return _full_height(x, x) | {
    'type': 'line',
    'line': {'color': color, 'width': 1.25, 'dash': dash},
  }


def vertical_band(low: float, high: float, color: str) -> PlotlyDict:
  """Returns a vertical band over the whole figure."""
  return _full_height(low, high) | {
    'type': 'rect',
    'fillcolor': f'{color}/0.14',
    'line': {'width': 0, 'color': color},
  }


def _full_height(x0: float, x1: float) -> PlotlyDict:
  return {
    'xref': 'x',
    'yref': 'paper',
    'y0': 0,
    'y1': 1,
    'x0': x0,
    'x1': x1,
    'layer': 'below',
  }


def horizontal_line(
  y: float, color: str, width: float = 1, **more: object
) -> PlotlyDict:
  """Returns a dashed horizontal line over the whole figure."""
  return {
    'type': 'line',
    'xref': 'paper',
    'x0': 0,
    'x1': 1,
    'y0': y,
    'y1': y,
    'line': {'color': color, 'width': width, 'dash': 'dash'},
  } | more


# --- positions of a study's values ------------------------------------------------------


def objective_range(runs: Runs) -> tuple[float, float]:
  """Returns the range of losses that a figure shows: complete runs without a far bad tail."""
  finite = np.isfinite(runs.objective)
  complete = finite & (runs.status == 'complete')
  losses = runs.losses[complete if complete.any() else finite]
  if not losses.size:
    return 0.0, 1.0
  low, middle, upper, high = np.quantile(losses, [0, 0.5, 0.75, 1])
  # Losses far above the upper quartile are out of the range.
  if upper > low:
    high = min(high, upper + 4 * (upper - low))
  pad = 0.06 * (high - low) or 0.05 * abs(middle) or 1.0
  return float(low - pad), float(high + pad)


def choices_of(axis: Axis, values: Sequence[object] | np.ndarray) -> list[object]:
  """Returns the choices of an axis, or those among some values if it has none."""
  present = {value for value in values if value is not None}
  return list(axis.choices) or sorted(present, key=repr)


def axis_positions(
  axis: Axis, values: Sequence[object] | np.ndarray
) -> tuple[np.ndarray, PlotlyDict]:
  """Returns the positions of values on a hyperparameter's axis, and the axis.

  The position of a choice is its index.
  """
  if axis.is_number:
    numbers = np.asarray(values, np.float64)
    return numbers, plot_axis(axis.name, axis.log, np.r_[numbers, axis.low, axis.high])
  # Choices have positions 0, 1, 2, ...
  choices = choices_of(axis, values)
  positions = [choices.index(v) if v in choices else np.nan for v in values]
  return np.array(positions, np.float64), plot_axis(
    axis.name,
    tickvals=list(range(len(choices))),
    ticktext=[plain_text(choice, 24) for choice in choices],
    range=[-0.6, len(choices) - 0.4],
  )
