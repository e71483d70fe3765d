"""Journal of the starts of a pack: `starts.jsonl` in the directory of the pack.

An operating system that is short of memory kills a process, which raises no error. A device that
is short of memory may also make no progress at all. So each start of a pack is written before it
begins, and its first update and its end are written, too. The next process concludes from them
that the pack needs fewer members.

A person, or the scheduler of a cluster, also kills processes. The kernel counts the processes
that it kills for a lack of memory, and a start contains the count. If the count is the same when
the pack is started again, then memory was not the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import json
import logging
import os
import pathlib
import threading
import time

from etils import epath

from lmhp.errors import is_out_of_memory

FILE = 'starts.jsonl'

MAX_KILLS = 2
"""Number of starts, killed before their first update, after which a pack is run narrower.

A start counts unless the kernel has killed no process for a lack of memory since then.
"""

MAX_DEATHS = 10
"""Number of starts without an update and without an end after which a pack is run narrower.

All starts count. A program that crashes without memory is not killed by the kernel.
"""

STUCK_SECONDS = 1800.0
"""Time without an update after which a pack counts as stuck."""

VMSTAT = pathlib.Path('/proc/vmstat')
"""Counters of the kernel. `oom_kill` includes the processes of all containers (Linux >= 4.13)."""

BOOT_ID = pathlib.Path('/proc/sys/kernel/random/boot_id')
"""Random name of this start of the machine, with which its counters begin at zero."""

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
    deaths = 0
    open_start = None
    is_stuck = False
    # The present counter belongs to the next start.
    next_start: dict[str, object] = {'event': 'start', **memory_kill_count()}
    for record in [*self._records(), next_start]:
      event = record['event']
      if event == 'out of memory':
        return 'out of memory'
      if event == 'start':
        if open_start is not None:
          # The start before this one neither made an update nor ended.
          deaths += 1
          kills += _may_lack_memory(open_start, record)
        open_start = record
      elif event == 'stuck':
        is_stuck = True
      else:
        # A pack that makes an update after a long time is slow, but not stuck.
        open_start = None
        is_stuck = False
        if event == 'step':
          kills = 0
          deaths = 0
    if is_stuck:
      return f'no update within {STUCK_SECONDS:.0f} s'
    if kills >= MAX_KILLS:
      return f'killed {kills} times before an update, as a system without memory does'
    if deaths >= MAX_DEATHS:
      return f'ended {deaths} times before an update, without an error'
    return None

  def _records(self) -> list[dict[str, object]]:
    """Returns the events of all processes, in order. A line that was cut off is left out."""
    records = []
    for line in self._text().splitlines():
      with contextlib.suppress(ValueError):
        record = json.loads(line)
        if isinstance(record, dict) and 'event' in record:
          records.append(record)
    return records

  def _text(self) -> str:
    """Returns the content of the file. Damaged bytes are replaced."""
    if not self.path.exists():
      return ''
    return self.path.read_bytes().decode(errors='replace')

  def note(self, event: str) -> None:
    """Appends an event, and writes it to the disk."""
    self.path.parent.mkdir(parents=True, exist_ok=True)
    record = {'event': event, 'time': round(time.time(), 3), 'process': os.getpid()}
    if event == 'start':
      record.update(memory_kill_count())
    # A remote file cannot be appended to, so it is written anew.
    old = self._text()
    if old and not old.endswith('\n'):
      # A kill has cut off the last line.
      old += '\n'
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


def memory_kill_count() -> dict[str, str | int]:
  """Returns the number of processes that the kernel has killed for a lack of memory.

  Returns:
    {'boot': name of this start of the machine, 'memory_kills': number of processes since then},
    or an empty dict if the system has no such counter.
  """
  try:
    boot = BOOT_ID.read_text().strip()
    lines = VMSTAT.read_text().splitlines()
  except OSError:
    return {}
  for line in lines:
    name, _, value = line.partition(' ')
    if name == 'oom_kill' and value.isdecimal():
      return {'boot': boot, 'memory_kills': int(value)}
  return {}


def _may_lack_memory(
  start: Mapping[str, object], next_start: Mapping[str, object]
) -> bool:
  """Returns False if the kernel has killed no process between two starts on one machine."""
  if 'memory_kills' not in start or start.get('boot') != next_start.get('boot'):
    return True
  return start['memory_kills'] != next_start.get('memory_kills')
