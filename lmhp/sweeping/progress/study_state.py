"""The state of a study that runs: its trials, its packs, its speed and the time left.

The members of a pack are trials that one compiled program trains together. A fork is a
copy of the states that is trained with a falling learning rate and scored at a rung, a step at
which trials may be stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import dataclasses
import math
import threading
import time

import numpy as np
import numpy.typing as npt

from lmhp.sweeping.budget import SearchPlan
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.confirmation import max_seeds
from lmhp.sweeping.execution.packs import Pack
from lmhp.sweeping.search.method import SEARCH_METHODS
from lmhp.sweeping.store.trial import Trial
from lmhp.training.progress.formats import format_time_left, format_value


@dataclasses.dataclass
class RunningPack:
  """A pack that is being trained.

  Attributes:
    pack: The pack.
    compiles: True if its programs are compiled before its first update.
    step: Step of its members.
    step_time: Time at which its members reached that step, in monotonic seconds.
    is_timed: True if the time after `step_time` is used to measure the speed. False if
      programs are compiled in this time.
    losses: (members,) training losses at the step, or None before the first update.
    tokens_per_second: Speed of all members together. 0 if the pack does not report it.
  """

  pack: Pack
  compiles: bool
  step: int
  step_time: float
  is_timed: bool
  losses: npt.NDArray[np.float64] | None = None
  tokens_per_second: float = 0.0

  def new_updates(self) -> int:
    """Returns the number of updates of all members together since the start of the pack.

    The cost of a trial (`Trial.cost`) does not contain these updates before the pack ends.
    """
    return (self.step - self.pack.first_step) * len(self.pack.trials)

  def describe(self) -> str:
    """Returns one line of text."""
    if self.losses is None:
      stage = 'compiling' if self.compiles else 'starting'
    elif self.step < self.pack.last_step:
      stage = f'step {self.step:,} of {self.pack.last_step:,}'
    else:
      stage = 'scoring'
    return (
      f'{self.pack.name}: {len(self.pack.trials)} trials by {self.pack.method}, {stage}'
    )


@dataclasses.dataclass(frozen=True)
class Totals:
  """Sums over all trials.

  Attributes:
    n_ended: Number of trials that have ended.
    n_searching: Number of trials that belong to the search.
    search_updates: Number of updates of the trials of the search. In a search without rungs,
      or after its end, each ended trial counts as the mean planned number of updates.
      Otherwise, a trial that diverged early would leave updates that are never made.
    confirmation_updates: Updates of the trials of the confirmation.
    tokens_per_update: Mean number of tokens of an update.
    ranked: Numbers of all trials, the best first.
    best: Number of the best trial, or None if no trial has a score.
  """

  n_ended: int
  n_searching: int
  search_updates: float
  confirmation_updates: int
  tokens_per_update: float
  ranked: list[int]
  best: int | None


class StudyState:
  """The newest reported state of the trials and packs of a study.

  Args:
    sweep: Config of the sweep.
    name: Name of the study.

  Attributes:
    trials: All trials, by number.
    packs: The packs that run, by name.
    lock: Lock that a thread must hold while it reads the state.
  """

  def __init__(self, sweep: SweepConfig, name: str) -> None:
    self.sweep = sweep
    self.name = name
    self.trials: dict[int, Trial] = {}
    self.packs: dict[str, RunningPack] = {}
    self.lock = threading.RLock()
    self._plan: SearchPlan | None = None
    self._totals: Totals | None = None
    self._compiled: set[tuple[object, ...]] = set()
    self._timed_updates = 0
    self._timed_seconds = 0.0

  # --- events -------------------------------------------------------------------------

  def start(self, plan: SearchPlan, trials: Iterable[Trial]) -> None:
    """Stores the size of the search, and the trials that exist already."""
    with self.lock:
      self._plan = plan
      self.update_trials(trials)

  def start_pack(self, pack: Pack) -> None:
    """Adds a pack."""
    with self.lock:
      first = self.trials.get(pack.trials[0])
      # Packs that agree in these values use the same programs. The first of them compiles the
      # programs, so its first updates are not timed. `loop` has one program for all widths.
      programs = (
        first.model.structure if first else None,
        pack.method,
        None if pack.method == 'loop' else pack.width,
        pack.data_per_trial,
        pack.final,
      )
      compiles = programs not in self._compiled
      self._compiled.add(programs)
      self.packs[pack.name] = RunningPack(
        pack, compiles, pack.first_step, time.monotonic(), is_timed=not compiles
      )

  def update_pack(self, pack: Pack, step: int, metrics: Mapping[str, object]) -> None:
    """Stores the metrics of a pack at a step."""
    with self.lock:
      # With Ray, a report may come after the pack has ended and was removed.
      if pack.name not in self.packs:
        self.start_pack(pack)
      running = self.packs[pack.name]
      # The updates since the last report, for the speed.
      self._time(running, step - running.step)
      running.step = step
      running.is_timed = True
      running.tokens_per_second = 0.0
      for name, value in metrics.items():
        values = np.asarray(value, np.float64)
        # The only array is the loss, with one value for each member.
        if values.ndim == 1:
          running.losses = values
        elif name == 'tokens_per_second':
          running.tokens_per_second = float(values)

  def update_trials(self, trials: Iterable[Trial]) -> list[Pack]:
    """Stores the newest state of all trials.

    Returns:
      The packs that have ended since the last call. Packs whose results the study had before
      are left out.
    """
    with self.lock:
      before = self.trials
      self.trials = {trial.number: trial for trial in trials}
      self._totals = None
      ended = []
      for name, running in list(self.packs.items()):
        if not _has_ended(running.pack, self.trials):
          continue
        del self.packs[name]
        if _has_ended(running.pack, before):
          continue
        # The time since the last report was spent on the fork and on scoring. A pack that
        # compiles its programs also compiles in this time, so it is not timed.
        if not running.compiles:
          self._time(running, running.pack.cooldown_steps)
        ended.append(running.pack)
      return ended

  def _time(self, running: RunningPack, n_steps: int) -> None:
    """Adds `n_steps` updates of each member, and the time that they took, to the measured speed.

    Nothing is added if the pack is not timed.
    """
    now = time.monotonic()
    if running.is_timed and n_steps >= 0:
      self._timed_updates += n_steps * len(running.pack.trials)
      self._timed_seconds += now - running.step_time
    running.step_time = now

  # --- speed --------------------------------------------------------------------------

  def steps_per_second(self) -> float:
    """Returns the updates per second of all running packs. 0 if none was timed yet."""
    if not self._timed_seconds:
      return 0.0
    # The quotient is the mean speed of one pack. With Ray, several packs run at the same time.
    return self._timed_updates / self._timed_seconds * max(1, len(self.packs))

  def tokens_per_second(self) -> float:
    """Returns the training tokens per second of all running packs. 0 if not known."""
    reported = sum(running.tokens_per_second for running in self.packs.values())
    return reported or self.steps_per_second() * self.totals().tokens_per_update

  def steps_left(self) -> float:
    """Returns the number of updates that the search and the confirmation still have to make."""
    if self._plan is None:
      return 0.0
    sweep = self.sweep
    totals = self.totals()
    confirmation = 0
    if sweep.confirm_points and SEARCH_METHODS[sweep.search].population is None:
      # The confirmation may stop before its last seed.
      of_pair = (sweep.confirm_points + 1) * self._plan.schedule.steps[-1]
      confirmation = of_pair * max_seeds(sweep, self._plan.steps, of_pair)

    # Subtract the updates of the trials from the planned updates.
    confirmation -= totals.confirmation_updates
    search = self._plan.steps - totals.search_updates

    # Subtract the updates of running packs. The costs of their trials do not contain them yet.
    for running in self.packs.values():
      first = self.trials.get(running.pack.trials[0])
      if first is not None and confirms(first):
        confirmation -= running.new_updates()
      else:
        search -= running.new_updates()
    return max(0.0, search) + max(0.0, confirmation)

  def seconds_left(self) -> float | None:
    """Returns the time to the end at the speed so far, or None if not known."""
    speed = self.steps_per_second()
    steps = self.steps_left()
    return steps / speed if speed and steps else None

  def fraction_done(self) -> float:
    """Returns the updates so far as a fraction of all planned updates."""
    totals = self.totals()
    done = totals.search_updates + totals.confirmation_updates
    done += sum(running.new_updates() for running in self.packs.values())
    return done / max(done + self.steps_left(), 1)

  # --- totals -------------------------------------------------------------------------

  def totals(self) -> Totals:
    """Returns the sums over all trials."""
    if self._totals is None:
      self._totals = self._sum()
    return self._totals

  def _n_planned(self) -> int:
    """Returns the planned number of trials of the search."""
    return self._plan.n_points * self.sweep.seeds_per_point if self._plan else 0

  def _sum(self) -> Totals:
    trials = list(self.trials.values())
    updates = {t.number: t.cost.steps + t.cost.cooldown_steps for t in trials}
    searching = [trial for trial in trials if not confirms(trial)]

    # With rungs, the number of updates of a trial depends on its scores. So each ended trial
    # counts with a fixed number only if there is one rung (the end), or the search has ended.
    updates_of_ended = None
    n_planned = self._n_planned()
    all_ended = len(searching) >= n_planned and all(t.ended for t in searching)
    if self._plan and (len(self._plan.schedule.steps) == 1 or all_ended):
      updates_of_ended = self._plan.steps / n_planned
    search_updates = [
      updates_of_ended if trial.ended and updates_of_ended else updates[trial.number]
      for trial in searching
    ]

    # The best trial of the search, if one has a score.
    ranked = sorted(trials, key=self._rank_key)
    has_best = bool(ranked) and has_score(ranked[0]) and not confirms(ranked[0])
    n_tokens = sum(trial.cost.tokens for trial in trials)
    return Totals(
      n_ended=sum(trial.ended for trial in trials),
      n_searching=len(searching),
      search_updates=sum(search_updates),
      confirmation_updates=sum(updates[t.number] for t in trials if confirms(t)),
      tokens_per_update=n_tokens / max(sum(updates.values()), 1),
      ranked=[trial.number for trial in ranked],
      best=ranked[0].number if has_best else None,
    )

  def _rank_key(self, trial: Trial) -> tuple[bool, int, float, int]:
    """Returns a key that sorts trials, the best first.

    The search comes before the confirmation. In each of them, trials with a score come first,
    then trials without a score, then diverged and failed trials.
    """
    if has_score(trial):
      sign = -1.0 if self.sweep.directions[0] == 'maximize' else 1.0
      return confirms(trial), 0, sign * scores_of(trial)[0], trial.number
    return confirms(trial), 2 if has_failed(trial) else 1, 0.0, trial.number

  # --- text ---------------------------------------------------------------------------

  def summary(self) -> str:
    """Returns one line: the number of ended trials, the best, the speed and the time left."""
    totals = self.totals()
    # All existing trials, and the planned trials of the search that do not exist yet.
    n_expected = max(self._n_planned() - totals.n_searching, 0) + len(self.trials)
    parts = [f'{totals.n_ended:,}/{n_expected:,} trials']
    if totals.best is not None:
      best = self.trials[totals.best]
      parts.append(
        f'best {self.score_text(best)} (trial {best.number}, step {best.cost.steps:,})'
      )
    speed = self.steps_per_second()
    if speed:
      tokens = self.tokens_per_second()
      parts.append(f'{tokens:,.0f} tokens/s' if tokens else f'{speed:,.0f} steps/s')
    time_left = format_time_left(self.seconds_left())
    if time_left:
      parts.append(time_left)
    return '  '.join(parts)

  def score_text(self, trial: Trial) -> str:
    """Returns the objectives of a trial as text. Empty if it has none."""
    if has_failed(trial):
      return ''
    return ', '.join(map(format_value, self.sweep.objective, scores_of(trial)))


def confirms(trial: Trial) -> bool:
  """Returns True if a trial belongs to the confirmation."""
  return trial.cohort.startswith('confirm')


def scores_of(trial: Trial) -> tuple[float, ...]:
  """Returns the final objectives of a trial, or its first objective at the newest rung.

  Empty if the trial has no score yet.
  """
  if trial.values:
    return trial.values
  return (trial.scores[max(trial.scores)],) if trial.scores else ()


def has_score(trial: Trial) -> bool:
  """Returns True if a trial has a finite score, and did not diverge or fail."""
  scores = scores_of(trial)
  return bool(scores) and math.isfinite(scores[0]) and not has_failed(trial)


def has_failed(trial: Trial) -> bool:
  """Returns True if a trial diverged or failed."""
  return trial.status in ('diverged', 'failed')


def _has_ended(pack: Pack, trials: Mapping[int, Trial]) -> bool:
  """Returns True if each member has ended, or has the result of the pack."""
  members = [trials.get(number) for number in pack.trials]
  return all(t is not None and (t.ended or pack.name in t.packs) for t in members)
