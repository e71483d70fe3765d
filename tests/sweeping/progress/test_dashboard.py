"""optuna-dashboard on a study: what a browser asks for is there, and what is missing is said in one line."""

import json
import sys
import threading
import urllib.request

import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.progress import dashboard
from lmhp.sweeping.space import as_space
from lmhp.sweeping.space import Float
from lmhp.sweeping.store.manifest import StudyManifest, TaskDescription
from lmhp.sweeping.store.study import Study
from lmhp.sweeping.store.trial import Trial

MANIFEST = StudyManifest(TaskDescription('test', {}), {}, {})
SPACE = as_space({'optimizer.learning_rate': Float(1e-4, 1e-1, log=True)})


def make_study(workdir, storage=None):
  trials = [
    Trial(
      i,
      i,
      0,
      {'optimizer.learning_rate': 10.0 ** -(i + 1)},
      {'optimizer.learning_rate': 10.0 ** -(i + 1)},
      status='complete',
      scores={9: 2.0 + i},
      values=(2.0 + i,),
    )
    for i in range(3)
  ]
  with Study.open(workdir, storage=storage, space=SPACE, manifest=MANIFEST) as study:
    study.add(trials)


def ask(http, path):
  with urllib.request.urlopen(
    f'http://localhost:{http.server_port}{path}', timeout=20
  ) as reply:
    return reply.status, reply.read().decode()


@pytest.fixture
def serve():
  """Starts servers in threads, and stops them."""
  pytest.importorskip(
    'optuna_dashboard', reason='optuna-dashboard is not installed (extra: dashboard)'
  )
  started = []

  def start(workdir, storage=None):
    http = dashboard.server(workdir, 0, storage)
    started.append((http, threading.Thread(target=http.serve_forever)))
    started[-1][1].start()
    return http

  yield start
  for http, thread in started:
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.mark.parametrize('in_database', [False, True])
def test_a_browser_finds_the_study_and_its_trials(tmp_path, serve, in_database):
  storage = f'sqlite:///{tmp_path / "trials.db"}' if in_database else None
  make_study(tmp_path / 'rates', storage)
  http = serve(tmp_path / 'rates')
  status, page = ask(http, '/')
  assert status == 200 and '<html' in page.lower()
  (summary,) = json.loads(ask(http, '/api/studies')[1])['study_summaries']
  assert summary['study_name'] == 'rates' and summary['directions'] == ['minimize']
  detail = json.loads(ask(http, f'/api/studies/{summary["study_id"]}')[1])
  assert [t['values'] for t in detail['trials']] == [[2.0], [3.0], [4.0]]
  assert detail['best_trials'][0]['params'][0]['name'] == 'optimizer.learning_rate'


def test_looking_changes_nothing_and_the_study_stays_open_for_writing(tmp_path, serve):
  make_study(tmp_path)
  before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
  ask(serve(tmp_path), '/api/studies')
  assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
  with Study.open(tmp_path, space=SPACE, manifest=MANIFEST) as study:
    study.add([Trial(3, 3, 0, {'optimizer.learning_rate': 1e-2}, {})])


def test_no_study(tmp_path):
  with pytest.raises(
    ConfigError, match='no study there, expected a directory with a study.journal'
  ):
    dashboard.open_dashboard(tmp_path)
  assert list(tmp_path.iterdir()) == []
  with pytest.raises(
    ConfigError, match="got 'gs://x', expected a directory of this machine"
  ):
    dashboard.open_dashboard('gs://x')


def test_a_password_is_not_kept_and_so_asked_for(tmp_path):
  (tmp_path / 'study.json').write_text(
    json.dumps({'storage': 'postgresql://me:***@host/db'})
  )
  with pytest.raises(
    ConfigError, match='--storage: got none, expected the URL with its password'
  ):
    dashboard.open_dashboard(tmp_path)


def test_a_database_for_a_study_in_its_journal(tmp_path):
  make_study(tmp_path)
  with pytest.raises(
    ConfigError, match='--storage: got one, but the study in .* is in its study.journal'
  ):
    dashboard.server(tmp_path, 0, 'sqlite:///other.db')


def test_a_taken_port(tmp_path, serve):
  make_study(tmp_path)
  taken = serve(tmp_path).server_port
  with pytest.raises(ConfigError, match=f'--port: got {taken}, expected a free one'):
    dashboard.server(tmp_path, taken)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
  make_study(tmp_path)
  monkeypatch.setitem(sys.modules, 'optuna_dashboard', None)
  with pytest.raises(ConfigError, match=r'pip install "lmhp\[dashboard\]"'):
    dashboard.open_dashboard(tmp_path)
