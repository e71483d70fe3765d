"""The storage of a study: the journal or a database, found again or refused in one line."""

import pytest
from small_studies import make_trial, open_study, write_study_of_all_statuses

from lmhp.errors import ConfigError
from lmhp.sweeping.store.study import Study


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
