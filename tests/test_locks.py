"""Locks of files, also on a file system that has none."""

import errno
import os
import subprocess
import sys

import pytest

from lmhp import locks
from lmhp.errors import ConfigError
from lmhp.locks import FileLock


def refuse(code):
  """Returns a `flock` of a file system without locks."""

  def flock(file, operation):
    raise OSError(code, os.strerror(code))

  return flock


@pytest.fixture(params=[None, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def file_system(request, monkeypatch):
  """A file system with locks, or one that refuses them."""
  if request.param is not None:
    monkeypatch.setattr(locks.fcntl, 'flock', refuse(request.param))
  monkeypatch.setattr(locks, 'SETTLE_SECONDS', 0.0)


def test_one_lock_at_a_time(tmp_path, file_system):
  first = FileLock(tmp_path / 'x', 'taken')
  with pytest.raises(ConfigError, match='^taken'):
    FileLock(tmp_path / 'x', 'taken')
  first.close()
  FileLock(tmp_path / 'x', 'taken').close()
  assert os.listdir(tmp_path) == ['x']


HOLDER = """
import errno, os, sys
from lmhp import locks
def flock(file, operation):
  raise OSError(errno.ENOLCK, 'No locks')
locks.fcntl.flock = flock
lock = locks.FileLock(sys.argv[1], 'taken')
print('locked', flush=True)
sys.stdin.read()
os._exit(9)
"""


def test_without_locks_a_living_process_keeps_its_lock_and_a_dead_one_loses_it(
  tmp_path, monkeypatch
):
  holder = subprocess.Popen(
    [sys.executable, '-c', HOLDER, str(tmp_path / 'x')],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  assert holder.stdout.readline() == b'locked\n'
  monkeypatch.setattr(locks.fcntl, 'flock', refuse(errno.ENOLCK))
  with pytest.raises(ConfigError, match=f'process {holder.pid} on '):
    FileLock(tmp_path / 'x', 'taken')
  holder.communicate()
  assert (tmp_path / 'x.owner').exists()
  FileLock(tmp_path / 'x', 'taken').close()
  assert not (tmp_path / 'x.owner').exists()


@pytest.mark.parametrize('owner', ['process 5 on another-host 77', '', 'words'])
def test_without_locks_an_owner_that_cannot_be_tested_is_kept(
  tmp_path, monkeypatch, owner
):
  monkeypatch.setattr(locks.fcntl, 'flock', refuse(errno.ENOLCK))
  (tmp_path / 'x.owner').write_text(owner)
  with pytest.raises(ConfigError, match='delete this file') as error:
    FileLock(tmp_path / 'x', 'taken')
  assert '\n' not in str(error.value)
  assert (tmp_path / 'x.owner').read_text() == owner


def test_a_deleted_or_renamed_directory_is_noticed(tmp_path):
  (tmp_path / 'a').mkdir()
  lock = FileLock(tmp_path / 'a/x', 'taken')
  lock.check_in_place()
  os.rename(tmp_path / 'a', tmp_path / 'b')
  with pytest.raises(ConfigError, match='renamed or deleted'):
    lock.check_in_place()
  (tmp_path / 'a').mkdir()
  (tmp_path / 'a/x').touch()
  assert not lock.is_in_place()
  lock.close()
