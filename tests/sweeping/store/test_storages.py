"""The storage of a study: the journal or a database, found again or refused in one line."""

import contextlib
import sqlite3

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
import pytest
from small_studies import (
  lines_of,
  make_trial,
  open_study,
  write_study_of_all_statuses,
)
import sqlalchemy.exc

import lmhp
from lmhp.errors import ConfigError
from lmhp.sweeping.store import databases
from lmhp.sweeping.store.study import Study, read_manifest


def test_two_studies_of_one_name_in_one_database_are_told_apart(tmp_path):
  url = f'sqlite:///{tmp_path}/study.db'
  open_study(tmp_path / 'a/run', storage=url).close()
  with pytest.raises(ConfigError) as error:
    open_study(tmp_path / 'b/run', storage=url)
  assert str(error.value).startswith("name: got 'run'")


def test_a_database_must_be_named_again(tmp_path):
  url = f'sqlite:///{tmp_path}/study.db'
  open_study(tmp_path / 'run', storage=url).close()
  for open_again in (open_study, Study.read):
    with pytest.raises(ConfigError) as error:
      open_again(tmp_path / 'run')
    assert str(error.value).startswith('--storage: got None')


def test_another_database_does_not_begin_a_study_anew(tmp_path):
  url = f'sqlite:///{tmp_path}/study.db'
  with open_study(tmp_path / 'run', storage=url) as study:
    study.add([make_trial(0)])
  other = f'sqlite:///{tmp_path}/other.db'
  for open_again in (open_study, Study.read):
    with pytest.raises(ConfigError, match="has no study 'run'") as error:
      open_again(tmp_path / 'run', storage=other)
    assert str(error.value).startswith(other)


def test_a_journal_that_was_deleted_does_not_begin_a_study_anew(tmp_path):
  write_study_of_all_statuses(tmp_path / 'run')
  (tmp_path / 'run/study.journal').unlink()
  for open_again in (open_study, Study.read):
    with pytest.raises(ConfigError) as error:
      open_again(tmp_path / 'run')
    assert 'study.journal' in str(error.value)


@pytest.mark.parametrize('url', ['nonsense', 'sqlite:////no/such/directory/study.db'])
def test_a_storage_that_cannot_be_opened_is_one_line_and_leaves_nothing(tmp_path, url):
  with pytest.raises(ConfigError) as error:
    open_study(tmp_path / 'run', storage=url)
  message = str(error.value)
  assert message.startswith(f'--storage: got {url}, ')
  assert '\n' not in message
  open_study(tmp_path / 'run').close()


def files_of(directory):
  return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_report_writes_nothing_into_a_foreign_database(tmp_path):
  with contextlib.closing(sqlite3.connect(tmp_path / 'foreign.db')) as connection:
    connection.execute('CREATE TABLE invoices (id)')
    connection.commit()
  (tmp_path / 'empty.db').write_bytes(b'')
  (tmp_path / 'text.sqlite3').write_text('no database ' * 100)
  before = files_of(tmp_path)
  sources = [*map(str, tmp_path.iterdir())]
  sources += [f'sqlite:///{source}' for source in sources]
  sources += [f'sqlite:///{tmp_path}/missing.db', 'sqlite://']
  for source in sources:
    with pytest.raises(ConfigError) as error:
      lmhp.report(source)
    assert '\n' not in str(error.value)
  assert files_of(tmp_path) == before


def test_a_database_with_half_of_the_tables_of_optuna_is_not_completed(tmp_path):
  optuna.storages.RDBStorage(f'sqlite:///{tmp_path}/study.db').engine.dispose()
  with contextlib.closing(sqlite3.connect(tmp_path / 'study.db')) as connection:
    connection.execute('DELETE FROM version_info')
    connection.commit()
  before = files_of(tmp_path)
  with pytest.raises(ConfigError, match='version_info is empty'):
    lmhp.report(tmp_path / 'study.db')
  assert files_of(tmp_path) == before


def test_a_database_is_read_without_a_change(tmp_path):
  url = f'sqlite:///{tmp_path}/study.db'
  study = optuna.create_study(storage=url, study_name='s')
  study.optimize(lambda trial: trial.suggest_float('lr', 0, 1), n_trials=4)
  study._storage._backend.engine.dispose()
  write_study_of_all_statuses(tmp_path / 'run', storage=url)
  before = (tmp_path / 'study.db').read_bytes()
  lmhp.report(tmp_path / 'study.db', study='s')
  Study.read(tmp_path / 'run', storage=url).close()
  assert (tmp_path / 'study.db').read_bytes() == before


def test_a_directory_whose_database_was_never_created_is_no_study_yet(tmp_path):
  """A kill between the write of the header and the first table."""
  url = f'sqlite:///{tmp_path}/study.db'
  open_study(tmp_path / 'run', storage=url).close()
  (tmp_path / 'study.db').unlink()
  (tmp_path / 'run/trials.jsonl').unlink()
  assert read_manifest(tmp_path / 'run', url) is None
  open_study(tmp_path / 'run', storage=url).close()


@pytest.mark.parametrize(
  'url',
  [
    'postgresql://me:hunter2@127.0.0.1:port/db',
    'nosuchdialect://me:hunter2@host/db',
    'postgresql://me:hunter2@127.0.0.1:1/db?nosuchoption=1',
  ],
)
def test_a_url_with_a_mistake_is_one_line_without_the_password(tmp_path, url):
  for open_it in (
    lambda: open_study(tmp_path / 'run', storage=url),
    lambda: lmhp.report(url),
  ):
    with pytest.raises(ConfigError) as error:
      open_it()
    assert '\n' not in str(error.value)
    assert 'hunter2' not in str(error.value)


class LosesItsAnswers:
  """Makes the first calls of a method of a database fail before or after they take effect."""

  def __init__(self, call, n_failures, takes_effect):
    self.call = call
    self.n_failures = n_failures
    self.takes_effect = takes_effect

  def __call__(self, *arguments, **keywords):
    if not self.n_failures:
      return self.call(*arguments, **keywords)
    self.n_failures -= 1
    if self.takes_effect:
      self.call(*arguments, **keywords)
    cause = sqlalchemy.exc.OperationalError('', {}, Exception('server closed'))
    raise StorageInternalError('commit failed') from cause


METHODS = (
  'create_new_trial',
  'set_trial_state_values',
  'set_trial_intermediate_value',
  'set_trial_user_attr',
  'set_study_user_attr',
)


@pytest.mark.parametrize('takes_effect', [False, True])
@pytest.mark.parametrize('method', METHODS)
def test_a_database_that_restarts_loses_nothing(
  tmp_path, monkeypatch, method, takes_effect
):
  reference = write_study_of_all_statuses(tmp_path / 'a')
  call = getattr(RDBStorage, method)
  losing = LosesItsAnswers(call, 2, takes_effect)
  monkeypatch.setattr(RDBStorage, method, lambda *a, **k: losing(*a, **k))
  url = f'sqlite:///{tmp_path}/study.db'
  write_study_of_all_statuses(tmp_path / 'b', storage=url)
  assert losing.n_failures == 0
  with Study.read(tmp_path / 'b', storage=url) as study:
    assert lines_of(study.trials) == lines_of(reference)
  storage = optuna.storages.RDBStorage(url)
  assert storage.get_n_trials(1) == len(reference)
  storage.engine.dispose()


def test_a_database_that_stays_away_is_one_line(tmp_path, monkeypatch):
  monkeypatch.setattr(databases, 'RETRY_SECONDS', 0.0)
  url = f'sqlite:///{tmp_path}/study.db'
  with open_study(tmp_path / 'run', storage=url) as study:
    losing = LosesItsAnswers(RDBStorage.create_new_trial, 5, takes_effect=False)
    monkeypatch.setattr(RDBStorage, 'create_new_trial', lambda *a, **k: losing(*a, **k))
    with pytest.raises(ConfigError) as error:
      study.add([make_trial(0)])
    assert str(error.value).startswith(url)
    assert 'server closed' in str(error.value)
    assert '\n' not in str(error.value)
