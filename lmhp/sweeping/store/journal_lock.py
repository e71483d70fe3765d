"""The lock on a journal that lmhp and other Optuna programs respect."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import time

FOREIGN_LOCK_SECONDS = 30.0
"""Age after which the lock of another program is removed. Source: Optuna's own default."""

_log = logging.getLogger(__name__)


class JournalLock:
  """Optuna's lock on a journal. A lock that a killed lmhp process left is removed at once.

  The lock is a symbolic link in the directory of the journal. The link of lmhp points to a
  file that the only writing process of a study has locked with `flock`. So if this process
  has locked the file, a link to the file was left by a process that died.

  Args:
    journal: Path of the journal.
    writer_file: File that this process has locked with `flock`.
  """

  def __init__(self, journal: pathlib.Path, writer_file: pathlib.Path):
    self._link = f'{journal}.lock'
    self._target = writer_file.name

  def __enter__(self) -> JournalLock:
    self.acquire()
    return self

  def __exit__(self, *exception: object) -> None:
    self.release()

  def acquire(self) -> None:
    """Takes the lock. Waits for other programs."""
    deadline = time.monotonic() + FOREIGN_LOCK_SECONDS
    pause_seconds = 0.001
    while True:
      # Only one process can create the link.
      try:
        os.symlink(self._target, self._link)
        return
      except FileExistsError:
        pass
      if self._is_left_by_a_killed_writer():
        self.release()
        continue
      if time.monotonic() > deadline:
        _log.warning(
          '%s was not released for %.0f seconds and is removed',
          self._link,
          FOREIGN_LOCK_SECONDS,
        )
        self.release()
      time.sleep(pause_seconds)
      # Wait twice as long after each attempt.
      pause_seconds = min(2 * pause_seconds, 0.1)

  def release(self) -> None:
    """Removes the lock."""
    with contextlib.suppress(FileNotFoundError):
      os.unlink(self._link)

  def _is_left_by_a_killed_writer(self) -> bool:
    try:
      return os.readlink(self._link) == self._target
    except OSError:
      # Another program has released its lock, or its lock is not a link.
      return False
