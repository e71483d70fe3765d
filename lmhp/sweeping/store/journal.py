"""A study's records in a file: Optuna's journal, mended after any kill, and written a batch at a time.

`study.journal` is the file of Optuna's own `JournalFileBackend`, byte for byte: one JSON object a line. So
`optuna-dashboard study.journal` and `optuna.load_study` read it, also while a sweep is writing. What is added:

- A record torn by a kill makes Optuna's reader fail for good as soon as another follows it. Here it is cut out at open.
- Appends within `with journal.together()` reach the disk as one write and one fsync; reads inside see them already.
- Optuna's lock is a link that a killed process leaves behind, and that others wait for 30 seconds. Ours points to the
  file that the one writer holds with `flock`: who holds that, knows such a link to be left from the dead.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pathlib
import time
from typing import Any, Iterator

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from lmhp.files import write_atomic

FOREIGN_LOCK_SECONDS = 30.0
"""After so long a lock of another program counts as left behind. Source: Optuna's own default."""

_START = b'{"op_code":'
_log = logging.getLogger(__name__)


class Damaged(ValueError):
  """A journal that a torn record does not explain: whole records behind the damage cannot be trusted."""


class Journal(BaseJournalBackend):
  """A journal, open for writing by the one process that holds the owner's lock.

  Args:
    path: the file; made if absent.
    owner: a file beside it that this process holds with `flock`.

  Raises:
    Damaged: where it cannot be mended.
  """

  def __init__(self, path: str | os.PathLike, owner: str | os.PathLike):
    self.path = pathlib.Path(path)
    self._lock = WriterLock(self.path, pathlib.Path(owner))
    with self._locked():
      mend(self.path)
    self._file = JournalFileBackend(str(self.path))
    self._in_file = 0  # records of the file that were read
    self._batch: list[bytes] | None = None
    self._failed = False  # the storage above believes in records that are not there

  @contextlib.contextmanager
  def _locked(self) -> Iterator[None]:
    self._lock.acquire()
    try:
      yield
    finally:
      self._lock.release()

  def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
    """The records from a number on: those of the file, then those of the batch."""
    if self._batch is None or log_number_from < self._in_file:
      for number, record in enumerate(
        self._file.read_logs(log_number_from), start=log_number_from + 1
      ):
        self._in_file = max(self._in_file, number)
        yield record
    for line in (self._batch or [])[max(0, log_number_from - self._in_file) :]:
      yield json.loads(line)

  def append_logs(self, logs: list[dict[str, Any]]) -> None:
    """Adds records; they are on the disk when this returns, or where `together` ends."""
    if self._failed:
      raise ValueError(f'{self.path}: a write failed; open the study again')
    lines = [json.dumps(log, separators=(',', ':')).encode() + b'\n' for log in logs]
    if self._batch is not None:
      self._batch += lines
      return
    with self._locked():
      self._write(lines)

  @contextlib.contextmanager
  def together(self) -> Iterator[None]:
    """Joins all appends inside to one write. Nothing is written where an exception leaves it.

    Others cannot append meanwhile: the records' numbers are their places in the file.
    """
    if self._batch is not None:
      yield
      return
    with self._locked():
      for _ in self._file.read_logs(
        self._in_file
      ):  # what others have appended meanwhile comes first
        self._in_file += 1
      self._batch = []
      try:
        yield
        self._write(self._batch)
      except BaseException:
        self._failed = True
        raise
      finally:
        self._batch = None

  def _write(self, lines: list[bytes]) -> None:
    if lines:
      self._failed = True  # until it has not
      with open(self.path, 'ab') as file:
        file.write(b''.join(lines))
        file.flush()
        os.fsync(file.fileno())
      self._failed = False


class Reading(BaseJournalBackend):
  """A journal as it stands, for one who only reads: torn records are left out, and the file is left alone."""

  def __init__(self, path: str | os.PathLike):
    self._records = [
      json.loads(line) for line in whole_records(pathlib.Path(path).read_bytes())
    ]

  def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
    """The records from a number on."""
    return iter(self._records[log_number_from:])

  def append_logs(self, logs: list[dict[str, Any]]) -> None:
    """Refuses."""
    raise ValueError('this study is open for reading')


class WriterLock:
  """Optuna's lock on a journal, so that its own programs wait for us and we for them; outlives no kill.

  Args:
    journal: the file; the lock is a link beside it.
    owner: what the link points to: a file that this process holds with `flock`.
  """

  def __init__(self, journal: pathlib.Path, owner: pathlib.Path):
    self._link, self._target = f'{journal}.lock', owner.name

  def acquire(self) -> None:
    """Waits for the lock."""
    patience, pause = time.monotonic() + FOREIGN_LOCK_SECONDS, 0.001
    while True:
      try:
        os.symlink(self._target, self._link)
        return
      except FileExistsError:
        with contextlib.suppress(OSError):  # released meanwhile, or not a link: wait
          if os.readlink(self._link) == self._target:
            os.unlink(self._link)
            continue
        if time.monotonic() > patience:
          _log.warning(
            '%s was not released for %.0f seconds: taken as left behind',
            self._link,
            FOREIGN_LOCK_SECONDS,
          )
          self.release()
        time.sleep(pause)
        pause = min(2 * pause, 0.1)

  def release(self) -> None:
    """Lets others append."""
    with contextlib.suppress(FileNotFoundError):
      os.unlink(self._link)


# --- mending --------------------------------------------------------------------------------------------------------


def mend(path: pathlib.Path) -> None:
  """Cuts torn records out of a journal; the caller holds its lock.

  Raises:
    Damaged: as `whole_records` says.
  """
  text = path.read_bytes() if path.exists() else b''
  whole = b''.join(whole_records(text))
  if whole == text:
    return
  _log.info('%s: cut off %d bytes of torn records', path, len(text) - len(whole))
  if text.startswith(whole):
    with open(path, 'r+b') as file:
      file.truncate(len(whole))
      os.fsync(file.fileno())
  else:
    write_atomic(path, whole)


def whole_records(text: bytes) -> list[bytes]:
  """The lines of a journal that are records, without those that a kill has torn.

  A torn record is the last of the file, or has the next one, whole, on its own line. (Lines that look whole are not
  parsed here, but where they are read.)

  Raises:
    Damaged: for any other line that is no record.
  """
  *lines, _ = text.split(b'\n')
  found = []
  for number, line in enumerate(lines, start=1):
    looks_whole = (
      line.startswith(_START) and line.endswith(b'}') and line.find(_START, 1) < 0
    )
    whole = (
      line
      if (looks_whole and number < len(lines)) or _is_record(line)
      else _second_record(line)
    )
    if whole is not None:
      found.append(whole + b'\n')
    elif number < len(lines):
      raise Damaged(f'line {number} is no record')
  return found


def _is_record(line: bytes) -> bool:
  try:
    return line.endswith(b'}') and 'op_code' in json.loads(line)
  except (ValueError, TypeError):
    return False


def _second_record(line: bytes) -> bytes | None:
  """What was appended behind a torn record, where it is whole."""
  at = line.find(_START, 1)
  while at > 0:
    if _is_record(line[at:]):
      return line[at:]
    at = line.find(_START, at + 1)
  return None
