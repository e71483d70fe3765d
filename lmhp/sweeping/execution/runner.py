"""Runners, which run packs for the engine of a study, and the runner of this process.

The members of a pack are trials that one compiled program trains together.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
import dataclasses
import functools
from typing import Self

from etils import epath
import jax

from lmhp.errors import ConfigError
from lmhp.sweeping.execution.autotuning import Autotuner, MeasurementStore
from lmhp.sweeping.execution.pack_run import PackRun
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.pack_widths import devices_for
from lmhp.sweeping.execution.packs import Pack, PackResult, PackRunOptions, Stopped
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
  ) -> Iterator[tuple[Pack, PackResult]]:
    """Runs packs. Yields each pack with its result when it is done, in any order.

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
  ) -> Iterator[tuple[Pack, PackResult]]:
    """Runs packs in their order. Yields each pack with its result.

    Raises:
      Stopped: If `context.should_stop` returns True. All states are saved then.
      ConfigError: If a pack does not fit the memory.
    """
    following = None
    for index, pack in enumerate(packs):
      if context.should_stop():
        raise Stopped
      current = following or _prepare(context, pack)
      # The next pack compiles while this one trains.
      if index + 1 < len(packs):
        following = _prepare(context, packs[index + 1])
        if following.read() is None:
          self._thread.submit(following.compile_ahead)
      context.progress.start_pack(pack)
      yield pack, _run(current)


def _prepare(context: RunnerContext, pack: Pack) -> PackRun:
  options = PackRunOptions(
    should_stop=context.should_stop,
    show=functools.partial(context.progress.update_pack, pack),
    devices=devices_for(pack.method),
  )
  return context.states.run(pack.name, options)


def _run(run: PackRun) -> PackResult:
  """Runs a pack.

  Raises:
    ConfigError: If the device runs out of memory. The program then needs more memory than the
      compiler predicted.
  """
  try:
    return run.run()
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    width = run.pack.width
    if width == 1:
      raise ConfigError(
        'train.batch_size: a trial alone does not fit in memory, expected a smaller batch, a '
        'smaller model or train.seq_len, or a device with more memory'
      ) from error
    # Propose half the width.
    raise ConfigError(
      f'sweep.max_pack_width: a pack of {width} trials does not fit in memory, '
      'expected fewer trials; finished packs are kept, so continue with '
      f'--sweep.max_pack_width={width // 2}'
    ) from error
