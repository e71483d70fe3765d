"""How a sweep shows itself while it goes on: a table and curves in a terminal or a notebook, lines with the time else.

A display that fails never ends a study: that is said once, and plain lines go on. lmhp's log records go through it, so
that lines and picture never mix.
"""

from __future__ import annotations

import contextlib
import datetime
from html import escape
import math
import time
from typing import Any, Callable, Iterable, Mapping, Sequence

import numpy as np

from lmhp.sweeping.progress.board import Board, Running, View
from lmhp.training.progress import notebook
from lmhp.training.progress.live import log_records_to, resolve_mode

BLOCKS = '▁▂▃▄▅▆▇█'
COLORS = {'best': '#2ca02c', 'median': '#1f77b4', 'worst': '#aaaaaa'}
ROWS = 20  # of a notebook's table, at most


def progress(sweep: Any, name: str, mode: str = 'auto') -> StudyProgress:
  """Shows a sweep's progress; use it in a `with`.

  Args:
    sweep: what was asked for, a `SweepConfig`.
    name: of the study.
    mode: `auto` looks where it runs; the other `lmhp.training.progress.live.MODES` insist.

  Raises:
    ConfigError: for another mode.
  """
  mode = resolve_mode(mode)
  looks = {'terminal': _Terminal, 'plain': _Lines, 'notebook': _Notebook}
  return StudyProgress() if mode == 'none' else _Shown(Board(sweep, name), looks[mode])


class StudyProgress:
  """The interface, and what shows nothing."""

  def __enter__(self) -> StudyProgress:
    return self

  def __exit__(self, *exception) -> None:
    pass

  def plan(self, plan: Any, trials: Iterable[Any]) -> None:
    """What the search will be, and the trials that are there."""

  def compiling(self, text: str) -> None:
    """What is being compiled or measured before packs can run; '' when it is done."""

  def pack(self, pack: Any) -> None:
    """A pack begins."""

  def step(self, pack: Any, step: int, metrics: Mapping[str, Any]) -> None:
    """A pack has come to a step: `{loss: (members,)}`, and maybe `tokens_per_second` of all its members."""

  def trials(self, trials: Iterable[Any]) -> None:
    """The study has new trials, or new results."""

  def message(self, text: str) -> None:
    """Says something in words."""


class _Shown(StudyProgress):
  """Keeps a board and its look; lets neither's mistakes out; takes lmhp's log records while it is open."""

  def __init__(self, board: Board, look: type[_Lines]):
    self._board, self._look, self._failed = board, look(board), False

  def __enter__(self) -> StudyProgress:
    self._logs = log_records_to(self.message)
    self._logs.__enter__()
    self._safely(lambda: self._look.open())
    return self

  def __exit__(self, *exception) -> None:
    self._safely(lambda: self._look.close())
    self._logs.__exit__(None, None, None)

  def plan(self, plan: Any, trials: Iterable[Any]) -> None:
    self._tell(lambda: self._board.plan(plan, trials))

  def compiling(self, text: str) -> None:
    self._tell(lambda: self._board.compiling(text), soon=True)

  def pack(self, pack: Any) -> None:
    self._tell(lambda: self._board.pack(pack), soon=True)

  def step(self, pack: Any, step: int, metrics: Mapping[str, Any]) -> None:
    self._tell(lambda: self._board.step(pack, step, metrics))

  def trials(self, trials: Iterable[Any]) -> None:
    self._tell(lambda: self._board.trials(trials))

  def message(self, text: str) -> None:
    self._safely(lambda: self._look.message(text))

  def _tell(self, event: Callable[[], Any], soon: bool = False) -> None:
    def told() -> Any:
      with (
        self._board.lock
      ):  # and not around what closes a picture: its thread may be waiting for the lock
        return event()

    ended = self._safely(told)
    self._safely(lambda: self._look.draw(ended or (), soon))

  def _safely(self, call: Callable[[], Any]) -> Any:
    """Calls; where that fails for the first time, says so and calls again with plain lines in the picture's place."""
    try:
      return call()
    except Exception as error:  # whatever it is: the study is worth more
      if self._failed:
        return None
      self._failed, failed, self._look = True, self._look, _Lines(self._board)
      said = f'the display failed ({type(error).__name__}: {error}); the study goes on, in plain lines'
    for again in (failed.close, lambda: self._look.message(said)):
      with contextlib.suppress(Exception):
        again()
    return self._safely(call)


class _Lines:
  """A line with the time for each pack's end and each message: for a pipe, a file, a batch system's log."""

  def __init__(self, board: Board):
    self.board = board

  def open(self) -> None:
    """Begins."""

  def close(self) -> None:
    """Ends, with a last picture where there is one."""

  def draw(self, ended: Sequence[Any], soon: bool) -> None:
    """The board has changed: packs have ended, or something begins that may take a while, and is to be seen soon."""
    for pack in ended:
      self.message(
        f'{pack.name}: {len(pack.trials)} trials to step {pack.last_step:,}  {self.board.words()}'
      )

  def message(self, text: str) -> None:
    """Says something in words."""
    print(f'{datetime.datetime.now():%Y-%m-%d %H:%M:%S}  {text}', flush=True)


class _Terminal(_Lines):
  """As much of the board as the screen holds, drawn four times a second by a thread."""

  _error: Exception | None = None  # of that thread

  def open(self) -> None:
    from rich import console, live

    self._console = console.Console()
    self._live = live.Live(
      console=self._console, get_renderable=self._render, refresh_per_second=4
    )
    self._live.start()

  def close(self) -> None:
    self._live.stop()

  def draw(self, ended: Sequence[Any], soon: bool) -> None:
    if self._error is not None:
      raise self._error

  def message(self, text: str) -> None:
    self._console.print(text, markup=False, highlight=False)

  def _render(self) -> Any:
    from rich.text import Text

    try:
      with self.board.lock:
        return screen(self.board, *self._console.size)
    except Exception as error:  # raised where the study's thread comes by
      self._error = error
      return Text('')


def screen(board: Board, width: int, height: int) -> Any:
  """The board for rich, at most so wide and so high, in characters."""
  from rich.console import Group
  from rich.text import Text

  curves = 4 if height >= 16 else 0
  view = board.view(max(1, height - curves - 9))
  line = lambda text, style='': Text(text, style, no_wrap=True, overflow='ellipsis')
  parts = [
    line(board.name, 'bold'),
    line(view.words),
    *(line(text, 'cyan') for text in view.now[:2]),
    line(''),
  ]
  table, unseen = _table(view, width)
  hidden = [f'{view.hidden:,} more trials'] * (view.hidden > 0) + [
    f'columns {", ".join(unseen)}'
  ] * bool(unseen)
  parts += [table] if view.rows else []
  parts += [line(f'not shown: {"; ".join(hidden)}', 'dim')] * bool(hidden)
  if view.shown is not None and curves:
    parts += [line(''), *(line(text) for text in sparklines(view.shown, width))]
  return Group(*parts)


def _table(view: View, width: int) -> tuple[Any, list[str]]:
  """The table for rich, and the names of the columns for which it has no room."""
  from rich.table import Table
  from rich.text import Text

  widths = [
    max(map(len, cells)) + 2
    for cells in zip(view.columns, *(row.cells for row in view.rows))
  ]
  n, shown, free = len(widths), [], width
  for i in (0, n - 1, n - 4, n - 3, *range(1, n - 4), n - 2):  # what matters most
    if widths[i] <= free:
      shown, free = [*shown, i], free - widths[i]
  shown.sort()
  table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style='bold')
  for i in shown:
    table.add_column(
      Text(view.columns[i]),
      justify='left' if view.columns[i] == 'status' else 'right',
      no_wrap=True,
    )
  for row in view.rows:
    style = 'green' if row.best else '' if row.running else 'dim'
    table.add_row(*(Text(row.cells[i]) for i in shown), style=style)
  return table, [view.columns[i] for i in range(len(widths)) if i not in shown]


def sparklines(running: Running, width: int) -> list[str]:
  """A pack's loss: a heading, and the curves of its best, median and worst member on one scale.

  The scale is that of best and median: a member that diverges is cut off at the top.
  """
  lines = running.lines()
  if not lines['best']:
    return [f"{running.loss} of {running.pack.name}: no member's is finite"]
  low, high = min(y for _, y in lines['best']), max(y for _, y in lines['median'])
  texts = [
    f'{running.loss} of {running.pack.name} to step {running.step:,}, from {low:.4g} to {high:.4g}'
  ]
  xs = np.linspace(running.pack.first_step, running.step, max(10, min(60, width - 24)))
  for name, points in lines.items():
    steps, losses = np.array(points).T
    heights = np.clip(
      (np.interp(xs, steps, losses) - low) / ((high - low) or 1.0), 0, 1
    )
    texts.append(
      f'{name:<8}{"".join(BLOCKS[round(7 * h)] for h in heights)}  {losses[-1]:.4f}'
    )
  return texts


class _Notebook(_Lines):
  """The board as HTML, redrawn in place."""

  every_seconds = 1.0
  _drawn_at = -math.inf

  def open(self) -> None:
    self._picture = notebook.Picture(page(self.board))

  def close(self) -> None:
    self._picture.redraw(page(self.board))

  def draw(self, ended: Sequence[Any], soon: bool) -> None:
    if time.monotonic() - self._drawn_at >= self.every_seconds * (0.2 if soon else 1.0):
      self._drawn_at = time.monotonic()
      self._picture.redraw(page(self.board))

  def message(self, text: str) -> None:
    print(text, flush=True)


def page(board: Board) -> str:
  """The board as HTML: how far it is, the curves of the pack that runs, the best trials."""
  view = board.view(ROWS)
  head = notebook.html(
    board.name, view.fraction, '\n'.join((view.words, *view.now)), {}, 1
  )
  curves = _svg(view.shown) if view.shown else ''
  left = lambda name: 'left' if name == 'status' else 'right'
  cell = lambda tag, name, text: (
    f'<{tag} style="text-align:{left(name)};padding:1px 8px">{escape(text)}</{tag}>'
  )
  rows = [''.join(cell('th', name, name) for name in view.columns)]
  rows += [
    ''.join(
      cell('th' if r.best else 'td', *pair) for pair in zip(view.columns, r.cells)
    )
    for r in view.rows
  ]
  table = ''.join(f'<tr>{row}</tr>' for row in rows) if view.rows else ''
  hidden = f'<i>not shown: {view.hidden:,} more trials</i>' if view.hidden else ''
  return (
    f'<div>{head}{curves}<table style="font-size:12px">{table}</table>{hidden}</div>'
  )


def _svg(running: Running) -> str:
  """The curves of a pack's best, median and worst member, on the scale of best and median."""
  lines, width, height = running.lines(), notebook.WIDTH, notebook.HEIGHT
  if not lines['best']:
    return ''
  low, high = min(y for _, y in lines['best']), max(y for _, y in lines['median'])
  first, last = (
    running.pack.first_step,
    max(running.pack.last_step, running.pack.first_step + 1),
  )
  x_of = lambda x: (
    notebook.LEFT + (width - notebook.LEFT) * (x - first) / (last - first)
  )
  y_of = lambda y: (
    4
    + (height - notebook.BOTTOM - 8) * (1 - min((y - low) / ((high - low) or 1.0), 1.0))
  )
  label = notebook._label
  parts = [
    label(0, y_of(high) + 4, f'{high:.4g}'),
    label(0, y_of(low) + 4, f'{low:.4g}'),
    label(notebook.LEFT, height - 4, f'{first:,}'),
    label(width, height - 4, f'{last:,}', 'end'),
    label(width / 2, height - 4, f'{running.loss} of {running.pack.name}', 'middle'),
  ]
  for i, (name, points) in reversed(list(enumerate(lines.items()))):
    path = ' '.join(f'{x_of(x):.1f},{y_of(y):.1f}' for x, y in points)
    parts.append(
      f'<polyline fill="none" stroke="{COLORS[name]}" stroke-width="1.5" points="{path}"/>'
    )
    parts.append(
      label(width, 12 + 14 * i, f'{name} {points[-1][1]:.4f}', 'end', COLORS[name])
    )
  return f'<svg width="{width}" height="{height}" font-family="sans-serif" font-size="11">{"".join(parts)}</svg>'
