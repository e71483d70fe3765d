"""The storage of a study: the journal in its directory, or a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import pathlib

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.study import StudyDirection

from lmhp.errors import ConfigError
from lmhp.errors.redaction import redact_url
from lmhp.sweeping.store import databases
from lmhp.sweeping.store.journal import Journal, JournalSnapshot
from lmhp.sweeping.store.json_records import to_json
from lmhp.sweeping.store.manifest import StudyManifest
from lmhp.sweeping.store.optuna_records import ID, MANIFEST, NUMBER, Transaction
from lmhp.sweeping.store.study_header import JOURNAL, LOCK, StudyHeader


@dataclasses.dataclass(frozen=True)
class OpenStorage:
  """An open storage.

  Attributes:
    storage: The storage.
    place: Path of the journal, or URL of the database without its password.
    transaction: Returns a context manager that joins several writes into one.
    close: Closes the storage.
  """

  storage: BaseStorage
  place: str
  transaction: Transaction
  close: Callable[[], None]


@contextlib.contextmanager
def closed_on_error(opened: OpenStorage) -> Iterator[None]:
  """Closes a storage if an exception is raised in the `with` block."""
  try:
    yield
  except BaseException:
    opened.close()
    raise


def open_for_writing(workdir: pathlib.Path, url: str | None) -> OpenStorage:
  """Opens the storage of a study for writing. This process must hold the lock of the study.

  Args:
    workdir: Directory of the study.
    url: URL of the database, or None for the journal.

  Raises:
    ConfigError: If the storage cannot be opened, or the journal is damaged.
  """
  if url is not None:
    return _database_storage(databases.open_for_writing(url, NUMBER), url)
  path = workdir / JOURNAL
  backend = Journal(path, workdir / LOCK)
  return _journal_storage(backend, path, backend.transaction)


def open_for_reading(workdir: pathlib.Path, url: str | None) -> OpenStorage:
  """Opens the storage of a study for reading. Later changes of a journal are not read.

  Args:
    workdir: Directory of the study.
    url: URL of the database, or None for the journal.

  Raises:
    NotAnOptunaDatabase: If the database has no tables of Optuna.
    ConfigError: If the storage cannot be opened, or the journal is damaged.
  """
  if url is not None:
    return _database_storage(databases.open_for_reading(url), url)
  path = workdir / JOURNAL
  try:
    backend = JournalSnapshot(path)
  except FileNotFoundError:
    raise ConfigError(
      f'{path}: no such file, expected the journal of the study in {workdir}'
    ) from None
  return _journal_storage(backend, path, contextlib.nullcontext)


def _journal_storage(
  backend: Journal | JournalSnapshot, path: pathlib.Path, transaction: Transaction
) -> OpenStorage:
  try:
    storage = JournalStorage(backend)
  except ConfigError:
    raise
  except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
    # Optuna raises these if a record of another program has a missing or wrong field.
    raise ConfigError(
      f'{path}: Optuna cannot read one of its records ({type(error).__name__}: {error}), '
      'expected a journal that only lmhp and Optuna have written'
    ) from None
  return OpenStorage(storage, str(path), transaction, storage.remove_session)


def _database_storage(storage: RDBStorage, url: str) -> OpenStorage:
  def close() -> None:
    storage.remove_session()
    storage.engine.dispose()

  return OpenStorage(storage, redact_url(url), contextlib.nullcontext, close)


# --- the study in its storage ---------------------------------------------------------


def find_study(opened: OpenStorage, header: StudyHeader) -> int | None:
  """Returns Optuna's id of a study, or None if the storage does not have the study.

  Raises:
    ConfigError: If a study of another directory has this name in the storage.
  """
  try:
    study = opened.storage.get_study_id_from_name(header.name)
  except KeyError:
    return None
  attributes = opened.storage.get_study_user_attrs(study)
  if attributes.get(ID) == header.id:
    return study
  if ID not in attributes and not opened.storage.get_n_trials(study):
    # `create_study` writes the id last. It was killed before this, so the study is created again.
    return None
  raise ConfigError(
    f'name: got {header.name!r}, but {opened.place} has a study of another workdir with '
    'that name; use a workdir with another name'
  )


def create_study(
  opened: OpenStorage, header: StudyHeader, manifest: StudyManifest
) -> int:
  """Creates a study that `find_study` did not find, and returns its id in Optuna."""
  directions = [StudyDirection[name.upper()] for name in header.directions]
  storage = opened.storage
  # A journal gets all records in one write. In a database, the id is written last, so a study
  # with an id is complete.
  with opened.transaction():
    try:
      study = storage.get_study_id_from_name(header.name)
    except KeyError:
      study = storage.create_new_study(directions, header.name)
    storage.set_study_user_attr(study, MANIFEST, to_json(manifest))
    storage.set_study_user_attr(study, ID, header.id)
  return study
