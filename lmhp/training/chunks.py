"""Chunks: several updates of a run in one call of a compiled program.

The number of updates is an argument of the program, so that one compiled program serves
every chunk length. `MemberPrograms` is the base class of the programs of one structure (the
part of a config that is compiled). Single runs and populations use it. A population trains
several runs of one structure together. These runs are its members.

Dimension key: R members, S steps of a chunk (in metrics, of the longest chunk), B sequences.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
from typing import Protocol, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.training.compile_cache import ProgramCache, compile_deterministic
from lmhp.typing import PyTree

CHUNK_SECONDS = 1.0
"""Target duration of a chunk: short enough to react to a signal such as Ctrl-C, and long enough
that the overhead of a call does not matter."""

FIRST_CHUNK_STEPS = 4
"""Number of steps of a chunk while the speed of the run is not known."""

MAX_CHUNK_STEPS = 256
"""Largest number of steps of a chunk. The array of each metric has this length."""

Hypers: TypeAlias = Mapping[str, PyTree]
"""Traced numbers of one run: {section: {key: array}}, or {name: array} for a `FunctionTask`."""

Metrics: TypeAlias = dict[str, jax.Array]
"""Metrics of a chunk by name: (S,) float32, or (R, S) for a population."""


class CountedState(Protocol):
  """A state that counts its updates. It is a pytree of arrays."""

  @property
  def step(self) -> jax.Array:
    """Number of updates made, int32."""
    ...


State = TypeVar('State', bound=CountedState)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cooldown:
  """A linear decay of the learning rate to zero that replaces the schedule of a run.

  A sweep may score a trial before its schedule has ended. It then trains a copy of the trial with
  a cooldown, and scores the copy.

  Attributes:
    first_step: Step at which the decay starts, int32.
    n_steps: Length of the decay, int32. 0 keeps the schedule of the run.
  """

  first_step: int | np.int32 | jax.Array = 0
  n_steps: int | np.int32 | jax.Array = 0

  def multiplier(self, steps_S: jax.Array) -> jax.Array:
    """Returns the learning rate at each step as a fraction of that at `first_step`.

    The fraction is 1 at the first step, and reaches 0 one step after the last.
    """
    elapsed_S = (steps_S - self.first_step) / jnp.maximum(self.n_steps, 1)
    return 1 - jnp.clip(elapsed_S.astype(jnp.float32), 0, 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ChunkSteps:
  """The updates of one chunk: their numbers, and the schedule that they use.

  Attributes:
    n_steps: Number of updates, int32. The method `map` of a population has one number per
      member, (R,).
    first_step: Number of updates made before the chunk, int32.
    cooldown: Decay that replaces the schedule, if `cooldown.n_steps` is above 0.
  """

  n_steps: int | np.int32 | np.ndarray | jax.Array
  first_step: int | np.int32 | jax.Array
  cooldown: Cooldown = Cooldown()

  def as_int32(self) -> ChunkSteps:
    """Converts the numbers to int32, the type that a program is compiled for."""
    return jax.tree.map(np.int32, self)


NO_STEPS = ChunkSteps(n_steps=0, first_step=0).as_int32()
"""Argument `steps` with which a program is compiled. The program accepts all int32 numbers."""

ChunkFunction: TypeAlias = Callable[
  [PyTree, Hypers, PyTree, ChunkSteps], tuple[PyTree, Metrics]
]
"""`chunk(state, hypers, data, steps) -> (state, metrics)`, for one member."""

ScoreFunction: TypeAlias = Callable[[PyTree, Hypers, PyTree], dict[str, jax.Array]]
"""`score(state, hypers, batch) -> {name: values}`, for one member. See `MemberPrograms.score`."""


class MemberPrograms(abc.ABC):
  """The programs of one structure, for a single run and for the members of a population.

  `init`, `chunk` and `score` run the compiled programs of a single run. A population traces
  `chunk_function` and `score_function` in its own programs.

  Attributes:
    program_cache: Compiled programs of this structure, shared by all of its populations.
    max_chunk_steps: Largest number of steps of a chunk, and length of each metric of a chunk.
  """

  program_cache: ProgramCache
  max_chunk_steps: int = MAX_CHUNK_STEPS

  @abc.abstractmethod
  def init(self, hypers: Hypers) -> PyTree:
    """Returns the first state of a run.

    Args:
      hypers: Traced numbers of the run.
    """

  @abc.abstractmethod
  def abstract_state(self, hypers: Hypers) -> PyTree:
    """Returns the shapes and dtypes of the state that `init` returns.

    Args:
      hypers: Traced numbers of a run.
    """

  def chunk(
    self, state: PyTree, hypers: Hypers, data: PyTree, steps: ChunkSteps
  ) -> tuple[PyTree, Metrics]:
    """Makes the updates of a chunk. The buffers of `state` are donated.

    The call returns at once. The device may still compute the returned arrays.

    Args:
      state: State at `steps.first_step`.
      hypers: Traced numbers of the run.
      data: Data of the chunk.
      steps: Updates to make.

    Returns:
      The new state, and metrics {name: (max_chunk_steps,) float32}.
    """
    program = self.compile_chunk(state, hypers, data)
    return program(state, hypers, data, steps.as_int32())

  def compile_chunk(
    self, state: PyTree, hypers: Hypers, data: PyTree
  ) -> jax.stages.Compiled:
    """Returns the program that `chunk` runs, and compiles it if it does not exist.

    Args:
      state: State, or its shapes and dtypes.
      hypers: Traced numbers of the run.
      data: Data of a chunk, or its shapes and dtypes.
    """

    # The cache keeps the executable. A jitted function would keep the data of a run in
    # memory.
    def compile_now() -> jax.stages.Compiled:
      jitted = jax.jit(self.chunk_function(), donate_argnums=0)
      return compile_deterministic(jitted.lower(state, hypers, data, NO_STEPS))

    return self.program_cache.get('chunk', compile_now)

  @abc.abstractmethod
  def score(self, state: PyTree, hypers: Hypers, batch: PyTree) -> dict[str, jax.Array]:
    """Returns {name: (B,)}, such as the loss of each sequence, summed over its tokens.

    A task without sequences returns scalars.

    Args:
      state: State.
      hypers: Traced numbers of the run.
      batch: Batch to score.
    """

  @abc.abstractmethod
  def chunk_function(self, hold_after_nonfinite: bool = False) -> ChunkFunction:
    """Returns the function of one member that `chunk` compiles.

    Args:
      hold_after_nonfinite: If True, the first update whose loss is not finite, and all updates
        after it, leave the state unchanged. If False, every update changes the state.
    """

  @abc.abstractmethod
  def score_function(self) -> ScoreFunction:
    """Returns the function of one member that `score` compiles."""


def repeat_update(
  update: Callable[[State, jax.Array], tuple[State, Mapping[str, jax.Array]]],
  state: State,
  steps: ChunkSteps,
  metric_names: Sequence[str],
  hold_after_nonfinite: str | None = None,
  max_chunk_steps: int = MAX_CHUNK_STEPS,
) -> tuple[State, Metrics]:
  """Makes the updates of a chunk in one loop, inside a compiled program.

  Args:
    update: `update(state, i) -> (state, metrics)` makes update number i of the chunk.
    state: State at `steps.first_step`.
    steps: Updates to make.
    metric_names: Names of the metrics that are kept.
    hold_after_nonfinite: Name of the loss metric, or None. The first update whose loss is not
      finite, and all updates after it, leave the state unchanged, its step included. A member of
      a population needs this, because it cannot stop alone. If None, every update changes the
      state.
    max_chunk_steps: Largest number of updates, and length of each metric.

  Returns:
    The new state, and metrics {name: (max_chunk_steps,) float32} that are 0 beyond `n_steps`.
  """

  def body(i: jax.Array, carry: tuple[State, Metrics]) -> tuple[State, Metrics]:
    old_state, metrics = carry
    new_state, values = update(old_state, i)
    if hold_after_nonfinite is not None:
      # If the state was left unchanged before, its step is behind the number of the update.
      is_finite = jnp.isfinite(values[hold_after_nonfinite])
      was_never_held = old_state.step == steps.first_step + i
      is_training = is_finite & was_never_held
      new_state = jax.tree.map(
        lambda new, old: jnp.where(is_training, new, old), new_state, old_state
      )
    # Metrics are always written, so that the first loss that is not finite is found.
    return new_state, {name: metrics[name].at[i].set(values[name]) for name in metrics}

  metrics = {name: jnp.zeros(max_chunk_steps, jnp.float32) for name in metric_names}
  return jax.lax.fori_loop(0, steps.n_steps, body, (state, metrics))


def chunk_lengths(
  first_step: int,
  last_step: int,
  max_chunk_steps: int,
  *,
  every_steps: Sequence[int | None] = (),
  steps_per_second: Callable[[], float] | None = None,
) -> Iterator[int]:
  """Yields the number of steps of each chunk of a run.

  No chunk crosses a multiple of an interval, such as the interval between evaluations.

  Args:
    first_step: Step at which the first chunk starts.
    last_step: Step at which the last chunk ends.
    max_chunk_steps: Largest number of steps of a chunk.
    every_steps: Intervals in steps. Each multiple ends a chunk. None means no interval.
    steps_per_second: Function that returns the latest speed, or 0 if none was measured. A
      chunk then takes about `CHUNK_SECONDS`. If None, chunks are as long as possible.

  >>> list(chunk_lengths(0, 12, max_chunk_steps=5, every_steps=(8, None)))
  [5, 3, 4]
  """
  step = first_step
  while step < last_step:
    # Aim at a duration. While the speed is not known, aim at a few steps.
    n_steps = max_chunk_steps
    if steps_per_second is not None:
      speed = steps_per_second()
      aim = int(speed * CHUNK_SECONDS) if speed else FIRST_CHUNK_STEPS
      n_steps = min(max_chunk_steps, aim)

    # End at the next multiple of an interval at the latest.
    end = last_step
    for interval in every_steps:
      if interval:
        end = min(end, step + interval - step % interval)
    n_steps = max(1, min(n_steps, end - step))
    yield n_steps
    step += n_steps


def first_nonfinite_step(first_step: int, losses_S: np.ndarray) -> int | None:
  """Returns the step whose loss is the first that is not finite, or None.

  The first update of the chunk is step `first_step + 1`.

  Args:
    first_step: Number of updates made before the chunk.
    losses_S: (S,) losses of the updates of the chunk.

  >>> first_nonfinite_step(10, np.array([3.0, np.nan, np.inf]))
  12
  """
  positions = np.flatnonzero(~np.isfinite(losses_S))
  return first_step + int(positions[0]) + 1 if positions.size else None
