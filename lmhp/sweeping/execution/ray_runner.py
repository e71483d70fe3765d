"""A runner that runs packs on a Ray cluster.

A pack is a group of trials that one compiled program trains together. The driver is the
process that runs the study, and only the driver writes the results of the study. The driver
submits each pack to Ray as one function call. A worker trains the pack in a new directory and
returns the scores. The driver then moves the files of the worker to the paths that a local
sweep uses. So all nodes must have access to the directory of the study: on a shared file
system, or at `gs://`.

Ray runs a function again if its worker or node died. The pack then continues from its newest
checkpoint (see `ray_attempts`).

On processors, one worker process runs many packs and keeps its compiled programs. With
accelerators, each pack has a new process, which loads programs from the compile cache on the
disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import math

from etils import epath

from lmhp.files import is_remote
from lmhp.sweeping.execution.autotuning import (
  Autotuner,
  MeasurementStore,
  PackMethod,
)
from lmhp.sweeping.execution.pack_widths import WIDTHS
from lmhp.sweeping.execution.packs import (
  Pack,
  PackResult,
  Stopped,
  finished_result,
)
from lmhp.sweeping.execution.ray_attempts import ATTEMPTS, publish
from lmhp.sweeping.execution.ray_cluster import RayCluster, Reference, Resources
from lmhp.sweeping.execution.ray_worker import (
  choose_method,
  measure,
  run_pack,
  worker_recipe,
)
from lmhp.sweeping.execution.runner import Runner, RunnerContext
from lmhp.sweeping.tasks.task import Job, Task

POLL_SECONDS = 0.5
"""Time between two checks for signals and progress."""


class RayRunner(Runner):
  """Runs packs on a cluster. At its end, this context manager leaves the cluster.

  Args:
    address: Address of the cluster. None: the cluster on this machine, which is started if
      there is none.
    experiment_file: Experiment file that each worker runs first, because it may register new
      optimizers, schedules and so on. None if there is none.
    resources: Resources of a pack, as options of a Ray function. None: one accelerator, or all
      processors of the smallest node if the cluster has no accelerator.

  Raises:
    ConfigError: If Ray is not installed, no cluster answers, or no node has the resources.
  """

  def __init__(
    self,
    address: str | None = None,
    experiment_file: str | None = None,
    resources: Resources | None = None,
  ):
    self.cluster = RayCluster(address, resources)
    self._experiment_file = experiment_file
    self._recipes: dict[int, tuple[Task, Reference]] = {}
    self._progress = self.cluster.start_actor(_ProgressReports)
    self._pending_reports: Reference = self._progress.take.remote()

  def __exit__(self, *exception: object) -> None:
    self.cluster.close()

  def autotuner(
    self,
    task: Task,
    workdir: epath.Path,
    method: str,
    max_pack_width: int | None,
    store: MeasurementStore | None = None,
  ) -> Autotuner:
    """Returns an autotuner that measures on a worker.

    The driver may have other devices than the workers.
    """
    return Autotuner(
      task,
      workdir,
      method,
      max_pack_width,
      store,
      choose=self._choose,
      measure=self._measure,
    )

  def _choose(
    self,
    task: Task,
    jobs: Sequence[Job],
    data_per_trial: bool,
    n_steps: float,
    method: str,
    max_pack_width: int | None,
  ) -> PackMethod:
    """Runs `choose_method` on a worker.

    The trials are divided equally among the packs that can run at the same time
    (`cluster.slots`). No pack has more trials than its share, so that no node is idle.
    """
    share = math.ceil(len(jobs) / self.cluster.slots)
    # No pack has more than `WIDTHS[-1]` members, so more jobs are not needed.
    reference = self.submit(
      choose_method,
      task,
      list(jobs[: WIDTHS[-1]]),
      data_per_trial,
      n_steps,
      method,
      min(share, max_pack_width or share),
    )
    return self.cluster.result(reference, 'choosing a method')

  def _measure(self, task: Task, metric: str, job: Job) -> float:
    """Runs `Task.measure` on a worker."""
    return self.cluster.result(self.submit(measure, task, metric, job), metric)

  def run(
    self, context: RunnerContext, packs: Sequence[Pack]
  ) -> Iterator[tuple[Pack, PackResult]]:
    """Runs packs. Yields each pack with its result when it is done, in any order.

    Raises:
      Stopped: If `context.should_stop` returns True. The running packs have saved their
        states then.
    """
    # An earlier process may have run some of the packs.
    workdir = context.states.workdir
    unfinished = []
    for pack in packs:
      result = finished_result(workdir, pack.name)
      if result is None:
        unfinished.append(pack)
      else:
        yield pack, result
    self._remake_states(context, unfinished)
    yield from self._run(context, unfinished)
    (workdir / ATTEMPTS).rmtree(missing_ok=True)

  def _remake_states(self, context: RunnerContext, packs: Sequence[Pack]) -> None:
    """Runs packs again if their final states are needed and are not on the disk."""
    # Names of the packs from whose final states `packs` start.
    names = {
      source.pack for pack in packs for source in pack.sources if source is not None
    }
    states = context.states
    unsaved = [
      states.pack(name) for name in sorted(names) if not states.is_on_disk(name)
    ]
    if unsaved:
      # The packs with missing states may themselves start from missing states.
      self._remake_states(context, unsaved)
      for _ in self._run(context, unsaved):
        pass

  def _run(
    self, context: RunnerContext, packs: Sequence[Pack]
  ) -> Iterator[tuple[Pack, PackResult]]:
    # All packs are submitted at once. Ray starts them as nodes become free.
    running: dict[Reference, Pack] = {}
    for pack in packs:
      context.progress.start_pack(pack)
      running[self._start(context, pack)] = pack
    packs_by_name = {pack.name: pack for pack in packs}
    try:
      while running:
        for reference in self.cluster.finished(list(running), POLL_SECONDS):
          pack = running.pop(reference)
          result, attempt = self.cluster.result(reference, pack.name)
          publish(context.states.workdir, pack, attempt)
          yield pack, result
        self._show_reports(context, packs_by_name)
        if running and context.should_stop():
          raise Stopped
    finally:
      self.cluster.interrupt(list(running))

  def _start(self, context: RunnerContext, pack: Pack) -> Reference:
    """Submits a pack to the cluster."""
    states = context.states
    workdir = states.workdir
    if not is_remote(workdir):
      # A worker has another current directory.
      workdir = workdir.absolute()
    overrides = {
      number: dict(states.jobs.overrides_of(number))
      for number in states.trials_needed_by(pack)
    }
    return self.submit(
      run_pack, states.jobs.task, str(workdir), pack, overrides, self._progress
    )

  def submit(
    self, function: Callable[..., object], task: Task, *arguments: object
  ) -> Reference:
    """Starts a function of `ray_worker` on the cluster."""
    # A recipe is a function with which a worker makes the task. It is sent once. The table also
    # keeps the task alive, so that no other task can get its id.
    if id(task) not in self._recipes:
      recipe = worker_recipe(task, self._experiment_file)
      self._recipes[id(task)] = (task, self.cluster.put(recipe))
    _, recipe_reference = self._recipes[id(task)]
    return self.cluster.submit(function, recipe_reference, *arguments)

  def _show_reports(
    self, context: RunnerContext, packs_by_name: Mapping[str, Pack]
  ) -> None:
    """Shows the progress that workers have reported."""
    if not self.cluster.finished([self._pending_reports], 0):
      return
    # The next reports are requested before these are shown.
    answered = self._pending_reports
    self._pending_reports = self._progress.take.remote()
    # The actor may have died with its node. A sweep continues without a display.
    with contextlib.suppress(RuntimeError):
      for name, (step, metrics) in self.cluster.result(answered, 'progress').items():
        if name in packs_by_name:
          context.progress.update_pack(packs_by_name[name], step, metrics)


class _ProgressReports:
  """An actor that stores the newest report of each pack for the driver."""

  def __init__(self):
    self._newest: dict[str, tuple[int, Mapping[str, object]]] = {}

  def report(self, pack: str, step: int, metrics: Mapping[str, object]) -> None:
    """Stores a report."""
    self._newest[pack] = (step, metrics)

  def take(self) -> dict[str, tuple[int, Mapping[str, object]]]:
    """Returns the reports since the last call."""
    newest = self._newest
    self._newest = {}
    return newest
