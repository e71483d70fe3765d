"""PostgreSQL: two drivers with a study each on one server, and one of them killed; the server is this test's own."""

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import optuna
import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.store.study import Study

pytestmark = pytest.mark.postgres
HERE = os.path.dirname(__file__)
sys.path.insert(0, HERE)
import test_study  # noqa: E402 (the study that its kill test runs)

optuna.logging.set_verbosity(optuna.logging.ERROR)
N = 60


def program(name):
  """A program of PostgreSQL; Debian keeps them off the path."""
  found = [
    shutil.which(name) or '',
    *sorted(glob.glob(f'/usr/lib/postgresql/*/bin/{name}'), reverse=True),
  ]
  if not any(found):
    pytest.skip(f'needs PostgreSQL: no {name} here')
  return next(path for path in found if path)


def as_whom():
  """The user that runs the server, which refuses to run as root."""
  if os.geteuid() != 0:
    return {}
  for user in ('postgres', 'nobody'):
    try:
      return {'user': user, 'group': pwd.getpwnam(user).pw_gid, 'extra_groups': []}
    except KeyError:
      continue
  pytest.skip('needs a user other than root to run PostgreSQL')


@pytest.fixture(scope='module')
def url():
  """The URL of an empty database."""
  pytest.importorskip('psycopg')
  initdb, pg_ctl, user = program('initdb'), program('pg_ctl'), as_whom()
  directory = tempfile.mkdtemp(
    prefix='lmhp-postgres-'
  )  # not pytest's own, which others may not enter
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  try:
    if user:
      os.chown(directory, pwd.getpwnam(user['user']).pw_uid, user['group'])
    run = lambda *command: subprocess.run(
      command, check=True, cwd=directory, stdout=subprocess.DEVNULL, **user
    )
    run(initdb, '-D', f'{directory}/data', '-A', 'trust', '-U', 'postgres', '--no-sync')
    options = f'-p {port} -k {directory} -c listen_addresses=127.0.0.1 -c fsync=off'
    run(
      pg_ctl,
      '-D',
      f'{directory}/data',
      '-o',
      options,
      '-l',
      f'{directory}/log',
      '-w',
      'start',
    )
    try:
      yield f'postgresql://postgres:secret@127.0.0.1:{port}/postgres'
    finally:
      run(pg_ctl, '-D', f'{directory}/data', '-m', 'immediate', '-w', 'stop')
  finally:
    shutil.rmtree(directory, ignore_errors=True)


DRIVER = """
import sys
sys.path.insert(0, sys.argv[3])
import test_study
with test_study.opened(sys.argv[1], storage=sys.argv[2]) as study:
  update = study.update
  study.update = lambda trials: (update(trials), print(trials[0].number, flush=True))
  test_study.go_on(study, int(sys.argv[4]))
"""


def driver(workdir, url):
  return subprocess.Popen(
    [sys.executable, '-c', DRIVER, str(workdir), url, HERE, str(N)],
    stdout=subprocess.PIPE,
  )


def test_two_drivers_two_studies_one_server(url, tmp_path):
  """They find an empty database at the same moment, and one is killed twice."""
  with test_study.opened(tmp_path / 'reference') as study:
    test_study.go_on(study, N)
    reference = test_study.lines(study.trials)
  steady, killed = driver(tmp_path / 'steady', url), driver(tmp_path / 'killed', url)
  for first in (
    6,
    30,
  ):  # wherever it is by then, but most of the study is still to come
    for line in killed.stdout:
      if int(line) >= first:
        break
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -9
    killed.stdout.close()
    killed = driver(tmp_path / 'killed', url)
  for process in (steady, killed):
    process.communicate()
    assert process.returncode == 0
  storage = optuna.storages.RDBStorage(url.replace('://', '+psycopg://'))
  for name in ('steady', 'killed'):
    with Study.read(tmp_path / name, storage=url) as study:
      assert test_study.lines(study.trials) == reference
    trials = optuna.load_study(study_name=name, storage=storage).trials
    assert [(t.number, t.state.name, t.values) for t in trials] == [
      (i, 'COMPLETE', [i + 0.5]) for i in range(N)
    ]
    assert all(t.intermediate_values == {10: 0.1, 20: 0.05} for t in trials)
    assert 'secret' not in (tmp_path / name / 'study.json').read_text()
  storage.engine.dispose()


def test_every_fate_comes_back(url, tmp_path):
  before = test_study.run_a_study(tmp_path / 'fates', storage=url)
  with test_study.opened(tmp_path / 'fates', storage=url) as study:
    assert test_study.lines(study.trials) == test_study.lines(before)


def test_a_server_that_is_not_there_is_one_line(url, tmp_path):
  words = r'--storage: got postgresql://postgres:\*\*\*@127.0.0.1:1/x, which cannot'
  with pytest.raises(ConfigError, match=words) as error:
    test_study.opened(
      tmp_path / 'run', storage='postgresql://postgres:secret@127.0.0.1:1/x'
    )
  assert '\n' not in str(error.value) and 'secret' not in str(error.value)
