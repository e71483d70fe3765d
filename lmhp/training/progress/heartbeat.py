"""A thread that prints a line if nothing else was printed for some time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import threading
from time import monotonic

from lmhp.training.progress.formats import timestamped
from lmhp.training.progress.live import resolve_mode

SILENT_SECONDS = 15.0
"""Time without a line after which a line is printed."""

CHECK_SECONDS = 0.5
"""Longest time from one check to the next."""


class Heartbeat:
  """Prints a line after each `SILENT_SECONDS` without another line.

  Args:
    print_line: Function that prints the present state. It runs in another thread, and errors in
      it are ignored.
  """

  def __init__(self, print_line: Callable[[], None]):
    self._print_line = print_line
    self._printed_at = monotonic()
    self._ended = threading.Event()
    self._thread: threading.Thread | None = None

  def start(self) -> None:
    """Starts the thread."""
    self.note_line()
    self._thread = threading.Thread(
      target=self._run, name='lmhp-heartbeat', daemon=True
    )
    self._thread.start()

  def stop(self) -> None:
    """Ends the thread."""
    self._ended.set()
    if self._thread is not None and self._thread is not threading.current_thread():
      self._thread.join()

  def note_line(self) -> None:
    """Notes that a line was printed now."""
    self._printed_at = monotonic()

  def _run(self) -> None:
    while not self._ended.wait(min(CHECK_SECONDS, SILENT_SECONDS / 4)):
      if monotonic() - self._printed_at >= SILENT_SECONDS:
        self.note_line()
        with contextlib.suppress(Exception):
          self._print_line()


@contextlib.contextmanager
def announced(activity: str, mode: str) -> Iterator[None]:
  """Prints a line on what happens before a display begins, after each `SILENT_SECONDS`.

  Args:
    activity: What happens in the `with` block, such as "reading the data".
    mode: Mode of the display, one of `lmhp.training.progress.live.MODES`.
  """
  if resolve_mode(mode) == 'none':
    yield
    return
  start = monotonic()

  def print_line() -> None:
    print(timestamped(f'{activity}, {monotonic() - start:.0f} s'), flush=True)

  heartbeat = Heartbeat(print_line)
  heartbeat.start()
  try:
    yield
  finally:
    heartbeat.stop()
