"""Many runs of one structure, trained together: a population of R members.

A member is a pair of pure functions over its own numbers, `init` and `chunk`; here they are run for R members at once,
in one of three ways. `vmap` is one program in which every operation carries the population's axis; `map` is one program
that takes the members one after the other; `loop` calls the solo run's own program for each. All see the same batches,
unless each has a data seed of its own. Over several devices the population's axis is cut, and each device runs its
members alone. `map` on one device and `loop` give a member the solo run's bits; `vmap`, and programs for several
devices, in which XLA divides by a member's numbers otherwise, give the same numbers to within rounding.

Dimension key: R members, S steps of a chunk, B sequences.
"""

from __future__ import annotations

from concurrent import futures
import dataclasses
import functools
import os
from typing import Any, Callable, Hashable, Mapping, Protocol, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.training.compile_cache import Compiled, executable
from lmhp.training.step import Cooldown

METHODS = ('vmap', 'map', 'loop')
POPULATION = jax.sharding.PartitionSpec('population')
WHOLE = jax.sharding.PartitionSpec()
Tree = Any


class Member(Protocol):
  """What a population has R of.

  Attributes:
    capacity: most steps of a chunk: the length of its metrics.
  """

  capacity: int

  def solo(self, name: str) -> Callable[..., Any]:
    """What is compiled for one member alone: `init(hypers)`, `chunk(state, hypers, data, n_steps, first_step,
    cooldown)` or `score(state, hypers, batch)`; 'compile' takes the arguments of 'chunk' or their shapes, and only
    compiles it."""

  def member_chunk(self, freeze: bool = False) -> Callable[..., Any]:
    """The function that `solo('chunk')` compiles, as `lmhp.training.step.make_chunk` makes it."""

  def member_score(self, state: Tree, hypers: dict, batch: Any) -> dict:
    """The function that `solo('score')` compiles: sums over a batch for each of its B sequences, {name: (B,)}."""

  def compiled(self) -> Compiled:
    """What has been compiled for this structure so far, for all populations of it."""


@dataclasses.dataclass
class Population:
  """R members of one structure on the device.

  Args:
    member: what there are R of.
    hypers: each member's traced numbers, all with the same sections.
    method: one of `METHODS`.
    own_data: whether each reads batches of its own, by its `data` section; else all read the first's.
    data_axis: the axis of what `run` is given as data that counts members; None is data for all.
    devices: over which the members are spread, `map` and `vmap` alone; R must be a multiple of their number.
  """

  member: Member
  hypers: Sequence[dict]
  method: str = 'vmap'
  own_data: bool = False
  data_axis: int | None = None
  devices: Sequence[jax.Device] = ()

  def __post_init__(self):
    self.width = len(self.hypers)
    self._compiled_before = self.member.compiled().seconds
    self.devices = tuple(self.devices) or (jax.devices()[0],)
    if 'data' in self.hypers[0] and not self.own_data:
      self.hypers = [
        {**hypers, 'data': self.hypers[0]['data']} for hypers in self.hypers
      ]
    if self.method == 'loop':
      return
    if self.width % len(self.devices):
      raise ValueError(
        f'{self.width} members on {len(self.devices)} devices: expected a multiple'
      )
    self._axes = {
      section: None if section == 'data' and not self.own_data else 0
      for section in self.hypers[0]
    }
    self.stacked = {
      section: self.hypers[0][section]
      if axis is None
      else stack([h[section] for h in self.hypers])
      for section, axis in self._axes.items()
    }

  # --- states -------------------------------------------------------------------------------------------------------

  def init(self) -> Tree:
    """First states of all members, by the solo program, so that a member starts with the solo run's bits."""
    init = self.member.solo('init')
    return self.join([init(hypers) for hypers in self.hypers])

  def join(self, states: Sequence[Tree]) -> Tree:
    """A population's state from its members' states: for `loop` a list, else stacked on R."""
    if self.method == 'loop':
      return [jax.device_put(state, self.devices[0]) for state in states]
    return jax.device_put(stack(states), self._sharding(POPULATION))

  def abstract_state(self, sharding: jax.sharding.Sharding | None = None) -> Tree:
    """The shapes of the members' states, stacked on R whatever the method."""
    one = jax.eval_shape(self.member.solo('init'), self.hypers[0])
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(
        (self.width, *x.shape), x.dtype, sharding=sharding
      ),
      one,
    )

  def members(self, state: Tree) -> list[Tree]:
    """The members' states, each in numpy."""
    if self.method == 'loop':
      return [jax.device_get(s) for s in state]
    host = jax.device_get(state)
    return [jax.tree.map(lambda x: x[i], host) for i in range(self.width)]

  def copy(self, state: Tree) -> Tree:
    """A state that may be used up while this one is kept."""
    return jax.tree.map(jnp.copy, state)

  # --- what they do together ------------------------------------------------------------------------------------------

  def run(
    self,
    state: Tree,
    data: Any,
    n_steps: int,
    first_step: int,
    cooldown: Cooldown = Cooldown(),
    alive: Sequence[bool] | None = None,
  ) -> tuple[Tree, dict]:
    """Makes `n_steps` updates of every member; `state` is used up.

    Args:
      state: of the population, at `first_step`.
      data: as the member's chunk reads it.
      n_steps: at most the member's `capacity`.
      first_step: updates made before.
      cooldown: a schedule of its own, for a fork.
      alive: which members still train, one at least; the others are left as they are where that saves time. None is
        all.

    Returns:
      The new state, and metrics {name: (R, S) float32}.
    """
    numbers = (
      np.int32(n_steps),
      np.int32(first_step),
      Cooldown(*map(np.int32, cooldown)),
    )
    alive = np.ones(self.width, bool) if alive is None else np.asarray(alive)
    if self.method == 'loop':
      return self._run_loop(state, data, numbers, alive)
    steps_R = (
      np.where(alive, n_steps, 0).astype(np.int32)
      if self.method == 'map'
      else np.int32(n_steps)
    )
    return self._program('chunk', state, data, steps_R, *numbers[1:])(
      state, self.stacked, data, steps_R, *numbers[1:]
    )

  def _run_loop(
    self, state: Tree, data: Any, numbers: tuple, alive: np.ndarray
  ) -> tuple[Tree, dict]:
    """One call a member, `n_at_once()` in flight: a small model alone does not keep a processor's cores busy."""
    solo, living = self.member.solo('chunk'), np.flatnonzero(alive)
    out = {}

    def call(i: int) -> None:
      mine = data if self.data_axis is None else jax.tree.map(lambda x: x[i], data)
      state[i], metrics = solo(state[i], self.hypers[i], mine, *numbers)
      for name, values in metrics.items():
        out.setdefault(name, np.zeros((self.width, self.member.capacity), np.float32))[
          i
        ] = values

    for i in living[:1]:  # compiles, where it is not yet
      call(i)
    with futures.ThreadPoolExecutor(self.n_at_once(), 'lmhp-member') as threads:
      list(threads.map(call, living[1:]))
    return state, out

  def n_at_once(self) -> int:
    """How many members `loop` has in flight: as many as a processor has cores, one on other devices."""
    return (os.cpu_count() or 1) if self.devices[0].platform == 'cpu' else 1

  def score(self, state: Tree, batch: Any) -> dict:
    """Each member's sums over the sequences of a batch, {name: (R, B)}."""
    if self.method == 'loop':
      solo = self.member.solo('score')
      sums = [solo(s, h, batch) for s, h in zip(state, self.hypers)]
      return {name: np.stack([np.asarray(s[name]) for s in sums]) for name in sums[0]}
    return self._program('score', state, batch)(state, self.stacked, batch)

  # --- programs -------------------------------------------------------------------------------------------------------

  def _program(self, name: str, state: Tree, *arguments: Any) -> Callable[..., Any]:
    """The compiled program of this width, compiled where it is not yet."""
    kept, key = self.member.compiled(), self._key(name, *arguments)
    return kept.get(key, lambda: executable(self.lower(name, state, *arguments)))

  def compile_ahead(self, data: Any) -> None:
    """Compiles the chunk without running it, for instance in a thread while another population trains."""
    numbers = (np.int32(0), np.int32(0), Cooldown())
    if self.method == 'loop':
      one = jax.eval_shape(self.member.solo('init'), self.hypers[0])
      self.member.solo('compile')(
        one, self.hypers[0], data if self.data_axis is None else _first(data), *numbers
      )
      return
    state = self.abstract_state(self._sharding(POPULATION))
    steps = np.zeros(self.width, np.int32) if self.method == 'map' else numbers[0]
    self._program('chunk', state, data, steps, *numbers[1:])

  def _key(self, name: str, *arguments: Any) -> Hashable:
    """What the program of this width is kept under; the batches that are scored may have several shapes."""
    shapes = str(jax.tree.map(jnp.shape, arguments)) if name == 'score' else ''
    return (
      name,
      self.method,
      self.width,
      len(self.devices),
      self.own_data,
      self.data_axis,
      shapes,
    )

  @property
  def compile_seconds(self) -> float:
    """Spent on compiling programs of this structure since the population was made."""
    return self.member.compiled().seconds - self._compiled_before

  def bytes_needed(self) -> int:
    """Device memory of the compiled chunk by its own analysis, on all devices together, data not counted; of `loop`,
    one member's.

    Call it once the chunk is compiled.
    """
    key = 'chunk' if self.method == 'loop' else self._key('chunk')
    analysis = self.member.compiled()[key].memory_analysis()
    return (analysis.temp_size_in_bytes + analysis.output_size_in_bytes) * len(
      self.devices
    )

  def lower(self, name: str, state: Tree, *arguments: Any) -> Any:
    """'chunk' or 'score', traced for these arguments or their shapes."""
    if name == 'chunk':
      own_steps = self.method == 'map'
      function = self.member.member_chunk(freeze=self.method == 'vmap')
      axes = (0, self._axes, self.data_axis, 0 if own_steps else None, None, None)
      together = self._together(lambda *a: function(*a), axes)
      return jax.jit(together, donate_argnums=0).lower(state, self.stacked, *arguments)
    together = self._together(self.member.member_score, (0, self._axes, None))
    return jax.jit(together).lower(state, self.stacked, *arguments)

  def _together(self, function: Callable[..., Any], axes: tuple) -> Callable[..., Any]:
    """A member's function for all members: over the devices, and on each device by the method."""
    if self.method == 'vmap':
      each = jax.vmap(function, in_axes=axes)
    else:
      each = functools.partial(map_members, function, axes)
    if len(self.devices) == 1:
      return each
    specs = tuple(self._specs(axis) for axis in axes)
    return jax.shard_map(
      each, mesh=self._mesh(), in_specs=specs, out_specs=POPULATION, check_vma=False
    )

  def _specs(self, axis: Any) -> Any:
    if isinstance(axis, Mapping):
      return {name: self._specs(a) for name, a in axis.items()}
    return WHOLE if axis is None else POPULATION

  def _mesh(self) -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.asarray(self.devices), ('population',))

  def _sharding(self, spec: jax.sharding.PartitionSpec) -> jax.sharding.Sharding:
    if len(self.devices) == 1:
      return jax.sharding.SingleDeviceSharding(self.devices[0])
    return jax.sharding.NamedSharding(self._mesh(), spec)


def map_members(function: Callable[..., Any], axes: tuple, *arguments: Any) -> Any:
  """`vmap` by hand: the members one after the other, in one program, each by the solo run's operations.

  Args:
    function: of one member.
    axes: for each argument 0 (its leaves count members), None (for all), or a mapping of sections to these.
    *arguments: of all members.
  """
  split = [_split(argument, axis) for argument, axis in zip(arguments, axes)]
  own, common = [s[0] for s in split], [s[1] for s in split]
  whole = lambda mine, ours: (
    {**mine, **ours} if isinstance(mine, dict) else mine if ours is None else ours
  )
  return jax.lax.map(lambda mine: function(*map(whole, mine, common)), own)


def _split(argument: Any, axis: Any) -> tuple[Any, Any]:
  """What of an argument counts members, and what is for all."""
  if isinstance(axis, Mapping):
    return (
      {n: argument[n] for n, a in axis.items() if a == 0},
      {n: argument[n] for n, a in axis.items() if a is None},
    )
  return (argument, None) if axis == 0 else (None, argument)


def _first(data: Any) -> Any:
  """The first member's data."""
  return jax.tree.map(lambda x: x[0], data)


def stack(trees: Sequence[Tree]) -> Tree:
  """Trees of the same form as one, with the axis R in front."""
  return jax.tree.map(
    lambda *leaves: (
      np.stack(leaves)
      if isinstance(leaves[0], (np.ndarray, np.generic))
      else jnp.stack(leaves)
    ),
    *trees,
  )
