"""One durable study: what was tried, what came of it. An Optuna storage, with `trials.jsonl` as its mirror.

The storage is `study.journal` in the study's directory, or a database by its URL; optuna-dashboard and every Optuna
plot work on it (`records.py` says what it holds of a trial, `storages.py` where it is).

JSON has no NaN or infinity: they are the words "nan", "inf" and "-inf" in what is stored, and numbers again when read.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import time
from typing import Any, Mapping, Sequence
import uuid

from lmhp.hypers import ConfigError
from lmhp.sweeping.domains import plain as tuples
from lmhp.training.history import numbers, plain, write_json, write_whole

HEADER, MIRROR, LOCK = 'study.json', 'trials.jsonl', 'study.lock'
STATUSES = ('waiting', 'running', 'complete', 'pruned', 'diverged', 'failed')
ENDED = STATUSES[2:]
MIRROR_SHARE = 20
"""The mirror is written again once this many times as long has passed as writing it took."""

FIRST = (
  'number',
  'point',
  'seed',
  'status',
  'cohort',
  'overrides',
  'parameters',
  'objective',
  'rung',
  'scores',
)
_THEN = ('steps', 'tokens', 'seconds', 'pack')
_FIXED = ('number', 'point', 'seed', 'cohort', 'overrides', 'parameters')


@dataclasses.dataclass(frozen=True)
class Trial:
  """One training run: one point with one seed.

  Attributes:
    number: 0, 1, 2, ...; Optuna's trial number.
    point: trials of one point differ in their seed alone.
    seed: what was drawn anew for it.
    parameters: what the search chose, {parameter name: value}.
    overrides: all that differs from the base config, the seed included, {dotted path: value}.
    cohort: what it was made for.
    status: waiting, running, complete, pruned, diverged or failed.
    scores: objective at each rung, {step: value}.
    values: final objectives; of a diverged one a finite bad value; None until it ends, or where it has none.
    about: anything else, as JSON can hold it: metrics, steps, tokens, flops, seconds, pack, device, ...
  """

  number: int
  point: int
  seed: int
  parameters: Mapping[str, Any]
  overrides: Mapping[str, Any]
  cohort: str = 'search'
  status: str = 'waiting'
  scores: Mapping[int, float] = dataclasses.field(default_factory=dict)
  values: tuple[float, ...] | None = None
  about: Mapping[str, Any] = dataclasses.field(default_factory=dict)


# --- a trial as a line of JSON --------------------------------------------------------------------------------------


def to_line(trial: Trial) -> dict[str, Any]:
  """A trial as `trials.jsonl` has it: JSON, and nothing that JSON does not hold.

  Raises:
    ValueError: where `about` uses a name that a line has for something else, or the status is none.
  """
  if taken := set(trial.about) & set(FIRST):
    raise ValueError(
      f'trial {trial.number}: about has {sorted(taken)}, which a line has for something else'
    )
  if trial.status not in STATUSES:
    raise ValueError(
      f'trial {trial.number}: status {trial.status!r} is none of {", ".join(STATUSES)}'
    )
  values, scores = (
    trial.values,
    {int(step): float(trial.scores[step]) for step in sorted(trial.scores)},
  )
  objective = (
    None
    if values is None
    else float(values[0])
    if len(values) == 1
    else [float(v) for v in values]
  )
  line = {name: getattr(trial, name, None) for name in FIRST}
  line |= {'objective': objective, 'rung': max(scores, default=None), 'scores': scores}
  line |= {name: trial.about[name] for name in _THEN if name in trial.about}
  line |= trial.about
  try:
    text = json.dumps(line, allow_nan=False)  # most lines, in a tenth of the time
  except (TypeError, ValueError):
    text = json.dumps(plain(line), allow_nan=False)
  return json.loads(text)


def from_line(line: Mapping[str, Any]) -> Trial:
  """The trial of a line."""
  objective = numbers(line['objective'])
  values = (
    None
    if objective is None
    else tuple(objective)
    if isinstance(objective, list)
    else (objective,)
  )
  return Trial(
    number=line['number'],
    point=line['point'],
    seed=line['seed'],
    cohort=line['cohort'],
    status=line['status'],
    overrides={
      path: tuples(numbers(value)) for path, value in line['overrides'].items()
    },
    parameters={
      name: tuples(numbers(value)) for name, value in line['parameters'].items()
    },
    scores={int(step): float(score) for step, score in line['scores'].items()},
    values=values,
    about={key: numbers(value) for key, value in line.items() if key not in FIRST},
  )


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
    self._stale = mirrored(workdir) != self._lines
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
    from lmhp.sweeping import (
      storages,
    )  # Optuna's imports take half a second; who reads a Trial needs none of them

    workdir = storages.local(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    lock, new = storages.locked(workdir), False
    try:
      known = storages.header_of(workdir)
      new = known is None
      header = known or {
        'name': name or workdir.resolve().name,
        'directions': list(directions),
        'storage': storages.shown_url(storage),
        'id': uuid.uuid4().hex,
        'card': plain(card),
      }
      storages.agree(workdir, header, name, directions, storage)
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
    from lmhp.sweeping import storages

    workdir = storages.local(workdir)
    header = storages.header_of(workdir)
    if header is None:
      raise ConfigError(
        f'{workdir}: no study there, expected a directory with a {HEADER}'
      )
    storages.agree(workdir, header, None, None, storage)
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
    card = plain(card)
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
      write_whole(
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


def mirrored(workdir: pathlib.Path) -> list[str]:
  """The lines of `trials.jsonl`; none where there is no such file."""
  path = workdir / MIRROR
  return path.read_text().split('\n')[:-1] if path.exists() else []
