"""Lets a sweep run functions of the user: pure `init` and `step` that read a dict of numbers.

Example::

  def init(hypers):
    return jax.random.normal(jax.random.key(hypers['seed']), (8,))


  def step(w, hypers, i):
    loss, grad = jax.value_and_grad(lambda w: jnp.sum((w - 1) ** 2))(w)
    return w - hypers['learning_rate'] * grad, {'loss': loss}


  task = lmhp.FunctionTask(init, step, {'learning_rate': 0.1, 'seed': 0}, steps=100)
  space = {'learning_rate': lmhp.Float(1e-3, 1.0, log=True)}
  result = lmhp.sweep(task, lmhp.SweepConfig(space=space, objective='loss', trials=64))
"""

from __future__ import annotations

from collections.abc import Mapping
import functools
import math
from typing import cast

import numpy as np

from lmhp.declarations import Declaration
from lmhp.errors import ConfigError, suggest
from lmhp.sections import wrong
from lmhp.sweeping import space as spaces
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.store.manifest import TaskDescription
from lmhp.sweeping.store.trial import ModelSummary
from lmhp.sweeping.tasks.function_checks import (
  checked_numbers,
  numbers_read,
  score_metrics,
  step_metrics,
)
from lmhp.sweeping.tasks.function_programs import (
  Evaluate,
  FunctionPrograms,
  Functions,
  Init,
  Step,
)
from lmhp.sweeping.tasks.task import (
  FALLBACK_PENALTY,
  Job,
  Overrides,
  SeededOverrides,
  Task,
  TaskRecipe,
)
from lmhp.training.population import Population
from lmhp.training.resumption.jax_settings import numeric_jax_options
from lmhp.typing import Number, PyTree

STRUCTURE = 'function'
"""Name of the only structure (the part of a config that is compiled into programs).

All trials share the compiled programs of the functions."""


class FunctionTask(Task):
  """Pure functions as the task of a sweep.

  A point is one assignment of values to the parameters of the space. A rung is a step at which
  trials are scored and may be stopped.

  Args:
    init: `init(hypers) -> state`, a pytree of arrays.
    step: `step(state, hypers, i) -> (state, metrics)` makes update number i, from 0.
      `metrics` is a dict of scalars.
    hypers: {name: base value}. The functions get this dict, with other values for the names that
      the space varies. If the base value is a whole number of 0 or more, all values of this
      name are uint32. Otherwise they are float32. A number named "seed" is the training seed,
      in which the trials of a point differ.
    steps: Length of a trial, in updates.
    evaluate: `evaluate(state, hypers) -> metrics`, called at rungs and at the end. If None,
      the metrics of one more step are used.
    loss: Name of a metric of `step`. A trial diverges at the first step at which this metric is
      not finite.

  Raises:
    ConfigError: If a value is not a number, a number is named "data", a function fails or
      returns another kind of value, or `loss` is not a metric of `step`.
  """

  def __init__(
    self,
    init: Init,
    step: Step,
    hypers: Mapping[str, Number | np.generic],
    *,
    steps: int,
    evaluate: Evaluate | None = None,
    loss: str = 'loss',
  ):
    self.functions = Functions(init, step, evaluate)
    self.base = checked_numbers(hypers)
    self.steps = steps
    self.loss = loss
    self.seed_paths: tuple[str, ...] = ('seed',) if 'seed' in self.base else ()

    # The functions are traced for the names of the metrics, without a computation.
    metrics = step_metrics(self.functions, self._traced(self.base))
    if loss not in metrics:
      raise ConfigError(
        f'loss: got {loss!r}, expected one of the metrics that step returns: '
        f'{", ".join(metrics)}{suggest(loss, metrics)}'
      )
    self._programs = FunctionPrograms(self.functions, metrics, loss)

  # --- facts about the task ------------------------------------------------------------

  def describe(self) -> TaskDescription:
    """Returns the base values, the length and a digest of the functions' source code."""
    return TaskDescription(
      kind='function',
      base_values=self.base_values(),
      identity={
        'steps': self.steps,
        'functions_sha256': self.functions.sha256(),
        'jax_options': numeric_jax_options(),
      },
    )

  def check(self, sweep: SweepConfig) -> None:
    """Checks a sweep against the base values and the metrics of the functions.

    Raises:
      ConfigError: If a path of the space or an objective does not exist, if the functions do
        not read a path of the space, if a point has several seeds but the sweep cannot set
        "seed", or if `rung_score` is 'cooldown'.
    """
    # All base values are traced numbers (arguments of the compiled programs).
    traced = {name: Declaration(traced=True) for name in self.base}
    spaces.check_space(sweep.space, traced, self.base)
    programs = self._programs
    read = numbers_read(self.functions, self._traced(self.base))
    for path in sorted(spaces.paths_of(sweep.space)):
      if path not in read:
        raise ConfigError(
          f'{path}: got a parameter that neither init nor step nor evaluate reads, expected '
          f'some of {", ".join(sorted(read)) or "the numbers that they read"}'
        )
      # NumPy would convert None to NaN, and a text of digits to a number.
      for value in spaces.values_of(sweep.space, path):
        checked_numbers({path: value})
    scores = score_metrics(
      lambda h: programs.score(programs.init(h), h, ()),
      self._traced(self.base),
    )
    sweep.check_objective(
      (*scores, *programs.metric_names, *self.job({}).known_metrics)
    )
    # The trials of a point differ only in their seed, so the sweep must be able to set it.
    if sweep.seeds_per_point > 1:
      if 'seed' in spaces.paths_of(sweep.space):
        raise wrong(sweep, 'seeds_per_point', '1, since the space varies seed itself')
      if not self.seed_paths:
        raise wrong(
          sweep,
          'seeds_per_point',
          "1, since none of the task's numbers is named 'seed'",
        )
    if sweep.rung_score == 'cooldown':
      raise wrong(
        sweep, 'rung_score', "'prefix', since this task has no schedule that decays"
      )

  def base_values(self) -> dict[str, object]:
    """Returns the base values, by name."""
    return dict(self.base)

  def recipe(self) -> TaskRecipe:
    """Returns a function that makes the task again in another process.

    It can be pickled if `init`, `step` and `evaluate` can.
    """
    return functools.partial(
      FunctionTask,
      self.functions.init,
      self.functions.step,
      self.base,
      steps=self.steps,
      evaluate=self.functions.evaluate,
      loss=self.loss,
    )

  def is_traced(self, path: str) -> bool:
    """Returns True for the name of every number except the seed.

    A trial keeps its seed while it runs.
    """
    return path in self.base and path != 'seed'

  # --- trials -------------------------------------------------------------------------

  def with_seed(
    self, overrides: Overrides, replicate: int, *, reseed_data: bool
  ) -> SeededOverrides:
    """Adds the seed: its base value plus `replicate`.

    Args:
      overrides: Values of the point. If they have a seed, it is kept.
      replicate: Index of the trial among the trials of its point, 0 and up.
      reseed_data: Not used, because the task has no data.
    """
    if 'seed' not in self.base:
      return super().with_seed(overrides, replicate, reseed_data=reseed_data)
    seeded = {'seed': int(self.base['seed']) + replicate, **overrides}
    return SeededOverrides(seeded, cast(int, seeded['seed']))  # `job` checks its type

  def job(self, overrides: Overrides) -> Job:
    """Returns the job of a trial with these values.

    Raises:
      ConfigError: If a base value is a whole number of 0 or more, and the new value is not.
    """
    # `check` has checked the values of the space against the base values, which are numbers.
    values = {**self.base, **cast(Mapping[str, Number], overrides)}
    return Job(
      structure=STRUCTURE,
      hypers=self._traced(values),
      steps=self.steps,
      tokens_per_step=0,
      flops_per_step=0.0,
      known_metrics={'steps': float(self.steps)},
      model=ModelSummary(structure=STRUCTURE),
      config=values,
    )

  def _traced(self, values: Mapping[str, Number]) -> dict[str, np.generic]:
    """Returns the numbers as numpy scalars, which are arguments of the compiled programs."""
    return {name: self._traced_number(name, values[name]) for name in self.base}

  def _traced_number(self, name: str, value: Number) -> np.generic:
    """Returns a value as a numpy scalar of type uint32 or float32.

    The base value decides the type. So all trials have one type, and share a program.
    """
    base = self.base[name]
    if not _is_whole(base):
      return np.float32(value)
    if not _is_whole(value):
      raise ConfigError(
        f'{name}: got {value!r}, expected a whole number of 0 or more, because its base '
        f'value is {base} (with the base value {float(base)}, any number is accepted)'
      )
    return np.uint32(value)

  # --- training and scores ------------------------------------------------------------

  def programs(self, job: Job) -> FunctionPrograms:
    """Returns the compiled programs of the functions.

    Args:
      job: Not used, because there is one structure.
    """
    return self._programs

  def evaluate(
    self, population: Population, state: PyTree, job: Job, final: bool
  ) -> list[dict[str, float]]:
    """Returns the metrics of each member.

    Args:
      population: Population that the members are in.
      state: State of the population.
      job: Not used, because there is one structure.
      final: Not used, because a rung is scored in the same way as the end.
    """
    scores = population.score(state, ())  # the functions read no batch
    # Turn {metric: (R,) values} into one dict for each of the R members.
    columns = [np.asarray(values, np.float64).tolist() for values in scores.values()]
    return [dict(zip(scores, row)) for row in zip(*columns)]

  def penalty_value(self, metric: str, job: Job, maximized: bool) -> float:
    """Returns the finite value that replaces a metric of a diverged trial.

    Let x be the metric in the untrained state. The value is 10 |x| + 1, or `FALLBACK_PENALTY` if
    x is not finite. If the metric is maximized, the value is negated.

    Args:
      metric: Name of the metric.
      job: Job of the trial.
      maximized: True if the metric is maximized.
    """
    programs = self._programs
    scores = programs.score(programs.init(job.hypers), job.hypers, ())
    untrained_value = float(scores.get(metric, math.inf))
    is_finite = math.isfinite(untrained_value)
    penalty = 10 * abs(untrained_value) + 1 if is_finite else FALLBACK_PENALTY
    return -penalty if maximized else penalty


def _is_whole(value: Number) -> bool:
  """Returns True for a whole number of 0 or more."""
  is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
  return is_integer and bool(value >= 0)
