"""A study in the browser: optuna-dashboard on its storage, also while the sweep runs.

The server answers only the browsers of this machine, and only requests of its own page. A page
of another site may send requests to `localhost`, also under its own name if it lets this name
point here. Such requests could delete the study, so they are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
import contextlib
import pathlib
import socketserver
from typing import TYPE_CHECKING, Any
from wsgiref import simple_server

from lmhp.errors import ConfigError
from lmhp.files import is_remote, read_json
from lmhp.sweeping.store.study_header import HEADER, JOURNAL
from lmhp.typing import PathLike

if TYPE_CHECKING:
  # Optuna takes long to import.
  from optuna.storages import BaseStorage

_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""A WSGI application."""


def open_dashboard(
  workdir: PathLike, port: int = 8080, storage: str | None = None
) -> None:
  """Serves a study to the browsers of this machine until it is interrupted.

  Args:
    workdir: Directory of the study.
    port: Port of the server. 0 stands for any free port.
    storage: URL of the Optuna storage of the study. It is needed if the URL has a password,
      because a study stores its URL without the password.

  Raises:
    ConfigError: If there is no study, the port is taken, or optuna-dashboard is not installed.
  """
  with dashboard_server(workdir, port, storage) as server:
    url = f'http://localhost:{server.server_port}/'
    print(f'{workdir} is at {url}  (Ctrl-C stops the server)', flush=True)
    with contextlib.suppress(KeyboardInterrupt):
      server.serve_forever()


def dashboard_server(
  workdir: PathLike, port: int, storage: str | None = None
) -> simple_server.WSGIServer:
  """Returns a server of a study that listens on its port.

  Args:
    workdir: Directory of the study.
    port: As in `open_dashboard`.
    storage: As in `open_dashboard`.

  Raises:
    ConfigError: As in `open_dashboard`.
  """
  study_storage = _storage(workdir, storage)
  try:
    import optuna_dashboard
  except ImportError:
    raise ConfigError(
      'dashboard: needs the package optuna-dashboard; install it with: '
      'pip install "lmhp[dashboard]"'
    ) from None
  application = optuna_dashboard.wsgi(study_storage)
  try:
    server = simple_server.make_server(
      'localhost', port, application, server_class=_Server, handler_class=_QuietHandler
    )
  except OSError as error:
    raise ConfigError(
      f'--port: got {port}, expected a free one: {error.strerror}'
    ) from None
  # Port 0 stands for any free port, so the port is known only now.
  server.set_app(_own_requests(application, server.server_port))
  return server


def _own_requests(application: _Application, port: int) -> _Application:
  """Returns an application that refuses the requests of other sites.

  Args:
    application: The application.
    port: Port of the server.
  """
  hosts = {f'{name}:{port}' for name in ('localhost', '127.0.0.1', '[::1]')}
  if port == 80:
    hosts |= {host.removesuffix(':80') for host in hosts}
  origins = {f'http://{host}' for host in hosts}

  def answer(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    is_own = environment.get('HTTP_HOST', '').lower() in hosts
    # Browsers add these headers. A request of another program has none of them.
    origin = environment.get('HTTP_ORIGIN')
    is_own &= origin is None or origin.lower() in origins
    if environment.get('REQUEST_METHOD') not in ('GET', 'HEAD'):
      site = environment.get('HTTP_SEC_FETCH_SITE', 'none')
      is_own &= site in ('none', 'same-origin')
    if is_own:
      return application(environment, start)
    start('403 Forbidden', [('Content-Type', 'text/plain')])
    return [f'use the address http://localhost:{port}/'.encode()]

  return answer


def _storage(workdir: PathLike, storage: str | None) -> BaseStorage:
  """Returns the storage of a study: its database, or its journal.

  The `study.json` of a stranger may name any database. So its URL is opened only if it is a file
  that exists and holds Optuna studies.
  """
  if is_remote(workdir):
    raise ConfigError(
      f'workdir: got {str(workdir)!r}, expected a directory of this machine'
    )
  directory = pathlib.Path(workdir).expanduser()
  header = directory / HEADER
  journal = directory / JOURNAL
  from lmhp.sweeping.store import databases
  from lmhp.sweeping.store.optuna_records import NUMBER

  content = read_json(header) if header.exists() else None
  url = content.get('storage') if isinstance(content, dict) else None
  if url is not None:
    is_file = isinstance(url, str) and url.startswith('sqlite:///')
    if storage is None and not is_file:
      raise ConfigError(
        f'--storage: got none, expected the URL with its password, since the study is in {url}'
      )
    if storage is None:
      # Raises an error if there is no such file, and writes nothing.
      databases.open_for_reading(str(url)).engine.dispose()
    return databases.open_for_writing(storage or str(url), NUMBER)

  # Optuna would create a missing journal, so its existence is checked here.
  if not journal.exists():
    raise ConfigError(
      f'{directory}: got no study, expected the directory of a study of lmhp sweep, which '
      f'contains {JOURNAL}'
    )
  if storage is not None:
    raise ConfigError(
      f'--storage: got one, expected none, since the study in {directory} is stored in its '
      f'file {JOURNAL}, not in a database'
    )
  from optuna.storages import JournalStorage
  from optuna.storages.journal import JournalFileBackend

  return JournalStorage(JournalFileBackend(str(journal)))


class _Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
  """A server with a thread for each request. A page makes several requests at once."""

  daemon_threads = True


class _QuietHandler(simple_server.WSGIRequestHandler):
  """A request handler that prints no line for each request."""

  def log_message(self, format: str, *arguments: object) -> None:
    """Prints nothing."""
