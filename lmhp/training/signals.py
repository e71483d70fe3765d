"""SIGTERM, SIGHUP and Ctrl-C as a flag, so that a run saves its state before it stops."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import signal
import threading
from types import FrameType

_HANGUP: signal.Signals | None = getattr(signal, 'SIGHUP', None)
"""The signal of a closed terminal. Windows has none."""


class Stop:
  """A flag that is true after a signal.

  Attributes:
    signal: Number of the latest signal, or None.
  """

  def __init__(self) -> None:
    self.signal: int | None = None

  def __bool__(self) -> bool:
    return self.signal is not None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
  """Turns SIGTERM, SIGHUP and the first Ctrl-C into a flag.

  A second Ctrl-C interrupts as usual. A terminal that is closed sends SIGHUP.

  Python handles signals in the main thread alone. In other threads, the flag stays false. A
  signal that the process ignores stays ignored. A shell lets its background jobs ignore Ctrl-C,
  so that a Ctrl-C for another job does not stop them.
  """
  stop = Stop()
  # Only the main thread may set handlers.
  if threading.current_thread() is not threading.main_thread():
    yield stop
    return

  # A closed terminal is no longer recognized as one.
  terminals = _terminals()

  def set_flag(number: int, frame: FrameType | None) -> None:
    del frame
    # A second Ctrl-C interrupts at once.
    if stop.signal == signal.SIGINT and number == signal.SIGINT:
      raise KeyboardInterrupt
    stop.signal = number
    if number == _HANGUP:
      _discard_output(terminals)

  # Leave out ignored signals, and handlers that Python did not set: they are None here, and
  # cannot be restored.
  numbers = [signal.SIGTERM, signal.SIGINT]
  if _HANGUP is not None:
    numbers.append(_HANGUP)
  handlers = {n: signal.getsignal(n) for n in numbers}
  previous = {n: h for n, h in handlers.items() if h not in (signal.SIG_IGN, None)}
  try:
    for number in previous:
      signal.signal(number, set_flag)
    yield stop
  finally:
    for number, handler in previous.items():
      signal.signal(number, handler)


def _terminals() -> list[int]:
  """Returns the descriptors of the standard output and errors that are a terminal."""
  return [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]


def _discard_output(descriptors: list[int]) -> None:
  """Discards the output to terminals that are closed. A write to them would raise an error."""
  nowhere = os.open(os.devnull, os.O_WRONLY)
  for descriptor in descriptors:
    os.dup2(nowhere, descriptor)
  os.close(nowhere)
