"""A connection to a Ray cluster. This is the only file that imports Ray.

A pack is a group of trials that one compiled program trains together. A function that runs on
the cluster trains one pack, or measures the speed of packs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import logging
import signal
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict
import warnings

from lmhp.errors import ConfigError

if TYPE_CHECKING:
  import ray
  import ray.actor

RETRIES = 5
"""Largest number of times that Ray runs a function again after its worker or node died."""

GRACE_SECONDS = 60.0
"""Time that interrupted functions have to save their states."""

Reference: TypeAlias = 'ray.ObjectRef'
"""A reference to the result of a function on the cluster."""

Actor: TypeAlias = 'ray.actor.ActorProxy'
"""A handle of an object on the cluster. `handle.method.remote(...)` calls a method."""


class Resources(TypedDict, total=False):
  """Options of a Ray function.

  Attributes:
    num_cpus: Number of processors.
    num_gpus: Number of GPUs.
    resources: Amounts of other resources, by name.
  """

  num_cpus: int
  num_gpus: int
  resources: dict[str, float]


class WorkersDied(RuntimeError):
  """The worker of a function died in each attempt."""


class RayCluster:
  """Runs functions on a Ray cluster.

  Args:
    address: Address of the cluster. None: the cluster on this machine, which is started if
      there is none. A process that has joined a cluster cannot join another one.
    resources: Resources of one function. None: one accelerator, or all processors of the
      smallest node if the cluster has no accelerator.

  Attributes:
    resources: Resources of one function.
    slots: Number of functions that the cluster can run at once.

  Raises:
    ConfigError: If Ray is not installed, no cluster answers, or no node has the resources.
  """

  def __init__(self, address: str | None = None, resources: Resources | None = None):
    try:
      with _without_side_effects():
        import ray
        import ray.cloudpickle
        import ray.exceptions
        import ray.util.scheduling_strategies

        self._ray = ray
        self._joined_here = _join(address)
    except ImportError as error:
      raise ConfigError(
        '--engine: ray needs the package Ray; install it with pip install "lmhp[ray]" '
        f'({error})'
      ) from None

    # The number of slots is the number of packs that run at the same time.
    nodes = [node['Resources'] for node in ray.nodes() if node['Alive']]
    self.resources = pack_resources(nodes) if resources is None else resources
    self.slots = sum(_slots_of_node(node, self.resources) for node in nodes)
    if not self.slots:
      raise ConfigError(
        f'resources: got {self.resources}, expected at most the resources of one node of '
        'the cluster'
      )

  def close(self) -> None:
    """Leaves the cluster. Ends it if it was started here."""
    if self._joined_here:
      self._ray.shutdown()

  def put(self, value: object) -> Reference:
    """Pickles a value with cloudpickle, and sends the bytes to the cluster.

    A function that gets the reference as an argument receives the bytes, and has to unpickle
    them.
    """
    # Ray's cloudpickle declares no exports.
    pickled = self._ray.cloudpickle.dumps(value)  # pyright: ignore[reportPrivateImportUsage]
    return self._ray.put(pickled)

  def submit(self, function: Callable[..., object], *arguments: object) -> Reference:
    """Starts a function on the cluster.

    With accelerators, each call has a new process. A process cannot release an accelerator,
    and the next call may get another one.
    """
    uses_accelerator = bool(
      self.resources.get('num_gpus') or self.resources.get('resources')
    )
    remote = self._ray.remote(
      max_retries=RETRIES,
      retry_exceptions=False,
      max_calls=1 if uses_accelerator else 0,
      **self.resources,
    )(function)
    return remote.remote(*arguments)

  def start_actor(self, cls: type) -> Actor:
    """Starts an object of a class on the node of this process, and returns its handle."""
    ray = self._ray
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
      ray.get_runtime_context().get_node_id(), soft=True
    )
    actor = ray.remote(num_cpus=0)(cls)
    return actor.options(scheduling_strategy=strategy).remote()

  def finished(
    self, references: Sequence[Reference], seconds: float
  ) -> list[Reference]:
    """Returns a list with one reference whose function is done, or an empty list.

    Args:
      references: References, at least one.
      seconds: Longest time to wait until a function is done.
    """
    return self._ray.wait(list(references), timeout=seconds)[0]

  def result(self, reference: Reference, name: str) -> Any:
    """Returns the result of a function, or raises its exception.

    Args:
      reference: Reference of the function.
      name: Name of the work, for messages.

    Raises:
      WorkersDied: If the worker of the function died in all of the `RETRIES` + 1 attempts.
    """
    exceptions = self._ray.exceptions
    try:
      return self._ray.get(reference)
    except exceptions.RayTaskError as error:
      # Ray wraps the exception of the function. The message of a ConfigError is enough for the
      # user, so the traceback of Ray is left out.
      cause = error.cause
      raise cause from (None if isinstance(cause, ConfigError) else error)
    except exceptions.RayError as error:
      raise WorkersDied(f'{name}: its workers died {RETRIES + 1} times') from error

  def interrupt(self, references: Sequence[Reference]) -> None:
    """Interrupts functions, and waits while they save their states."""
    if not references:
      return
    for reference in references:
      self._ray.cancel(reference, recursive=False)
    # A function that does not end in time is killed.
    _, running = self._ray.wait(
      list(references), num_returns=len(references), timeout=GRACE_SECONDS
    )
    for reference in running:
      self._ray.cancel(reference, force=True, recursive=False)


def pack_resources(nodes: Sequence[Mapping[str, float]]) -> Resources:
  """Returns the resources of a pack.

  The resources are one accelerator if a node has one, else all processors of the smallest node.

  Args:
    nodes: Resources of each node, as Ray reports them.

  >>> pack_resources([{'CPU': 8.0, 'GPU': 4.0}, {'CPU': 2.0}])
  {'num_cpus': 1, 'num_gpus': 1}
  >>> pack_resources([{'CPU': 8.0}, {'CPU': 2.0}, {}])
  {'num_cpus': 2}
  """
  if any(node.get('GPU', 0) >= 1 for node in nodes):
    return {'num_cpus': 1, 'num_gpus': 1}
  if any(node.get('TPU', 0) >= 1 for node in nodes):
    return {'num_cpus': 1, 'resources': {'TPU': 1}}
  processors = [node['CPU'] for node in nodes if node.get('CPU', 0) >= 1]
  return {'num_cpus': int(min(processors, default=1))}


def _slots_of_node(node: Mapping[str, float], resources: Resources) -> int:
  """Returns the number of packs that a node can run at once.

  Args:
    node: Resources of the node, as Ray reports them.
    resources: Resources of one pack.
  """
  needs = {
    'CPU': resources.get('num_cpus', 0),
    'GPU': resources.get('num_gpus', 0),
    **resources.get('resources', {}),
  }
  # If a pack needs no resources, the node runs one pack.
  slots = [node.get(name, 0) // amount for name, amount in needs.items() if amount]
  return int(min(slots, default=1))


def _join(address: str | None) -> bool:
  """Joins a cluster. Returns False if this process has joined one before.

  Raises:
    ConfigError: If no cluster answers.
  """
  import ray

  if ray.is_initialized():
    joined = ray.get_runtime_context().gcs_address
    if address not in (None, 'auto', joined):
      raise ConfigError(
        f'--ray_address: got {address!r}, but this process has joined the Ray cluster at '
        f'{joined}'
      )
    return False
  try:
    ray.init(
      address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False
    )
  except (ConnectionError, ValueError, RuntimeError) as error:
    reason = str(error).strip().splitlines()[0]
    raise ConfigError(
      f'--ray_address: got {address!r}, but no Ray cluster answers there ({reason})'
    ) from None
  return True


@contextlib.contextmanager
def _without_side_effects() -> Iterator[None]:
  """Restores the signal handlers that Ray replaces, and hides a warning.

  Python warns if a process with threads is forked, and jax has threads. The warning does not
  apply here, because the processes that Ray forks only start another program.
  """
  handlers = {
    number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
  }
  try:
    with warnings.catch_warnings():
      warnings.filterwarnings('ignore', message='os.fork', category=RuntimeWarning)
      yield
  finally:
    for number, handler in handlers.items():
      # `signal.signal` raises an error outside the main thread, and for a handler that was not
      # set from Python (None).
      with contextlib.suppress(ValueError, TypeError):
        signal.signal(number, handler)
