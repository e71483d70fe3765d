"""PostgreSQL: two drivers with a study each on one server, one of them killed."""

from collections.abc import Callable
import dataclasses
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
import small_studies
from small_studies import (
  finish_study,
  lines_of,
  open_study,
  write_study_of_all_statuses,
)

from lmhp.errors import ConfigError
from lmhp.sweeping.store.study import Study

pytestmark = pytest.mark.postgres
TESTS = os.path.dirname(small_studies.__file__)
N_TRIALS = 60


def find_program(name):
  """Returns the path of a program of PostgreSQL. Debian does not put them on the path."""
  on_path = shutil.which(name)
  if on_path:
    return on_path
  installed = sorted(glob.glob(f'/usr/lib/postgresql/*/bin/{name}'))
  if not installed:
    pytest.skip(f'needs PostgreSQL: no {name} here')
  return installed[-1]


def find_user():
  """Returns the user that runs the server. PostgreSQL refuses to run as root."""
  if os.geteuid() != 0:
    return None
  for name in ('postgres', 'nobody'):
    try:
      return pwd.getpwnam(name)
    except KeyError:
      continue
  pytest.skip('needs a user other than root to run PostgreSQL')


def free_port():
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    return free.getsockname()[1]


@dataclasses.dataclass(frozen=True)
class Server:
  """A server with an empty database."""

  url: str
  restart: Callable[[], None]


@pytest.fixture
def url(server):
  """The URL of a database on a server of its own."""
  return server.url


@pytest.fixture(scope='module')
def server():
  """A server of its own."""
  pytest.importorskip('psycopg')
  initdb = find_program('initdb')
  pg_ctl = find_program('pg_ctl')
  user = find_user()
  port = free_port()
  # Other users may not enter pytest's own directories.
  directory = tempfile.mkdtemp(prefix='lmhp-postgres-')
  data = f'{directory}/data'
  as_user = {}
  if user is not None:
    as_user = {'user': user.pw_uid, 'group': user.pw_gid, 'extra_groups': []}
    os.chown(directory, user.pw_uid, user.pw_gid)

  def run(*command):
    subprocess.run(
      command, check=True, cwd=directory, stdout=subprocess.DEVNULL, **as_user
    )

  options = f'-p {port} -k {directory} -c listen_addresses=127.0.0.1 -c fsync=off'
  log = f'{directory}/log'
  try:
    run(initdb, '-D', data, '-A', 'trust', '-U', 'postgres', '--no-sync')
    run(pg_ctl, '-D', data, '-o', options, '-l', log, '-w', 'start')
    try:
      yield Server(
        f'postgresql://postgres:secret@127.0.0.1:{port}/postgres',
        lambda: run(
          *(pg_ctl, '-D', data, '-o', options, '-l', log),
          *('-w', '-m', 'immediate', 'restart'),
        ),
      )
    finally:
      run(pg_ctl, '-D', data, '-m', 'immediate', '-w', 'stop')
  finally:
    shutil.rmtree(directory, ignore_errors=True)


DRIVER = """
import sys
sys.path.insert(0, sys.argv[3])
import small_studies
with small_studies.open_study(sys.argv[1], storage=sys.argv[2]) as study:
  update = study.update
  study.update = lambda trials: (update(trials), print(trials[0].number, flush=True))
  small_studies.finish_study(study, int(sys.argv[4]))
"""


def start_driver(workdir, url):
  arguments = [str(workdir), url, TESTS, str(N_TRIALS)]
  return subprocess.Popen(
    [sys.executable, '-c', DRIVER, *arguments], stdout=subprocess.PIPE
  )


def test_two_drivers_two_studies_one_server(url, tmp_path):
  """They find an empty database at the same moment, and one is killed twice."""
  with open_study(tmp_path / 'reference') as study:
    finish_study(study, N_TRIALS)
    reference = lines_of(study.trials)
  steady = start_driver(tmp_path / 'steady', url)
  killed = start_driver(tmp_path / 'killed', url)
  for first_number in (6, 30):
    # Most of the study is still to come at these trials.
    for line in killed.stdout:
      if int(line) >= first_number:
        break
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    killed.stdout.close()
    killed = start_driver(tmp_path / 'killed', url)
  for process in (steady, killed):
    process.communicate()
    assert process.returncode == 0

  storage = optuna.storages.RDBStorage(url.replace('://', '+psycopg://'))
  for name in ('steady', 'killed'):
    with Study.read(tmp_path / name, storage=url) as study:
      assert lines_of(study.trials) == reference
    trials = optuna.load_study(study_name=name, storage=storage).trials
    shown = [(trial.number, trial.state.name, trial.values) for trial in trials]
    assert shown == [(i, 'COMPLETE', [i + 0.5]) for i in range(N_TRIALS)]
    assert all(trial.intermediate_values == {10: 0.1, 20: 0.05} for trial in trials)
    assert 'secret' not in (tmp_path / name / 'study.json').read_text()
  storage.engine.dispose()


def test_every_status_is_read_back(url, tmp_path):
  before = write_study_of_all_statuses(tmp_path / 'statuses', storage=url)
  with open_study(tmp_path / 'statuses', storage=url) as study:
    assert lines_of(study.trials) == lines_of(before)


def test_a_server_that_does_not_answer_is_one_line_without_the_password(url, tmp_path):
  with pytest.raises(ConfigError) as error:
    open_study(tmp_path / 'run', storage='postgresql://postgres:secret@127.0.0.1:1/x')
  message = str(error.value)
  assert message.startswith('--storage: got postgresql://postgres:***@127.0.0.1:1/x,')
  assert '\n' not in message
  assert 'secret' not in message


def test_a_server_that_restarts_under_a_sweep_loses_nothing(server, tmp_path):
  with open_study(tmp_path / 'reference') as study:
    finish_study(study, N_TRIALS)
    reference = lines_of(study.trials)
  driver = start_driver(tmp_path / 'restarted', server.url)
  for first_number in (6, 30):
    for line in driver.stdout:
      if int(line) >= first_number:
        break
    server.restart()
  driver.communicate()
  assert driver.returncode == 0
  with Study.read(tmp_path / 'restarted', storage=server.url) as study:
    assert lines_of(study.trials) == reference
