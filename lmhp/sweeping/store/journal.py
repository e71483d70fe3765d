"""The journal of a study: a file that Optuna can open, and that a kill cannot damage.

`study.journal` has the format of Optuna's `JournalFileBackend`. So
`optuna-dashboard study.journal` and `optuna.load_study` read it, also while a sweep writes
it. `Journal` differs from Optuna's backend in three ways:

- A torn record is the beginning of a record, left by a process that was killed while it wrote.
  Torn records are removed when the journal is opened. Optuna's backend could not read a journal
  in which a record follows a torn one.
- The records that are appended within `with journal.transaction()` reach the disk in one write
  and one fsync. Reads within the transaction already return them.
- Each record has a checksum (see `journal_records`).
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
import contextlib
import logging
import os
import pathlib
import time

from optuna.storages.journal import BaseJournalBackend

from lmhp.files import named_errors, read_bytes, write_atomic
from lmhp.sweeping.store.journal_records import RecordReader, complete_records, encode
from lmhp.typing import JSON, PathLike

FOREIGN_LOCK_SECONDS = 30.0
"""Waiting time after which the lock of another program is removed. Source: Optuna's default."""

MAX_BYTES = 1 << 33
"""Size of the largest journal that is read, 8 GiB."""

_log = logging.getLogger(__name__)


class JournalLock:
  """Optuna's lock on a journal. A lock that a killed lmhp process left is removed at once.

  The lock is a symbolic link in the directory of the journal. The link of lmhp points to the
  writer file. The lmhp process that writes a study holds a `flock` on the writer file until it
  ends, and only this process uses this class. So if it finds a link to the writer file, an
  earlier lmhp process was killed and has left the link.

  Args:
    journal: Path of the journal.
    writer_file: File that this process has locked with `flock`.
  """

  def __init__(self, journal: pathlib.Path, writer_file: pathlib.Path):
    self._link = f'{journal}.lock'
    self._target = writer_file.name

  def __enter__(self) -> None:
    """Takes the lock. Waits for another program that holds it, but at most 30 seconds."""
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
        self._remove_link()
        continue
      if time.monotonic() > deadline:
        _log.warning(
          '%s was not released for %.0f seconds and is removed',
          self._link,
          FOREIGN_LOCK_SECONDS,
        )
        self._remove_link()
        # If another program takes the lock now, it gets the full time.
        deadline = time.monotonic() + FOREIGN_LOCK_SECONDS
      time.sleep(pause_seconds)
      # Wait twice as long after each attempt.
      pause_seconds = min(2 * pause_seconds, 0.1)

  def __exit__(self, *exception: object) -> None:
    self._remove_link()

  def _remove_link(self) -> None:
    with contextlib.suppress(FileNotFoundError):
      os.unlink(self._link)

  def _is_left_by_a_killed_writer(self) -> bool:
    try:
      return os.readlink(self._link) == self._target
    except OSError:
      # The lock was released in the meantime, or it is a file and not a link.
      return False


class Journal(BaseJournalBackend):
  """A journal that one process writes.

  Args:
    path: Path of the journal. The file is created if it does not exist.
    writer_file: File in the same directory that this process has locked with `flock`.

  Raises:
    DamagedJournal: If a line is no record, or a record does not fit its checksum.
  """

  def __init__(self, path: PathLike, writer_file: PathLike):
    self.path = pathlib.Path(path)
    self._lock = JournalLock(self.path, pathlib.Path(writer_file))
    with self._lock:
      cut_torn_records(self.path)
    # Lines of the open transaction, or None if there is none.
    self._batch: list[bytes] | None = None
    self._failed = False
    self._rewind()

  def _rewind(self) -> None:
    """Starts to read from the beginning of the file."""
    self._reader = RecordReader(self.path)
    self._offset = 0  # bytes of the file that have been read
    self._n_lines = 0
    self._n_returned = 0  # records that `read_logs` has returned
    # Records of the file and of the transaction that `read_logs` has not returned yet.
    self._unread: collections.deque[dict[str, JSON]] = collections.deque()

  def read_logs(self, log_number_from: int) -> Iterator[dict[str, JSON]]:
    """Yields the records from a number on, those of the open transaction last."""
    if log_number_from < self._n_returned:
      if self._batch is not None:
        raise ValueError('a transaction cannot read records a second time')
      # Some of these records were returned before, so the file is read again.
      self._rewind()
    if self._batch is None:
      self._unread.extend(self._new_records_of_file())
    while self._unread:
      record = self._unread.popleft()
      self._n_returned += 1
      if self._n_returned > log_number_from:
        yield record

  def _new_records_of_file(self) -> Iterator[dict[str, JSON]]:
    """Yields the records that were added to the file since it was last read."""
    if not self.path.exists():
      return
    with open(self.path, 'rb') as file:
      file.seek(self._offset)
      for line in file:
        # Another program may be writing the last line.
        if not line.endswith(b'\n'):
          return
        self._offset += len(line)
        record = self._check(line)
        if record is not None:
          yield record

  def _check(self, line: bytes) -> dict[str, JSON] | None:
    """Returns the record of the next line, or None if it must be ignored."""
    self._n_lines += 1
    return self._reader.read(self._n_lines, line.rstrip(b'\n'))

  def append_logs(self, logs: list[dict[str, JSON]]) -> None:
    """Adds records. They are on the disk at the end of this call, or of an open transaction."""
    with self.transaction() as batch:
      for log in logs:
        line = encode(log, self._reader.previous)
        batch.append(line)
        # Optuna applies a record only when it reads the record back, so add it to the unread.
        record = self._check(line)
        if record is not None:
          self._unread.append(record)

  @contextlib.contextmanager
  def transaction(self) -> Iterator[list[bytes]]:
    """Joins all appends in the `with` block to one write. An exception discards them.

    Other programs cannot append during the block. Inside another transaction, the outer one
    makes the write.

    Yields:
      The lines of the transaction.

    Raises:
      ValueError: If an earlier transaction failed. Optuna's storage then holds records in memory
        that are not in the file, so the study must be opened again.
    """
    if self._batch is not None:
      yield self._batch
      return
    if self._failed:
      raise ValueError(f'{self.path}: a write failed; open the study again')
    with self._lock:
      # Records that other programs have appended come first.
      self._unread.extend(self._new_records_of_file())
      self._batch = []
      try:
        yield self._batch
        self._write(b''.join(self._batch))
      except BaseException:
        self._failed = True
        raise
      finally:
        self._batch = None

  def _write(self, text: bytes) -> None:
    """Appends text to the file, and waits until it is on the disk."""
    if not text:
      return
    with named_errors(self.path), open(self.path, 'ab') as file:
      # Cut off an incomplete last line, left by a program that was killed.
      file.truncate(self._offset)
      file.write(text)
      file.flush()
      os.fsync(file.fileno())
    self._offset += len(text)


class JournalSnapshot(BaseJournalBackend):
  """A journal as it is now, for reading. Torn records are left out.

  Args:
    path: Path of the journal.

  Raises:
    FileNotFoundError: If there is no journal.
    DamagedJournal: If a line is no record, or a record does not fit its checksum.
  """

  def __init__(self, path: PathLike):
    path = pathlib.Path(path)
    reader = RecordReader(path)
    records = [
      reader.read(number, line)
      for number, line in complete_records(read_bytes(path, MAX_BYTES), path)
    ]
    self._records = [record for record in records if record is not None]

  def read_logs(self, log_number_from: int) -> Iterator[dict[str, JSON]]:
    """Returns the records from a number on."""
    return iter(self._records[log_number_from:])

  def append_logs(self, logs: list[dict[str, JSON]]) -> None:
    """Raises a ValueError, because a snapshot cannot be changed."""
    raise ValueError('this study is open for reading')


def cut_torn_records(path: pathlib.Path) -> None:
  """Removes torn records from a journal. The caller must hold the lock of the journal.

  Raises:
    DamagedJournal: If a line is no record and was not torn by a kill.
  """
  text = read_bytes(path, MAX_BYTES) if path.exists() else b''
  kept = b''.join(line + b'\n' for _, line in complete_records(text, path))
  if kept == text:
    return
  _log.info('%s: removed %d bytes of torn records', path, len(text) - len(kept))
  if text.startswith(kept):
    # Only the last line is torn, so no other line has to be written again.
    with open(path, 'r+b') as file:
      file.truncate(len(kept))
      os.fsync(file.fileno())
  else:
    write_atomic(path, kept)
