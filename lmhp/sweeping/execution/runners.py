"""Who runs packs: this process, or a Ray cluster."""

from __future__ import annotations

from concurrent import futures
from typing import Any, Callable, Iterable, Iterator, Protocol, Sequence

import jax

from lmhp.errors import ConfigError
from lmhp.sweeping.engine import Engine
from lmhp.sweeping.execution.autotuning import Autotuner, devices_for
from lmhp.sweeping.execution.packs import Pack, PackResult, PackRun, Stopped
from lmhp.sweeping.tasks.task import Task


class Runner(Protocol):
  """What an engine has its packs run by. Use it in a `with`."""

  def choices(
    self, workdir: Any, task: Task, pack: str, max_pack_width: int | None
  ) -> Autotuner:
    """The choices of a study, measured where its packs will run."""

  def __call__(
    self, engine: Engine, packs: Sequence[Pack]
  ) -> Iterable[tuple[Pack, PackResult]]:
    """Runs packs; each with its result as it is done."""


class Local:
  """Packs one after the other in this process; while one trains, what the next needs is compiled in a thread."""

  def __enter__(self) -> Local:
    self._thread = futures.ThreadPoolExecutor(1, 'lmhp-compile')
    return self

  def __exit__(self, *exception) -> None:
    self._thread.shutdown(cancel_futures=True)

  def choices(
    self, workdir: Any, task: Task, pack: str, max_pack_width: int | None
  ) -> Autotuner:
    return Autotuner(workdir, task, pack, max_pack_width)

  def __call__(
    self, engine: Engine, packs: Sequence[Pack]
  ) -> Iterator[tuple[Pack, PackResult]]:
    following = self._prepared(engine, packs[0]) if packs else None
    for i, pack in enumerate(packs):
      if engine.stop():
        raise Stopped
      current, following = (
        following,
        self._prepared(engine, packs[i + 1]) if i + 1 < len(packs) else None,
      )
      if following is not None and following.read() is None:
        self._thread.submit(following.compile_ahead)
      engine.show.pack(pack)
      yield pack, self._result(current)

  def _result(self, run: PackRun) -> PackResult:
    """What a pack finds.

    Raises:
      ConfigError: where the device has not the memory that the compiled program's analysis promised.
    """
    try:
      return run.run()
    except jax.errors.JaxRuntimeError as error:
      if 'RESOURCE_EXHAUSTED' not in str(error):
        raise
      raise ConfigError(
        f'sweep.max_pack_width: a pack of {run.pack.width} does not fit the memory; what is done is kept, go '
        f'on with --sweep.max_pack_width={max(1, run.pack.width // 2)}'
      ) from error

  def _prepared(self, engine: Engine, pack: Pack) -> PackRun:
    shown = lambda step, metrics: engine.show.step(pack, step, metrics)
    return engine.states.run(
      pack.name, stop=engine.stop, devices=devices_for(pack.method), show=shown
    )


def local(address: str | None = None) -> Runner:
  """This process; it has no address."""
  del address
  return Local()


def ray(address: str | None = None) -> Runner:
  """The Ray cluster at an address; None finds the one of this machine, or starts one."""
  from lmhp.sweeping.execution.ray_runner import RayRunner

  return RayRunner(address)


RUNNERS: dict[str, Callable[[str | None], Runner]] = {'local': local, 'ray': ray}
