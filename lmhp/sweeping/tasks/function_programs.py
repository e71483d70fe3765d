"""Compiled programs of a `FunctionTask`, for single trials and for members of a population.

A `FunctionTask` lets a sweep run functions of the user: `init`, `step` and `evaluate`. A
population is a group of trials that are trained together. Each of its trials is a member. A chunk
is several updates in one call of a compiled program.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import hashlib
import inspect
from typing import TypeAlias

import jax
import jax.numpy as jnp

from lmhp.training.chunks import (
  ChunkFunction,
  ChunkSteps,
  Hypers,
  MemberPrograms,
  Metrics,
  ScoreFunction,
  repeat_update,
)
from lmhp.training.compile_cache import ProgramCache
from lmhp.typing import PyTree

Init: TypeAlias = Callable[[Hypers], PyTree]
"""`init(hypers) -> state`."""

Step: TypeAlias = Callable[
  [PyTree, Hypers, jax.Array], tuple[PyTree, dict[str, jax.Array]]
]
"""`step(state, hypers, i) -> (state, metrics)`."""

Evaluate: TypeAlias = Callable[[PyTree, Hypers], dict[str, jax.Array]]
"""`evaluate(state, hypers) -> metrics`."""


@dataclasses.dataclass(frozen=True)
class Functions:
  """The functions of a task. `hypers` is the dict of the numbers of a trial.

  Attributes:
    init: `init(hypers) -> state`, a pytree of arrays.
    step: `step(state, hypers, i) -> (state, metrics)` makes update number i, from 0. `metrics`
      is a dict of scalars.
    evaluate: `evaluate(state, hypers) -> metrics`, a dict of scalars. If None, a state is scored
      by the metrics of one more `step`.
  """

  init: Init
  step: Step
  evaluate: Evaluate | None = None

  def sha256(self) -> str:
    """Returns a digest of the source code of the functions, as 64 hexadecimal digits."""
    functions = (self.init, self.step, self.evaluate)
    text = ''.join(_source(f) for f in functions if f is not None)
    return hashlib.sha256(text.encode()).hexdigest()


def _source(function: Callable[..., PyTree]) -> str:
  """Returns the source code of a function, or its name if Python cannot read the source."""
  try:
    return inspect.getsource(function)
  except (OSError, TypeError):
    pass
  try:
    return function.__qualname__
  except AttributeError:
    # An object with `__call__` has no name.
    return repr(type(function))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CountedState:
  """State of a trial, with the number of its updates.

  Attributes:
    step: Number of updates made, an int32 scalar.
    state: State that `init` or `step` of the user returned.
  """

  step: jax.Array
  state: PyTree


class FunctionPrograms(MemberPrograms):
  """Compiled programs of the functions, for single trials and for members of a population.

  This class implements `lmhp.training.chunks.MemberPrograms`, which documents its methods.

  Args:
    functions: The functions of the task.
    metric_names: Names of the metrics that `step` returns.
    loss: Name of a metric of `step`. A trial diverges at the first step at which this metric is
      not finite.
  """

  def __init__(self, functions: Functions, metric_names: tuple[str, ...], loss: str):
    self.program_cache = ProgramCache()
    self.metric_names = metric_names
    self._functions = functions
    self._loss = loss
    self._init = jax.jit(self._first_state)
    self._score = jax.jit(self.score_function())

  def _first_state(self, hypers: Hypers) -> CountedState:
    return CountedState(jnp.int32(0), self._functions.init(hypers))

  def init(self, hypers: Hypers) -> CountedState:
    """Returns the first state of a trial."""
    return self._init(hypers)

  def abstract_state(self, hypers: Hypers) -> CountedState:
    """Returns the shapes and dtypes of the state, without computing it."""
    return jax.eval_shape(self._first_state, hypers)

  def score(
    self, state: CountedState, hypers: Hypers, batch: PyTree
  ) -> dict[str, jax.Array]:
    """Returns the metrics of `evaluate`, or those of one more step. `batch` is not used."""
    return self._score(state, hypers, batch)

  def chunk_function(self, hold_after_nonfinite: bool = False) -> ChunkFunction:
    """Returns the function of one member that the method `chunk` compiles.

    Args:
      hold_after_nonfinite: If True, the first update whose loss is not finite, and all updates
        after it, leave the state unchanged. If False, every update changes the state.
    """

    def chunk(
      state: CountedState, hypers: Hypers, data: PyTree, steps: ChunkSteps
    ) -> tuple[CountedState, Metrics]:

      def update(
        counted: CountedState, i: jax.Array
      ) -> tuple[CountedState, dict[str, jax.Array]]:
        # `steps.first_step + i` is the number of this update in the trial. `counted.step` may be
        # lower, because it does not change while the state is held (left unchanged).
        new_state, metrics = self._functions.step(
          counted.state, hypers, steps.first_step + i
        )
        return CountedState(counted.step + 1, new_state), metrics

      # `repeat_update` takes the name of the loss metric, or None.
      return repeat_update(
        update,
        state,
        steps,
        self.metric_names,
        hold_after_nonfinite=self._loss if hold_after_nonfinite else None,
      )

    return chunk

  def score_function(self) -> ScoreFunction:
    """Returns the function of one member that the method `score` compiles."""

    def score(
      state: CountedState, hypers: Hypers, batch: PyTree
    ) -> dict[str, jax.Array]:
      if self._functions.evaluate is not None:
        return self._functions.evaluate(state.state, hypers)
      # Without `evaluate`, make one more step for its metrics, and drop its state.
      _, metrics = self._functions.step(state.state, hypers, state.step)
      return metrics

    return score
