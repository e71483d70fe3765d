"""Packs as tasks of a Ray cluster.

The driver alone writes the study. It hands each pack to Ray as one task; a worker trains it in a directory of its own
and answers with the scores, and the driver moves what the worker left to where a local sweep would have it, the result
last. So the workdir must be one that all nodes see: a shared file system, or `gs://`.

A task that loses its worker or its node is begun again by Ray, from the newest checkpoint. The worker that is presumed
dead may still live, on a node that was cut off. Two never write to one place, for each attempt has a directory:

  attempts/PACK.ID/...     what a pack leaves, as below a workdir

An attempt begins by renaming the directory of the one before it to its own name, checkpoint and all. Of two that try,
one succeeds; who has lost its directory sees it before its next chunk and ends; and only the attempt that Ray answers
for is moved into the study. No lock that a dead node might hold, no lease that a slow one might lose.

A task's programs are kept by a worker process from pack to pack on processors. With accelerators each pack has a
process of its own (a process cannot let go of one, and the next pack may be given another); there compiled programs
come from the compile cache on the disk.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
from typing import Any, Callable, Iterator, Mapping, Sequence
import warnings

from lmhp.errors import ConfigError
from lmhp.files import is_remote
from lmhp.sweeping.execution.autotuning import WIDTHS, Autotuner, PackMethod
from lmhp.sweeping.execution.packs import Pack, PackResult, Stopped, read_result
from lmhp.sweeping.execution.ray_worker import (
  choose,
  describe,
  measure,
  publish,
  run_pack,
)
from lmhp.sweeping.tasks.task import Job, Task
from lmhp.training.checkpoint import Checkpoints

RETRIES = 5
"""Times that a pack is begun again after its worker or node died."""

POLL_SECONDS = 0.5
GRACE_SECONDS = 60.0
"""What packs that are told to stop have to save their states."""


class RayRunner:
  """Runs packs on a cluster. Use it in a `with`: leaving it leaves the cluster, and ends one that was started for it.

  Args:
    address: of the cluster; None finds the one of this machine, or starts one. A process that has already joined one
      stays with it.
    resources: what a pack takes, as options of a Ray task (`num_cpus`, `num_gpus`, `resources`); None is one
      accelerator, or where there is none all processors of the smallest node.

  Raises:
    ConfigError: where Ray is not installed, no cluster answers, or none of its nodes has what a pack takes.
  """

  def __init__(
    self, address: str | None = None, resources: Mapping[str, Any] | None = None
  ):
    try:
      with _undisturbed():
        import ray

        self.ray, self._joined = ray, _join(ray, address)
    except ImportError as missing:
      raise ConfigError(
        f'--engine: ray needs the extra ray (pip install "lmhp[ray]"): {missing}'
      ) from None
    nodes = [node['Resources'] for node in ray.nodes() if node['Alive']]
    self.resources = dict(resources) if resources is not None else pack_resources(nodes)
    self.slots = sum(_packs_at_once(node, self.resources) for node in nodes)
    if not self.slots:
      raise ConfigError(
        f'resources: got {self.resources}, but no node of the cluster has that much'
      )
    self._sent: tuple[Any, Any] = (None, None)
    board = ray.remote(num_cpus=0)(_Board)
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    self._board = board.options(
      scheduling_strategy=here(ray.get_runtime_context().get_node_id(), soft=True)
    ).remote()
    self._told = self._board.take.remote()

  def __enter__(self) -> RayRunner:
    return self

  def __exit__(self, *exception) -> None:
    if self._joined:
      self.ray.shutdown()

  def choices(
    self, workdir: Any, task: Task, pack: str, max_pack_width: int | None
  ) -> Autotuner:
    """The choices of a study, measured on a worker."""
    return _RayChoices(self, workdir, task, pack, max_pack_width)

  def __call__(
    self, engine: Any, packs: Sequence[Pack]
  ) -> Iterator[tuple[Pack, PackResult]]:
    """Runs packs, and gives each result as it comes, in no order.

    Raises:
      Stopped: when `engine.stop` says so, once the packs that were running have saved their states.
    """
    left = []
    for pack in packs:
      result = read_result(engine.workdir / 'packs' / pack.name)
      if result is None:
        left.append(pack)
      else:
        yield pack, result
    self._make_again(engine, left)
    yield from self._run(engine, left)
    (engine.workdir / 'attempts').rmtree(missing_ok=True)

  def _make_again(self, engine: Any, packs: Sequence[Pack]) -> None:
    """Runs once more those packs whose states are needed and were kept in a process's memory alone."""
    names = sorted({source[0] for pack in packs for source in pack.sources if source})
    unsaved = [
      engine.states.run(name).pack
      for name in names
      if not _is_saved(engine.workdir, name)
    ]
    if unsaved:
      self._make_again(engine, unsaved)
      for _ in self._run(engine, unsaved):
        pass

  def _run(
    self, engine: Any, packs: Sequence[Pack]
  ) -> Iterator[tuple[Pack, PackResult]]:
    by_name = {pack.name: pack for pack in packs}
    workdir = str(
      engine.workdir if is_remote(engine.workdir) else engine.workdir.absolute()
    )
    running = {}
    for pack in packs:
      engine.show.pack(pack)
      running[self.submit(run_pack, engine.task, workdir, pack, self._board)] = pack
    try:
      while running:
        ready, _ = self.ray.wait(list(running), timeout=POLL_SECONDS)
        self._show(engine, by_name)
        for ref in ready:
          pack = running.pop(ref)
          result, attempt = self.answer(ref, pack.name)
          publish(engine.workdir, pack, attempt)
          yield pack, result
        if running and engine.stop():
          raise Stopped
    finally:
      self._cancel(list(running))

  def submit(self, function: Callable[..., Any], task: Task, *arguments: Any) -> Any:
    """Hands a function of a task to the cluster; a reference to its answer."""
    if self._sent[0] is not task:
      self._sent = task, self.ray.put(self.ray.cloudpickle.dumps(describe(task)))
    accelerated = bool(
      self.resources.get('num_gpus') or self.resources.get('resources')
    )
    remote = self.ray.remote(
      max_retries=RETRIES,
      retry_exceptions=False,
      max_calls=1 if accelerated else 0,
      **self.resources,
    )(function)
    return remote.remote(self._sent[1], getattr(task, 'step_seconds', {}), *arguments)

  def answer(self, ref: Any, what: str) -> Any:
    """What a task answers; what it raised is raised here.

    Raises:
      RuntimeError: where its workers died again and again.
    """
    try:
      return self.ray.get(ref)
    except self.ray.exceptions.RayTaskError as error:
      raise error.cause from (None if isinstance(error.cause, ConfigError) else error)
    except self.ray.exceptions.RayError as error:
      raise RuntimeError(f'{what}: its workers died {RETRIES + 1} times') from error

  def _cancel(self, refs: list[Any]) -> None:
    """Interrupts tasks, and waits while they save their states."""
    for ref in refs:
      self.ray.cancel(ref, recursive=False)
    _, left = (
      self.ray.wait(refs, num_returns=len(refs), timeout=GRACE_SECONDS)
      if refs
      else ([], [])
    )
    for ref in left:
      self.ray.cancel(ref, force=True, recursive=False)

  def _show(self, engine: Any, packs: Mapping[str, Pack]) -> None:
    """Shows what the workers have told of themselves, where the board has answered."""
    if not self.ray.wait([self._told], timeout=0)[0]:
      return
    told, self._told = self._told, self._board.take.remote()
    with contextlib.suppress(
      self.ray.exceptions.RayError
    ):  # a sweep without a display is still a sweep
      for name, (step, metrics) in self.ray.get(told).items():
        if name in packs:
          engine.show.step(packs[name], step, metrics)


class _Board:
  """Where workers say how far they are, on the driver's node; the newest of each pack is kept."""

  def __init__(self):
    self._notes: dict[str, tuple[int, Any]] = {}

  def note(self, name: str, step: int, metrics: Any) -> None:
    self._notes[name] = (step, metrics)

  def take(self) -> dict[str, tuple[int, Any]]:
    notes, self._notes = self._notes, {}
    return notes


class _RayChoices(Autotuner):
  """Choices that a worker measures, for the driver may have no such device; each node shall have a pack."""

  def __init__(
    self,
    runner: RayRunner,
    workdir: Any,
    task: Task,
    pack: str,
    max_pack_width: int | None,
  ):
    super().__init__(workdir, task, pack, max_pack_width)
    self._runner = runner

  def _choose(self, jobs: list[Job], own: bool, steps: float) -> PackMethod:
    share = math.ceil(len(jobs) / self._runner.slots)
    width = min(share, self.asked_width or share)
    ref = self._runner.submit(
      choose, self.task, jobs[: WIDTHS[-1]], own, steps, self.pack, width
    )
    return self._runner.answer(ref, 'choosing a method')

  def _measure(self, name: str, job: Job) -> float:
    return self._runner.answer(self._runner.submit(measure, self.task, name, job), name)


def pack_resources(nodes: Sequence[Mapping[str, float]]) -> dict[str, Any]:
  """What a pack takes on a cluster: one accelerator where some node has one, else all processors of the smallest node.

  Args:
    nodes: the resources of each node, as Ray has them.

  >>> pack_resources([{'CPU': 8.0, 'GPU': 4.0}, {'CPU': 2.0}])
  {'num_cpus': 1, 'num_gpus': 1}
  >>> pack_resources([{'CPU': 8.0}, {'CPU': 2.0}, {}])
  {'num_cpus': 2}
  """
  if any(node.get('GPU', 0) >= 1 for node in nodes):
    return {'num_cpus': 1, 'num_gpus': 1}
  if any(node.get('TPU', 0) >= 1 for node in nodes):
    return {'num_cpus': 1, 'resources': {'TPU': 1}}
  return {
    'num_cpus': int(
      min((node['CPU'] for node in nodes if node.get('CPU', 0) >= 1), default=1)
    )
  }


def _packs_at_once(node: Mapping[str, float], resources: Mapping[str, Any]) -> int:
  """How many packs a node holds."""
  needs = {
    'CPU': resources.get('num_cpus', 0),
    'GPU': resources.get('num_gpus', 0),
    **resources.get('resources', {}),
  }
  return int(min((node.get(name, 0) // n for name, n in needs.items() if n), default=1))


def _join(ray: Any, address: str | None) -> bool:
  """Joins a cluster; False where this process is in one already.

  Raises:
    ConfigError: where none answers.
  """
  if ray.is_initialized():
    joined = ray.get_runtime_context().gcs_address
    if address not in (None, 'auto', joined):
      raise ConfigError(
        f'--address: got {address!r}, but this process has joined the Ray cluster at {joined}'
      )
    return False
  try:
    ray.init(
      address, log_to_driver=False, logging_level='error', include_dashboard=False
    )
  except (ConnectionError, ValueError, RuntimeError) as error:
    raise ConfigError(
      f'--address: got {address!r}, but no Ray cluster answers there '
      f'({str(error).strip().splitlines()[0]})'
    ) from None
  return True


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
  """Puts back the signal handlers of a sweep, one of which Ray takes for itself, and says nothing of Ray's forks.

  Python warns of a fork beside jax's threads. What Ray forks does no more than become another program.
  """
  kept = {
    number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
  }
  try:
    with warnings.catch_warnings():
      warnings.filterwarnings('ignore', message='os.fork', category=RuntimeWarning)
      yield
  finally:
    for number, handler in kept.items():
      with contextlib.suppress(
        ValueError, TypeError
      ):  # not the main thread; a handler that is not Python's
        signal.signal(number, handler)


def _is_saved(workdir: Any, name: str) -> bool:
  """Whether the states that a pack left are on the disk."""
  last = json.loads((workdir / 'packs' / name / 'pack.json').read_text())['pack'][
    'last_step'
  ]
  return Checkpoints(workdir / 'packs' / name / 'checkpoints').latest() == last
