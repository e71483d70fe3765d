"""Base class for tasks that are simpler than a language model.

A task is what a sweep trains (see `lmhp.sweeping.tasks.task`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from typing import cast

from lmhp.errors import ConfigError
from lmhp.sweeping.space import Space
from lmhp.sweeping.tasks.task import Job, Overrides, SeededOverrides, Task, TaskRecipe
from lmhp.training.chunks import Hypers
from lmhp.typing import PyTree


@dataclasses.dataclass(frozen=True)
class PickledTask:
  """A recipe that pickles the task and sends it.

  Attributes:
    task: The task, which must be picklable.
  """

  task: Task

  def make_task(self) -> Task:
    """Returns the task."""
    return self.task


class SearchableTask:
  """Defaults for tasks without seeds, data, schedules or tokens.

  A subclass adds the other methods of `Task`.
  """

  evaluate_every_steps: int | None = None
  checkpoint_seconds: float = 60.0
  log_every_steps: int = 1
  seed_paths: tuple[str, ...] = ()

  def experiment_config(
    self, overrides: Overrides
  ) -> Mapping[str, Mapping[str, object]] | None:
    """Returns None, because the task has no experiment files."""
    del overrides
    return None

  def recipe(self) -> TaskRecipe:
    """Returns a recipe that pickles the task and sends it."""
    return PickledTask(cast(Task, self))  # a subclass adds the other methods

  def decays(self) -> bool:
    """Returns False, because the task has no schedule."""
    return False

  def longest_warmup_fraction(self, space: Space) -> float:
    """Returns 0, because the task has no schedule."""
    del space
    return 0.0

  def varies_data_per_trial(self, space: Space) -> bool:
    """Returns False, because the task has no data."""
    del space
    return False

  def with_seed(
    self, overrides: Overrides, replicate: int, *, reseed_data: bool
  ) -> SeededOverrides:
    """Returns the values unchanged, because the task has no seed."""
    del reseed_data
    return SeededOverrides(dict(overrides), replicate)

  def with_matched_length(self, overrides: Overrides) -> dict[str, object]:
    """Returns the values unchanged, because all trials have one length."""
    return dict(overrides)

  def feed(
    self,
    job: Job,
    hypers: Sequence[Hypers],
    data_per_trial: bool,
    first_step: int,
    lengths: Iterator[int],
  ) -> Iterator[tuple[int, PyTree]]:
    """Yields the length of each chunk, and no data."""
    del job, hypers, data_per_trial, first_step
    for n_steps in lengths:
      yield n_steps, ()

  def data_axis(self, job: Job, data_per_trial: bool) -> int | None:
    """Returns None, because the task has no data."""
    del job, data_per_trial
    return None

  def measure(self, metric: str, job: Job) -> float:
    """Raises ConfigError, because the task measures nothing apart from its metrics."""
    del job
    raise ConfigError(
      f'sweep.objective: got {metric!r}, expected one of the metrics of this task'
    )

  def penalty_value(self, metric: str, job: Job, maximized: bool) -> float:
    """Returns a large number, negative if the metric is maximized."""
    del metric, job
    return -1e30 if maximized else 1e30
