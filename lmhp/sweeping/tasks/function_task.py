"""A researcher's own model in a sweep: any pure `init` and `step` over a dict of numbers.

def init(hypers):
  return jax.random.normal(jax.random.key(hypers['seed']), (8,))

def step(w, hypers, i):
  loss, grad = jax.value_and_grad(lambda w: jnp.sum((w - 1) ** 2))(w)
  return w - hypers['learning_rate'] * grad, {'loss': loss}

task = lmhp.FunctionTask(init, step, {'learning_rate': 0.1, 'seed': 0}, steps=100)
space = {'learning_rate': lmhp.Float(1e-3, 1.0, log=True)}
found = lmhp.sweep(task, lmhp.SweepConfig(space=space, objective='loss', trials=64))
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import math
from typing import Any, Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.declarations import Declaration
from lmhp.errors import ConfigError, suggest
from lmhp.sections import wrong
from lmhp.sweeping import space as spaces
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.tasks.task import Job
from lmhp.training.chunks import (
  CAPACITY,
  ChunkFunction,
  ChunkSteps,
  Hypers,
  Metrics,
  ScoreFunction,
  repeat_update,
)
from lmhp.training.compile_cache import ProgramCache, compile_deterministic
from lmhp.training.population import Population
from lmhp.typing import PyTree


@dataclasses.dataclass(frozen=True)
class Counted:
  """A state and the updates it has seen."""

  step: jax.Array
  state: Any


jax.tree_util.register_dataclass(Counted, ['step', 'state'], [])


class FunctionTask:
  """Pure functions as what a sweep runs.

  Args:
    init: `init(hypers) -> state`, any pytree of arrays.
    step: `step(state, hypers, i) -> (state, metrics)`: update i, and a dict of scalars.
    hypers: {name: number}, the base values; a sweep's space is over these names. A whole number of 0 or more is a
      uint32, all others are float32. One named `seed` is drawn anew for each of a point's seeds.
    steps: updates of a trial.
    evaluate: `evaluate(state, hypers) -> metrics`, at rungs and at the end; None takes the metrics of one more step.
    loss: the metric of `step` whose first value that is not finite is where a trial diverged.
  """

  evaluate_every = None
  checkpoint_seconds = 60.0
  log_every = 1

  def __init__(
    self,
    init: Callable,
    step: Callable,
    hypers: Mapping[str, float],
    *,
    steps: int,
    evaluate: Callable | None = None,
    loss: str = 'loss',
  ):
    self._functions = (init, step, evaluate)
    self.base = {
      name: x.item() if hasattr(x, 'dtype') else x for name, x in hypers.items()
    }
    self.steps, self.loss = steps, loss
    self.seed_paths = ('seed',) if 'seed' in self.base else ()
    if 'data' in self.base:
      raise ConfigError(
        "hypers: got one named 'data', expected another name: lmhp keeps that for batches"
      )
    metrics = jax.eval_shape(
      lambda h: step(init(h), h, np.int32(0))[1], self._numbers(self.base)
    )
    if loss not in metrics:
      raise ConfigError(
        f'loss: got {loss!r}, expected one of the metrics of step: {", ".join(metrics)}'
        f'{suggest(loss, metrics)}'
      )
    self._member = _Member(init, step, evaluate, tuple(metrics), loss)

  # --- trials ---------------------------------------------------------------------------------------------------------

  def check(self, sweep: SweepConfig) -> None:
    """Checks a sweep against the base values and the functions' metrics.

    Raises:
      ConfigError: for a name that is not among them, and as `lmhp.sweeping.space.check` says; for seeds where no number
        is named `seed`; for a cooldown, which these functions have no schedule for.
    """
    spaces.check(
      sweep.space, {name: Declaration(traced=True) for name in self.base}, self.base
    )
    hypers = self._numbers(self.base)
    scores = jax.eval_shape(
      lambda h: self._member.score(self._member.init(h), h, ()), hypers
    )
    sweep.check_objective((*scores, *self._member.names, *self.job({}).facts))
    if 'seed' in spaces.varied_paths(sweep.space) and sweep.seeds_per_point > 1:
      raise wrong(sweep, 'seeds_per_point', '1, since the space varies seed itself')
    if not self.seed_paths and sweep.seeds_per_point > 1:
      raise wrong(
        sweep, 'seeds_per_point', "1, since none of the task's numbers is named seed"
      )
    if sweep.rung_score == 'cooldown':
      raise wrong(
        sweep, 'rung_score', 'prefix: this task has no learning rate to cool down'
      )

  def job(self, overrides: Mapping[str, Any]) -> Job:
    """One trial."""
    values = {**self.base, **overrides}
    return Job(
      structure='function',
      hypers=self._numbers(values),
      steps=self.steps,
      tokens_per_step=0,
      flops_per_step=0.0,
      facts={'steps': float(self.steps)},
      about={'structure': 'function'},
      cfg=values,
    )

  def _numbers(self, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: self._number(name, values[name]) for name in self.base}

  def _number(self, name: str, value: Any) -> np.generic:
    """A value in its base value's type, so that one program serves all."""
    base = self.base[name]
    if not _is_count(base):
      return np.float32(value)
    if not _is_count(value):
      raise ConfigError(
        f'{name}: got {value!r}, expected a whole number of 0 or more, as its base value {base} is '
        f'({float(base)} there takes any number)'
      )
    return np.uint32(value)

  def seeded(
    self, overrides: Mapping[str, Any], replicate: int, own: bool
  ) -> tuple[dict[str, Any], int]:
    """A point's values with the seed of one of its trials, and that seed."""
    del own
    if 'seed' not in self.base:
      return dict(overrides), replicate
    values = {'seed': int(self.base['seed']) + replicate, **overrides}
    return values, values['seed']

  def sized(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
    return dict(overrides)

  def own_data(self, space: Any) -> bool:
    return False

  def base_value(self, path: str) -> Any:
    return self.base[path]

  def base_values(self) -> dict[str, Any]:
    return dict(self.base)

  def decays(self) -> bool:
    return False

  def longest_warmup(self, space: Any) -> float:
    return 0.0

  def is_traced(self, path: str) -> bool:
    return path in self.base and path != 'seed'

  def card(self) -> dict[str, Any]:
    """What tells this task from another: its numbers, its length and the text of its functions."""
    text = ''.join(
      _source(function) for function in self._functions if function is not None
    )
    return {
      'hypers': self.base,
      'steps': self.steps,
      'functions_sha256': hashlib.sha256(text.encode()).hexdigest(),
    }

  # --- running --------------------------------------------------------------------------------------------------------

  def member(self, job: Job) -> _Member:
    return self._member

  def feed(
    self, job: Job, hypers: Sequence[dict], own: bool, step: int, lengths: Iterator[int]
  ) -> Iterator[tuple[int, Any]]:
    for n in lengths:
      yield n, ()

  def data_axis(self, job: Job, own: bool) -> None:
    return None

  def evaluate(
    self, population: Population, state: Any, job: Job, final: bool
  ) -> list[dict[str, float]]:
    scores = {
      name: np.asarray(x, np.float64) for name, x in population.score(state, ()).items()
    }
    return [
      {name: float(x[i]) for name, x in scores.items()} for i in range(population.width)
    ]

  def measure(self, metric: str, job: Job) -> float:
    raise ConfigError(
      f'sweep.objective: {metric!r} is no metric of this task, expected one of those its functions '
      'give'
    )

  def bad(self, metric: str, job: Job, maximized: bool) -> float:
    """A large number of the size of the metric's first value, where that is finite; negative where more is better."""
    member = self._member
    first = float(
      member.score(member.init(job.hypers), job.hypers, ()).get(metric, math.inf)
    )
    worst = 10 * abs(first) + 1 if math.isfinite(first) else 1e30
    return -worst if maximized else worst


class _Member:
  """Functions of a task. It implements `lmhp.training.chunks.Member`."""

  capacity = CAPACITY

  def __init__(
    self,
    init: Callable,
    step: Callable,
    evaluate: Callable | None,
    names: tuple[str, ...],
    loss: str,
  ) -> None:
    self.programs = ProgramCache()
    self.names = names
    self._first_state = init
    self._init = jax.jit(self._init_counted)
    self._step = step
    self._evaluate = evaluate
    self._loss = loss
    self._score = jax.jit(self.score_function())

  def init(self, hypers: Hypers) -> Counted:
    return self._init(hypers)

  def abstract_state(self, hypers: Hypers) -> Counted:
    return jax.eval_shape(self._init_counted, hypers)

  def _init_counted(self, hypers: Hypers) -> Counted:
    return Counted(jnp.int32(0), self._first_state(hypers))

  def chunk(
    self, state: Counted, hypers: Hypers, data: PyTree, steps: ChunkSteps
  ) -> tuple[Counted, Metrics]:
    program = self.compile_chunk(state, hypers, data)
    return program(state, hypers, data, steps.as_int32())

  def compile_chunk(
    self, state: PyTree, hypers: Hypers, data: PyTree
  ) -> jax.stages.Compiled:
    def compile_now() -> jax.stages.Compiled:
      steps = ChunkSteps(n_steps=0, first_step=0).as_int32()
      jitted = jax.jit(self.chunk_function(), donate_argnums=0)
      return compile_deterministic(jitted.lower(state, hypers, data, steps))

    return self.programs.get('chunk', compile_now)

  def score(
    self, state: Counted, hypers: Hypers, batch: PyTree
  ) -> dict[str, jax.Array]:
    return self._score(state, hypers, batch)

  def chunk_function(self, hold_after_nonfinite: bool = False) -> ChunkFunction:
    def chunk(
      state: Counted, hypers: Hypers, data: PyTree, steps: ChunkSteps
    ) -> tuple[Counted, Metrics]:
      del data  # the functions make their own

      def update(
        counted: Counted, i: jax.Array
      ) -> tuple[Counted, dict[str, jax.Array]]:
        new_state, metrics = self._step(counted.state, hypers, steps.first_step + i)
        return Counted(counted.step + 1, new_state), metrics

      return repeat_update(
        update,
        state,
        steps,
        self.names,
        hold_after_nonfinite=self._loss if hold_after_nonfinite else None,
      )

    return chunk

  def score_function(self) -> ScoreFunction:
    def score(state: Counted, hypers: Hypers, batch: PyTree) -> dict[str, jax.Array]:
      del batch
      if self._evaluate is not None:
        return self._evaluate(state.state, hypers)
      return self._step(state.state, hypers, state.step)[1]

    return score


def _is_count(x: Any) -> bool:
  return isinstance(x, (int, np.integer)) and not isinstance(x, bool) and x >= 0


def _source(function: Callable) -> str:
  try:
    return inspect.getsource(function)
  except (OSError, TypeError):  # defined where no text is kept
    return getattr(function, '__qualname__', repr(type(function)))
