"""Journal of the starts of a pack: `starts.jsonl` in the directory of the pack.

An operating system that is short of memory kills a process, which raises no error. A device that
is short of memory may also make no progress at all. So each start of a pack is written before it
begins, and its first update and its end are written, too. The next process knows from them that
the pack needs fewer members.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import json
import logging
import os
import threading
import time

from etils import epath

from lmhp.errors import is_out_of_memory

FILE = 'starts.jsonl'

MAX_KILLS = 2
"""Number of starts, killed before their first update, after which a pack is run narrower."""

STUCK_SECONDS = 1800.0
"""Time without an update after which a pack counts as stuck."""

_log = logging.getLogger(__name__)


class OutOfMemory(Exception):
  """A pack, or the measurement of its program, does not fit in memory."""


class PackStarts:
  """The starts of one pack.

  Args:
    directory: Directory of the pack.
    name: Name of the pack, for messages.
  """

  def __init__(self, directory: epath.Path, name: str):
    self.path = directory / FILE
    self.name = name
    self._has_stepped = False
    self._is_running = threading.Event()

  def failure(self) -> str | None:
    """Returns the reason for which the pack is not run again with this width, or None."""
    kills = 0
    is_open = False
    is_stuck = False
    for event in self._events():
      if event == 'out of memory':
        return 'out of memory'
      if event == 'start':
        # The start before this one neither made an update nor ended.
        kills += is_open
        is_open = True
      elif event == 'stuck':
        is_stuck = True
      else:
        # A pack that makes an update after a long time is slow, but not stuck.
        is_open = False
        is_stuck = False
        if event == 'step':
          kills = 0
    kills += is_open
    if is_stuck:
      return f'no update within {STUCK_SECONDS:.0f} s'
    if kills >= MAX_KILLS:
      return f'killed {kills} times before an update, as a system without memory does'
    return None

  def _events(self) -> list[str]:
    """Returns the events of all processes, in order. A line that was cut off is left out."""
    if not self.path.exists():
      return []
    events = []
    for line in self.path.read_text().splitlines():
      with contextlib.suppress(ValueError, TypeError, KeyError):
        events.append(str(json.loads(line)['event']))
    return events

  def note(self, event: str) -> None:
    """Appends an event, and writes it to the disk."""
    self.path.parent.mkdir(parents=True, exist_ok=True)
    record = {'event': event, 'time': round(time.time(), 3), 'process': os.getpid()}
    # A remote file cannot be appended to, so it is written anew.
    old = self.path.read_text() if self.path.exists() else ''
    self.path.write_text(f'{old}{json.dumps(record)}\n')

  def note_step(self) -> None:
    """Notes the first update."""
    if not self._has_stepped:
      self._has_stepped = True
      self.note('step')

  @contextlib.contextmanager
  def running(self) -> Iterator[None]:
    """Notes the start and the end of the `with` block.

    Raises:
      OutOfMemory: If the block raised an error for a lack of memory.
    """
    self.note('start')
    ended = threading.Event()
    watch = threading.Thread(
      target=self._watch, args=(ended,), name='lmhp-watch', daemon=True
    )
    watch.start()
    reason = 'end'
    try:
      yield
    except Exception as error:
      if not is_out_of_memory(error):
        raise
      reason = 'out of memory'
    finally:
      # An error or a signal is an end, too. Only a kill leaves a start without an end.
      ended.set()
      watch.join()
      self.note(reason)
    if reason != 'end':
      # The error is not kept as the cause: its frames hold the arrays that take the memory.
      raise OutOfMemory(self.name)

  def _watch(self, ended: threading.Event) -> None:
    """Notes that the pack is stuck if it makes no update for a long time."""
    if ended.wait(STUCK_SECONDS) or self._has_stepped:
      return
    self.note('stuck')
    _log.warning(
      '%s: no update within %d s; if this process is stopped, the same command runs this pack '
      'with fewer trials',
      self.name,
      STUCK_SECONDS,
    )
