"""Databases that hold Optuna studies: opened for writing with retries, or only for reading.

A server that restarts interrupts all calls for some seconds. `DurableStorage` repeats such a call
until the server answers again, or until `RETRY_SECONDS` have passed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
import functools
import importlib.util
import os
import pathlib
import sqlite3
import time
from typing import Any, ParamSpec, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
import sqlalchemy
from sqlalchemy import pool
import sqlalchemy.exc

from lmhp.errors import ConfigError
from lmhp.errors.redaction import redact_url

ATTEMPTS = 5
"""Number of attempts to open a database."""

RETRY_SECONDS = 60.0
"""Time for which a call to a database without an answer is repeated."""

_TABLES = {'studies', 'trials', 'version_info', 'alembic_version'}
"""Tables that every database of Optuna has."""

_ERRORS = (sqlalchemy.exc.SQLAlchemyError, StorageInternalError)

P = ParamSpec('P')
T = TypeVar('T')


class NotAnOptunaDatabase(ConfigError):
  """A database without the tables of Optuna, or a file that is no database."""


class DurableStorage(RDBStorage):
  """A storage of Optuna in a database, whose calls survive a restart of the server.

  A call that failed because the connection was lost is repeated. The first attempt may have
  changed the database before it failed, so a repeated call accepts its own change.

  Args:
    url: URL of the database, in the form of SQLAlchemy.
    number_attribute: User attribute that distinguishes the trials of a study.
  """

  def __init__(self, url: str, number_attribute: str) -> None:
    # A connection that the server has closed is noticed before it is used.
    super().__init__(url, engine_kwargs={'pool_pre_ping': True})
    self._number_attribute = number_attribute

  def create_new_trial(
    self, study_id: int, template_trial: FrozenTrial | None = None
  ) -> int:
    """Creates a trial once, even if the answer of the first attempt is lost."""
    create = super().create_new_trial
    attempts = 0

    def create_if_missing() -> int:
      nonlocal attempts
      attempts += 1
      if attempts > 1 and template_trial is not None:
        number = template_trial.user_attrs.get(self._number_attribute)
        for trial in RDBStorage.get_all_trials(self, study_id, deepcopy=False):
          if trial.user_attrs.get(self._number_attribute) == number:
            return trial._trial_id
      return create(study_id, template_trial)

    return self._repeated(create_if_missing)

  def create_new_study(
    self, directions: Sequence[StudyDirection], study_name: str | None = None
  ) -> int:
    """Creates a study."""
    return self._repeated(super().create_new_study, directions, study_name)

  def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
    """Sets an attribute of a study."""
    self._repeated(super().set_study_user_attr, study_id, key, value)

  def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
    """Sets an attribute of a trial."""
    self._repeated(super().set_trial_user_attr, trial_id, key, value)

  def set_trial_intermediate_value(
    self, trial_id: int, step: int, intermediate_value: float
  ) -> None:
    """Sets a score of a trial."""
    set_value = super().set_trial_intermediate_value
    self._repeated(set_value, trial_id, step, intermediate_value)

  def set_trial_state_values(
    self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
  ) -> bool:
    """Sets the state of a trial, and its values."""
    set_state = super().set_trial_state_values
    attempts = 0

    def set_once() -> bool:
      nonlocal attempts
      attempts += 1
      try:
        return set_state(trial_id, state, values)
      except UpdateFinishedTrialError:
        # The first attempt has finished the trial, and its answer was lost.
        if attempts > 1:
          return True
        raise

    return self._repeated(set_once)

  def get_all_trials(
    self,
    study_id: int,
    deepcopy: bool = True,
    states: Container[TrialState] | None = None,
  ) -> list[FrozenTrial]:
    """Returns the trials of a study."""
    return self._repeated(super().get_all_trials, study_id, deepcopy, states)

  def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
    """Returns the attributes of a study."""
    return self._repeated(super().get_study_user_attrs, study_id)

  def _repeated(
    self, call: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
  ) -> T:
    """Calls a method. Repeats the call while the server does not answer.

    Raises:
      ConfigError: If the server does not answer for `RETRY_SECONDS`, or refuses the call.
    """
    deadline = time.monotonic() + RETRY_SECONDS
    pause_seconds = 0.1
    while True:
      try:
        return call(*arguments, **keywords)
      except _ERRORS as error:
        if not _is_lost_connection(error) or time.monotonic() > deadline:
          raise ConfigError(
            f'{redact_url(self.url)}: the database did not store or return a value '
            f'({_reason(error)}); nothing that it stored is lost, and the same command '
            'continues the study'
          ) from None
      time.sleep(pause_seconds)
      pause_seconds = min(2 * pause_seconds, 2.0)


def open_for_writing(url: str, number_attribute: str) -> DurableStorage:
  """Opens a database, and creates the tables of Optuna if they are missing.

  Args:
    url: URL of the database, in the form of SQLAlchemy. For PostgreSQL, the driver psycopg 3 is
      used if it is installed.
    number_attribute: As in `DurableStorage`.

  Raises:
    ConfigError: If the database cannot be opened, or its driver is not installed.
  """
  return _opened(lambda: DurableStorage(_with_driver(url), number_attribute), url)


def open_for_reading(url: str) -> RDBStorage:
  """Opens a database without a change of it. A file of SQLite is opened read-only.

  Args:
    url: URL of the database, in the form of SQLAlchemy.

  Raises:
    NotAnOptunaDatabase: If it has no tables of Optuna.
    ConfigError: If the database cannot be opened, or its driver is not installed.
  """
  return _opened(lambda: _read_only_storage(_with_driver(url), redact_url(url)), url)


def sqlite_url(path: str | os.PathLike[str]) -> str:
  """Returns the URL of a file of SQLite."""
  return f'sqlite:///{os.path.abspath(path)}'


def _read_only_storage(url: str, place: str) -> RDBStorage:
  parsed = sqlalchemy.make_url(url)
  options: dict[str, Any] = {}
  if parsed.get_backend_name() == 'sqlite':
    file = pathlib.Path(parsed.database or '')
    if not file.is_file():
      raise NotAnOptunaDatabase(f'{place}: no such file, expected a database of Optuna')
    uri = f'{file.absolute().as_uri()}?mode=ro'
    options['creator'] = functools.partial(
      sqlite3.connect, uri, uri=True, check_same_thread=False
    )
    options['poolclass'] = pool.NullPool
  elif parsed.get_backend_name() == 'postgresql':
    options['execution_options'] = {'postgresql_readonly': True}

  # Optuna creates missing tables and rows, so it gets only a database that has them.
  engine = sqlalchemy.create_engine(url, **options)
  try:
    tables = set(sqlalchemy.inspect(engine).get_table_names())
    if not tables >= _TABLES:
      raise NotAnOptunaDatabase(
        f'{place}: has no tables of Optuna, expected a database with Optuna studies'
      )
    with engine.connect() as connection:
      for table in ('version_info', 'alembic_version'):
        if (
          connection.execute(sqlalchemy.text(f'SELECT 1 FROM {table}')).first() is None
        ):
          raise NotAnOptunaDatabase(
            f'{place}: its table {table} is empty, expected a database with Optuna studies'
          )
  finally:
    engine.dispose()
  return RDBStorage(url, engine_kwargs=options, skip_table_creation=True)


def _opened(open_once: Callable[[], T], url: str) -> T:
  """Opens a database, with several attempts.

  If two processes create the tables of the database at once, one of them fails. Its next attempt
  succeeds.
  """
  place = redact_url(url)
  for attempt in range(1, ATTEMPTS + 1):
    try:
      return open_once()
    except ConfigError:
      raise
    except ImportError as error:
      raise ConfigError(
        f'--storage: got {place}, whose driver is not installed ({error}); install it with: '
        'pip install "lmhp[postgres]"'
      ) from None
    except (*_ERRORS, sqlite3.Error) as error:
      # For a malformed URL, no further attempt helps.
      if attempt == ATTEMPTS or isinstance(error, sqlalchemy.exc.ArgumentError):
        raise ConfigError(
          f'--storage: got {place}, which cannot be opened: {_reason(error)}'
        ) from None
    except (RuntimeError, TypeError, ValueError) as error:
      # A port that is no number, an argument that the driver does not have, or tables of
      # another version of Optuna.
      raise ConfigError(
        f'--storage: got {place}, which cannot be opened: {_reason(error)}'
      ) from None
    time.sleep(0.1 * attempt)
  raise AssertionError('unreachable')


def _reason(error: BaseException) -> str:
  """Returns the first line of the cause of an error of the database."""
  lines = str(error.__cause__ or error).splitlines()
  return lines[0] if lines else type(error).__name__


def _is_lost_connection(error: BaseException) -> bool:
  """Returns True if an error means that the server does not answer at present."""
  cause = error.__cause__ if isinstance(error, StorageInternalError) else error
  if isinstance(cause, sqlalchemy.exc.DBAPIError) and cause.connection_invalidated:
    return True
  return isinstance(
    cause, (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError)
  )


def _with_driver(url: str) -> str:
  """Adds the driver psycopg 3 to a URL of PostgreSQL that names no driver.

  Returns other URLs unchanged, and every URL if psycopg 3 is not installed. SQLAlchemy 2.0 uses
  psycopg2 for a URL that names no driver.
  """
  for scheme in ('postgresql://', 'postgres://'):
    if url.startswith(scheme) and importlib.util.find_spec('psycopg'):
      return f'postgresql+psycopg://{url.removeprefix(scheme)}'
  return url
