"""Where a study is kept: its directory, with lock and header, and its Optuna storage, a journal or a database."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import logging
import os
import pathlib
import re
import time
from typing import Any, Mapping, Sequence

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.study import StudyDirection
import sqlalchemy.exc

from lmhp.errors import ConfigError
from lmhp.files import is_remote
from lmhp.sweeping.space.compiled_space import parameters
from lmhp.sweeping.store.journal import Journal, Reading
from lmhp.sweeping.store.optuna_records import Records, quiet
from lmhp.sweeping.store.trial import HEADER, LOCK, MIRROR, read_mirror

try:
  import fcntl
except ImportError:  # Windows: two drivers of one study go unnoticed
  fcntl = None

FILE = 'study.journal'
ATTEMPTS = 5
"""To make the tables of a database."""

_HEADER = {
  'name': str,
  'directions': list,
  'storage': (str, type(None)),
  'id': str,
  'card': dict,
}
_log = logging.getLogger(__name__)

# --- the directory --------------------------------------------------------------------------------------------------


def local(workdir: Any) -> pathlib.Path:
  """A study's directory.

  Raises:
    ConfigError: where it is not of this machine.
  """
  if is_remote(workdir):
    raise ConfigError(
      f'workdir: got {str(workdir)!r}, expected a directory of this machine for a study'
    )
  return pathlib.Path(workdir).expanduser()


def locked(workdir: pathlib.Path) -> Any:
  """The open lock file; closing it lets another process write the study, as the death of this one does.

  Raises:
    ConfigError: where another process is writing it.
  """
  file = open(workdir / LOCK, 'a')
  try:
    fcntl and fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    file.close()
    words = 'another process is writing this study; wait for it, or use another workdir'
    raise ConfigError(f'{workdir}: {words}') from None
  except OSError:  # a file system without locks
    pass
  return file


def header_of(workdir: pathlib.Path) -> dict[str, Any] | None:
  """What `study.json` has; None where there is no such file.

  Raises:
    ConfigError: where it is damaged.
  """
  path = workdir / HEADER
  if not path.exists():
    return None
  try:
    header = json.loads(path.read_text())
  except ValueError as error:
    raise ConfigError(f'{path}: is damaged: {error}') from None
  if not isinstance(header, dict) or not all(
    isinstance(header.get(key, ...), kind) for key, kind in _HEADER.items()
  ):
    raise ConfigError(
      f'{path}: is damaged, expected a JSON object with {", ".join(_HEADER)}'
    )
  return header


def check_matches(
  workdir: pathlib.Path,
  header: Mapping[str, Any],
  name: str | None,
  directions: Sequence[str] | None,
  storage: str | None,
) -> None:
  """Checks that a study is asked for as what it is; None asks for nothing.

  Raises:
    ConfigError: where it is another.
  """
  if (storage is None) != (header['storage'] is None):
    known = header['storage'] or 'its journal'
    raise ConfigError(
      f'--storage: got {redact_url(storage)}, but the study in {workdir} is in {known}'
    )
  asked = {'name': name, 'directions': None if directions is None else list(directions)}
  for key, value in asked.items():
    if value is not None and value != header[key]:
      raise ConfigError(
        f'{key}: got {value!r}, but the study in {workdir} has {header[key]!r}'
      )


def redact_url(url: str | None) -> str | None:
  """A storage's URL without its password."""
  return None if url is None else re.sub(r'(://[^/@:]*):[^/]*@', r'\1:***@', url)


def rebuild(workdir: Any, space: Any = None) -> int:
  """Makes a study's journal again from its `trials.jsonl`; the old one stays as `study.journal.damaged`.

  Args:
    workdir: of a study that no process writes.
    space: the domains that Optuna shall know of its parameters; without it, their values alone.

  Returns:
    How many trials it has.

  Raises:
    ConfigError: where another process is writing it, or it has no journal.
  """
  workdir = local(workdir)
  with locked(workdir):
    header = header_of(workdir)
    if header is None or header['storage'] is not None:
      raise ConfigError(
        f'{workdir}: no journal belongs there, expected a {HEADER} of a study with a journal'
      )
    lines = read_mirror(workdir)
    _rebuild_journal(
      workdir, header, {} if space is None else {p.name: p for p in parameters(space)}
    )
  return len(lines)


# --- the storage ----------------------------------------------------------------------------------------------------


def records(
  workdir: pathlib.Path,
  header: Mapping[str, Any],
  url: str | None,
  space: Any,
  write: bool = True,
) -> Records:
  """A study's trials in its storage: begun where it is not there yet, mended or made again where it is damaged.

  Args:
    workdir: its directory, whose lock this process holds if it writes.
    header: what `study.json` has.
    url: of the database; None is the journal.
    space: of new trials.
    write: or only read.

  Raises:
    ConfigError: where that cannot be.
  """
  known = {} if space is None else {p.name: p for p in parameters(space)}
  path = workdir / FILE
  begin = write and (
    url is None or not read_mirror(workdir)
  )  # a database without a study that has trials is another
  with quiet():
    if url is not None:
      storage, together = _database(url), contextlib.nullcontext
    elif write:
      storage, together = _journal(workdir, header, known)
    else:
      storage, together = _reading(path), contextlib.nullcontext
    return Records(
      storage, _study(storage, header, url, together, begin), known, together
    )


def _journal(
  workdir: pathlib.Path, header: Mapping[str, Any], space: Any
) -> tuple[BaseStorage, Any]:
  path, lines = workdir / FILE, read_mirror(workdir)
  try:
    backend = Journal(path, workdir / LOCK)
    storage = JournalStorage(backend)
    n = sum(
      storage.get_n_trials(study._study_id) for study in storage.get_all_studies()
    )
    reason = f'it holds {n} trials, not {len(lines)}' if n < len(lines) else None
  except ValueError as error:  # Damaged, or JSON that only Optuna's reading finds wrong
    reason = str(error)
  if reason is None:
    return storage, backend.together
  if not lines:
    raise ConfigError(
      f'{path}: {reason}, and there is no {MIRROR} to make it again from'
    )
  _log.warning('%s: %s; made again from %s', path, reason, MIRROR)
  return _rebuild_journal(workdir, header, space)


def _rebuild_journal(
  workdir: pathlib.Path, header: Mapping[str, Any], space: Mapping[str, Any]
) -> tuple[BaseStorage, Any]:
  """Makes the journal again from `trials.jsonl`; the old one stays as `study.journal.damaged`."""
  path, new = workdir / FILE, workdir / f'{FILE}.new'
  new.unlink(missing_ok=True)
  backend = Journal(new, workdir / LOCK)
  storage = JournalStorage(backend)
  with backend.together():
    study = _study(storage, header, None, backend.together, begin=True)
    Records(storage, study, space, backend.together).add(
      [json.loads(line) for line in read_mirror(workdir)]
    )
  if path.exists() and path.stat().st_size:
    os.replace(path, f'{path}.damaged')
  os.replace(new, path)
  backend = Journal(path, workdir / LOCK)
  return JournalStorage(backend), backend.together


def _reading(path: pathlib.Path) -> BaseStorage:
  try:
    return JournalStorage(Reading(path))
  except (ValueError, FileNotFoundError) as error:
    raise ConfigError(
      f'{path}: {error}; running the sweep again makes it anew from {MIRROR}'
    ) from None


def _database(url: str) -> BaseStorage:
  known = redact_url(url)
  for scheme in ('postgresql://', 'postgres://'):
    if url.startswith(scheme) and importlib.util.find_spec(
      'psycopg'
    ):  # SQLAlchemy 2.0 would look for psycopg2
      url = f'postgresql+psycopg://{url.removeprefix(scheme)}'
  for attempt in itertools.count(1):
    try:
      return RDBStorage(url)
    except ImportError as error:
      raise ConfigError(
        f'--storage: {known} needs a driver ({error}); pip install "lmhp[postgres]"'
      ) from None
    except (
      sqlalchemy.exc.SQLAlchemyError,
      optuna.exceptions.StorageInternalError,
    ) as error:
      if attempt == ATTEMPTS or isinstance(error, sqlalchemy.exc.ArgumentError):
        words = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(
          f'--storage: got {known}, which cannot be opened: {words}'
        ) from None
      time.sleep(
        0.1 * attempt
      )  # two drivers that make the tables of a new database get in each other's way


def _study(
  storage: BaseStorage,
  header: Mapping[str, Any],
  url: str | None,
  together: Any,
  begin: bool,
) -> int:
  """The study's number in its storage."""
  name, where = header['name'], redact_url(url) or FILE
  try:
    study = storage.get_study_id_from_name(name)
  except KeyError:
    if not begin:
      raise ConfigError(f'{where}: has no study {name!r}') from None
    with together():
      study = storage.create_new_study(
        [StudyDirection[d.upper()] for d in header['directions']], name
      )
      storage.set_study_user_attr(study, 'lmhp_id', header['id'])
      storage.set_study_user_attr(study, 'lmhp', header['card'])
    return study
  attrs = storage.get_study_user_attrs(study)
  if (
    begin and 'lmhp_id' not in attrs and not storage.get_n_trials(study)
  ):  # killed between the first two writes
    storage.set_study_user_attr(study, 'lmhp_id', header['id'])
    storage.set_study_user_attr(study, 'lmhp', header['card'])
  elif url is not None and attrs.get('lmhp_id') != header['id']:
    raise ConfigError(
      f'name: got {name!r}, but {where} has a study of another workdir by that name; choose another'
    )
  return study
