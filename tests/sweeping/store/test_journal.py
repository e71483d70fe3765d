"""The journal: a file of Optuna, repaired after kills, in which a transaction is one write."""

import os

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
import pytest

from lmhp.sweeping.store.journal import Journal, JournalSnapshot

optuna.logging.set_verbosity(optuna.logging.ERROR)
RECORDS = [
  {'op_code': 0, 'worker_id': 'w', 'study_name': 'é', 'directions': [1]},
  {'op_code': 2, 'worker_id': 'w', 'study_id': 0, 'user_attr': {'x': [1, None]}},
]


@pytest.fixture
def path(tmp_path):
  (tmp_path / 'study.lock').touch()
  return tmp_path / 'study.journal'


def open_journal(path):
  return Journal(path, path.with_name('study.lock'))


def without_checksums(records):
  return [{k: v for k, v in r.items() if k != 'checksum'} for r in records]


def read_with_optuna(path):
  return without_checksums(JournalFileBackend(str(path)).read_logs(0))


def read_snapshot(path):
  return without_checksums(JournalSnapshot(path).read_logs(0))


def test_optuna_reads_what_lmhp_writes(path):
  journal = open_journal(path)
  journal.append_logs(RECORDS[:1])
  journal.append_logs(RECORDS)
  expected = RECORDS[:1] + RECORDS
  assert read_with_optuna(path) == expected
  assert read_snapshot(path) == expected
  assert without_checksums(journal.read_logs(0)) == expected


def test_records_are_read_from_any_number_again(path):
  journal = open_journal(path)
  journal.append_logs(RECORDS * 3)
  for number in (0, 4, 2, 6, 0):
    found = without_checksums(journal.read_logs(number))
    assert found == (RECORDS * 3)[number:]


def test_a_transaction_is_one_write_and_reads_within_it_return_its_records(
  path, monkeypatch
):
  journal = open_journal(path)
  synced = []
  fsync = os.fsync
  monkeypatch.setattr(os, 'fsync', lambda fd: (synced.append(fd), fsync(fd)))
  journal.append_logs(RECORDS[:1])
  assert len(list(journal.read_logs(0))) == 1
  with journal.transaction():
    for n in range(1, 4):
      journal.append_logs(RECORDS[1:])
      assert without_checksums(journal.read_logs(n)) == RECORDS[1:]
      assert len(read_with_optuna(path)) == 1
  assert len(synced) == 2
  assert len(read_with_optuna(path)) == 4


def test_a_transaction_that_fails_writes_nothing_and_closes_the_journal(path):
  journal = open_journal(path)
  journal.append_logs(RECORDS)
  with pytest.raises(KeyError), journal.transaction():
    journal.append_logs(RECORDS)
    raise KeyError
  assert read_with_optuna(path) == RECORDS
  with pytest.raises(ValueError, match='open the study again'):
    journal.append_logs(RECORDS)
  open_journal(path).append_logs(RECORDS)
  assert read_with_optuna(path) == RECORDS + RECORDS


def test_other_programs_may_append_between_transactions(path):
  journal = open_journal(path)
  ours = JournalStorage(journal)
  study = ours.create_new_study([optuna.study.StudyDirection.MINIMIZE], 'name')
  dashboard = JournalStorage(JournalFileBackend(str(path)))
  for i in range(3):
    dashboard.set_study_user_attr(study, f'note {i}', i)
    with journal.transaction():
      for _ in range(2):
        ours.create_new_trial(study)
      ours.set_study_user_attr(study, f'ours {i}', i)
  reopened = JournalStorage(open_journal(path))
  by_optuna = JournalStorage(JournalFileBackend(str(path)))
  for storage in (ours, dashboard, reopened, by_optuna):
    assert storage.get_n_trials(study) == 6
    names = {f'{name} {i}' for name in ('note', 'ours') for i in range(3)}
    assert set(storage.get_study_user_attrs(study)) == names


@pytest.mark.parametrize('tail', [b'', b'\n', b'garbage\n', b'{"op_code": 1'])
def test_opening_cuts_off_a_torn_tail_and_a_snapshot_leaves_the_file_alone(path, tail):
  open_journal(path).append_logs(RECORDS)
  whole = path.read_bytes()
  path.write_bytes(whole + tail)
  assert read_snapshot(path) == RECORDS
  assert path.read_bytes() == whole + tail
  open_journal(path)
  assert path.read_bytes() == whole


def test_what_is_appended_behind_a_torn_record_stays(path):
  """Optuna's backend appends behind a torn record, and cannot read the file after that."""
  open_journal(path).append_logs(RECORDS)
  whole = path.read_bytes()
  first_line = whole.index(b'\n') + 1
  for size in range(first_line + 1, len(whole), 7):
    path.write_bytes(whole[:size])
    for _ in range(2):
      JournalFileBackend(str(path)).append_logs(RECORDS[:1])
    with pytest.raises(ValueError):
      read_with_optuna(path)
    assert read_snapshot(path) == 3 * RECORDS[:1]
    open_journal(path)
    assert read_with_optuna(path) == 3 * RECORDS[:1]


def test_a_record_that_another_program_tears_meanwhile_is_cut_off(path):
  journal = open_journal(path)
  journal.append_logs(RECORDS)
  with open(path, 'ab') as file:
    file.write(b'{"op_code": 2, "study')
  journal.append_logs(RECORDS[1:])
  assert read_with_optuna(path) == RECORDS + RECORDS[1:]


def test_opening_a_whole_journal_does_not_write(path):
  open_journal(path).append_logs(RECORDS)
  before = path.stat()
  open_journal(path)
  after = path.stat()
  assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_snapshot_cannot_be_written(path):
  open_journal(path).append_logs(RECORDS)
  with pytest.raises(ValueError, match='open for reading'):
    JournalSnapshot(path).append_logs(RECORDS)
