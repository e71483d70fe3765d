"""What all figures share: colours by name, axes, text that Plotly cannot take for markup.

Plotly reads a subset of HTML in every text it draws. `label` is the one door for a string that a person or a file made.
"""

from __future__ import annotations

import math
import re
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.report.document import Figure, plain
from lmhp.analysis.runs.table import Axis, Runs

# Source of the hues: Okabe and Ito 2008, Color Universal Design; those of the dark made lighter for contrast.
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
"""Colour, symbol and dash of a figure's first, second, ... series: each tells it alone."""

FONT = (
  'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
)
UNITS = ('nats', 'steps', 'tokens', 'flops', 'seconds', 'bytes', 'fraction')


def label(text: Any, length: int = 60) -> str:
  """A string as Plotly draws it letter by letter, cut to a length.

  >>> label('<b>a</b> & b')
  '&lt;b&gt;a&lt;/b&gt; &amp; b'
  """
  text = ' '.join(str(text).split())
  text = text if len(text) <= length else text[: length - 1] + '…'
  return text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')


def with_unit(name: str) -> str:
  """A column's name as an axis says it, its unit apart.

  >>> with_unit('eval_loss_nats'), with_unit('optimizer.learning_rate')
  ('eval loss (nats)', 'optimizer.learning_rate')
  """
  stem, _, unit = name.rpartition('_')
  if '.' in name or unit not in UNITS or not stem:
    return name if '.' in name else name.replace('_', ' ')
  return f'{stem.replace("_", " ")} ({"FLOPs" if unit == "flops" else unit})'


def axis(
  title: str, log: bool = False, values: Any = (), **more: Any
) -> dict[str, Any]:
  """An axis; `values` are what it must show, from which a log axis has its ticks."""
  out = {
    'title': {'text': label(title, 70), 'standoff': 10},
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
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values) & (values > 0)]
    decades = math.log10(values.max() / values.min()) if values.size else 1
    out |= {
      'type': 'log',
      'exponentformat': 'power',
      'dtick': math.ceil(decades / 8) if decades >= 2 else 'D2',
    }
  return out | more


def layout(
  xaxis: Mapping[str, Any], yaxis: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
  """A figure's layout: quiet, without a legend (what is drawn is labelled where it is)."""
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
    'margin': {'l': 56, 'r': 20, 't': 26, 'b': 48},
    'hoverlabel': {
      'bgcolor': '$paper',
      'bordercolor': '$axis',
      'font': {'color': '$ink', 'family': FONT},
      'align': 'left',
    },
  } | more


def note(
  text: str, x: float, y: float, color: str = '$muted', **more: Any
) -> dict[str, Any]:
  """A direct label. On a log axis Plotly wants the logarithm of its place."""
  return {
    'text': text,
    'x': x,
    'y': y,
    'showarrow': False,
    'font': {'size': 12, 'color': color},
  } | more


def above(text: str, x: float, color: str = '$muted', **more: Any) -> dict[str, Any]:
  """A direct label over a vertical line."""
  return note(text, x, 1.0, color, yref='paper', yanchor='bottom', **more)


def vertical(
  x: float, color: str, dash: str = 'dot', x1: float | None = None
) -> dict[str, Any]:
  """A vertical line at x, or the band from x to x1."""
  base = {
    'xref': 'x',
    'yref': 'paper',
    'y0': 0,
    'y1': 1,
    'x0': x,
    'x1': x if x1 is None else x1,
    'layer': 'below',
  }
  if x1 is None:
    return base | {
      'type': 'line',
      'line': {'color': color, 'width': 1.25, 'dash': dash},
    }
  return base | {
    'type': 'rect',
    'fillcolor': f'{color}/0.14',
    'line': {'width': 0, 'color': color},
  }


def band(
  x: Any, low: Any, high: Any, color: str = '$blue', **more: Any
) -> dict[str, Any]:
  """The area between two curves."""
  x, low, high = (np.asarray(a, np.float64) for a in (x, low, high))
  known = np.isfinite(low) & np.isfinite(high)
  x, low, high = x[known], low[known], high[known]
  return {
    'type': 'scatter',
    'mode': 'lines',
    'x': np.r_[x, x[::-1]],
    'y': np.r_[high, low[::-1]],
    'fill': 'toself',
    'fillcolor': f'{color}/0.16',
    'line': {'width': 0, 'color': color},
    'hoverinfo': 'skip',
    'name': 'interval',
  } | more


def shown_range(runs: Runs) -> tuple[float, float]:
  """Of the objective what a figure shows: all that came to their end, but for a far tail on the bad side."""
  losses = runs.losses[(runs.status == 'complete') & np.isfinite(runs.objective)]
  losses = losses if losses.size else runs.losses[np.isfinite(runs.objective)]
  if not losses.size:
    return 0.0, 1.0
  low, middle, upper = np.quantile(losses, [0, 0.5, 0.75])
  high = min(losses.max(), upper + 4 * (upper - low) if upper > low else losses.max())
  pad = 0.06 * (high - low) or 0.05 * abs(middle) or 1.0
  return float(low - pad), float(high + pad)


def on_axis(column: Axis, values: Sequence[Any]) -> tuple[np.ndarray, dict[str, Any]]:
  """Where values lie on a hyperparameter's axis, and that axis: a choice's are its places, 0 and up."""
  if column.kind == 'number':
    values = np.asarray(values, np.float64)
    return values, axis(column.name, column.log, np.r_[values, column.low, column.high])
  choices = list(column.choices) or sorted(
    {v for v in values if v is not None}, key=repr
  )
  places = np.array(
    [choices.index(v) if v in choices else np.nan for v in values], np.float64
  )
  return places, axis(
    column.name,
    tickvals=list(range(len(choices))),
    ticktext=[label(c, 24) for c in choices],
    range=[-0.6, len(choices) - 0.4],
  )


def place(x: float, log: bool) -> float:
  """A value as an annotation's place on its axis."""
  return math.log10(x) if log else float(x)


def resolved(figure: Figure, theme: str = 'light') -> dict[str, Any]:
  """What `plotly.graph_objects.Figure` takes, for a notebook: colours of a theme, no views.

  >>> resolved(Figure('f', 'F', '', [{'x': [1], 'line': {'color': '$blue/0.5'}}], {}))[
  ...   'data'
  ... ][0]['line']
  {'color': 'rgba(0,114,178,0.5)'}
  """
  titled = {
    **figure.layout,
    'height': figure.height,
    'title': {'text': label(figure.title)},
  }
  titled['margin'] = {**titled.get('margin', {}), 't': 60}
  return _coloured(
    {'data': plain(list(figure.data)), 'layout': plain(titled)}, PALETTES[theme]
  )


def _coloured(value: Any, palette: Mapping[str, str], key: str = '') -> Any:
  if isinstance(value, dict):
    return {k: _coloured(v, palette, k) for k, v in value.items()}
  if isinstance(value, list):
    return [_coloured(v, palette, key) for v in value]
  if (
    isinstance(value, str)
    and 'color' in key
    and (token := re.fullmatch(r'\$(\w+)(?:/([\d.]+))?', value))
  ):
    rgb = palette[token[1]]
    return (
      f'rgba({",".join(str(int(rgb[i : i + 2], 16)) for i in (1, 3, 5))},{token[2]})'
      if token[2]
      else rgb
    )
  return value
