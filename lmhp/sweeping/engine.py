"""The sweep: points become trials, trials of one structure become packs, packs are run, and the study is told.

The engine decides nothing by itself. Which points there are, which of them go on at a rung and who runs with whom are
pure functions of what the study holds (`designs`, `bayes`, `halving`, `choices`); so a study that is killed and run
again replays the stages that are done from their results and goes on where it was.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from typing import Any, Callable, Iterable, Mapping, Sequence

import numpy as np

from lmhp.statistics.divergence import diverged_at
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.execution import curves
from lmhp.sweeping.execution.autotuning import Autotuner, devices_for, widths
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.packs import Pack, PackResult
from lmhp.sweeping.store.study import Study
from lmhp.sweeping.store.trial import Trial
from lmhp.sweeping.tasks.task import Job, Task

MEASURED = ('latency_seconds',)
"""Metrics that are measured once for a structure, and not logged."""


class Engine:
  """Brings trials of one study to their rungs.

  Args:
    task: what is run.
    sweep: what is asked for.
    study: open for writing.
    workdir: the study's directory.
    choices: how packs run.
    runner: runs packs: `runner(engine, packs)` yields `(pack, result)` as they are done.
    stop: true when a signal has come.
    show: how progress is shown (`lmhp.sweeping.progress.display`).
    at_rung: called when trials have been brought somewhere, and not only read from an earlier process.
  """

  def __init__(
    self,
    task: Task,
    sweep: SweepConfig,
    study: Study,
    workdir: Any,
    choices: Autotuner,
    runner: Callable[..., Iterable[tuple[Pack, PackResult]]],
    stop: Callable[[], bool],
    show: Any,
    at_rung: Callable[[], None] = lambda: None,
  ):
    self.task, self.sweep, self.study, self.workdir = task, sweep, study, workdir
    self.choices, self.runner, self.stop, self.show, self.at_rung = (
      choices,
      runner,
      stop,
      show,
      at_rung,
    )
    self.states = PackStateStore(task, workdir)
    self.trials: dict[int, Trial] = {t.number: t for t in study.trials}
    self.place: dict[int, tuple[str, int]] = {}  # of each trial's newest state
    self.step: dict[int, int] = collections.defaultdict(int)  # of that state
    self.seen: dict[int, dict[int, tuple[float, ...]]] = collections.defaultdict(
      dict
    )  # scores of replayed stages
    self.gone: set[int] = set()  # trials that diverged in them
    self._jobs: dict[int, Job] = {}
    self._curves_of = functools.lru_cache(maxsize=16)(
      self._read_curves
    )  # of a pack, for each of its members

  # --- trials ---------------------------------------------------------------------------------------------------------

  def add(self, trials: Sequence[Trial]) -> None:
    """Adds new trials to the study."""
    for trial in trials:
      self.trials[trial.number] = trial
    known = lambda t: {} if t.status == 'failed' else self.job(t.number).about
    described = [dataclasses.replace(t, about={**known(t), **t.about}) for t in trials]
    self.trials.update({t.number: t for t in described})
    self.study.add(described)
    self.show.trials(self.trials.values())

  def job(self, number: int) -> Job:
    """What a trial is to a pack."""
    if number not in self._jobs:
      self._jobs[number] = self.task.job(self.trials[number].overrides)
    return self._jobs[number]

  def of_cohort(self, cohort: str) -> list[Trial]:
    """A cohort's trials by number."""
    return [t for t in self.trials.values() if t.cohort == cohort]

  def cohorts(self, kind: str) -> list[str]:
    """The cohorts of a kind ('search', 'seeds', 'confirm'), in order."""
    return list(
      dict.fromkeys(
        t.cohort for t in self.trials.values() if t.cohort.startswith(f'{kind}-')
      )
    )

  def update(self, trials: Sequence[Trial]) -> None:
    """Tells the study the new condition of trials."""
    self.trials.update({t.number: t for t in trials})
    self.study.update(trials)

  # --- stages ---------------------------------------------------------------------------------------------------------

  def bring(
    self,
    stage: str,
    numbers: Sequence[int],
    share: float,
    *,
    cooldown: bool,
    planned_steps: float,
    own: bool = False,
    sources: Mapping[int, tuple[str, int]] | None = None,
    hypers: Mapping[int, Mapping[str, Any]] | None = None,
    keep: bool | None = None,
    recovers: bool = False,
  ) -> None:
    """Brings trials to a share of their length, scores them there and tells the study.

    Args:
      stage: its name, the first part of its packs' names.
      numbers: the trials; those that have diverged before are left where they are.
      share: of a trial's length, 1 is its end.
      cooldown: whether a fork that cools down is scored, below the end.
      planned_steps: updates that the rest of the study will make, for the choice of a method.
      own: whether each trial reads batches of its own.
      sources: states to start from, where not each trial's newest (population-based training).
      hypers: values in place of a trial's own (population-based training).
      keep: whether the states may be needed again; None is below the end alone.
      recovers: whether a trial that diverges will go on all the same, from another's state.
    """
    groups = collections.defaultdict(list)
    for number in sorted(numbers):
      if number not in self.gone:
        groups[self.job(number).structure, self.step[number]].append(number)
    packs = []
    for index, members in enumerate(groups.values()):
      packs += self._packs(
        f'{stage}-{index}',
        members,
        share,
        cooldown,
        planned_steps,
        own,
        sources,
        hypers,
        keep,
      )
    news = False
    for pack, result in self.runner(self, packs):
      news |= self._tell(stage, pack, result, recovers)
    for pack in packs:  # in order, whatever the order they were done in
      for i, number in enumerate(pack.trials):
        self.place[number], self.step[number] = (pack.name, i), pack.last_step
    if news:
      self.at_rung()

  def _packs(
    self,
    name: str,
    members: list[int],
    share: float,
    cooldown: bool,
    planned_steps: float,
    own: bool,
    sources: Mapping | None,
    hypers: Mapping | None,
    keep: bool | None,
  ) -> list[Pack]:
    jobs = [self.job(n) for n in members]
    choice = self.choices.of(jobs, own, planned_steps)
    n_devices = len(devices_for(choice.method)) or 1
    last = max(1, round(share * jobs[0].steps))
    fork = (
      max(1, round(self.sweep.rung_cooldown_fraction * last))
      if cooldown and share < 1
      else 0
    )
    packs, start = [], 0
    for index, (n, width) in enumerate(widths(len(members), choice, n_devices)):
      trials = tuple(members[start : start + n])
      start += n
      pack = Pack(
        name=f'{name}-{index}',
        trials=trials,
        width=width,
        method=choice.method,
        own_data=own,
        sources=tuple((sources or self.place).get(t) for t in trials),
        first_step=self.step[trials[0]],
        last_step=last,
        cooldown_steps=fork,
        final=share >= 1,
        keep=share < 1 if keep is None else keep,
      )
      overrides = [
        {**self.trials[t].overrides, **(hypers or {}).get(t, {})} for t in trials
      ]
      packs.append(self.states.describe(pack, overrides))
    return packs

  # --- what a pack found ----------------------------------------------------------------------------------------------

  def _tell(self, stage: str, pack: Pack, result: PackResult, recovers: bool) -> bool:
    """Tells the study what a pack found of its members; whether it did not know it from an earlier process."""
    self.states.put(pack.name, result.states)
    updated = []
    for i, number in enumerate(pack.trials):
      if stage not in self.trials[number].about.get('stages', ()):
        updated.append(self._told(stage, pack, result, i, recovers))
    if updated:
      self.update(updated)
    for number in pack.trials:
      trial = self.trials[number]
      values = tuple(trial.about['values'][stage])
      if stage in trial.about.get('diverged_in', ()):
        self.gone.add(number)
        values = (math.inf,) * len(
          values
        )  # its stored value is finite, for samplers; here it is worse than any
      self.seen[number][pack.last_step] = values
    self.show.trials(self.trials.values())
    return bool(updated)

  def _told(
    self, stage: str, pack: Pack, result: PackResult, i: int, recovers: bool
  ) -> Trial:
    """A member's trial after a pack."""
    trial, job = self.trials[pack.trials[i]], self.job(pack.trials[i])
    metrics, broken_at = result.metrics[i], result.broken_at[i]
    if broken_at is None and pack.final:
      broken_at = self._diverged_softly(pack, trial)
    values = self.objectives(metrics, job)
    diverged = broken_at is not None or not all(math.isfinite(v) for v in values)
    if diverged:
      values = tuple(
        self.task.bad(name, job, name in self.sweep.maximize)
        for name in self.sweep.objective
      )
    trained = min(pack.last_step, broken_at or pack.last_step)
    about = {
      **trial.about,
      **self._about(stage, pack, result, trial, job, trained),
      'metrics': metrics,
    }
    about['values'] = {**trial.about.get('values', {}), stage: list(values)}
    if diverged:
      about['diverged_in'] = [*trial.about.get('diverged_in', ()), stage]
    if diverged and not recovers:
      about['diverged_at'] = broken_at or trained
    status = (
      'diverged'
      if diverged and not recovers
      else 'complete'
      if pack.final
      else 'running'
    )
    ended = status != 'running'
    return dataclasses.replace(
      trial,
      status=status,
      scores={**trial.scores, pack.last_step: values[0]},
      values=values if ended else None,
      about=about,
    )

  def _about(
    self,
    stage: str,
    pack: Pack,
    result: PackResult,
    trial: Trial,
    job: Job,
    trained: int,
  ) -> dict[str, Any]:
    """What a trial has cost so far, and where."""
    before = trial.about
    forked = before.get('cooldown_steps', 0) + pack.cooldown_steps
    return {
      'stages': [*before.get('stages', ()), stage],
      'packs': [*before.get('packs', ()), pack.name],
      'pack': pack.name,
      'steps': trained,
      'cooldown_steps': forked,
      'tokens': (trained + forked) * job.tokens_per_step,
      'flops': (trained + forked) * job.flops_per_step,
      'seconds': round(
        before.get('seconds', 0.0) + result.seconds / len(pack.trials), 3
      ),
      'device': result.device,
    }

  def objectives(self, metrics: Mapping[str, float], job: Job) -> tuple[float, ...]:
    """The objectives' values of a member."""
    known = {**job.facts, **metrics}
    value = lambda n: (
      known.get(n, math.nan) if n not in MEASURED else self.choices.value(n, job)
    )
    return tuple(float(value(n)) for n in self.sweep.objective)

  def _diverged_softly(self, pack: Pack, trial: Trial) -> int | None:
    """The step from which a whole run's smoothed loss stayed above its first, or None."""
    steps, losses = self.curve(trial, pack)
    if not len(losses):
      return None
    at = diverged_at(losses, half_life=max(20 / self.task.log_every, 1))
    return None if at is None else int(steps[at])

  def curve(
    self, trial: Trial, newest: Pack | None = None
  ) -> tuple[np.ndarray, np.ndarray]:
    """A trial's logged steps and training losses, from the curves of its packs."""
    packs = [*trial.about.get('packs', ()), *([newest.name] if newest else [])]
    steps, losses = [], []
    for name in dict.fromkeys(packs):
      trials_P, steps_P, losses_P = self._curves_of(name)
      mine = (trials_P == trial.number) & ~np.isnan(losses_P)
      steps.append(steps_P[mine])
      losses.append(losses_P[mine])
    return (
      (np.concatenate(steps), np.concatenate(losses))
      if steps
      else (np.array([]), np.array([]))
    )

  def _read_curves(self, pack: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trial, step and training loss of each row of a pack that is done."""
    table = curves.read(self.workdir / 'curves' / f'{pack}.parquet')
    return (
      np.asarray(table['trial']),
      np.asarray(table['step']),
      table[self.task.loss].to_numpy(zero_copy_only=False),
    )
