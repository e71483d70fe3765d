"""SIGTERM and Ctrl-C as a flag, so that a run saves its state before it goes."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import Iterator


class Stop:
  """True once a signal asked the run to stop."""

  def __init__(self):
    self.signal: int | None = None

  def __bool__(self) -> bool:
    return self.signal is not None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
  """Turns SIGTERM and the first Ctrl-C into a flag; a second Ctrl-C interrupts as usual.

  Outside the main thread Python takes no signals, and the flag stays down. A signal that is ignored stays ignored: a
  shell's background job is not stopped by the Ctrl-C meant for another.
  """
  stop = Stop()
  if threading.current_thread() is not threading.main_thread():
    yield stop
    return

  def note(number, frame):
    if stop.signal == signal.SIGINT and number == signal.SIGINT:
      raise KeyboardInterrupt
    stop.signal = number

  before = {
    number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
  }
  taken = [
    number
    for number, handler in before.items()
    if handler not in (signal.SIG_IGN, None)
  ]  # None: not Python's
  try:
    for number in taken:
      signal.signal(number, note)
    yield stop
  finally:
    for number in taken:
      signal.signal(number, before[number])
