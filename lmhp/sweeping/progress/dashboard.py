"""A study in the browser: optuna-dashboard on its storage, also while the sweep runs."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socketserver
from typing import TYPE_CHECKING
from wsgiref import simple_server

from lmhp.errors import ConfigError
from lmhp.errors.redaction import MASK
from lmhp.files import is_remote
from lmhp.sweeping.store.study_header import HEADER, JOURNAL
from lmhp.typing import PathLike

if TYPE_CHECKING:
  # Optuna takes long to import.
  from optuna.storages import BaseStorage


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
  try:
    return simple_server.make_server(
      'localhost',
      port,
      optuna_dashboard.wsgi(study_storage),
      server_class=_Server,
      handler_class=_QuietHandler,
    )
  except OSError as error:
    raise ConfigError(
      f'--port: got {port}, expected a free one: {error.strerror}'
    ) from None


def _storage(workdir: PathLike, storage: str | None) -> BaseStorage | str:
  """Returns the storage of a study: the URL of its database, or a reader of its journal."""
  if is_remote(workdir):
    raise ConfigError(
      f'workdir: got {str(workdir)!r}, expected a directory of this machine'
    )
  directory = pathlib.Path(workdir).expanduser()
  header = directory / HEADER
  journal = directory / JOURNAL
  url = None
  if header.exists():
    url = json.loads(header.read_text()).get('storage')

  if url is not None:
    # The study stores *** instead of the password.
    if storage is None and MASK in url:
      raise ConfigError(
        f'--storage: got none, expected the URL with its password, since the study is in {url}'
      )
    return storage or url

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
