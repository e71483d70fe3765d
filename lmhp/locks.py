"""Locks of a file, so that one process writes a directory at a time.

A lock is a `flock`. The operating system removes it when the process ends. Some file systems
have no such locks, for instance Lustre without the option `flock`. There, the process makes a
second file, FILE.owner, which only one process can create. If that process has ended, the next
one replaces the file. This module imports no jax.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import time
from types import ModuleType
from typing import BinaryIO

from lmhp.errors import ConfigError
from lmhp.typing import PathLike

fcntl: ModuleType | None
try:
  import fcntl
except ImportError:
  # Windows has no `flock`. Nothing prevents a second writer there.
  fcntl = None

OWNER_SUFFIX = '.owner'
SETTLE_SECONDS = 0.05
"""Pause after which a process reads its own owner file again.

Two processes may replace the file of a process that has ended at the same moment. One of them then
finds the file of the other."""


class FileLock:
  """An open file that this process has locked.

  Attributes:
    path: Path of the file.
    file: The file, open for reading and for appending.

  Args:
    path: Path of the file. It is created if it does not exist.
    message: Message of the error if another process has locked the file.

  Raises:
    ConfigError: If another process has locked the file.
  """

  def __init__(self, path: PathLike, message: str) -> None:
    self.path = pathlib.Path(path)
    self.file: BinaryIO = open(self.path, 'ab+')
    self._owner: pathlib.Path | None = None
    try:
      self._lock(message)
    except BaseException:
      self.file.close()
      raise

  def _lock(self, message: str) -> None:
    if fcntl is None:
      return
    try:
      fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ConfigError(message) from None
    except OSError:
      # This file system has no locks.
      owner = self.path.with_name(self.path.name + OWNER_SUFFIX)
      holder = _create_owner_file(owner)
      if holder is not None:
        raise ConfigError(
          f'{message} (this file system has no locks; {owner} names {holder}. If that '
          'process has ended, delete this file)'
        ) from None
      self._owner = owner

  def is_in_place(self) -> bool:
    """Returns False if the file was deleted, or its directory was renamed or deleted."""
    try:
      found = os.stat(self.path)
    except OSError:
      return False
    return os.path.samestat(found, os.fstat(self.file.fileno()))

  def check_in_place(self) -> None:
    """Checks that the directory of the file was not renamed or deleted.

    Raises:
      ConfigError: If it was.
    """
    if not self.is_in_place():
      raise ConfigError(
        f'{self.path.parent}: this directory was renamed or deleted, or {self.path.name} in '
        'it, while this process was writing; to continue, use the present path of the directory'
      )

  def close(self) -> None:
    """Closes the file, and releases the lock."""
    if self._owner is not None:
      with contextlib.suppress(OSError):
        self._owner.unlink()
      self._owner = None
    self.file.close()


def _create_owner_file(path: pathlib.Path) -> str | None:
  """Creates the owner file of this process.

  Returns:
    None, or the name of the process that owns the file.
  """
  own = _name_of_process(os.getpid())
  for _ in range(2):
    try:
      descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
      holder = _read(path)
      if not _has_ended(holder):
        return holder or 'a process'
      with contextlib.suppress(FileNotFoundError):
        path.unlink()
      continue
    with open(descriptor, 'w') as file:
      file.write(own)
    time.sleep(SETTLE_SECONDS)
    holder = _read(path)
    return None if holder == own else holder
  return _read(path) or 'a process'


def _read(path: pathlib.Path) -> str:
  try:
    return path.read_text(errors='replace')[:200]
  except OSError:
    return ''


def _name_of_process(pid: int) -> str:
  """Returns the host, the number and the start time of a process of this machine."""
  started = ''
  with contextlib.suppress(OSError, IndexError):
    # The name of the program, in parentheses, may contain blanks. The start time is the 20th
    # field after it.
    text = pathlib.Path(f'/proc/{pid}/stat').read_text()
    started = text.rpartition(')')[2].split()[19]
  return f'process {pid} on {socket.gethostname()} {started}'.strip()


def _has_ended(holder: str) -> bool:
  """Returns True if a process of this machine, named by `_name_of_process`, has ended."""
  words = holder.split()
  if len(words) < 4 or words[3] != socket.gethostname() or not words[1].isdecimal():
    return False
  pid = int(words[1])
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return True
  except OSError:
    return False
  # Another process may have the same number now.
  return holder != _name_of_process(pid)
