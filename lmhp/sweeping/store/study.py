"""One durable study: what was tried, what came of it. An Optuna storage, with `trials.jsonl` as its mirror.

The storage is `study.journal` in the study's directory, or a database by its URL; optuna-dashboard and every Optuna
plot work on it (`records.py` says what it holds of a trial, `storages.py` where it is).

JSON has no NaN or infinity: they are the words "nan", "inf" and "-inf" in what is stored, and numbers again when read.
"""

from __future__ import annotations

import json
import math
import pathlib
import time
from typing import Any, Mapping, Sequence
import uuid

from lmhp.errors import ConfigError
from lmhp.files import to_jsonable, write_atomic, write_json
from lmhp.sweeping.store import storages
from lmhp.sweeping.store.trial import (
  _FIXED,
  ENDED,
  HEADER,
  MIRROR,
  Trial,
  from_line,
  read_mirror,
  to_line,
)

MIRROR_SHARE = 20
"""The mirror is written again once this many times as long has passed as writing it took."""


# --- a trial as a line of JSON --------------------------------------------------------------------------------------


# --- the study ------------------------------------------------------------------------------------------------------


class Study:
  """The trials of one study, from :meth:`open` or :meth:`read`. Use it in a `with`.

  Attributes:
    workdir: its directory.
    name: in the storage.
    directions: `minimize` or `maximize`, one for each objective.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    header: Mapping[str, Any],
    records: Any,
    lock: Any = None,
  ):
    self.workdir, self.name, self.directions = (
      workdir,
      header['name'],
      tuple(header['directions']),
    )
    self._header, self._records, self._lock = (
      {**header, 'card': records.card()},
      records,
      lock,
    )
    lines = records.load(mend=lock is not None)
    self._trials = [from_line(line) for line in lines]
    self._lines = [json.dumps(line) for line in lines]
    self._stale = read_mirror(workdir) != self._lines
    self._mirror_due = -math.inf

  @classmethod
  def open(
    cls,
    workdir: Any,
    *,
    storage: str | None = None,
    name: str | None = None,
    space: Any,
    directions: Sequence[str] = ('minimize',),
    card: Mapping[str, Any],
  ) -> Study:
    """Opens a study for writing, or begins it; mends what a kill has left.

    Args:
      workdir: its directory, on this machine; made if absent.
      storage: an Optuna storage as a URL, as `postgresql://...` or `sqlite:///...`; None is a journal in the workdir.
      name: in the storage; None is the directory's.
      space: of the trials that will be added.
      directions: `minimize` or `maximize`, one for each objective.
      card: what the study shall know of itself, as JSON can hold it; kept from the first time on.

    Raises:
      ConfigError: where another process is writing it, or what is there is another study.
    """

    workdir = storages.local(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    lock, new = storages.locked(workdir), False
    try:
      known = storages.header_of(workdir)
      new = known is None
      header = known or {
        'name': name or workdir.resolve().name,
        'directions': list(directions),
        'storage': storages.redact_url(storage),
        'id': uuid.uuid4().hex,
        'card': to_jsonable(card),
      }
      storages.check_matches(workdir, header, name, directions, storage)
      if new:  # before the storage, which shall know whose study it has
        write_json(workdir / HEADER, header)
      study = cls(
        workdir, header, storages.records(workdir, header, storage, space), lock
      )
      if study._header != header:  # killed between the two writes of a card
        write_json(workdir / HEADER, study._header)
      return study
    except BaseException as error:
      if isinstance(error, ConfigError) and new:  # nothing was begun
        (workdir / HEADER).unlink(missing_ok=True)
      lock.close()
      raise

  @classmethod
  def read(cls, workdir: Any, *, storage: str | None = None) -> Study:
    """A study as it stands, for reading: no lock is taken, nothing is written.

    Raises:
      ConfigError: where there is none, or it is damaged.
    """

    workdir = storages.local(workdir)
    header = storages.header_of(workdir)
    if header is None:
      raise ConfigError(
        f'{workdir}: no study there, expected a directory with a {HEADER}'
      )
    storages.check_matches(workdir, header, None, None, storage)
    return cls(
      workdir, header, storages.records(workdir, header, storage, None, write=False)
    )

  def __enter__(self) -> Study:
    return self

  def __exit__(self, *exception) -> None:
    self.close()

  @property
  def trials(self) -> list[Trial]:
    """All trials by number."""
    return list(self._trials)

  @property
  def card(self) -> dict[str, Any]:
    """What the study knows of itself, as JSON has it."""
    return dict(self._header['card'])

  def set_card(self, card: Mapping[str, Any]) -> None:
    """Replaces what the study knows of itself."""
    self._for_writing()
    card = to_jsonable(card)
    if card != self._header['card']:
      self._records.set_card(card)
      self._header['card'] = card
      write_json(self.workdir / HEADER, self._header)

  def add(self, trials: Sequence[Trial]) -> None:
    """Adds trials, all of them or, where a kill comes first, none.

    Raises:
      ValueError: where their numbers do not follow on.
    """
    self._for_writing()
    for number, trial in enumerate(trials, start=len(self._trials)):
      self._check(trial, number)
    lines = [to_line(trial) for trial in trials]
    if lines:
      self._records.add(lines)
      self._trials += [from_line(line) for line in lines]
      self._lines += [json.dumps(line) for line in lines]
      self._mirror()

  def update(self, trials: Sequence[Trial]) -> None:
    """Stores the new condition of trials; one that it has already costs nothing.

    Raises:
      ValueError: where a trial is unknown, named twice or has ended, or something of it changed that does not change.
    """
    self._for_writing()
    if len({trial.number for trial in trials}) < len(trials):
      raise ValueError(
        f'trials {sorted(trial.number for trial in trials)}: expected each of them once'
      )
    changes = []
    for trial in trials:
      self._check(trial, trial.number if 0 <= trial.number < len(self._trials) else -1)
      line = to_line(trial)
      if json.dumps(line) != self._lines[trial.number] and line != json.loads(
        self._lines[trial.number]
      ):
        old, new = self._trials[trial.number], from_line(line)
        self._check_change(old, new)
        changes.append((old, new, line))
    if changes:
      self._records.change([(old, line) for old, _, line in changes])
      for _, new, line in changes:
        self._trials[new.number], self._lines[new.number] = new, json.dumps(line)
      self._mirror()

  def flush(self) -> None:
    """Writes the mirror where it is behind."""
    if self._stale and self._lock is not None:
      began = time.monotonic()
      write_atomic(
        self.workdir / MIRROR, ''.join(line + '\n' for line in self._lines).encode()
      )
      self._stale, ended = False, time.monotonic()
      self._mirror_due = ended + MIRROR_SHARE * (ended - began)

  def close(self) -> None:
    """Writes the mirror, and lets another process write the study."""
    if self._records is not None:
      self.flush()
      self._records.close()
      self._records = None
      if self._lock is not None:
        self._lock.close()

  def _mirror(self) -> None:
    self._stale = True
    if time.monotonic() >= self._mirror_due:
      self.flush()

  def _for_writing(self) -> None:
    if self._lock is None or self._records is None:
      raise ValueError(f'{self.workdir}: the study is closed, or open for reading')

  def _check(self, trial: Trial, number: int) -> None:
    if trial.number != number:
      raise ValueError(
        f'trial {trial.number}: expected one of {len(self._trials)} known, or the next'
      )
    if trial.status in ('complete', 'diverged'):
      if len(trial.values or ()) != len(self.directions) or not all(
        map(math.isfinite, trial.values)
      ):
        raise ValueError(
          f'trial {number}: got values {trial.values}, expected {len(self.directions)} finite'
        )

  def _check_change(self, old: Trial, new: Trial) -> None:
    if old.status in ENDED:
      raise ValueError(
        f'trial {old.number}: it has ended ({old.status}) and cannot change'
      )
    if changed := [name for name in _FIXED if getattr(old, name) != getattr(new, name)]:
      raise ValueError(f'trial {old.number}: {changed[0]} cannot change')
