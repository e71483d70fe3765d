"""Where a study is kept: one writer, opened as what it is, and its journal made again; what is damaged is one line."""

import json
import os
import subprocess
import sys

import optuna
import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.store.storages import rebuild
from lmhp.sweeping.store.study import Study

sys.path.insert(0, os.path.dirname(__file__))
from test_study import CARD, SPACE, by_optuna, lines, opened, run_a_study, trial  # noqa: E402

# --- whose study it is ----------------------------------------------------------------------------------------------

HOLDER = """
import sys
from lmhp.sweeping.store.study import Study
with Study.open(sys.argv[1], space={}, card={}):
  print('open', flush=True)
  sys.stdin.read()
"""


def test_one_writer_at_a_time_and_readers_at_any(tmp_path):
  holder = subprocess.Popen(
    [sys.executable, '-c', HOLDER, str(tmp_path / 'run')],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  try:
    assert holder.stdout.readline() == b'open\n'
    with pytest.raises(ConfigError, match='another process is writing this study'):
      opened(tmp_path / 'run')
    assert Study.read(tmp_path / 'run').trials == []
  finally:
    holder.communicate()
  opened(tmp_path / 'run').close()


def test_a_study_is_opened_as_what_it_is(tmp_path):
  workdir, url = tmp_path / 'run', f'sqlite:///{tmp_path}/study.db'
  with pytest.raises(ConfigError, match='no study there'):
    Study.read(workdir)
  opened(workdir, name='mine').close()
  opened(workdir).close()
  for options, words in (
    (dict(name='other'), "name: got 'other'.*has 'mine'"),
    (dict(storage=url), 'is in its journal'),
    (dict(directions=('maximize',)), r"directions: got \['maximize'\]"),
  ):
    with pytest.raises(ConfigError, match=words):
      opened(workdir, **options)
  opened(tmp_path / 'a/run', storage=url).close()
  with pytest.raises(ConfigError, match='a study of another workdir by that name'):
    opened(tmp_path / 'b/run', storage=url)
  with pytest.raises(ConfigError, match='--storage: got None'):
    Study.read(tmp_path / 'a/run')
  with opened(tmp_path / 'a/run', storage=url) as study:
    study.add([trial(0)])
  with pytest.raises(ConfigError, match="other.db: has no study 'run'"):
    opened(tmp_path / 'a/run', storage=f'sqlite:///{tmp_path}/other.db')
  with pytest.raises(ConfigError, match='expected a directory of this machine'):
    opened('gs://bucket/run')
  with pytest.raises(
    ConfigError, match='--storage: got nonsense, which cannot be opened'
  ):
    opened(tmp_path / 'c', storage='nonsense')
  opened(tmp_path / 'c').close()  # what could not be opened left nothing behind


def test_a_trial_of_another_program_is_refused(tmp_path):
  run_a_study(tmp_path / 'run')
  by_optuna(tmp_path / 'run').ask()
  by_optuna(tmp_path / 'run').add_trial(optuna.trial.create_trial(value=1.0))
  with pytest.raises(ConfigError, match='trial 7 is not of lmhp'):
    opened(tmp_path / 'run')


WHOLE = {
  'name': 'run',
  'directions': ['minimize'],
  'storage': None,
  'id': 'x',
  'card': {},
}
DAMAGED = [
  b'',
  b'{"name": "run",\n',
  b'\xff\xfe',
  b'{}\n{}',
  b'[]',
  b'null',
  b'{}',
  *(json.dumps({**WHOLE, key: 1}).encode() for key in WHOLE),
]


@pytest.mark.parametrize('text', DAMAGED)
def test_a_damaged_header_is_one_line_and_is_left_alone(tmp_path, text):
  workdir = tmp_path / 'run'
  before = run_a_study(workdir)
  path = workdir / 'study.json'
  whole = path.read_bytes()
  path.write_bytes(text)
  for attempt in (opened, Study.read, rebuild):
    with pytest.raises(ConfigError, match='study.json: is damaged') as error:
      attempt(workdir)
    assert '\n' not in str(error.value) and path.read_bytes() == text
  path.write_bytes(whole)
  with opened(workdir) as study:
    assert lines(study.trials) == lines(before)


# --- made again -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('damage', ['missing', 'middle', 'shortened', 'asked'])
def test_the_journal_is_made_again_from_the_mirror(tmp_path, caplog, damage):
  workdir = tmp_path / 'run'
  before = run_a_study(workdir)
  shown = [
    (t.state, t.values, t.params, t.intermediate_values, t.user_attrs)
    for t in by_optuna(workdir).trials
  ]
  path = workdir / 'study.journal'
  text = path.read_bytes()
  if damage == 'missing':
    path.unlink()
  elif damage == 'middle':
    path.write_bytes(text[:2000] + b'?\n' + text[2000:])
    with pytest.raises(ConfigError, match='is no record; running the sweep again'):
      Study.read(workdir)
  elif damage == 'shortened':
    path.write_bytes(b''.join(text.splitlines(keepends=True)[:3]))
  else:
    assert rebuild(workdir, SPACE) == len(before)
  with opened(workdir) as study:
    assert lines(study.trials) == lines(before) and study.card == CARD
    study.add([trial(len(before))])
  assert len(caplog.records) == (damage != 'asked')
  again = by_optuna(workdir).trials
  assert [
    (t.state, t.values, t.params, t.intermediate_values, t.user_attrs)
    for t in again[:-1]
  ] == shown
  assert (workdir / 'study.journal.damaged').exists() == (damage != 'missing')


def test_nothing_is_made_up(tmp_path):
  run_a_study(tmp_path / 'run')
  (tmp_path / 'run/trials.jsonl').unlink()
  path = tmp_path / 'run/study.journal'
  path.write_bytes(b'?\n' + path.read_bytes())
  with pytest.raises(
    ConfigError, match='there is no trials.jsonl to make it again from'
  ):
    opened(tmp_path / 'run')
