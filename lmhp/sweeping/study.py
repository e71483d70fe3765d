"""One durable study: what was tried, what came of it. An Optuna storage, with `trials.jsonl` as its mirror.

The storage is `study.journal` in the study's directory, or a database by its URL; optuna-dashboard and every Optuna
plot work on it. Of a trial Optuna holds::

  params                   what the search chose; a value that Optuna cannot hold, as a tuple, is its JSON text there
  intermediate values      the scores by step
  state and values         complete and diverged are COMPLETE, pruned PRUNED, failed FAIL
  user attributes          point, seed, cohort, overrides; `about`: status, scores, objective and all the rest;
                           `diverged`; `parameters`, where params alone would not give them back

`about` is what counts. It is one record, so a trial has its old condition or its new one whatever is killed when; what
else Optuna shows is brought into line with it at open. Trials that are added together are noted in the study's
attribute `adding` first, so that they are all there after a kill, or none.

JSON has no NaN or infinity: they are the words "nan", "inf" and "-inf" in what is stored, and numbers again when read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import logging
import math
import pathlib
import time
from typing import Any, Iterator, Mapping, Sequence
import uuid

from lmhp.hypers import ConfigError
from lmhp.sweeping.domains import plain as tuples
from lmhp.sweeping.space import Parameter, parameters
from lmhp.training.history import is_remote, plain, write_json

try:
  import fcntl
except ImportError:  # Windows: two drivers of one study go unnoticed
  fcntl = None

STATUSES = ('waiting', 'running', 'complete', 'pruned', 'diverged', 'failed')
ENDED = STATUSES[2:]
MIRROR_SHARE = 20
"""The mirror is written again once this many times as long has passed as writing it took."""

_WORDS = ('nan', 'inf', '-inf')
_FIRST = ('number', 'point', 'seed', 'status', 'cohort', 'overrides', 'parameters', 'objective', 'rung', 'scores')
_THEN = ('steps', 'tokens', 'seconds', 'pack')
_FIXED = ('number', 'point', 'seed', 'cohort', 'overrides', 'parameters')
_log = logging.getLogger(__name__)


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
  """A trial as `trials.jsonl` has it.

  Raises:
    ValueError: where `about` uses a name that a line has for something else, or the status is none.
  """
  if taken := set(trial.about) & set(_FIRST):
    raise ValueError(f'trial {trial.number}: about has {sorted(taken)}, which a line has for something else')
  if trial.status not in STATUSES:
    raise ValueError(f'trial {trial.number}: status {trial.status!r} is none of {", ".join(STATUSES)}')
  values, scores = trial.values, {int(step): float(trial.scores[step]) for step in sorted(trial.scores)}
  objective = None if values is None else float(values[0]) if len(values) == 1 else [float(v) for v in values]
  line = {name: getattr(trial, name, None) for name in _FIRST}
  line |= {'objective': objective, 'rung': max(scores, default=None), 'scores': scores}
  line |= {name: trial.about[name] for name in _THEN if name in trial.about}
  return plain({**line, **trial.about})


def from_line(line: Mapping[str, Any]) -> Trial:
  """The trial of a line."""
  objective = numbers(line['objective'])
  values = None if objective is None else tuple(objective) if isinstance(objective, list) else (objective,)
  return Trial(
      number=line['number'], point=line['point'], seed=line['seed'], cohort=line['cohort'], status=line['status'],
      overrides={path: tuples(numbers(value)) for path, value in line['overrides'].items()},
      parameters={name: tuples(numbers(value)) for name, value in line['parameters'].items()},
      scores={int(step): float(score) for step, score in line['scores'].items()}, values=values,
      about={key: numbers(value) for key, value in line.items() if key not in _FIRST})


def numbers(value: Any) -> Any:
  """JSON with the words for NaN and infinity as numbers again."""
  if isinstance(value, dict):
    return {key: numbers(v) for key, v in value.items()}
  if isinstance(value, list):
    return [numbers(v) for v in value]
  return float(value) if isinstance(value, str) and value in _WORDS else value


def _text(trial: Trial) -> str:
  return json.dumps(to_line(trial), allow_nan=False)


# --- the study ------------------------------------------------------------------------------------------------------


class Study:
  """The trials of one study, from :meth:`open` or :meth:`read`. Use it in a `with`.

  Attributes:
    workdir: its directory.
    name: in the storage.
    directions: `minimize` or `maximize`, one for each objective.
  """

  def __init__(self, workdir: pathlib.Path, header: Mapping[str, Any], records: Any, lock: Any = None):
    self.workdir, self.name, self.directions = workdir, header['name'], tuple(header['directions'])
    self._header, self._records, self._lock = dict(header), records, lock
    self._trials: list[Trial] = records.load(mend=lock is not None)
    self._lines = [_text(trial) for trial in self._trials]
    self._stale = _mirrored(workdir) != self._lines
    self._mirror_due = -math.inf

  @classmethod
  def open(cls, workdir: Any, *, storage: str | None = None, name: str | None = None, space: Any,
           directions: Sequence[str] = ('minimize',), card: Mapping[str, Any]) -> Study:
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
    workdir = _local(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    lock = _locked(workdir)
    try:
      known = _header(workdir)
      header = known or {'name': name or workdir.resolve().name, 'directions': list(directions),
                         'storage': _shown_url(storage), 'id': uuid.uuid4().hex, 'card': plain(card)}
      _agree(workdir, header, name, directions, storage)
      if known is None:
        write_json(workdir / HEADER, header)
      return cls(workdir, header, _records(workdir, header, storage, space), lock)
    except BaseException:
      lock.close()
      raise

  @classmethod
  def read(cls, workdir: Any, *, storage: str | None = None) -> Study:
    """A study as it stands, for reading: no lock is taken, nothing is written.

    Raises:
      ConfigError: where there is none, or it is damaged.
    """
    workdir = _local(workdir)
    header = _header(workdir)
    if header is None:
      raise ConfigError(f'{workdir}: no study there, expected a directory with a {HEADER}')
    _agree(workdir, header, None, None, storage)
    from lmhp.sweeping import journal

    return cls(workdir, header, journal.records(workdir, header, storage, {}, write=False))

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
    """What the study knows of itself."""
    return numbers(self._records.card())

  def set_card(self, card: Mapping[str, Any]) -> None:
    """Replaces what the study knows of itself."""
    self._for_writing()
    card = plain(card)
    if card != self._records.card():
      self._records.set_card(card)
      self._header['card'] = card
      write_json(self.workdir / HEADER, self._header)

  def add(self, trials: Sequence[Trial]) -> None:
    """Adds trials, all of them or, where a kill comes first, none.

    Raises:
      ValueError: where their numbers do not follow on.
    """
    self._for_writing()
    lines = [_text(trial) for trial in trials]
    for number, trial in enumerate(trials, start=len(self._trials)):
      self._check(trial, number)
    if trials:
      new = [from_line(json.loads(line)) for line in lines]
      self._records.add(new)
      self._trials += new
      self._lines += lines
      self._mirror()

  def update(self, trials: Sequence[Trial]) -> None:
    """Stores the new condition of trials; one that it has already costs nothing.

    Raises:
      ValueError: where a trial is unknown or has ended, or something of it changed that does not change.
    """
    self._for_writing()
    pairs, lines = [], {}
    for trial in trials:
      self._check(trial, trial.number if 0 <= trial.number < len(self._trials) else -1)
      old, line = self._trials[trial.number], _text(trial)
      if json.loads(line) != json.loads(self._lines[trial.number]):
        new = from_line(json.loads(line))
        if old.status in ENDED:
          raise ValueError(f'trial {trial.number}: it has ended ({old.status}) and cannot change')
        if changed := [name for name in _FIXED if getattr(old, name) != getattr(new, name)]:
          raise ValueError(f'trial {trial.number}: {changed[0]} cannot change')
        pairs.append((old, new))
        lines[trial.number] = line
    if pairs:
      self._records.change(pairs)
      for (_, new), line in zip(pairs, lines.values()):
        self._trials[new.number], self._lines[new.number] = new, line
      self._mirror()

  def flush(self) -> None:
    """Writes the mirror where it is behind."""
    if self._stale and self._lock is not None:
      began = time.monotonic()
      replace(self.workdir / MIRROR, ''.join(line + '\n' for line in self._lines).encode())
      self._stale, ended = False, time.monotonic()
      self._mirror_due = ended + MIRROR_SHARE * (ended - began)

  def close(self) -> None:
    """Writes the mirror, and lets another process write the study."""
    if not self._closed:
      self.flush()
      self._records.close()
      ...

  def _mirror(self) -> None:
    self._stale = True
    if time.monotonic() >= self._mirror_due:
      self.flush()
