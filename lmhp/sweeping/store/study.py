"""A durable study: its trials and its manifest, in an Optuna storage.

The storage is `study.journal` in the directory of the study, or a database. All facts are read
from the storage. `trials.jsonl` is a copy of the trials for people and other tools, which lmhp
never reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import contextlib
import math
import pathlib
import uuid

from lmhp.errors import ConfigError
from lmhp.errors.redaction import redact_url
from lmhp.locks import FileLock
from lmhp.sweeping.space import Space, parameters
from lmhp.sweeping.store.databases import NotAnOptunaDatabase
from lmhp.sweeping.store.json_records import as_stored, write_record
from lmhp.sweeping.store.manifest import StudyManifest
from lmhp.sweeping.store.optuna_distributions import quiet_optuna
from lmhp.sweeping.store.optuna_records import OptunaRecords
from lmhp.sweeping.store.storages import (
  OpenStorage,
  closed_on_error,
  create_study,
  find_study,
  open_for_reading,
  open_for_writing,
)
from lmhp.sweeping.store.study_header import (
  HEADER,
  JOURNAL,
  StudyHeader,
  local_directory,
  lock_for_writing,
)
from lmhp.sweeping.store.trial import (
  FIXED,
  STATUSES,
  TRIALS,
  Trial,
  TrialsFile,
  line_of,
)
from lmhp.typing import JSON, PathLike


class Study:
  """The trials and the manifest of one study. Get it from `Study.open` or `Study.read`.

  It is a context manager that closes the study.

  Attributes:
    workdir: Directory of the study.
    name: Name of the study in its storage.
    directions: "minimize" or "maximize" for each objective.
    manifest: Manifest of the study.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    header: StudyHeader,
    opened: OpenStorage,
    records: OptunaRecords,
    lock: FileLock | None = None,
  ):
    """Loads a study. Use `open` or `read` instead of this.

    Args:
      workdir: Directory of the study.
      header: Content of the `study.json` of the study.
      opened: Storage of the study.
      records: Trials of the study in the storage.
      lock: Lock of the study, or None if the study is open for reading.
    """
    self.workdir = workdir
    self.name = header.name
    self.directions = header.directions
    self._opened = opened
    self._records = records
    self._lock = lock
    self._closed = False
    self.manifest = records.manifest()
    self._trials = records.load(repair=lock is not None)
    # The lines of `trials.jsonl`. An update with an equal line is not written.
    self._lines = [line_of(trial) for trial in self._trials]
    self._export = TrialsFile(workdir)

  @property
  def n_foreign(self) -> int:
    """Number of trials in the storage that another program has added. They are left out."""
    return self._records.n_foreign

  @classmethod
  def open(
    cls,
    workdir: PathLike,
    *,
    space: Space | Mapping[str, object],
    manifest: StudyManifest,
    storage: str | None = None,
    directions: Sequence[str] = ('minimize',),
  ) -> Study:
    """Opens a study for writing, or creates it. Completes writes that a kill interrupted.

    Args:
      workdir: Directory of the study, on this machine. It is created if it does not exist.
      space: Space of the trials that will be added.
      manifest: Manifest of a new study. A study that exists keeps the one it has.
      storage: URL of a database, such as `postgresql://...`, or None for a journal in the
        directory.
      directions: "minimize" or "maximize" for each objective.

    Raises:
      ConfigError: If another process writes the study, the directory holds another study,
        or the storage cannot be opened or is damaged.
    """
    workdir = local_directory(workdir)
    workdir.mkdir(parents=True, exist_ok=True)

    # The lock comes first: another process may be creating the study.
    lock = lock_for_writing(workdir)
    is_new = False
    try:
      header = StudyHeader.read(workdir, storage)
      if header is None:
        is_new = True
        header = StudyHeader(
          name=workdir.resolve().name,
          directions=tuple(directions),
          id=uuid.uuid4().hex,
          storage=None if storage is None else redact_url(storage),
        )
        # The header, with its new id, is written before the study is created in the storage. If
        # the process is killed in between, the next process reads this header and continues.
        write_record(workdir / HEADER, header)
      elif header.directions != tuple(directions):
        raise ConfigError(
          f'directions: got {list(directions)}, but the study in {workdir} has '
          f'{list(header.directions)}'
        )

      # Open the storage, which may hold other studies, and create the study if it is new.
      with quiet_optuna():
        opened = open_for_writing(workdir, storage)
      with closed_on_error(opened), quiet_optuna():
        study_id = find_study(opened, header)
        if study_id is None:
          # A directory with trials belongs to a study that exists, in another storage.
          if (workdir / TRIALS).exists():
            raise _not_in_storage(workdir, header, opened.place)
          study_id = create_study(opened, header, manifest)

        by_name = {parameter.name: parameter for parameter in parameters(space)}
        records = OptunaRecords(opened.storage, study_id, by_name, opened.transaction)
        study = cls(workdir, header, opened, records, lock)
      study.flush()
      return study
    except BaseException as error:
      if is_new and isinstance(error, ConfigError):
        # No study was created, so its header is removed.
        (workdir / HEADER).unlink(missing_ok=True)
      lock.close()
      raise

  @classmethod
  def read(cls, workdir: PathLike, *, storage: str | None = None) -> Study:
    """Opens a study for reading, in its present state. Takes no lock and writes nothing.

    Args:
      workdir: Directory of the study.
      storage: URL of the study's database, or None for its journal.

    Raises:
      ConfigError: If there is no study, or it is damaged.
    """
    workdir = local_directory(workdir)
    header = StudyHeader.read(workdir, storage)
    if header is None:
      raise ConfigError(
        f'{workdir}: no study there, expected a directory with a {HEADER}'
      )
    try:
      opened = open_for_reading(workdir, storage)
    except NotAnOptunaDatabase:
      raise _not_in_storage(workdir, header, redact_url(storage or '')) from None
    with closed_on_error(opened):
      study_id = find_study(opened, header)
      if study_id is None:
        raise _not_in_storage(workdir, header, opened.place)
      return cls(workdir, header, opened, OptunaRecords(opened.storage, study_id, {}))

  def __enter__(self) -> Study:
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()

  # --- trials and manifest ------------------------------------------------------------

  @property
  def trials(self) -> list[Trial]:
    """All trials, by number."""
    return list(self._trials)

  def set_manifest(self, manifest: StudyManifest) -> None:
    """Replaces the manifest. Writes nothing if it is equal to the old one."""
    self._check_writable()
    manifest = as_stored(manifest, 'manifest')
    if manifest != self.manifest:
      self._records.set_manifest(manifest)
      self.manifest = manifest

  @property
  def measurements(self) -> Mapping[str, JSON] | None:
    """Measurements of the packs of the study, or None if nothing was measured yet."""
    return self._records.measurements()

  def set_measurements(self, measurements: Mapping[str, JSON]) -> None:
    """Replaces the measurements of the packs, such as their chosen method."""
    self._check_writable()
    self._records.set_measurements(measurements)

  def check_in_place(self) -> None:
    """Checks that the directory of the study was not renamed or deleted.

    Raises:
      ConfigError: If it was, and the study is open for writing.
    """
    if self._lock is not None:
      self._lock.check_in_place()

  def add(self, trials: Sequence[Trial]) -> None:
    """Adds trials. If the process is killed, either all of them exist later or none.

    Raises:
      ValueError: If the numbers of the trials do not continue those of the study, or a status
        or a value of a trial is not allowed.
    """
    self._check_writable()
    for number, trial in enumerate(trials, start=len(self._trials)):
      if trial.number != number:
        raise ValueError(f'trial {trial.number}: expected {number}, the next number')
      self._check(trial)
    if not trials:
      return
    # Keep the trials as they would be read from the storage.
    added = [as_stored(trial, 'trial') for trial in trials]
    self._records.add(added)
    self._trials += added
    self._lines += [line_of(trial) for trial in added]
    self._export.note_change(self._lines)

  def update(self, trials: Sequence[Trial]) -> None:
    """Stores the new fields of trials. A trial that did not change is not written.

    Raises:
      ValueError: If a trial is unknown, is given twice or has ended, if one of its fields in
        `FIXED` changed, or if its status or a value is not allowed.
    """
    self._check_writable()
    numbers = sorted(trial.number for trial in trials)
    if len(set(numbers)) < len(numbers):
      raise ValueError(f'trials {numbers}: expected each number once')

    # Check all trials before one of them is written.
    changes = []
    n_trials = len(self._trials)
    for trial in trials:
      if not 0 <= trial.number < n_trials:
        raise ValueError(
          f'trial {trial.number}: expected the number of an existing trial, below {n_trials}'
        )
      self._check(trial)
      new = as_stored(trial, 'trial')
      if line_of(new) != self._lines[trial.number]:
        old = self._trials[trial.number]
        _check_change(old, new)
        changes.append((old, new))
    if not changes:
      return
    self._records.change(changes)
    for _, trial in changes:
      self._trials[trial.number] = trial
      self._lines[trial.number] = line_of(trial)
    self._export.note_change(self._lines)

  def flush(self) -> None:
    """Writes `trials.jsonl` if a trial has changed since it was last written."""
    # If the directory was renamed, nothing is written at its old path.
    if self._lock is not None and self._lock.is_in_place():
      self._export.write(self._lines)

  def close(self) -> None:
    """Writes `trials.jsonl`, and releases the lock, so that another process can write."""
    if self._closed:
      return
    self.flush()
    self._opened.close()
    self._closed = True
    if self._lock is not None:
      self._lock.close()

  # --- checks -------------------------------------------------------------------------

  def _check_writable(self) -> None:
    if self._lock is None or self._closed:
      raise ValueError(
        f'{self.workdir}: the study cannot be written, because it is closed or open for reading'
      )
    self._lock.check_in_place()

  def _check(self, trial: Trial) -> None:
    """Checks the status and the values of a trial."""
    if trial.status not in STATUSES:
      raise ValueError(
        f'trial {trial.number}: got status {trial.status!r}, expected one of '
        f'{", ".join(STATUSES)}'
      )
    if trial.status in ('complete', 'diverged'):
      values = trial.values or ()
      n_objectives = len(self.directions)
      if len(values) != n_objectives or not all(map(math.isfinite, values)):
        raise ValueError(
          f'trial {trial.number}: got values {trial.values}, expected {n_objectives} finite '
          'value(s)'
        )


def _check_change(old: Trial, new: Trial) -> None:
  """Checks that a trial has not ended, and that none of its fields in `FIXED` changes."""
  if old.ended:
    raise ValueError(
      f'trial {old.number}: it has ended ({old.status}) and cannot change'
    )
  for name in FIXED:
    if getattr(old, name) != getattr(new, name):
      raise ValueError(f'trial {old.number}: {name} cannot change')


def _not_in_storage(
  workdir: pathlib.Path, header: StudyHeader, place: str
) -> ConfigError:
  return ConfigError(
    f'{place}: has no study {header.name!r}, expected the storage in which the study '
    f'in {workdir} was created; to start again, delete that directory'
  )


def read_manifest(
  workdir: PathLike, storage: str | None = None
) -> StudyManifest | None:
  """Returns the manifest of a study, or None if there is no study yet.

  Args:
    workdir: Directory of the study.
    storage: URL of the study's database, or None for its journal.

  Raises:
    ConfigError: If the study is damaged.
  """
  workdir = local_directory(workdir)
  header = StudyHeader.read(workdir, storage)
  if header is None:
    return None
  if storage is None and not (workdir / JOURNAL).exists():
    return None
  try:
    opened = open_for_reading(workdir, storage)
  except NotAnOptunaDatabase:
    # A killed process wrote the header, and had not created the tables yet.
    return None
  with contextlib.closing(opened):
    study_id = find_study(opened, header)
    if study_id is None:
      return None
    return OptunaRecords(opened.storage, study_id, {}).manifest()
