"""The wall between a sweep and what it runs.

The engine knows nothing of language models. It asks a `Task` what a trial is (its structure, its numbers, its length),
for the programs of a structure, for data and for scores. `lmhp.sweeping.tasks.language_model` is lmhp's trainer behind that
wall, `lmhp.sweeping.tasks.function_task` a researcher's own model.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Iterator, Mapping, Protocol, Sequence

from lmhp.training.chunks import Member
from lmhp.training.population import Population


@dataclasses.dataclass(frozen=True)
class Job:
  """What one trial is to a pack.

  Attributes:
    structure: names its compiled programs; trials of equal structure may share a pack.
    hypers: its traced numbers.
    steps: its length, updates.
    tokens_per_step: tokens in an update; 0 where there are none.
    flops_per_step: training FLOPs of an update; 0 where not known.
    facts: what is known before it runs, by metric: parameters, flops, tokens, ...
    about: what else its record shall hold, as JSON.
    cfg: what the task made of it.
  """

  structure: str
  hypers: dict
  steps: int
  tokens_per_step: int
  flops_per_step: float
  facts: Mapping[str, float]
  about: Mapping[str, Any]
  cfg: Any


class Task(Protocol):
  """What the engine asks of what it runs.

  Attributes:
    loss: the training metric whose first value that is not finite is where a member diverged.
    evaluate_every: steps from one evaluation to the next besides those at rungs; None is none.
    checkpoint_seconds: from one save of a pack's states to the next.
    log_every: steps from one row of the curves to the next.
    seed_paths: what `seeded` sets.
  """

  loss: str
  evaluate_every: int | None
  checkpoint_seconds: float
  log_every: int
  seed_paths: tuple[str, ...]

  def seeded(
    self, overrides: Mapping[str, Any], replicate: int, own: bool
  ) -> tuple[dict[str, Any], int]:
    """A point's values with the seed of one of its trials, and that seed."""

  def own_data(self, space: Any) -> bool:
    """Whether the space makes trials differ in their batches."""

  def base_value(self, path: str) -> Any:
    """What the base config has at a path."""

  def is_traced(self, path: str) -> bool:
    """Whether a path is a number that may change without another program."""

  def decays(self) -> bool:
    """Whether the base config's learning rate falls towards the end."""

  def longest_warmup(self, space: Any) -> float:
    """The longest warmup of any trial, as a share of training."""

  def sized(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A point's values with its length, where that is another than the base's."""

  def job(self, overrides: Mapping[str, Any]) -> Job:
    """What a trial with these values is; a ConfigError where it cannot be."""

  def member(self, job: Job) -> Member:
    """The programs of its structure."""

  def feed(
    self, job: Job, hypers: Sequence[dict], own: bool, step: int, lengths: Iterator[int]
  ) -> Iterator[tuple[int, Any]]:
    """For each chunk from `step` on its length and its data, for all members or, if `own`, for each."""

  def data_axis(self, job: Job, own: bool) -> int | None:
    """The axis of that data that counts members."""

  def evaluate(
    self, population: Population, state: Any, job: Job, final: bool
  ) -> list[dict[str, float]]:
    """Metrics of each member."""

  def measure(self, metric: str, job: Job) -> float:
    """A metric that is measured once for a structure, as latency."""

  def bad(self, metric: str, job: Job, maximized: bool) -> float:
    """A finite value for a diverged trial, worse than one that has learnt nothing."""
