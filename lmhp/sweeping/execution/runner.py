"""Runners, which run packs for the engine of a study, and the runner of this process.

The members of a pack are trials that one compiled program trains together.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
import dataclasses
import functools
import gc
from typing import Self

from etils import epath

from lmhp.sweeping.execution.autotuning import Autotuner, MeasurementStore
from lmhp.sweeping.execution.pack_run import PackRun
from lmhp.sweeping.execution.pack_starts import OutOfMemory, PackStarts
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.pack_widths import devices_for
from lmhp.sweeping.execution.packs import (
  Pack,
  PackFailure,
  PackResult,
  PackRunOptions,
  Stopped,
)
from lmhp.sweeping.progress.study_progress import StudyProgress
from lmhp.sweeping.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class RunnerContext:
  """The study for which a runner runs packs.

  Attributes:
    states: Final states of the members of packs, in the directory of the study.
    progress: Display of the study's progress.
    should_stop: Returns True after a signal.
  """

  states: PackStateStore
  progress: StudyProgress
  should_stop: Callable[[], bool]


class Runner(abc.ABC):
  """A context manager that runs packs."""

  def __enter__(self) -> Self:
    return self

  @abc.abstractmethod
  def __exit__(self, *exception: object) -> None:
    """Releases the threads or processes of the runner."""

  def autotuner(
    self,
    task: Task,
    workdir: epath.Path,
    method: str,
    max_pack_width: int | None,
    store: MeasurementStore | None = None,
  ) -> Autotuner:
    """Returns the autotuner of a study, which chooses how packs run.

    The autotuner must measure on the devices that run the packs. By default, these are the
    devices of this process.

    Args:
      task: Task of the study.
      workdir: Directory of the study.
      method: One of `lmhp.training.population.METHODS`, or "auto".
      max_pack_width: Largest number of members that the user allows. None: no limit.
      store: Storage of the measurements.
    """
    return Autotuner(task, workdir, method, max_pack_width, store)

  @abc.abstractmethod
  def run(
    self, context: RunnerContext, packs: Sequence[Pack]
  ) -> Iterator[tuple[Pack, PackResult | PackFailure]]:
    """Runs packs. Yields each pack with its result when it is done, in any order.

    A pack that does not fit in memory is yielded with a `PackFailure`.

    Raises:
      Stopped: If `context.should_stop` returns True. All states are saved then.
    """


class LocalRunner(Runner):
  """Runs packs in this process, one after the other.

  A thread compiles the next pack while one trains.
  """

  def __init__(self):
    self._thread = futures.ThreadPoolExecutor(1, 'lmhp-compile')

  def __exit__(self, *exception: object) -> None:
    self._thread.shutdown(cancel_futures=True)

  def run(
    self, context: RunnerContext, packs: Sequence[Pack]
  ) -> Iterator[tuple[Pack, PackResult | PackFailure]]:
    """Runs packs in their order. Yields each pack with its result, or with its failure.

    Raises:
      Stopped: If `context.should_stop` returns True. All states are saved then.
    """
    following = None
    for index, pack in enumerate(packs):
      run, result = following or _prepare(context, pack)
      # A pack that an earlier process has run takes no time.
      if result is None and context.should_stop():
        raise Stopped
      # The next pack compiles while this one trains.
      if index + 1 < len(packs):
        following = _prepare(context, packs[index + 1])
        next_run, next_result = following
        starts = PackStarts(next_run.directory, next_run.pack.name)
        if next_result is None and starts.failure() is None:
          self._thread.submit(next_run.compile_ahead)
      context.progress.start_pack(pack)
      yield pack, run_or_failure(run) if result is None else result


def _prepare(context: RunnerContext, pack: Pack) -> tuple[PackRun, PackResult | None]:
  """Returns the run of a pack, and its result if an earlier process has run it."""
  options = PackRunOptions(
    should_stop=context.should_stop,
    show=functools.partial(context.progress.update_pack, pack),
    devices=devices_for(pack.method),
  )
  run = context.states.run(pack.name, options)
  return run, run.read()


def run_or_failure(run: PackRun) -> PackResult | PackFailure:
  """Runs a pack, or returns its result if an earlier process has run it.

  Returns:
    The result, or a failure if the pack does not fit in memory, now or in earlier processes.
  """
  result = run.read()
  if result is not None:
    return result
  starts = PackStarts(run.directory, run.pack.name)
  reason = starts.failure()
  if reason is not None:
    return PackFailure(reason)

  def show(step: int, metrics: Mapping[str, object]) -> None:
    starts.note_step()
    shown(step, metrics)

  shown = run.options.show
  run.options = dataclasses.replace(run.options, show=show)
  try:
    with starts.running():
      return run.run()
  except OutOfMemory:
    failure = PackFailure('out of memory')
  # The arrays of the failed run are freed before another pack begins.
  gc.collect()
  return failure
