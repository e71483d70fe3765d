"""Populations: R runs of one structure that are trained together.

The runs of a population are called members. The structure is the part of a config that is
compiled into a program. The traced numbers, such as the learning rate, are arguments of the
program, and differ between the members. A population runs the programs of one structure for
its R members by one of three methods:

- `vmap`: one program in which each operation carries the axis of the population.
- `map`: one program with a loop over the members.
- `loop`: the program of a single run, called for each member.

All members read the same batches, unless `data_per_member` is set. With several devices,
each device runs a part of the members, without communication.

With `loop`, and with `map` on one device, the results of a member are those of a single run to
the last bit. With `vmap` they differ by rounding. With several devices they differ by rounding
too, because XLA then compiles a division by the traced numbers of a member in another way.

Dimension key: R members, S steps of a chunk, B sequences.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
import dataclasses
import functools
import os
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.training.chunks import NO_STEPS, ChunkSteps, Hypers, MemberPrograms
from lmhp.training.compile_cache import compile_deterministic
from lmhp.training.step import combine, partition
from lmhp.typing import PyTree

METHODS = ('vmap', 'map', 'loop')
"""Methods by which a population runs its members. See the docstring of this file."""

MemberFunction: TypeAlias = Callable[..., PyTree]
"""A pure function of one member, over pytrees of arrays."""

# `_MEMBERS` divides a first axis R over the devices. `_REPLICATED` puts a copy on each device.
_MEMBERS = jax.sharding.PartitionSpec('population')
_REPLICATED = jax.sharding.PartitionSpec()


class Population:
  """R members of one structure, on one or more devices.

  Args:
    programs: Programs of the structure.
    hypers: Traced numbers of each member, all with the same sections.
    method: One of `METHODS`.
    data_per_member: If True, the traced numbers `data` of each member (such as `data.seed`)
      select its batches. If False, all members read the batches of the first member.
    data_axis: Axis of the members in the data of a chunk. None if all members share the data.
    devices: Devices over which `map` and `vmap` divide the members. R must be a multiple of
      their number. Empty means the first device.

  Attributes:
    width: Number of members, R.
    hypers: Traced numbers of each member.
  """

  def __init__(
    self,
    programs: MemberPrograms,
    hypers: Sequence[Hypers],
    method: str = 'vmap',
    data_per_member: bool = False,
    data_axis: int | None = None,
    # jaxlib has no stubs.
    devices: Sequence[jax.Device] = (),  # pyright: ignore[reportInvalidTypeForm]
  ) -> None:
    self.programs = programs
    self.method = method
    self.data_per_member = data_per_member
    self.data_axis = data_axis
    self.devices = tuple(devices) or (jax.devices()[0],)
    self.width = len(hypers)
    self.hypers: list[Hypers] = list(hypers)
    if 'data' in hypers[0] and not data_per_member:
      # Members that share their data share the hyperparameters of the data too.
      self.hypers = [{**h, 'data': hypers[0]['data']} for h in hypers]
    # Called before each batch of `score`. It may raise an exception to stop an evaluation.
    self.before_score: Callable[[], None] = lambda: None
    self._seconds_before = programs.program_cache.compile_seconds
    if method != 'loop' and self.width % len(self.devices):
      raise ValueError(
        f'{self.width} members on {len(self.devices)} devices: expected a multiple of '
        f'{len(self.devices)} members'
      )

  @functools.cached_property
  def _hyper_axes(self) -> dict[str, int | None]:
    """{section: 0 if its stacked numbers have a first axis R, None if all members share them}."""
    shared = () if self.data_per_member else ('data',)
    return {section: None if section in shared else 0 for section in self.hypers[0]}

  @functools.cached_property
  def _stacked_hypers(self) -> dict[str, PyTree]:
    """{section: traced numbers}, stacked on a first axis R unless all members share them."""
    stacked = {}
    for section, axis in self._hyper_axes.items():
      sections = [hypers[section] for hypers in self.hypers]
      stacked[section] = sections[0] if axis is None else stack(sections)
    return stacked

  # --- states -----------------------------------------------------------------------

  def init(self) -> PyTree:
    """Returns the first states of all members.

    The program of a single run makes the states, so that they equal those of single runs.
    """
    return self.join([self.programs.init(hypers) for hypers in self.hypers])

  def join(self, states: Sequence[PyTree]) -> PyTree:
    """Returns the state of the population: a list for `loop`, else arrays with a first axis R.

    Args:
      states: State of each member.
    """
    if self.method == 'loop':
      return [jax.device_put(state, self.devices[0]) for state in states]
    return jax.device_put(stack(states), self._sharding(_MEMBERS))

  def split(self, state: PyTree) -> list[PyTree]:
    """Returns the state of each member, in numpy."""
    if self.method == 'loop':
      return [jax.device_get(member_state) for member_state in state]
    host_state = jax.device_get(state)
    return [_take_member(host_state, i) for i in range(self.width)]

  def copy(self, state: PyTree) -> PyTree:
    """Returns a copy of a state. `run` can then donate one of them, and the other is kept."""
    return jax.tree.map(jnp.copy, state)

  def abstract_state(self, sharding: jax.sharding.Sharding | None = None) -> PyTree:
    """Returns the shapes and dtypes of the states of all members, stacked on a first axis R.

    The axis is there for each method, also for `loop`.

    Args:
      sharding: Sharding of each array, or None.
    """

    def add_axis(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
      return jax.ShapeDtypeStruct((self.width, *x.shape), x.dtype, sharding=sharding)

    return jax.tree.map(add_axis, self.programs.abstract_state(self.hypers[0]))

  # --- training and scoring ---------------------------------------------------------

  def run(
    self,
    state: PyTree,
    data: PyTree,
    steps: ChunkSteps,
    is_training: Sequence[bool] | None = None,
  ) -> tuple[PyTree, Mapping[str, jax.typing.ArrayLike]]:
    """Makes the updates of a chunk for each member. The buffers of `state` are donated.

    Args:
      state: State of the population at `steps.first_step`.
      data: Data of the chunk.
      steps: Updates to make, at most `programs.max_chunk_steps`.
      is_training: (R,) mask, True for each member that still trains. At least one is True. `map`
        and `loop` do not train the others. `vmap` ignores the mask. None trains all members.

    Returns:
      The new state, and metrics {name: (R, S) float32}.
    """
    steps = steps.as_int32()
    mask_R = np.asarray([True] * self.width if is_training is None else is_training)
    if self.method == 'loop':
      return self._run_loop(state, data, steps, mask_R)
    if self.method == 'map':
      # A member that has stopped makes 0 updates.
      steps_R = np.where(mask_R, steps.n_steps, 0).astype(np.int32)
      steps = dataclasses.replace(steps, n_steps=steps_R)
    program = self._chunk_program(state, data, steps)
    return program(state, self._stacked_hypers, data, steps)

  def _run_loop(
    self, state: PyTree, data: PyTree, steps: ChunkSteps, mask_R: np.ndarray
  ) -> tuple[PyTree, dict[str, np.ndarray]]:
    """Calls the program of a single run for each member, several at once."""
    zeros_RS = np.zeros((self.width, self.programs.max_chunk_steps), np.float32)
    metrics: dict[str, np.ndarray] = collections.defaultdict(zeros_RS.copy)

    def run_member(i: int) -> None:
      member_data = data if self.data_axis is None else _take_member(data, i)
      state[i], member_metrics = self.programs.chunk(
        state[i], self.hypers[i], member_data, steps
      )
      for name, values_S in member_metrics.items():
        metrics[name][i] = values_S

    # The first member runs alone, because its call may compile the program.
    members = np.flatnonzero(mask_R)
    for i in members[:1]:
      run_member(i)
    # On a CPU, several small programs at once keep all cores busy.
    with futures.ThreadPoolExecutor(self.n_in_flight(), 'lmhp-member') as threads:
      list(threads.map(run_member, members[1:]))
    return state, metrics

  def n_in_flight(self) -> int:
    """Returns the number of members that `loop` runs at once.

    On a CPU, it is the number of cores, because one small model does not keep all of them busy.
    A GPU or TPU runs one program at a time.
    """
    if self.devices[0].platform == 'cpu':
      return os.cpu_count() or 1
    return 1

  def score(self, state: PyTree, batch: PyTree) -> Mapping[str, jax.typing.ArrayLike]:
    """Returns sums over the sequences of a batch, for each member: {name: (R, B)}."""
    self.before_score()
    if self.method == 'loop':
      sums = [self.programs.score(s, h, batch) for s, h in zip(state, self.hypers)]
      return {name: np.stack([np.asarray(s[name]) for s in sums]) for name in sums[0]}

    def build() -> jax.stages.Compiled:
      # The axes of the members in the arguments: state, traced numbers and batch (shared).
      function = self._for_all_members(
        self.programs.score_function(), (0, self._hyper_axes, None)
      )
      jitted = jax.jit(function)
      return compile_deterministic(jitted.lower(state, self._stacked_hypers, batch))

    # Batches of one shape share a program.
    shapes = str(jax.tree.map(jnp.shape, batch))
    program = self.programs.program_cache.get(self._key('score', shapes), build)
    return program(state, self._stacked_hypers, batch)

  # --- programs ---------------------------------------------------------------------

  def compile_chunk(self, data: PyTree) -> jax.stages.Compiled:
    """Returns the program of a chunk, and compiles it if it does not exist.

    The program is not run. A thread may call this while another population trains.

    Args:
      data: Data of a chunk, or its shapes and dtypes.
    """
    steps = NO_STEPS
    if self.method == 'loop':
      member_state = self.programs.abstract_state(self.hypers[0])
      member_data = data if self.data_axis is None else _take_member(data, 0)
      return self.programs.compile_chunk(member_state, self.hypers[0], member_data)
    if self.method == 'map':
      steps = dataclasses.replace(steps, n_steps=np.zeros(self.width, np.int32))
    state = self.abstract_state(self._sharding(_MEMBERS))
    return self._chunk_program(state, data, steps)

  @property
  def compile_seconds(self) -> float:
    """Seconds spent on compiling programs of the structure since the population was made."""
    return self.programs.program_cache.compile_seconds - self._seconds_before

  def chunk_bytes(self, data: PyTree) -> int:
    """Returns the device memory of a chunk in bytes, without the data.

    XLA's analysis of the compiled program gives the number, summed over the devices. For `loop`,
    it is the memory of one member.

    Args:
      data: Data of a chunk, or its shapes and dtypes.
    """
    analysis = self.compile_chunk(data).memory_analysis()
    assert analysis is not None, 'XLA has no memory analysis for this device'
    per_device = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return per_device * len(self.devices)

  def _key(self, name: str, *details: str) -> tuple[str | int | None, ...]:
    """Returns the key of a program of this population in `programs.program_cache`."""
    return (
      name,
      self.method,
      self.width,
      len(self.devices),
      self.data_per_member,
      self.data_axis,
      *details,
    )

  def _chunk_program(
    self, state: PyTree, data: PyTree, steps: ChunkSteps
  ) -> jax.stages.Compiled:
    """Returns the program of `map` or `vmap` for these arguments, or for their shapes.

    With `map`, a member that has stopped makes 0 updates. With `vmap`, all members make the same
    number of updates. So the program of `vmap` leaves the state of a member unchanged after a
    loss that is not finite.
    """
    is_vmap = self.method == 'vmap'

    def build() -> jax.stages.Compiled:
      function = self.programs.chunk_function(hold_after_nonfinite=is_vmap)
      # With `map`, each member has its own `n_steps`. The other fields of the steps are shared.
      steps_axis = None if is_vmap else 0
      steps_axes = ChunkSteps(steps_axis, None, None)  # pyright: ignore[reportArgumentType]
      axes = (0, self._hyper_axes, self.data_axis, steps_axes)
      jitted = jax.jit(self._for_all_members(function, axes), donate_argnums=0)
      return compile_deterministic(
        jitted.lower(state, self._stacked_hypers, data, steps)
      )

    return self.programs.program_cache.get(self._key('chunk'), build)

  def _for_all_members(
    self, function: MemberFunction, axes: tuple[PyTree, ...]
  ) -> MemberFunction:
    """Returns a function of all members: `vmap` or `map`, split over the devices.

    Args:
      function: Function of one member.
      axes: Axis of the members in each argument, as in `in_axes` of `jax.vmap`: 0, None if
        all members share the argument, or a tree of these.
    """
    if self.method == 'vmap':
      function = jax.vmap(function, in_axes=axes)
    else:
      function = functools.partial(map_members, function, axes)
    if len(self.devices) == 1:
      return function

    # Split the axis of the members over the devices. Shared arguments go to each device.
    specs = jax.tree.map(
      lambda axis: _REPLICATED if axis is None else _MEMBERS,
      axes,
      is_leaf=lambda axis: axis is None,
    )
    return jax.shard_map(
      function, mesh=self._mesh(), in_specs=specs, out_specs=_MEMBERS, check_vma=False
    )

  def _mesh(self) -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.asarray(self.devices), ('population',))

  def _sharding(self, spec: jax.sharding.PartitionSpec) -> jax.sharding.Sharding:
    if len(self.devices) == 1:
      return jax.sharding.SingleDeviceSharding(self.devices[0])
    return jax.sharding.NamedSharding(self._mesh(), spec)


def _take_member(tree: PyTree, i: int) -> PyTree:
  return jax.tree.map(lambda x: x[i], tree)


def map_members(
  function: MemberFunction, axes: tuple[PyTree, ...], *arguments: PyTree
) -> PyTree:
  """Runs a function for one member after the other, in one program.

  The result has the same axes as that of `jax.vmap`, but the operations for each member are those
  of a single run.

  Args:
    function: Function of one member.
    axes: Axis of the members in each argument, as in `in_axes` of `jax.vmap`: 0, None if all
      members share the argument, or a tree of these.
    *arguments: Arguments of all members.

  >>> map_members(jnp.add, (0, None), jnp.arange(3), 10).tolist()
  [10, 11, 12]
  """
  is_shared = jax.tree.map(
    lambda axis, subtree: jax.tree.map(lambda _: axis is None, subtree),
    axes,
    arguments,
    is_leaf=lambda axis: axis is None,
  )
  # Loop over the leaves that have an axis of members. The others are constants of the loop.
  mapped, shared = partition(arguments, is_shared)
  return jax.lax.map(lambda member: function(*combine(member, shared)), mapped)


def stack(trees: Sequence[PyTree]) -> PyTree:
  """Stacks trees of one structure on a new first axis R. Numpy leaves stay in numpy."""

  def stack_leaves(*leaves: PyTree) -> PyTree:
    is_numpy = isinstance(leaves[0], (np.ndarray, np.generic))
    return np.stack(leaves) if is_numpy else jnp.stack(leaves)

  return jax.tree.map(stack_leaves, *trees)
