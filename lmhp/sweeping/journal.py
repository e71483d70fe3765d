"""The study on disk: Optuna's journal, mended after any kill, and written a batch at a time.

`study.journal` is the file of Optuna's own `JournalFileBackend`, byte for byte: one JSON object a line. So
`optuna-dashboard study.journal` and `optuna.load_study` read it, also while a sweep is writing. What is added:

- A record torn by a kill makes Optuna's reader fail for good as soon as another follows it. Here it is cut out at open.
- Appends within `with journal.together()` reach the disk as one write and one fsync; reads inside see them already.
- Optuna's lock is a link that a killed process leaves behind, and that others wait for 30 seconds. Ours points to the
  file that the one writer holds with `flock`: who holds that, knows such a link to be left from the dead.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import logging
import os
import pathlib
import time
from typing import Any, Iterator, Mapping

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import StudyDirection
import sqlalchemy.exc

from lmhp.hypers import ConfigError
from lmhp.sweeping.bayes import Records, quiet
from lmhp.sweeping.parameters import parameters
from lmhp.sweeping.study import LOCK, MIRROR, mirrored, shown_url

FILE = 'study.journal'
FOREIGN_LOCK_SECONDS = 30.0
"""After so long a lock of another program counts as left behind. Source: Optuna's own default."""

ATTEMPTS = 5
"""To make the tables of a database."""

_START = b'{"op_code":'
_log = logging.getLogger(__name__)


class Damaged(ValueError):
  """A journal that a torn record does not explain: whole records behind the damage cannot be trusted."""


class Journal(BaseJournalBackend):
  """A journal, open for writing by the one process that holds the owner's lock.

  Args:
    path: the file; made if absent.
    owner: a file beside it that this process holds with `flock`.

  Raises:
    Damaged: where it cannot be mended.
  """

  def __init__(self, path: str | os.PathLike, owner: str | os.PathLike):
    self.path = pathlib.Path(path)
    self._lock = WriterLock(self.path, pathlib.Path(owner))
    with self._locked():
      mend(self.path)
    self._file = JournalFileBackend(str(self.path))
    self._in_file = 0  # records of the file that were read
    self._batch: list[bytes] | None = None
    self._failed = False  # the storage above believes in records that are not there

  @contextlib.contextmanager
  def _locked(self) -> Iterator[None]:
    self._lock.acquire()
    try:
      yield
    finally:
      self._lock.release()

  def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
    """The records from a number on: those of the file, then those of the batch."""
    if self._batch is None or log_number_from < self._in_file:
      for number, record in enumerate(self._file.read_logs(log_number_from), start=log_number_from + 1):
        self._in_file = max(self._in_file, number)
        yield record
    for line in (self._batch or [])[max(0, log_number_from - self._in_file):]:
      yield json.loads(line)

  def append_logs(self, logs: list[dict[str, Any]]) -> None:
    """Adds records; they are on the disk when this returns, or where `together` ends."""
    if self._failed:
      raise ValueError(f'{self.path}: a write failed; open the study again')
    lines = [json.dumps(log, separators=(',', ':')).encode() + b'\n' for log in logs]
    if self._batch is not None:
      self._batch += lines
      return
    with self._locked():
      self._write(lines)

  @contextlib.contextmanager
  def together(self) -> Iterator[None]:
    """Joins all appends inside to one write. Nothing is written where an exception leaves it.

    Others cannot append meanwhile: the records' numbers are their places in the file.
    """
    if self._batch is not None:
      yield
      return
    with self._locked():
      for _ in self._file.read_logs(self._in_file):  # what others have appended meanwhile comes first
        self._in_file += 1
      self._batch = []
      try:
        yield
        self._write(self._batch)
      except BaseException:
        self._failed = True
        raise
      finally:
        self._batch = None

  def _write(self, lines: list[bytes]) -> None:
    if lines:
      self._failed = True  # until it has not
      with open(self.path, 'ab') as file:
        file.write(b''.join(lines))
        file.flush()
        os.fsync(file.fileno())
      self._failed = False


class Reading(BaseJournalBackend):
  """A journal as it stands, for one who only reads: torn records are left out, and the file is left alone."""

  def __init__(self, path: str | os.PathLike):
    self._records = [json.loads(line) for line in whole_records(pathlib.Path(path).read_bytes())]

  def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
    """The records from a number on."""
    return iter(self._records[log_number_from:])

  def append_logs(self, logs: list[dict[str, Any]]) -> None:
    """Refuses."""
    raise ValueError('this study is open for reading')


class WriterLock:
  """Optuna's lock on a journal, so that its own programs wait for us and we for them; outlives no kill.

  Args:
    journal: the file; the lock is a link beside it.
    owner: what the link points to: a file that this process holds with `flock`.
  """

  def __init__(self, journal: pathlib.Path, owner: pathlib.Path):
    self._link, self._target = f'{journal}.lock', owner.name

  def acquire(self) -> None:
    """Waits for the lock."""
    patience, pause = time.monotonic() + FOREIGN_LOCK_SECONDS, 0.001
    while True:
      try:
        os.symlink(self._target, self._link)
        return
      except FileExistsError:
        with contextlib.suppress(OSError):  # released meanwhile, or not a link: wait
          if os.readlink(self._link) == self._target:
            os.unlink(self._link)
            continue
        if time.monotonic() > patience:
          _log.warning('%s was not released for %.0f seconds: taken as left behind', self._link, FOREIGN_LOCK_SECONDS)
          self.release()
        time.sleep(pause)
        pause = min(2 * pause, 0.1)

  def release(self) -> None:
    """Lets others append."""
    with contextlib.suppress(FileNotFoundError):
      os.unlink(self._link)


# --- mending --------------------------------------------------------------------------------------------------------


def mend(path: pathlib.Path) -> None:
  """Cuts torn records out of a journal; the caller holds its lock.

  Raises:
    Damaged: as `whole_records` says.
  """
  text = path.read_bytes() if path.exists() else b''
  whole = b''.join(whole_records(text))
  if whole == text:
    return
  _log.info('%s: cut off %d bytes of torn records', path, len(text) - len(whole))
  if text.startswith(whole):
    with open(path, 'r+b') as file:
      file.truncate(len(whole))
      os.fsync(file.fileno())
  else:
    replace(path, whole)


def whole_records(text: bytes) -> list[bytes]:
  """The lines of a journal that are records, without those that a kill has torn.

  A torn record is the last of the file, or has the next one, whole, on its own line. (Lines that look whole are not
  parsed here, but where they are read.)

  Raises:
    Damaged: for any other line that is no record.
  """
  *lines, _ = text.split(b'\n')
  found = []
  for number, line in enumerate(lines, start=1):
    looks_whole = line.startswith(_START) and line.endswith(b'}') and line.find(_START, 1) < 0
    whole = line if (looks_whole and number < len(lines)) or _is_record(line) else _second_record(line)
    if whole is not None:
      found.append(whole + b'\n')
    elif number < len(lines):
      raise Damaged(f'line {number} is no record')
  return found


def _is_record(line: bytes) -> bool:
  try:
    return line.endswith(b'}') and 'op_code' in json.loads(line)
  except (ValueError, TypeError):
    return False


def _second_record(line: bytes) -> bytes | None:
  """What was appended behind a torn record, where it is whole."""
  at = line.find(_START, 1)
  while at > 0:
    if _is_record(line[at:]):
      return line[at:]
    at = line.find(_START, at + 1)
  return None


def replace(path: pathlib.Path, text: bytes) -> None:
  """Writes a file so that a reader finds the old one or the new one, whole, even if the machine dies meanwhile."""
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  with open(temporary, 'wb') as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
  os.replace(temporary, path)
  with contextlib.suppress(PermissionError):  # Windows opens no directories
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


# --- the study in its storage ---------------------------------------------------------------------------------------


def records(workdir: pathlib.Path, header: Mapping[str, Any], url: str | None, space: Any,
            write: bool = True) -> Records:
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
  begin = write and (url is None or not mirrored(workdir))  # a database without a study that has trials is another
  with quiet():
    if url is not None:
      storage, together = _database(url), contextlib.nullcontext
    elif write:
      storage, together = _journal(workdir, header, known)
    else:
      storage, together = _reading(path), contextlib.nullcontext
    return Records(storage, _study(storage, header, url, together, begin), known, together)


def _journal(workdir: pathlib.Path, header: Mapping[str, Any], space: Any) -> tuple[BaseStorage, Any]:
  path, lines = workdir / FILE, mirrored(workdir)
  try:
    backend = Journal(path, workdir / LOCK)
    storage = JournalStorage(backend)
    n = sum(storage.get_n_trials(study._study_id) for study in storage.get_all_studies())
    reason = f'it holds {n} trials, not {len(lines)}' if n < len(lines) else None
  except ValueError as error:  # Damaged, or JSON that only Optuna's reading finds wrong
    reason = str(error)
  if reason is None:
    return storage, backend.together
  if not lines:
    raise ConfigError(f'{path}: {reason}, and there is no {MIRROR} to make it again from')
  _log.warning('%s: %s; made again from %s', path, reason, MIRROR)
  return rebuild(workdir, header, space)


def rebuild(workdir: pathlib.Path, header: Mapping[str, Any], space: Mapping[str, Any]) -> tuple[BaseStorage, Any]:
  """Makes the journal again from `trials.jsonl`; the old one stays as `study.journal.damaged`."""
  path, new = workdir / FILE, workdir / f'{FILE}.new'
  new.unlink(missing_ok=True)
  backend = Journal(new, workdir / LOCK)
  storage = JournalStorage(backend)
  with backend.together():
    study = _study(storage, header, None, backend.together, begin=True)
    Records(storage, study, space, backend.together).add([json.loads(line) for line in mirrored(workdir)])
  if path.exists() and path.stat().st_size:
    os.replace(path, f'{path}.damaged')
  os.replace(new, path)
  backend = Journal(path, workdir / LOCK)
  return JournalStorage(backend), backend.together


def _reading(path: pathlib.Path) -> BaseStorage:
  try:
    return JournalStorage(Reading(path))
  except (ValueError, FileNotFoundError) as error:
    raise ConfigError(f'{path}: {error}; running the sweep again makes it anew from {MIRROR}') from None


def _database(url: str) -> BaseStorage:
  known = shown_url(url)
  for scheme in ('postgresql://', 'postgres://'):
    if url.startswith(scheme) and importlib.util.find_spec('psycopg'):  # SQLAlchemy 2.0 would look for psycopg2
      url = f'postgresql+psycopg://{url.removeprefix(scheme)}'
  for attempt in itertools.count(1):
    try:
      return RDBStorage(url)
    except ImportError as error:
      raise ConfigError(f'--storage: {known} needs a driver ({error}); pip install "lmhp[postgres]"') from None
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
      if attempt == ATTEMPTS or isinstance(error, sqlalchemy.exc.ArgumentError):
        words = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(f'--storage: got {known}, which cannot be opened: {words}') from None
      time.sleep(0.1 * attempt)  # two drivers that make the tables of a new database get in each other's way


def _study(storage: BaseStorage, header: Mapping[str, Any], url: str | None, together: Any, begin: bool) -> int:
  """The study's number in its storage."""
  name, where = header['name'], shown_url(url) or FILE
  try:
    study = storage.get_study_id_from_name(name)
  except KeyError:
    if not begin:
      raise ConfigError(f'{where}: has no study {name!r}') from None
    with together():
      study = storage.create_new_study([StudyDirection[d.upper()] for d in header['directions']], name)
      storage.set_study_user_attr(study, 'lmhp_id', header['id'])
      storage.set_study_user_attr(study, 'lmhp', header['card'])
    return study
  attrs = storage.get_study_user_attrs(study)
  if begin and 'lmhp_id' not in attrs and not storage.get_n_trials(study):  # killed between the first two writes
    storage.set_study_user_attr(study, 'lmhp_id', header['id'])
    storage.set_study_user_attr(study, 'lmhp', header['card'])
  elif url is not None and attrs.get('lmhp_id') != header['id']:
    raise ConfigError(f'name: got {name!r}, but {where} has a study of another workdir by that name; choose another')
  return study
