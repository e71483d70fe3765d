"""What `lmhp.sweeping.progress.display` draws: the trials, the packs that run, how fast they go, and so when all is done."""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
import time
from typing import Any, Iterable, Mapping, NamedTuple

import numpy as np

from lmhp.sweeping.store.trial import ENDED, Trial
from lmhp.training.progress.formats import format_duration, format_of

MAX_POINTS = 400  # of a pack's curve: beyond, every second is dropped


@dataclasses.dataclass
class Running:
  """A pack that runs, or ran last.

  Attributes:
    compiles: whether it is the first of its kind here, so that its programs are compiled first.
    step: of its members, where they were at monotonic seconds `at`.
    counted: whether what it does from there on says how fast packs go.
    curve: (step, losses (members,)) of the metric `loss`.
    tokens_per_second: of all its members, where it says so itself.
  """

  pack: Any
  compiles: bool
  step: int
  at: float
  counted: bool
  loss: str = ''
  curve: list[tuple[int, np.ndarray]] = dataclasses.field(default_factory=list)
  tokens_per_second: float = 0.0

  def live_steps(self) -> int:
    """Updates that its members have made, and that no trial tells of yet."""
    return (self.step - self.pack.first_step) * len(self.pack.trials)

  def add(self, step: int, losses: np.ndarray) -> None:
    """Adds a point; a pack that was begun again overwrites what it had."""
    while self.curve and self.curve[-1][0] >= step:
      self.curve.pop()
    if len(self.curve) >= MAX_POINTS:
      self.curve[:] = self.curve[::2]
    self.curve.append((step, losses))

  def lines(self) -> dict[str, list[tuple[int, float]]]:
    """Best, median and worst loss by step, over the members whose loss is finite."""
    found = [
      (step, np.sort(losses[np.isfinite(losses)])) for step, losses in self.curve
    ]
    places = {
      'best': lambda n: 0,
      'median': lambda n: (n - 1) // 2,
      'worst': lambda n: n - 1,
    }
    return {
      name: [(step, float(x[place(len(x))])) for step, x in found if len(x)]
      for name, place in places.items()
    }

  def words(self) -> str:
    """Where it is."""
    pack, where = (
      self.pack,
      'starting, compiling where need be' if self.compiles else 'starting',
    )
    if self.curve:
      where = (
        'scoring'
        if self.step >= pack.last_step
        else f'step {self.step:,} of {pack.last_step:,}'
      )
    return f'{pack.name}: {len(pack.trials)} trials by {pack.method}, {where}'


class Row(NamedTuple):
  """A trial as a table shows it, with a mark if it is in a pack that runs."""

  cells: tuple[str, ...]
  running: bool
  best: bool


class View(NamedTuple):
  """A board at one moment: what there is to draw."""

  fraction: float  # of the planned updates
  words: str
  now: tuple[str, ...]  # what goes on, a line for each
  columns: tuple[
    str, ...
  ]  # the trial, its parameters, its status, step, training loss and score
  rows: tuple[Row, ...]  # the best first
  hidden: int  # trials that are not among them
  shown: Running | None  # whose curve is drawn


class Board:
  """All that is known of a sweep; where several threads tell and ask, they hold its `lock`."""

  def __init__(self, sweep: Any, name: str):
    self.sweep, self.name, self.lock = sweep, name, threading.Lock()
    self._plan, self._compiling = None, ''
    self._trials, self._sums = {}, None  # by number; what they come to, once asked for
    self._parameters: dict[
      str, None
    ] = {}  # names of all trials' parameters, in their order
    self._running, self._shown = {}, None  # packs by name; whose curve is drawn
    self._kinds: set[tuple] = set()  # of packs whose programs are compiled
    self._steps, self._seconds = (
      0,
      0.0,
    )  # members' updates that were timed, and what they took

  def plan(self, plan: Any, trials: Iterable[Trial]) -> None:
    """The search's size, and the trials that are there."""
    self._plan = plan
    self.trials(trials)

  def compiling(self, text: str) -> None:
    """What is being compiled; '' is nothing."""
    self._compiling = text
    for running in self._running.values():
      running.counted = False  # up to its next step

  def pack(self, pack: Any) -> None:
    """A pack begins."""
    first = self._trials.get(pack.trials[0])
    structure = first.model.structure if first else None
    kind = (
      structure,
      pack.method,
      pack.method != 'loop' and pack.width,
      pack.data_per_trial,
      pack.final,
    )
    new = kind not in self._kinds
    self._kinds.add(kind)
    self._running[pack.name] = Running(
      pack, new, pack.first_step, time.monotonic(), counted=not new
    )

  def step(self, pack: Any, step: int, metrics: Mapping[str, Any]) -> None:
    """A pack has come to a step."""
    if pack.name not in self._running:
      self.pack(pack)
    running = self._running[pack.name]
    self._time(running, step - running.step)
    running.step, running.counted, running.tokens_per_second = (
      step,
      True,
      float(metrics.get('tokens_per_second', 0)),
    )
    for name, values in metrics.items():
      if np.ndim(values) == 1:
        running.loss = name
        running.add(step, np.asarray(values, np.float64))
    self._shown = running

  def trials(self, trials: Iterable[Trial]) -> list[Any]:
    """The study's trials; returns the packs that ended by it, less those whose results the study had already."""
    before, self._trials, self._sums = self._trials, {t.number: t for t in trials}, None
    for trial in itertools.islice(
      self._trials.values(), len(before), None
    ):  # what is new
      self._parameters |= dict.fromkeys(trial.parameters)
    ended = []
    for name, running in list(self._running.items()):
      if _ended(running.pack, self._trials):
        del self._running[name]
        if not _ended(running.pack, before):
          if not running.compiles:  # else its scoring was compiled too
            self._time(running, running.pack.cooldown_steps)
          ended.append(running.pack)
    return ended

  def _time(self, running: Running, steps: int) -> None:
    """Notes how long a pack's updates took since it was heard of last; compiling is not counted."""
    now = time.monotonic()
    if running.counted and steps >= 0:
      self._steps += steps * len(running.pack.trials)
      self._seconds += now - running.at
    running.at = now

  def steps_per_second(self) -> float:
    """Members' updates per second by all packs that run together; 0 until some were timed."""
    return (
      self._steps / self._seconds * max(1, len(self._running))
      if self._seconds > 0
      else 0.0
    )

  def tokens_per_second(self) -> float:
    """Training tokens per second over all trials; 0 where that is not known yet, or there are none."""
    said = sum(running.tokens_per_second for running in self._running.values())
    return said or self.steps_per_second() * self._summed().tokens_per_step

  def steps_left(self) -> float:
    """Members' updates that the search and the confirmation will still make, as far as planned."""
    if self._plan is None:
      return 0.0
    sweep, sums = self.sweep, self._summed()
    points = (
      sweep.confirm_points + 1 if sweep.confirm_points and sweep.search != 'pbt' else 0
    )
    confirm = points * sweep.confirm_seeds * self._plan.rungs[-1]
    left = [self._plan.steps - sums.search_steps, confirm - sums.confirm_steps]
    for running in self._running.values():
      left[_confirms(self._trials.get(running.pack.trials[0]))] -= running.live_steps()
    return sum(max(0.0, steps) for steps in left)

  def seconds_left(self) -> float | None:
    """Seconds to the end at the speed so far; None while that is unknown, or more was trained than planned."""
    speed, left = self.steps_per_second(), self.steps_left()
    return left / speed if speed and left else None

  def _summed(self) -> _Sums:
    if self._sums is None:
      plan, each = self._plan, None
      planned = plan.n_points * self.sweep.seeds_per_point if plan else 0
      ended = [t.status in ENDED for t in self._trials.values() if not _confirms(t)]
      if plan and (
        len(plan.rungs) == 1 or all(ended) and len(ended) >= planned
      ):  # else rungs say how far a trial goes
        each = plan.steps / planned
      self._sums = _sums(
        self._trials.values(),
        each,
        -1.0 if self.sweep.directions[0] == 'maximize' else 1.0,
      )
    return self._sums

  def words(self) -> str:
    """How many trials are done, the best so far, the speed, the time left, in one line."""
    sums, left, speed = self._summed(), self.seconds_left(), self.steps_per_second()
    planned = self._plan.n_points * self.sweep.seeds_per_point if self._plan else 0
    parts = [
      f'{sums.done:,}/{max(planned - sums.searching, 0) + len(self._trials):,} trials'
    ]
    if sums.best is not None:
      best = self._trials[sums.best]
      parts.append(
        f'best {self._score(best)} (trial {best.number}, step {best.cost.steps:,})'
      )
    if speed:
      tokens = self.tokens_per_second()
      parts.append(f'{tokens:,.0f} tokens/s' if tokens else f'{speed:,.0f} steps/s')
    return '  '.join(parts + ([f'{format_duration(left)} left'] if left else []))

  def view(self, n_rows: int) -> View:
    """The board as it is now, with at most so many trials: the best, and in up to half of the rows those that run."""
    place = {
      n: (r, i) for r in self._running.values() for i, n in enumerate(r.pack.trials)
    }
    sums, names = self._summed(), columns(self._parameters)
    chosen = set(itertools.islice((n for n in sums.order if n in place), n_rows // 2))
    chosen.update(
      itertools.islice((n for n in sums.order if n not in chosen), n_rows - len(chosen))
    )
    rows = tuple(
      self._row(self._trials[n], names, *place.get(n, (None, 0)))
      for n in sums.order
      if n in chosen
    )
    now = ([f'compiling {self._compiling}'] if self._compiling else []) + [
      r.words() for r in self._running.values()
    ]
    made = (
      sums.search_steps
      + sums.confirm_steps
      + sum(r.live_steps() for r in self._running.values())
    )
    scores = ', '.join(format_of(name).label for name in self.sweep.objective)
    headings = ('trial', *names, 'status', 'step', 'training', scores)
    return View(
      made / max(made + self.steps_left(), 1),
      self.words(),
      tuple(now),
      headings,
      rows,
      len(sums.order) - len(rows),
      self._shown,
    )

  def _row(
    self,
    trial: Trial,
    names: Mapping[str, list[str]],
    running: Running | None,
    member: int,
  ) -> Row:
    status = (
      trial.status if trial.status in ENDED else 'running' if running else 'waiting'
    )
    status += ', confirming' if _confirms(trial) else ''
    step = running.step if running else trial.cost.steps
    values = (
      next((_value(trial, name) for name in found if name in trial.parameters), '')
      for found in names.values()
    )
    loss = f'{running.curve[-1][1][member]:.4f}' if running and running.curve else ''
    cells = (
      '▸ ' * bool(running) + str(trial.number),
      *values,
      status,
      f'{step:,}',
      loss,
      self._score(trial),
    )
    return Row(cells, running is not None, trial.number == self._summed().best)

  def _score(self, trial: Trial) -> str:
    values = () if trial.status in ('diverged', 'failed') else _scores(trial)
    forms = [format_of(name).value_format for name in self.sweep.objective]
    return ', '.join(form.format(value) for form, value in zip(forms, values))


class _Sums(NamedTuple):
  """What all trials come to, found once for each time they change."""

  done: int
  searching: int
  search_steps: float
  confirm_steps: float
  tokens_per_step: float
  order: tuple[int, ...]
  best: int | None


def _sums(trials: Iterable[Trial], each: float | None, sign: float) -> _Sums:
  """Sums; of `each` planned updates a trial that has ended has none left, whatever it made before it diverged."""
  trials = list(trials)
  made = [t.cost.steps + t.cost.cooldown_steps for t in trials]
  search = [
    each if each and t.status in ENDED else n
    for t, n in zip(trials, made)
    if not _confirms(t)
  ]
  keys = {t.number: _key(t, sign) for t in trials}
  order = tuple(sorted(keys, key=keys.__getitem__))
  return _Sums(
    done=sum(t.status in ENDED for t in trials),
    searching=len(search),
    search_steps=sum(search),
    confirm_steps=sum(n for t, n in zip(trials, made) if _confirms(t)),
    tokens_per_step=sum(t.cost.tokens for t in trials) / max(sum(made), 1),
    order=order,
    best=order[0] if order and keys[order[0]][:2] == (False, 0) else None,
  )


def _key(trial: Trial, sign: float) -> tuple[bool, int, float, int]:
  """Sorts the best first, then what has no score yet, then what diverged; the confirmation after the search."""
  scores = _scores(trial)
  scored = bool(scores) and math.isfinite(scores[0])
  group = 2 if trial.status in ('diverged', 'failed') else 0 if scored else 1
  return _confirms(trial), group, sign * scores[0] if group == 0 else 0.0, trial.number


def _scores(trial: Trial) -> tuple[float, ...]:
  """The objectives at its end, or the first of them at its last rung."""
  return trial.values or tuple(trial.scores[step] for step in sorted(trial.scores)[-1:])


def _confirms(trial: Trial | None) -> bool:
  return trial is not None and trial.cohort.startswith('confirm')


def _ended(pack: Any, trials: Mapping[int, Trial]) -> bool:
  """Whether all members of a pack tell of it, or are done without."""
  tells = lambda t: t is not None and (pack.name in t.packs or t.status in ENDED)
  return all(tells(trials.get(number)) for number in pack.trials)


def columns(names: Iterable[str]) -> dict[str, list[str]]:
  """Headings, and the parameters of each: a path's last word, for a name its section; the path where two are alike.

  >>> columns(['train.seed', 'a.lr[a.name=b]', 'data.seed', 'a.lr[a.name=c]'])
  {'train.seed': ['train.seed'], 'lr': ['a.lr[a.name=b]', 'a.lr[a.name=c]'], 'data.seed': ['data.seed']}
  """
  paths: dict[str, list[str]] = {}
  for name in names:
    paths.setdefault(name.partition('[')[0], []).append(name)
  words = [
    '+'.join(part.removesuffix('.name').rpartition('.')[2] for part in path.split('+'))
    for path in paths
  ]
  return {
    word if words.count(word) == 1 else path: found
    for (path, found), word in zip(paths.items(), words)
  }


def _value(trial: Trial, name: str) -> str:
  """A parameter's value; of a Zip those of its paths, since its own is the number of a row."""
  paths = name.partition('[')[0].split('+')
  values = (
    [trial.overrides.get(path) for path in paths]
    if len(paths) > 1
    else [trial.parameters[name]]
  )
  return ' '.join(f'{v:.3g}' if isinstance(v, float) else str(v) for v in values)
