"""optuna-dashboard on a study: the server's answers, and errors."""

import contextlib
import http.client
import json
import sqlite3
import sys
import threading
import urllib.request

import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.progress import dashboard
from lmhp.sweeping.space import Float, as_space
from lmhp.sweeping.store.manifest import StudyManifest, TaskDescription
from lmhp.sweeping.store.study import Study
from lmhp.sweeping.store.trial import Trial

MANIFEST = StudyManifest(TaskDescription('test', {}), {}, {})
LEARNING_RATE = 'optimizer.learning_rate'
SPACE = as_space({LEARNING_RATE: Float(1e-4, 1e-1, log=True)})


def trial(number, **fields):
  values = {LEARNING_RATE: 10.0 ** -(number + 1)}
  return Trial(
    number=number, point=number, seed=0, parameters=values, overrides=values, **fields
  )


def make_study(workdir, storage=None):
  with Study.open(workdir, storage=storage, space=SPACE, manifest=MANIFEST) as study:
    study.add(
      [
        trial(i, status='complete', scores={9: 2.0 + i}, values=(2.0 + i,))
        for i in range(3)
      ]
    )


def get(server, path):
  url = f'http://localhost:{server.server_port}{path}'
  with urllib.request.urlopen(url, timeout=20) as reply:
    return reply.read().decode()


@pytest.fixture
def serve():
  """Starts servers in threads, and stops them."""
  pytest.importorskip('optuna_dashboard', reason='needs the extra dashboard')
  started = []

  def start(workdir):
    server = dashboard.dashboard_server(workdir, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    started.append((server, thread))
    return server

  yield start
  for server, thread in started:
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize('in_database', [False, True])
def test_a_browser_gets_the_study_and_its_trials(tmp_path, serve, in_database):
  storage = f'sqlite:///{tmp_path / "trials.db"}' if in_database else None
  make_study(tmp_path / 'rates', storage)
  server = serve(tmp_path / 'rates')
  assert '<html' in get(server, '/').lower()
  (summary,) = json.loads(get(server, '/api/studies'))['study_summaries']
  assert summary['study_name'] == 'rates'
  assert summary['directions'] == ['minimize']
  detail = json.loads(get(server, f'/api/studies/{summary["study_id"]}'))
  assert [t['values'] for t in detail['trials']] == [[2.0], [3.0], [4.0]]
  assert detail['best_trials'][0]['params'][0]['name'] == LEARNING_RATE


def test_the_dashboard_changes_no_file_and_the_study_can_be_written(tmp_path, serve):
  make_study(tmp_path)
  before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
  get(serve(tmp_path), '/api/studies')
  assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
  with Study.open(tmp_path, space=SPACE, manifest=MANIFEST) as study:
    study.add([trial(3)])


def status_of(server, method, path='/api/studies', **headers):
  """Returns the status of a request with headers."""
  connection = http.client.HTTPConnection('localhost', server.server_port, timeout=20)
  with contextlib.closing(connection):
    headers = {name.replace('_', '-'): value for name, value in headers.items()}
    connection.request(method, path, headers=headers)
    return connection.getresponse().status


def test_requests_of_other_sites_are_refused(tmp_path, serve):
  make_study(tmp_path / 'rates')
  server = serve(tmp_path / 'rates')
  port = server.server_port
  own = f'http://localhost:{port}'
  before = (tmp_path / 'rates/study.journal').read_bytes()
  # A name that points to this machine, another port, and no name.
  for host in ('evil.example', f'evil.example:{port}', f'localhost:{port + 1}', ''):
    assert status_of(server, 'GET', Host=host) == 403
    assert status_of(server, 'DELETE', '/api/studies/0', Host=host) == 403
  for origin in ('http://evil.example', 'null', f'http://localhost:{port + 1}'):
    assert status_of(server, 'GET', Origin=origin) == 403
    assert status_of(server, 'DELETE', '/api/studies/0', Origin=origin) == 403
  for site in ('cross-site', 'same-site'):
    assert status_of(server, 'DELETE', '/api/studies/0', Sec_Fetch_Site=site) == 403
  assert (tmp_path / 'rates/study.journal').read_bytes() == before

  # The own page is answered, also under the number of the machine, and after a click on a link.
  assert status_of(server, 'GET', Origin=own, Sec_Fetch_Site='same-origin') == 200
  assert status_of(server, 'GET', Host=f'127.0.0.1:{port}') == 200
  assert status_of(server, 'GET', Sec_Fetch_Site='cross-site') == 200


@pytest.mark.parametrize('kind', ['missing', 'foreign', 'server', 'number'])
def test_a_storage_of_a_stranger_is_not_opened(tmp_path, kind):
  make_study(tmp_path / 'rates')
  foreign = tmp_path / 'foreign.db'
  with contextlib.closing(sqlite3.connect(foreign)) as connection:
    connection.execute('CREATE TABLE invoices (id)')
    connection.commit()
  header = json.loads((tmp_path / 'rates/study.json').read_text())
  del header['checksum']
  header['storage'] = {
    'missing': f'sqlite:///{tmp_path}/made.db',
    'foreign': f'sqlite:///{foreign}',
    'server': 'postgresql://me@127.0.0.1:1/db',
    'number': 5,
  }[kind]
  (tmp_path / 'rates/study.json').write_text(json.dumps(header))
  before = foreign.read_bytes()
  with pytest.raises(ConfigError) as error:
    dashboard.dashboard_server(tmp_path / 'rates', 0)
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'made.db').exists()
  assert foreign.read_bytes() == before


@pytest.mark.parametrize('content', ['', '[]', '{"storage": 5', '\x00'])
def test_a_damaged_header_is_one_line(tmp_path, content):
  make_study(tmp_path / 'rates')
  (tmp_path / 'rates/study.journal').unlink()
  (tmp_path / 'rates/study.json').write_text(content)
  with pytest.raises(ConfigError) as error:
    dashboard.dashboard_server(tmp_path / 'rates', 0)
  assert '\n' not in str(error.value)


def test_a_directory_without_a_study_is_an_error_and_stays_empty(tmp_path):
  with pytest.raises(ConfigError, match='expected .*directory .*study.journal'):
    dashboard.open_dashboard(tmp_path)
  assert list(tmp_path.iterdir()) == []


def test_a_remote_directory_is_an_error():
  with pytest.raises(ConfigError, match="^workdir: got 'gs://x', expected"):
    dashboard.open_dashboard('gs://x')


def test_a_url_without_its_password_is_an_error(tmp_path):
  header = {'storage': 'postgresql://me:***@host/db'}
  (tmp_path / 'study.json').write_text(json.dumps(header))
  with pytest.raises(ConfigError, match='^--storage: got none, expected the URL'):
    dashboard.open_dashboard(tmp_path)


def test_a_database_for_a_study_with_a_journal_is_an_error(tmp_path):
  make_study(tmp_path)
  with pytest.raises(ConfigError, match='^--storage: got one, expected none'):
    dashboard.dashboard_server(tmp_path, 0, 'sqlite:///other.db')


def test_a_taken_port_is_an_error(tmp_path, serve):
  make_study(tmp_path)
  taken = serve(tmp_path).server_port
  with pytest.raises(ConfigError, match=f'^--port: got {taken}, expected'):
    dashboard.dashboard_server(tmp_path, taken)


def test_without_the_package_the_error_names_the_extra(tmp_path, monkeypatch):
  make_study(tmp_path)
  monkeypatch.setitem(sys.modules, 'optuna_dashboard', None)
  with pytest.raises(ConfigError, match=r'pip install "lmhp\[dashboard\]"'):
    dashboard.open_dashboard(tmp_path)
