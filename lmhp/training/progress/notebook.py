"""A live picture of a run in a notebook: one piece of HTML with an inline SVG, which IPython replaces in place.

No widgets and no plotting library: it works wherever `display` does (Jupyter, Colab, VS Code), and stays in the saved
notebook. IPython is not a dependency: it is there where a notebook is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import html as _escape
import sys

WIDTH, HEIGHT, LEFT, BOTTOM = (
  480,
  160,
  44,
  18,
)  # of the picture and of its margins, in pixels
COLORS = ('#1f77b4', '#d62728')
MAX_POINTS = 400  # of a curve: what the picture can show


def running() -> bool:
  """Whether this Python is a notebook's kernel; IPython in a terminal is not."""
  if 'IPython' not in sys.modules:
    return False
  shell = sys.modules['IPython'].get_ipython()
  return shell is not None and 'IPKernelApp' in shell.config


class Picture:
  """A piece of HTML on the page, which can be replaced."""

  def __init__(self, html: str):
    from IPython import display

    self._as_html = display.HTML
    self._handle = display.display(display.HTML(html), display_id=True)

  def redraw(self, html: str) -> None:
    """Replaces it."""
    self._handle.update(self._as_html(html))


def html(
  title: str,
  fraction: float,
  words: str,
  curves: Mapping[str, Sequence[tuple[int, float]]],
  last_x: int,
) -> str:
  """A title, a bar, a line of words, and curves in one plot.

  Args:
    title: in bold.
    fraction: of the bar that is full, in [0, 1].
    words: the line below the bar.
    curves: finite points (x, y) by name; empty ones are left out.
    last_x: right end of the x axis, which begins at 0.
  """
  bar = (
    f'<div style="width:{WIDTH}px;height:6px;background:#ddd"><div style="width:{fraction:.1%};height:6px;'
    f'background:{COLORS[0]}"></div></div>'
  )
  text = f'<b>{_escape.escape(title)}</b>{bar}<code style="white-space:pre">{_escape.escape(words)}</code>'
  return f'<div>{text}<br>{_plot({k: v for k, v in curves.items() if v}, max(last_x, 1))}</div>'


def _plot(curves: Mapping[str, Sequence[tuple[int, float]]], last_x: int) -> str:
  if not curves:
    return ''
  low = min(y for points in curves.values() for _, y in points)
  high = max(y for points in curves.values() for _, y in points)
  span = (high - low) or 1.0
  x_of = lambda x: LEFT + (WIDTH - LEFT) * x / last_x
  y_of = lambda y: 4 + (HEIGHT - BOTTOM - 8) * (1 - (y - low) / span)
  parts = [_label(0, y_of(y) + 4, f'{y:.3g}') for y in dict.fromkeys((high, low))]
  parts += [
    _label(LEFT, HEIGHT - 4, '0'),
    _label(WIDTH, HEIGHT - 4, f'{last_x:,}', 'end'),
  ]
  for color, (name, points) in zip(COLORS, curves.items()):
    shown = points[:: -(-len(points) // MAX_POINTS)]
    shown = shown if shown[-1] == points[-1] else [*shown, points[-1]]
    path = ' '.join(f'{x_of(x):.1f},{y_of(y):.1f}' for x, y in shown)
    parts.append(
      f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{path}"/>'
    )
    parts.append(
      f'<circle r="2.5" fill="{color}" cx="{x_of(points[-1][0]):.1f}" cy="{y_of(points[-1][1]):.1f}"/>'
    )
    parts.append(_label(WIDTH, 12 if color == COLORS[0] else 26, name, 'end', color))
  return f'<svg width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="11">{"".join(parts)}</svg>'


def _label(
  x: float, y: float, text: str, anchor: str = 'start', color: str = 'gray'
) -> str:
  return f'<text x="{x:.0f}" y="{y:.0f}" fill="{color}" text-anchor="{anchor}">{_escape.escape(text)}</text>'
