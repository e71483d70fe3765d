"""The journal: Optuna's own file, mended wherever a kill has torn it, and a batch is one write."""

import os
import subprocess
import sys
import time

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
import pytest

from lmhp.sweeping.store import journal
from lmhp.sweeping.store.journal import Damaged, Journal, Reading, whole_records

optuna.logging.set_verbosity(optuna.logging.ERROR)
RECORDS = [
  {'op_code': 0, 'worker_id': 'w', 'study_name': 'é', 'directions': [1]},
  {
    'op_code': 2,
    'worker_id': 'w',
    'study_id': 0,
    'user_attr': {'x': [1, None, '{"op_code":']},
  },
]


@pytest.fixture
def path(tmp_path):
  (tmp_path / 'study.lock').touch()
  return tmp_path / 'study.journal'


def opened(path):
  return Journal(path, path.with_name('study.lock'))


def read_by_optuna(path):
  return list(JournalFileBackend(str(path)).read_logs(0))


def test_the_file_is_optunas_byte_for_byte(path, tmp_path):
  other = JournalFileBackend(str(tmp_path / 'other'))
  backend = opened(path)
  for record in RECORDS:
    backend.append_logs([record])
    other.append_logs([record])
  with backend.together():
    backend.append_logs(RECORDS)
  other.append_logs(RECORDS)
  assert path.read_bytes() == (tmp_path / 'other').read_bytes()
  assert (
    list(backend.read_logs(0)) == RECORDS + RECORDS == list(Reading(path).read_logs(0))
  )
  assert list(backend.read_logs(3)) == RECORDS[1:]


def test_a_batch_is_one_write_that_reads_inside_see(path, monkeypatch):
  backend, synced = opened(path), []
  fsync = os.fsync
  monkeypatch.setattr(os, 'fsync', lambda fd: (synced.append(fd), fsync(fd)))
  backend.append_logs(RECORDS[:1])
  with backend.together():
    for n in range(1, 4):
      backend.append_logs(RECORDS[1:])
      assert (
        len(list(backend.read_logs(0))) == n + 1
        and len(list(backend.read_logs(n))) == 1
      )
      assert len(read_by_optuna(path)) == 1
  assert len(synced) == 2 and len(read_by_optuna(path)) == 4


def test_a_batch_that_fails_writes_nothing_and_closes_the_journal(path):
  backend = opened(path)
  backend.append_logs(RECORDS)
  with pytest.raises(KeyError):
    with backend.together():
      backend.append_logs(RECORDS)
      raise KeyError
  assert read_by_optuna(path) == RECORDS
  with pytest.raises(ValueError, match='open the study again'):
    backend.append_logs(RECORDS)
  opened(path).append_logs(RECORDS)
  assert read_by_optuna(path) == RECORDS + RECORDS


def test_others_may_append_between_batches(path):
  ours = JournalStorage(backend := opened(path))
  study = ours.create_new_study([optuna.study.StudyDirection.MINIMIZE], 'name')
  dashboard = JournalStorage(JournalFileBackend(str(path)))
  for i in range(3):
    dashboard.set_study_user_attr(study, f'note {i}', i)
    with backend.together():
      for _ in range(2):
        ours.create_new_trial(study)
      ours.set_study_user_attr(study, f'ours {i}', i)
  for storage in (ours, dashboard, JournalStorage(JournalFileBackend(str(path)))):
    assert storage.get_n_trials(study) == 6
    attrs = {f'{who} {i}' for who in ('note', 'ours') for i in range(3)}
    assert set(storage.get_study_user_attrs(study)) == attrs


@pytest.mark.parametrize(
  'tail', [b'\n', b'', b'\0\0\0', b'garbage\n', b'{"op_code": 1']
)
def test_a_torn_tail_is_cut_off(path, tail):
  opened(path).append_logs(RECORDS)
  whole = path.read_bytes()
  path.write_bytes(whole + tail)
  assert (
    list(Reading(path).read_logs(0)) == RECORDS and path.read_bytes() == whole + tail
  )
  opened(path)
  assert path.read_bytes() == whole


def test_wherever_a_record_is_torn_what_is_appended_behind_it_stays(path):
  """Optuna's own backend appends behind a torn record, and after the next can never read the file again."""
  opened(path).append_logs(RECORDS)
  whole = path.read_bytes()
  last = whole.index(b'\n') + 1
  for size in range(last, len(whole)):
    path.write_bytes(whole[:size])
    for _ in range(2):
      JournalFileBackend(str(path)).append_logs(RECORDS[:1])
    if last < size:
      with pytest.raises(ValueError):
        read_by_optuna(path)
    assert list(Reading(path).read_logs(0)) == 3 * RECORDS[:1]
    opened(path)
    assert read_by_optuna(path) == 3 * RECORDS[:1]


@pytest.mark.parametrize(
  'text', [b'garbage\n%s', b'%sgarbage\n%s', b'%s{}\n%s', b'%s[]\n%s', b'1\n%s']
)
def test_what_no_torn_record_explains_is_damage(text):
  record = b'{"op_code":0}\n'
  text = text.replace(b'%s', record)
  with pytest.raises(Damaged, match='is no record'):
    whole_records(text)


def test_mending_is_idempotent_and_leaves_whole_files_alone(path):
  opened(path).append_logs(RECORDS)
  before = path.stat()
  assert b''.join(whole_records(path.read_bytes())) == path.read_bytes()
  opened(path)
  assert (path.stat().st_mtime_ns, path.stat().st_ino) == (
    before.st_mtime_ns,
    before.st_ino,
  )


KILLED = """
import os, signal, sys
from lmhp.sweeping.store.journal import Journal
backend = Journal(sys.argv[1], sys.argv[2])
with backend.together():
  os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_no_lock_to_wait_for(path):
  done = subprocess.run(
    [sys.executable, '-c', KILLED, str(path), str(path.with_name('study.lock'))]
  )
  assert done.returncode == -9 and os.path.lexists(f'{path}.lock')
  began = time.monotonic()
  opened(path).append_logs(RECORDS)
  assert time.monotonic() - began < 1.0
  assert read_by_optuna(path) == RECORDS and not os.path.lexists(f'{path}.lock')


def test_another_programs_lock_is_waited_for_and_in_the_end_taken(path, monkeypatch):
  backend = opened(path)
  os.symlink(path, f'{path}.lock')  # as Optuna's own
  monkeypatch.setattr(journal, 'FOREIGN_LOCK_SECONDS', 0.3)
  began = time.monotonic()
  backend.append_logs(RECORDS)
  assert 0.3 <= time.monotonic() - began < 2.0
  assert read_by_optuna(path) == RECORDS


def test_optuna_waits_for_our_lock(path):
  ours = opened(path)
  with ours.together():
    from optuna.storages.journal import JournalFileSymlinkLock

    assert os.stat(
      f'{path}.lock'
    )  # what it points to is there: Optuna would spin for ever if not
    with pytest.raises(FileExistsError):
      os.symlink('x', JournalFileSymlinkLock(str(path))._lock_file)
