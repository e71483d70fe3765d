"""Live views: text that is drawn in place (by the library rich), in a terminal or a notebook.

The progress of a run and the progress of a sweep both use this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import io
import logging
import math
import sys
import time

from rich.console import Console, RenderableType
from rich.live import Live
from rich.theme import Theme

from lmhp.errors import ConfigError, suggest

MODES = ('auto', 'terminal', 'plain', 'notebook', 'none')
"""Ways to show progress.

'terminal' and 'notebook' draw in place, 'plain' prints lines, and 'none' prints nothing.
`resolve_mode` replaces 'auto' by one of the others."""

THEME = Theme(
  {'title': 'bold', 'metric': 'cyan', 'best': 'green', 'muted': 'dim'},
)
"""Styles of all live views, by name."""

REFRESHES_PER_SECOND = 4
"""Drawings per second in a terminal."""

NOTEBOOK_SECONDS = 1.0
"""Least time between two drawings in a notebook."""

NOTEBOOK_COLUMNS = 110
"""Width of the text in a notebook, in characters."""

# HTML around the text in a notebook. rich puts the text in place of {code}.
_PAGE = '<pre style="font-family:monospace;line-height:normal">{code}</pre>'


def resolve_mode(mode: str) -> str:
  """Returns the mode of the display: 'auto' becomes the mode that fits the output.

  Args:
    mode: One of `MODES`. 'auto' is 'notebook' in a notebook, 'terminal' in a terminal, and
      'plain' elsewhere.

  Raises:
    ConfigError: If `mode` is none of `MODES`.
  """
  if mode not in MODES:
    raise ConfigError(
      f'display: got {mode!r}, expected one of {", ".join(MODES)}{suggest(mode, MODES)}'
    )
  if mode != 'auto':
    return mode
  # A notebook has no terminal, but can redraw its output.
  if in_notebook():
    return 'notebook'
  return 'terminal' if sys.stdout.isatty() else 'plain'


def in_notebook() -> bool:
  """Returns True in the kernel of a notebook, and False in IPython in a terminal."""
  if 'IPython' not in sys.modules:
    return False
  # Only the kernel of a notebook has a section `IPKernelApp` in its config.
  shell = sys.modules['IPython'].get_ipython()
  return shell is not None and 'IPKernelApp' in shell.config


def live_view(
  mode: str, render: Callable[[], RenderableType]
) -> TerminalView | NotebookView:
  """Returns a live view: text that is drawn again in place while it changes.

  Args:
    mode: 'terminal' or 'notebook'.
    render: Function that returns what to draw now. `TerminalView` calls it from a thread.
  """
  return NotebookView(render) if mode == 'notebook' else TerminalView(render)


class TerminalView:
  """A live view in a terminal. A thread draws it several times a second.

  Args:
    render: Function that returns what to draw now.

  Attributes:
    console: Console of the terminal.
  """

  def __init__(self, render: Callable[[], RenderableType]) -> None:
    self.console = Console(theme=THEME)
    self._live = Live(
      console=self.console,
      get_renderable=render,
      refresh_per_second=REFRESHES_PER_SECOND,
    )

  def open(self) -> None:
    """Draws the text for the first time."""
    self._live.start()

  def refresh(self) -> None:
    """Does nothing, because the thread draws."""

  def print(self, text: str) -> None:
    """Prints a line above the text. Markup in it has no effect."""
    self.console.print(text, markup=False, highlight=False)

  def close(self) -> None:
    """Draws the text for the last time, and leaves it on the screen."""
    self._live.stop()


class NotebookView:
  """A live view in the output of a notebook's cell.

  IPython replaces one piece of HTML in place. This needs no widgets, and works wherever
  `IPython.display` does (Jupyter, Colab, VS Code). The last HTML stays in a saved notebook.
  IPython is not a dependency of lmhp, but it is installed wherever a notebook runs.

  Args:
    render: Function that returns what to draw now.
  """

  def __init__(self, render: Callable[[], RenderableType]) -> None:
    self._render = render
    self._drawn_at = -math.inf

  def open(self) -> None:
    from IPython import display

    self._html = display.HTML
    self._handle = display.display(self._html(self._page()), display_id=True)

  def refresh(self) -> None:
    """Draws the text again, unless it was drawn less than `NOTEBOOK_SECONDS` ago."""
    if time.monotonic() - self._drawn_at >= NOTEBOOK_SECONDS:
      self._draw()

  def print(self, text: str) -> None:
    print(text, flush=True)

  def close(self) -> None:
    self._draw()

  def _draw(self) -> None:
    self._drawn_at = time.monotonic()
    # IPython returns no handle if it has no interactive shell.
    if self._handle is not None:
      self._handle.update(self._html(self._page()))

  def _page(self) -> str:
    """Returns the text as HTML."""
    console = Console(
      file=io.StringIO(),
      record=True,
      width=NOTEBOOK_COLUMNS,
      theme=THEME,
      force_jupyter=False,
    )
    console.print(self._render())
    return console.export_html(inline_styles=True, code_format=_PAGE)


# --- log records --------------------------------------------------------------------


class _MessageHandler(logging.Handler):
  """A log handler that turns each record into a message."""

  def __init__(self, message: Callable[[str], None]) -> None:
    super().__init__(logging.INFO)
    self._message = message

  def emit(self, record: logging.LogRecord) -> None:
    self._message(f'{record.levelname.lower()}: {record.getMessage()}')


@contextlib.contextmanager
def log_records_to(message: Callable[[str], None]) -> Iterator[None]:
  """Sends the log records of lmhp to a function, until the end of the `with` block.

  No other handler gets them, so that log lines and a live view do not mix.

  Args:
    message: Function that prints a line.
  """
  # A line that another handler prints would break the bar. So records do not propagate.
  logger = logging.getLogger('lmhp')
  handler = _MessageHandler(message)
  propagated = logger.propagate
  logger.addHandler(handler)
  logger.propagate = False
  try:
    yield
  finally:
    logger.propagate = propagated
    logger.removeHandler(handler)
