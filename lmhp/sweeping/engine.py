"""The engine: trains the trials of a study in stages, and stores their results.

A stage trains some trials up to the same fraction of their length, such as one third of their
steps. The engine divides the trials of a stage into packs. A pack is a group of trials that one
compiled program trains together, and its trials are called members. A runner runs the packs. The
structure of a trial is the part of its config that is compiled into the program, so the trials
of a pack have the same structure.

A cohort is a group of trials that the study adds at one time: points that the search chose
("search-0"), more seeds of good points ("seeds-0"), or the best points on new seeds
("confirm-0").

The packs of a stage depend only on the stage and on the stored trials. So a study that was
killed reads the results of its finished packs again, and continues after them.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
import dataclasses
import math

from etils import epath

from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.execution.autotuning import Autotuner
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.pack_widths import cut_into_packs, devices_for
from lmhp.sweeping.execution.packs import JobTable, Pack, PackResult
from lmhp.sweeping.execution.runner import Runner, RunnerContext
from lmhp.sweeping.execution.stages import Stage, StateRef, TrialProgress
from lmhp.sweeping.execution.trial_scores import TrialScores
from lmhp.sweeping.progress.study_progress import StudyProgress
from lmhp.sweeping.space import Space
from lmhp.sweeping.store.curves import LossCurves
from lmhp.sweeping.store.study import Study
from lmhp.sweeping.store.trial import Trial
from lmhp.sweeping.tasks.task import Task


@dataclasses.dataclass
class Engine:
  """Trains the trials of one study in stages.

  Attributes:
    task: Task of the study.
    sweep: Config of the sweep.
    study: The study, open for writing.
    workdir: Directory of the study.
    autotuner: Chooses how packs run (`vmap`, `map` or `loop`) and how wide they are.
    runner: Runs packs.
    should_stop: Returns True after a signal.
    progress: Display of the study's progress.
    after_stage: Called after a stage that has new results.
    trials: {number of a trial: the trial}.
    jobs: {number of a trial: its job, the complete config with its structure and its length}.
    progress_of: {number of a trial: its progress through the stages}.
    states: Final states of the members of packs, from which later packs continue.
    scores: Computes the objectives of trials.
  """

  task: Task
  sweep: SweepConfig
  study: Study
  workdir: epath.Path
  autotuner: Autotuner
  runner: Runner
  should_stop: Callable[[], bool]
  progress: StudyProgress
  after_stage: Callable[[], None]

  def __post_init__(self):
    self.trials: dict[int, Trial] = {t.number: t for t in self.study.trials}
    self.jobs = JobTable(self.task, lambda number: self.trials[number].overrides)
    self.progress_of: dict[int, TrialProgress] = collections.defaultdict(TrialProgress)
    self._trained_cohorts: set[str] = set()
    self.states = PackStateStore(self.jobs, self.workdir)
    self.scores = TrialScores(
      self.task, self.sweep, self.autotuner, LossCurves(self.workdir, self.task.loss)
    )

  # --- trials -------------------------------------------------------------------------

  def add(self, trials: Sequence[Trial]) -> None:
    """Adds new trials to the study, with facts about their models (parameter counts)."""
    for trial in trials:
      # `jobs` reads the overrides from `trials`.
      self.trials[trial.number] = trial
      # A failed trial has no valid config, so it has no job.
      if trial.status != 'failed':
        model = self.jobs[trial.number].model
        self.trials[trial.number] = dataclasses.replace(trial, model=model)
    self.study.add([self.trials[trial.number] for trial in trials])
    self.progress.update_trials(self.trials.values())

  def update(self, trials: Sequence[Trial]) -> None:
    """Stores the new state of trials."""
    for trial in trials:
      self.trials[trial.number] = trial
    self.study.update(trials)

  def trials_of_cohort(self, cohort: str) -> list[Trial]:
    """Returns the trials of a cohort, in the order of their numbers."""
    return [trial for trial in self.trials.values() if trial.cohort == cohort]

  def cohorts(self, kind: str) -> list[str]:
    """Returns the names of the cohorts of a kind: "search", "seeds" or "confirm"."""
    names = dict.fromkeys(trial.cohort for trial in self.trials.values())
    return [name for name in names if name.startswith(f'{kind}-')]

  def data_per_trial(self, space: Space) -> bool:
    """Returns True if each trial of a space reads different batches."""
    return self.sweep.reseeds_data or self.task.varies_data_per_trial(space)

  # --- stages -------------------------------------------------------------------------

  def train_to(self, stage: Stage) -> None:
    """Trains trials to the end of a stage, scores them and stores the results."""
    packs = self._packs_of_stage(stage)
    context = RunnerContext(self.states, self.progress, self.should_stop)
    # A pack that an earlier process has run returns its stored result.
    is_new = False
    for pack, result in self.runner.run(context, packs):
      is_new |= self._store(stage, pack, result)

    # The next stage continues from these states.
    for pack in packs:
      for index, number in enumerate(pack.trials):
        progress = self.progress_of[number]
        progress.state = StateRef(pack.name, index)
        progress.step = pack.last_step
    if is_new:
      self.after_stage()

  def train_cohorts(
    self, kind: str, new: Sequence[Trial], data_per_trial: bool, planned_steps: float
  ) -> None:
    """Trains the cohorts of a kind that this process has not trained yet to their ends.

    Args:
      kind: "seeds" or "confirm".
      new: New trials of a cohort of this kind. They are added to the study.
      data_per_trial: If True, each trial reads different batches.
      planned_steps: Number of updates of the whole search, all trials together. In a long
        study, it pays to measure more methods of execution.
    """
    if new:
      self.add(new)
    for name in self.cohorts(kind):
      if name in self._trained_cohorts:
        continue
      self._trained_cohorts.add(name)
      stage = Stage(
        name=name,
        trials=tuple(trial.number for trial in self.trials_of_cohort(name)),
        data_per_trial=data_per_trial,
        planned_steps=planned_steps,
      )
      self.train_to(stage)

  def _packs_of_stage(self, stage: Stage) -> list[Pack]:
    """Groups trials by structure and step, and divides each group into packs."""
    # The trials of one structure that have made the same number of steps share a program.
    groups = collections.defaultdict(list)
    for number in sorted(stage.trials):
      progress = self.progress_of[number]
      if not progress.diverged:
        groups[self.jobs[number].structure, progress.step].append(number)
    packs = []
    for index, members in enumerate(groups.values()):
      packs += self._packs_of_group(stage, f'{stage.name}-{index}', members)
    return packs

  def _packs_of_group(self, stage: Stage, name: str, members: list[int]) -> list[Pack]:
    """Divides trials of one structure into packs, and writes the description of each pack."""
    jobs = [self.jobs[number] for number in members]
    method = self.autotuner.method_of(jobs, stage.data_per_trial, stage.planned_steps)
    # The method `loop` has an empty list of devices, and uses one.
    n_devices = len(devices_for(method.method)) or 1

    # Trials of one structure have one length, so the pack ends at one step.
    last_step = max(1, round(stage.fraction * jobs[0].steps))
    cooldown_steps = 0
    if stage.cooldown and stage.fraction < 1:
      cooldown_steps = max(1, round(self.sweep.rung_cooldown_fraction * last_step))

    packs = []
    start = 0
    cuts = cut_into_packs(len(members), method.method, method.max_pack_width, n_devices)
    # Programs are compiled for a few widths only. A pack with fewer trials than its width is
    # filled with copies of its last trial.
    for index, (n_trials, width) in enumerate(cuts):
      trials = tuple(members[start : start + n_trials])
      start += n_trials
      pack = Pack(
        name=f'{name}-{index}',
        trials=trials,
        # A member continues from its newest state. In population-based training, it may start
        # from the state of another member (`stage.starts`).
        sources=tuple(stage.starts.get(n, self.progress_of[n]).state for n in trials),
        first_step=self.progress_of[trials[0]].step,
        last_step=last_step,
        cooldown_steps=cooldown_steps,
        final=stage.fraction >= 1,
        method=method.method,
        width=width,
        data_per_trial=stage.data_per_trial,
        keep_states=stage.keep_states,
        changes=self._changes(stage, trials),
      )
      packs.append(self.states.write_spec(pack))
    return packs

  def _changes(
    self, stage: Stage, trials: Sequence[int]
  ) -> dict[int, dict[str, object]]:
    """Returns {number of a trial: overrides of this stage that differ from the trial's own}.

    Only population-based training has such overrides.
    """
    changes = {}
    for number in [number for number in trials if number in stage.starts]:
      old = self.trials[number].overrides
      new = stage.starts[number].overrides
      values = {p: v for p, v in new.items() if p not in old or old[p] != v}
      if values:
        changes[number] = values
    return changes

  def _store(self, stage: Stage, pack: Pack, result: PackResult) -> bool:
    """Stores the results of a pack. Returns False if the study has them already."""
    self.states.save(pack.name, result.states)
    updated = []
    for number in pack.trials:
      trial = self.trials[number]
      # An earlier process may have stored some of the results before it was killed.
      if trial.result_of(stage.name) is None:
        updated.append(
          self.scores.trial_after(trial, self.jobs[number], stage, pack, result)
        )
    if updated:
      self.update(updated)
    for number in pack.trials:
      stored = self.trials[number].result_of(stage.name)
      assert stored is not None
      progress = self.progress_of[number]
      progress.values[pack.last_step] = stored.values
      if stored.diverged:
        progress.diverged = True
        # The stored values are finite, because the samplers of the search need finite values.
        # Halving and exchanges rank by `progress.values`, and infinity is the worst rank.
        progress.values[pack.last_step] = (math.inf,) * len(stored.values)
    self.progress.update_trials(self.trials.values())
    return bool(updated)
