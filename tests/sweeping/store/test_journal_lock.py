"""The lock on a journal: other programs wait for it, and no kill leaves it behind."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from lmhp.sweeping.store import journal
from lmhp.sweeping.store.journal import JournalLock


@pytest.fixture
def path(tmp_path):
  (tmp_path / 'study.lock').touch()
  return tmp_path / 'study.journal'


def lock_of(path):
  return JournalLock(path, path.with_name('study.lock'))


KILLED = """
import os, pathlib, signal, sys
from lmhp.sweeping.store.journal import JournalLock
with JournalLock(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])):
  os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_no_lock_to_wait_for(path):
  arguments = [str(path), str(path.with_name('study.lock'))]
  killed = subprocess.run([sys.executable, '-c', KILLED, *arguments])
  assert killed.returncode == -signal.SIGKILL
  assert os.path.lexists(f'{path}.lock')
  start = time.monotonic()
  with lock_of(path):
    pass
  assert time.monotonic() - start < 1.0
  assert not os.path.lexists(f'{path}.lock')


def test_the_lock_of_another_program_is_waited_for_and_in_the_end_removed(
  path, monkeypatch, caplog
):
  os.symlink(path, f'{path}.lock')
  monkeypatch.setattr(journal, 'FOREIGN_LOCK_SECONDS', 0.3)
  start = time.monotonic()
  with lock_of(path):
    assert 0.3 <= time.monotonic() - start < 2.0
  assert len(caplog.records) == 1


def test_optuna_waits_for_our_lock(path):
  from optuna.storages.journal import JournalFileSymlinkLock

  with lock_of(path):
    # Optuna would wait in a busy loop for a link to a file that does not exist.
    assert pathlib.Path(f'{path}.lock').exists()
    with pytest.raises(FileExistsError):
      os.symlink('x', JournalFileSymlinkLock(str(path))._lock_file)


def test_each_program_that_holds_the_lock_gets_the_full_time(path, monkeypatch):
  """A second program takes the lock at the moment at which the first one loses it."""
  monkeypatch.setattr(journal, 'FOREIGN_LOCK_SECONDS', 0.3)
  os.symlink('first', f'{path}.lock')
  removed_at = []

  def remove(self):
    os.unlink(f'{path}.lock')
    removed_at.append(time.monotonic())
    if len(removed_at) == 1:
      os.symlink('second', f'{path}.lock')

  monkeypatch.setattr(JournalLock, '_remove_link', remove)
  with lock_of(path):
    pass
  first, second, _ = removed_at
  assert second - first >= 0.3
