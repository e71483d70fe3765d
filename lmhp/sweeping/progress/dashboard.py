"""A study in the browser: optuna-dashboard on its storage, also while the sweep goes on."""

from __future__ import annotations

import json
import pathlib
import socketserver
from typing import Any
from wsgiref import simple_server

from lmhp.errors import ConfigError
from lmhp.files import is_remote
from lmhp.sweeping.store.study_header import HEADER

JOURNAL = 'study.journal'


def open_dashboard(workdir: Any, port: int = 8080, storage: str | None = None) -> None:
  """Serves a study to this machine's browsers until it is interrupted.

  Args:
    workdir: the study's directory.
    port: where the browser finds it; 0 takes a free one.
    storage: the study's Optuna storage as a URL, where it needs a password, which a study does not keep.

  Raises:
    ConfigError: where there is no study, the port is taken, or optuna-dashboard is not installed.
  """
  with server(workdir, port, storage) as http:
    print(
      f'{workdir} is at http://localhost:{http.server_port}/  (Ctrl-C ends it)',
      flush=True,
    )
    try:
      http.serve_forever()
    except KeyboardInterrupt:
      pass


def server(
  workdir: Any, port: int, storage: str | None = None
) -> simple_server.WSGIServer:
  """What `open_dashboard` runs, listening already; arguments and errors are the same."""
  found = _storage(workdir, storage)
  try:
    import optuna_dashboard
  except ImportError:
    raise ConfigError(
      'dashboard: needs optuna-dashboard, which comes with: pip install "lmhp[dashboard]"'
    ) from None
  try:
    app = optuna_dashboard.wsgi(found)
    return simple_server.make_server(
      'localhost', port, app, server_class=_Server, handler_class=_Quiet
    )
  except OSError as error:
    raise ConfigError(
      f'--port: got {port}, expected a free one: {error.strerror}'
    ) from None


def _storage(workdir: Any, storage: str | None) -> Any:
  """The study's storage, as optuna-dashboard takes it: a URL, or Optuna's own reader of the journal."""
  if is_remote(workdir):
    raise ConfigError(
      f'workdir: got {str(workdir)!r}, expected a directory of this machine'
    )
  directory = pathlib.Path(workdir).expanduser()
  header, journal = directory / HEADER, directory / JOURNAL
  url = json.loads(header.read_text()).get('storage') if header.exists() else None
  if url is None and not journal.exists():  # Optuna would make one
    raise ConfigError(
      f'{directory}: no study there, expected a directory with a {JOURNAL}, as lmhp sweep makes it'
    )
  if url is None and storage is not None:
    raise ConfigError(
      f'--storage: got one, but the study in {directory} is in its {JOURNAL}'
    )
  if url is None:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(journal)))
  if storage is None and ':***@' in url:
    raise ConfigError(
      f'--storage: got none, expected the URL with its password, since the study is in {url}'
    )
  return storage or url


class _Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
  """A thread for each request: a page asks for several things at once."""

  daemon_threads = True


class _Quiet(simple_server.WSGIRequestHandler):
  """Without a line for each request."""

  def log_message(self, format: str, *arguments: Any) -> None:
    pass
