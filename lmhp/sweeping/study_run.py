"""One run of a study, from its start or from where an earlier run was stopped.

A rung is a step at which trials are scored, and at which the worst trials may be stopped. The
confirmation trains the best points again with other seeds. A population is a group of trials
that copy each other's states (population-based training).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import time

from lmhp.errors import ConfigError
from lmhp.errors.redaction import redact
from lmhp.files import as_path, write_json
from lmhp.sweeping import budget, space as spaces
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.confirmation import ConfirmedPoint, confirm
from lmhp.sweeping.engine import Engine
from lmhp.sweeping.execution.autotuning import Autotuner, MeasurementStore
from lmhp.sweeping.execution.packs import Stopped
from lmhp.sweeping.execution.runner import LocalRunner, Runner
from lmhp.sweeping.progress.display import study_progress
from lmhp.sweeping.progress.study_progress import StudyProgress
from lmhp.sweeping.request import SweepRequest
from lmhp.sweeping.result import (
  StudyResult,
  StudySummary,
  summarize,
  write_best_file,
)
from lmhp.sweeping.search.cohort_search import CohortSearch
from lmhp.sweeping.search.method import SEARCH_METHODS, changeable_keys
from lmhp.sweeping.search.population_training import PopulationTraining
from lmhp.sweeping.store.manifest import extended_manifest
from lmhp.sweeping.store.study import Study
from lmhp.sweeping.summary import format_study
from lmhp.sweeping.tasks.task import Task
from lmhp.sweeping.time_budget import CONFIRMATION, SEARCH, TimeBudget
from lmhp.training.signals import Stop, stop_on_signals
from lmhp.typing import PathLike

ENGINES = ('local', 'ray')
"""Values of `StudyOptions.engine`: train in this process, or on a Ray cluster."""

REPORT_INTERVAL = 20
"""Pause between two reports, as a multiple of the time that writing a report took."""


@dataclasses.dataclass(frozen=True)
class StudyOptions:
  """Options of the run of a study that do not change its trials.

  Attributes:
    engine: "local" to train in this process, or "ray" for a Ray cluster.
    storage: URL of a database, or None for a journal in the directory of the study.
    display: Way to show progress, one of `lmhp.training.progress.live.MODES`.
    ray_address: Address of the Ray cluster. If None, a cluster on this machine is used, and
      started if there is none.
    write_report: Function that writes a report of the trials so far, or None for no reports.
  """

  engine: str = 'local'
  storage: str | None = None
  display: str = 'auto'
  ray_address: str | None = None
  write_report: Callable[[], None] | None = None


class StudyRun:
  """One run of a study: the search, the confirmation and the result.

  Args:
    request: The task and the sweep.
    workdir: Directory of the study.
    options: Options that do not change the trials.

  Raises:
    ConfigError: If the engine is not one of `ENGINES`.
  """

  def __init__(
    self,
    request: SweepRequest,
    workdir: PathLike,
    options: StudyOptions = StudyOptions(),
  ):
    if options.engine not in ENGINES:
      raise ConfigError(
        f'--engine: got {options.engine!r}, expected one of {", ".join(ENGINES)}'
      )
    self.task = request.task
    self.sweep = request.sweep
    self.manifest = request.manifest
    self.space = spaces.as_space(request.sweep.space)
    self.workdir = as_path(workdir)
    self.options = options
    self._population_rules = SEARCH_METHODS[request.sweep.search].population
    self._experiment_file = request.experiment_file
    self._reports = Reports(options.write_report)

  def run(self) -> StudyResult:
    """Runs the study to its end, or until a signal stops it."""
    start = time.perf_counter()
    with (
      Study.open(
        self.workdir,
        storage=self.options.storage,
        space=self.space,
        directions=self.sweep.directions,
        manifest=self.manifest,
      ) as study,
      stop_on_signals() as stop,
      study_progress(self.sweep, self.workdir.name, self.options.display) as progress,
      self._make_runner() as runner,
    ):

      def should_stop() -> bool:
        # A pack would write its files at the old path of a renamed directory.
        study.check_in_place()
        return bool(stop) or budget_left.is_spent()

      self._extend(study, progress)
      budget_left = TimeBudget(
        self.sweep,
        study.manifest.seconds,
        lambda: any(trial.status == 'complete' for trial in study.trials),
      )
      autotuner = runner.autotuner(
        self.task,
        self.workdir,
        self.sweep.execution,
        self.sweep.max_pack_width,
        MeasurementStore(study.measurements, study.set_measurements),
      )
      plan = self._plan(study, autotuner)
      unaffordable = plan.schedule.unaffordable_calibration
      if unaffordable is not None:
        progress.message(f'no trial will be stopped early. {unaffordable.describe()}')
      engine = Engine(
        task=self.task,
        sweep=self.sweep,
        study=study,
        workdir=self.workdir,
        autotuner=autotuner,
        runner=runner,
        should_stop=should_stop,
        progress=progress,
        after_stage=lambda: self._reports.write(study, progress),
      )
      progress.start(plan, engine.trials.values())
      correlations: dict[int, float] = {}
      confirmed: list[ConfirmedPoint] = []
      try:
        with self._within_budget(study, SEARCH, stop, progress) as may_run:
          if may_run:
            correlations = self._search(engine, plan)
        budget_left.begin_confirmation()
        # The values of a member change during its training, so no config can repeat the training.
        if self._population_rules is None:
          with self._within_budget(study, CONFIRMATION, stop, progress) as may_run:
            if may_run:
              confirmed = confirm(engine, self.sweep, plan.steps)
      except Stopped:
        _add_seconds(study, time.perf_counter() - start)
        study.flush()
        progress.message('stopped; the same command continues the study')
        return self._result(study, signal=stop.signal)

      # The states of the trials are needed only to continue the study.
      engine.states.clear()
      _add_seconds(study, time.perf_counter() - start)
      summary = self._write_result(study, confirmed, correlations)
      self._reports.write(study, progress, last=True)
    return self._result(study, summary)

  # --- the parts of a run -------------------------------------------------------------

  def _make_runner(self) -> Runner:
    """Returns the runner of the engine."""
    if self.options.engine == 'local':
      return LocalRunner()
    # Ray is an optional package.
    from lmhp.sweeping.execution.ray_runner import RayRunner

    return RayRunner(self.options.ray_address, self._experiment_file)

  def _extend(self, study: Study, progress: StudyProgress) -> None:
    """Stores the new values of the sweep's keys that may change, and reports the changes.

    Raises:
      ConfigError: If the new trials would not be comparable with those of the study.
    """
    stored = study.manifest
    extended = extended_manifest(stored, self.manifest, self.workdir, changeable_keys())
    study.set_manifest(extended)
    for change in extended.changes[len(stored.changes) :]:
      progress.message(change)
    if study.n_foreign:
      progress.message(
        f'{study.n_foreign} trials of another program (added through Optuna) are left out'
      )

  def _plan(self, study: Study, autotuner: Autotuner) -> budget.SearchPlan:
    """Returns the number of points, the rungs and the steps of the search.

    A study that exists keeps its rungs.
    """
    plan = budget.plan_search(
      self.task, self.sweep, self.space, autotuner, study.manifest.rungs
    )
    # The rungs of the first run are stored for all later runs.
    if study.manifest.rungs is None:
      study.set_manifest(dataclasses.replace(study.manifest, rungs=plan.schedule))
    return plan

  @contextlib.contextmanager
  def _within_budget(
    self, study: Study, phase: str, stop: Stop, progress: StudyProgress
  ) -> Iterator[bool]:
    """Ends a phase when its seconds are spent, and stores that they are.

    Args:
      study: The study.
      phase: 'search' or 'confirmation'.
      stop: True after a signal, which ends the run itself.
      progress: Display, for messages.

    Yields:
      False if an earlier run has spent the seconds of the phase.
    """
    seconds = self.sweep.seconds
    spent = study.manifest.stopped.get(phase)
    if seconds is not None and spent is not None and spent >= seconds:
      progress.message(f'the {phase} has spent sweep.seconds={seconds:g} before')
      yield False
      return
    try:
      yield True
    except Stopped:
      if stop or seconds is None:
        raise
      stopped = {**study.manifest.stopped, phase: seconds}
      study.set_manifest(dataclasses.replace(study.manifest, stopped=stopped))
      progress.message(
        f'the {phase} ends, because its part of sweep.seconds={seconds:g} is spent; more '
        'seconds continue it'
      )

  def _search(self, engine: Engine, plan: budget.SearchPlan) -> dict[int, float]:
    """Runs the search.

    Returns:
      {step of a rung: rank correlation of its scores with the final scores}.
    """
    if self._population_rules is not None:
      PopulationTraining(engine, self.sweep, self.space, self._population_rules).run()
      return {}
    return CohortSearch(engine, self.sweep, self.space, plan).run()

  # --- the result ---------------------------------------------------------------------

  def _write_result(
    self,
    study: Study,
    confirmed: Sequence[ConfirmedPoint],
    correlations: Mapping[int, float],
  ) -> StudySummary:
    """Writes `result.json`, and `best.py` if the task has experiment files."""
    rungs = study.manifest.rungs
    summary = summarize(
      study.trials,
      self.sweep,
      confirmed,
      correlations,
      unaffordable_calibration=None
      if rungs is None
      else rungs.unaffordable_calibration,
      matched_budget=describe_matched_budget(self.sweep, self.task),
      seconds=round(study.manifest.seconds, 1),
    )
    write_json(self.workdir / 'result.json', dataclasses.asdict(summary))
    # The values of a member change during its training, so no config can repeat the training.
    if summary.best_trial is not None and self._population_rules is None:
      config = self.task.experiment_config(summary.best_overrides)
      if config is not None:
        text = '\n'.join(format_study(summary, self.task.base_values()))
        docstring = f'The winner of the study in {self.workdir}.\n\n{text}'
        write_best_file(self.workdir, config, docstring)
    return summary

  def _result(
    self,
    study: Study,
    summary: StudySummary | None = None,
    signal: int | None = None,
  ) -> StudyResult:
    return StudyResult(
      workdir=str(self.workdir),
      trials=tuple(study.trials),
      base=self.task.base_values(),
      summary=summary,
      signal=signal,
    )


class Reports:
  """Writes reports while a study runs, with pauses between them.

  A pause is in proportion to the time that the last report took. An error in a report does not
  end the study.

  Args:
    write_report: Function that writes a report, or None for no reports.
  """

  def __init__(self, write_report: Callable[[], None] | None):
    self._write_report = write_report
    self._due = 0.0  # time of `time.monotonic` at which the pause ends

  def write(self, study: Study, progress: StudyProgress, last: bool = False) -> None:
    """Writes a report of the trials so far, if the pause is over.

    Args:
      study: The study.
      progress: Display of the study, for an error message.
      last: If True, the report is written also during the pause.
    """
    start = time.monotonic()
    if self._write_report is None or (start < self._due and not last):
      return
    study.flush()
    try:
      self._write_report()
    except Exception as error:
      # The trials are stored, so the study continues. `lmhp report` gives the error again.
      reason = redact(f'{type(error).__name__}: {error}'.splitlines()[0])
      progress.message(f'no report was written: {reason}')
    end = time.monotonic()
    self._due = end + REPORT_INTERVAL * (end - start)


def _add_seconds(study: Study, seconds: float) -> None:
  """Adds the time of this run to the time of the study."""
  manifest = study.manifest
  study.set_manifest(dataclasses.replace(manifest, seconds=manifest.seconds + seconds))


def describe_matched_budget(sweep: SweepConfig, task: Task) -> str:
  """Returns the budget that is equal for all trials, in words."""
  if sweep.match_budget == 'none':
    return 'trials differ in length'
  job = task.job({})
  # If the key is not set, no value of the space changes the cost of a trial.
  if sweep.match_budget is None:
    return (
      f'steps, tokens and FLOPs equal: {job.steps:,} steps of '
      f'{job.tokens_per_step:,} tokens each'
    )
  amounts = {
    'steps': f'{job.steps:,}',
    'tokens': f'{job.steps * job.tokens_per_step:,}',
    'flops': f'{job.flops_per_step * job.steps:.3g}',
    'seconds': 'as the base config takes',
  }
  return f'{sweep.match_budget} equal: {amounts[sweep.match_budget]}'
