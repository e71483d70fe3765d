"""A runner that runs packs in this process, one after the other.

A pack is a group of trials that one compiled program trains together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures

from etils import epath
import jax

from lmhp.errors import ConfigError
from lmhp.sweeping.execution.autotuning import Autotuner
from lmhp.sweeping.execution.pack_run import PackRun
from lmhp.sweeping.execution.pack_widths import devices_for
from lmhp.sweeping.execution.packs import Pack, PackResult, PackRunOptions, Stopped
from lmhp.sweeping.execution.runner import RunnerContext
from lmhp.sweeping.tasks.task import Task


class LocalRunner:
  """Runs packs in this process. A thread compiles the next pack while one trains."""

  def __enter__(self) -> LocalRunner:
    self._thread = futures.ThreadPoolExecutor(1, 'lmhp-compile')
    return self

  def __exit__(self, *exception: object) -> None:
    self._thread.shutdown(cancel_futures=True)

  def autotuner(
    self, task: Task, workdir: epath.Path, method: str, max_pack_width: int | None
  ) -> Autotuner:
    """Returns an autotuner that measures in this process."""
    return Autotuner(task, workdir, method, max_pack_width)

  def run(
    self, context: RunnerContext, packs: Sequence[Pack]
  ) -> Iterator[tuple[Pack, PackResult]]:
    """Runs packs in their order. Yields each pack with its result.

    Raises:
      Stopped: If `context.should_stop` returns True. All states are saved then.
      ConfigError: If a pack does not fit the memory.
    """
    following = _prepare(context, packs[0]) if packs else None
    for index, pack in enumerate(packs):
      if context.should_stop():
        raise Stopped
      assert following is not None
      current = following
      # The next pack compiles while this one trains.
      if index + 1 < len(packs):
        following = _prepare(context, packs[index + 1])
        if following.read() is None:
          self._thread.submit(following.compile_ahead)
      context.progress.start_pack(pack)
      yield pack, _run(current)


def _prepare(context: RunnerContext, pack: Pack) -> PackRun:
  def show(step: int, metrics: Mapping[str, object]) -> None:
    context.progress.update_pack(pack, step, metrics)

  options = PackRunOptions(
    should_stop=context.should_stop, show=show, devices=devices_for(pack.method)
  )
  return context.states.run(pack.name, options)


def _run(run: PackRun) -> PackResult:
  """Runs a pack.

  Raises:
    ConfigError: If the device has less memory than the analysis of the program needs.
  """
  try:
    return run.run()
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    # Propose half the width.
    narrower = max(1, run.pack.width // 2)
    raise ConfigError(
      f'sweep.max_pack_width: a pack of {run.pack.width} does not fit the memory, '
      f'expected fewer; finished packs are kept, continue with '
      f'--sweep.max_pack_width={narrower}'
    ) from error
