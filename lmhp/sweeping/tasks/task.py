"""The interface `Task`, between a sweep and the model or function that the sweep trains.

A sweep does not depend on language models. A task describes each trial as a `Job`: the complete
config of the trial, divided into a structure and traced numbers. The structure is the part of
the config that is compiled into a program. The traced numbers, such as the learning rate, are
arguments of the program. Trials of one structure may be trained together, as the members of a
pack. For each structure, the task provides the programs, the data and the scores. A `Population`
trains the members of one pack with these programs.

A point is one assignment of values to the parameters of the space. It has one trial for each seed.
A rung is a step at which trials are scored and may be stopped.

`lmhp.sweeping.tasks.language_model` is the task that trains language models, and
`lmhp.sweeping.tasks.function_task` is the task that runs functions of a user. A new task is a
class that derives from `Task`. It inherits defaults for the methods that a task without seeds,
data, schedules or tokens does not need.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
from typing import Protocol, TypeAlias

from lmhp.errors import ConfigError
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.space import Space
from lmhp.sweeping.store.manifest import TaskDescription
from lmhp.sweeping.store.trial import ModelSummary
from lmhp.training.chunks import Hypers, MemberPrograms
from lmhp.training.population import Population
from lmhp.typing import PyTree

Overrides = Mapping[str, object]
"""Values that differ from the base config, by dotted path."""


@dataclasses.dataclass(frozen=True)
class Job:
  """Everything that is needed to train one trial.

  Attributes:
    structure: Digest or name of the part of the config that is compiled into programs.
      Trials of one structure share the programs, and may be members of one pack.
    hypers: Traced numbers (arguments of the programs): {section: {key: number}} for a language
      model, {name: number} for functions.
    steps: Length of the trial, in updates.
    tokens_per_step: Tokens of one update, or 0 for a task without tokens.
    flops_per_step: Training FLOPs of one update, or 0 if they are not known.
    known_metrics: Metrics that are known before the trial runs, such as `parameters`.
    model: Facts about the model, for the record of the trial.
    config: Config of the trial. Only the task that made the job reads it.
  """

  structure: str
  hypers: Hypers
  steps: int
  tokens_per_step: int
  flops_per_step: float
  known_metrics: Mapping[str, float]
  model: ModelSummary
  config: object


@dataclasses.dataclass(frozen=True)
class SeededOverrides:
  """Overrides of a trial, with the seed of the trial.

  Attributes:
    overrides: Values of the point, and the seeds (such as `train.seed` and `data.seed`).
    seed: Training seed of the trial, such as the value of `train.seed`.
  """

  overrides: dict[str, object]
  seed: int


TaskRecipe: TypeAlias = 'Callable[[], Task]'
"""A picklable function that makes a task again in another process.

The new task makes the same jobs as the original. The function raises `ConfigError` if the
process cannot make the same task, for example because it reads other data.
"""

FALLBACK_PENALTY = 1e30
"""Value that replaces a metric of a diverged trial, if the usual values of the metric are not
known. See `Task.penalty_value`."""


class Task(Protocol):
  """The model or function that a sweep trains.

  A method that is not abstract is a default, for a task without seeds, data, schedules or
  tokens.

  Attributes:
    loss: Name of a training metric. A trial diverges at the first step at which this metric is
      not finite.
    evaluate_every_steps: Steps from one evaluation to the next. Members are also evaluated at
      rungs and at the end. None means only there.
    checkpoint_seconds: Seconds from one checkpoint of a pack to the next.
    log_every_steps: Steps from one row of a learning curve to the next.
    seed_paths: Dotted paths that `with_seed` sets. Empty for a task without seeds.
  """

  loss: str
  evaluate_every_steps: int | None = None
  checkpoint_seconds: float = 60.0
  log_every_steps: int = 1
  seed_paths: tuple[str, ...] = ()

  # --- facts about the task ------------------------------------------------------------

  @abc.abstractmethod
  def describe(self) -> TaskDescription:
    """Returns the facts that distinguish this task from others, for the study's manifest."""

  @abc.abstractmethod
  def check(self, sweep: SweepConfig) -> None:
    """Checks the space, the objectives and the other keys of a sweep.

    Raises:
      ConfigError: If the task cannot run this sweep.
    """

  @abc.abstractmethod
  def base_values(self) -> dict[str, object]:
    """Returns all values of the base config, by dotted path."""

  def experiment_config(
    self, overrides: Overrides
  ) -> Mapping[str, Mapping[str, object]] | None:
    """Returns the config of a trial as {section: {key: value}}.

    A study writes the config of its winner to `best.py`, an experiment file for `lmhp train`.
    None if `lmhp train` cannot train the task.
    """
    return None

  def recipe(self) -> TaskRecipe:
    """Returns a picklable function that makes the task again in another process.

    By default, the task itself is pickled.
    """
    # Python's pickle does not accept a lambda, but Ray's cloudpickle does.
    return lambda: self

  # --- the space ----------------------------------------------------------------------

  @abc.abstractmethod
  def is_traced(self, path: str) -> bool:
    """Returns True if the value at a path may change while a trial runs.

    The trial then continues with the same compiled program.
    """

  def decays(self) -> bool:
    """Returns True if the learning rate of the base config falls towards the end."""
    return False

  def longest_warmup_fraction(self, space: Space) -> float:
    """Returns the longest warmup of any trial, as a fraction of training."""
    return 0.0

  def varies_data_per_trial(self, space: Space) -> bool:
    """Returns True if trials of one structure may read different batches."""
    return False

  # --- trials -------------------------------------------------------------------------

  def with_seed(
    self, overrides: Overrides, replicate: int, *, reseed_data: bool
  ) -> SeededOverrides:
    """Adds the seed of one trial of a point.

    Args:
      overrides: Values of the point. If they have a seed, it is kept.
      replicate: Index of the trial among the trials of its point, 0 and up.
      reseed_data: If True, the order of the data gets a new seed too.
    """
    return SeededOverrides(dict(overrides), replicate)

  def with_matched_length(self, overrides: Overrides) -> dict[str, object]:
    """Adds the number of steps for which a trial uses the same budget as the base config.

    The budget is, for example, a number of tokens or FLOPs. Nothing is added if the number of
    steps is that of the base config.
    """
    return dict(overrides)

  @abc.abstractmethod
  def job(self, overrides: Overrides) -> Job:
    """Returns the job of a trial with these values.

    Raises:
      ConfigError: If the config with these values is not valid.
    """

  # --- training -----------------------------------------------------------------------

  @abc.abstractmethod
  def programs(self, job: Job) -> MemberPrograms:
    """Returns the programs of a job's structure.

    A population uses them to train and score its members.
    """

  def feed(
    self,
    job: Job,
    hypers: Sequence[Hypers],
    data_per_trial: bool,
    first_step: int,
    lengths: Iterator[int],
  ) -> Iterator[tuple[int, PyTree]]:
    """Yields the number of steps and the data of each chunk of a pack.

    A chunk is several updates in one call of a program.

    Args:
      job: Job of any member. The members share its structure.
      hypers: Traced numbers of each member.
      data_per_trial: If True, each member reads different batches.
      first_step: Number of updates made before the first chunk.
      lengths: Number of steps of each chunk. Before `feed` yields a chunk, it may take the
        length of the next chunk from this iterator, to prepare the data of that chunk.
    """
    # By default, a task has no data.
    for n_steps in lengths:
      yield n_steps, ()

  def data_axis(self, job: Job, data_per_trial: bool) -> int | None:
    """Returns the axis of the members in the data, or None if all members share the data."""
    return None

  # --- scores -------------------------------------------------------------------------

  @abc.abstractmethod
  def evaluate(
    self, population: Population, state: PyTree, job: Job, final: bool
  ) -> list[dict[str, float]]:
    """Returns the metrics of each member.

    If `evaluate_every_steps` is set, the names must differ from the names of the training
    metrics, because the curves have a column for each name.

    Args:
      population: Population that the members are in.
      state: State of the population.
      job: Job of any member. The members share its structure.
      final: True at the end of training.
    """

  def measure(self, metric: str, job: Job) -> float:
    """Returns a metric that is measured once for each structure, such as the latency.

    Raises:
      ConfigError: If the task has no such metric.
    """
    raise ConfigError(
      f'sweep.objective: got {metric!r}, expected one of the metrics of this task'
    )

  def penalty_value(self, metric: str, job: Job, maximized: bool) -> float:
    """Returns the finite value that replaces a metric of a diverged trial.

    The samplers of a search need finite values. The returned value must be worse than that of a
    trial that has learned nothing. The default is `FALLBACK_PENALTY`, or its negative if the
    metric is maximized.

    Args:
      metric: Name of the metric, one of the objectives.
      job: Job of the trial.
      maximized: True if the metric is maximized.
    """
    return -FALLBACK_PENALTY if maximized else FALLBACK_PENALTY
