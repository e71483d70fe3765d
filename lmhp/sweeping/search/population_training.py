"""Population-based training: members train, are scored, copy the best, and continue.

A population is a group of trials, its members, that train together. At an exchange, bad
members copy the states and values of good members. This is the only search in which one trial
continues from the state of another. A slot is the index of a member in the population. The
lineage of a member lists the values with which it trained and the members that it copied. Each
exchange is a pure function of the scores before it, so a study that was killed makes the same
exchanges again.

Source: Jaderberg et al., arXiv:1711.09846.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import math

from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.engine import Engine
from lmhp.sweeping.execution.stages import MemberStart, Stage
from lmhp.sweeping.search.method import (
  SEARCH_METHODS,
  Exchange,
  PopulationRules,
  PopulationState,
  SearchState,
)
from lmhp.sweeping.space import CompiledSpace, Point, Space, Value
from lmhp.sweeping.store.trial import LineageStep, Trial

COHORT = 'pbt'
"""Name of the cohort of a population."""


class PopulationTraining:
  """One population, from its first step to its last.

  Args:
    engine: Engine that trains trials up to each exchange.
    sweep: Config of the sweep.
    space: Space of the study. The values of its parameters may change at each exchange.
    rules: Interval between exchanges, and the function that decides an exchange.
  """

  def __init__(
    self, engine: Engine, sweep: SweepConfig, space: Space, rules: PopulationRules
  ):
    self._engine = engine
    self._sweep = sweep
    self._rules = rules
    self._compiled = CompiledSpace(space)

  def run(self) -> None:
    """Trains the population to its end."""
    points = self._first_points()
    members = self._members(points)
    numbers = [trial.number for trial in members]
    # The training has parts of `interval` steps. `ends` are the last steps of the parts.
    n_steps = self._engine.jobs[numbers[0]].steps
    interval = max(1, round(self._rules.interval_fraction(self._sweep) * n_steps))
    ends = [*range(interval, n_steps, interval), n_steps]

    # {path: value} of the fixed values of the space, which all members share.
    drawn = {parameter.paths[0] for parameter in self._compiled.parameters}
    fixed = {path: v for path, v in points[0].overrides.items() if path not in drawn}

    # At first, each member is its own parent.
    exchange = Exchange(
      parents=tuple(range(len(numbers))),
      values=tuple(
        self._compiled.point_of(trial.parameters).parameters for trial in members
      ),
    )
    lineages: list[list[LineageStep]] = [[] for _ in numbers]
    # Train part by part. An exchange follows each part except the last one.
    for part, end in enumerate(ends):
      for slot, parent in enumerate(exchange.parents):
        lineages[slot].append(LineageStep(end, numbers[parent], exchange.values[slot]))
      if end == n_steps:
        self._store_lineages(numbers, lineages)
      self._engine.train_to(self._stage(numbers, exchange, fixed, part, end / n_steps))
      if end < n_steps:
        exchange = self._exchange(numbers, end, part, exchange)

  def _first_points(self) -> list[Point]:
    """Returns the points with which the members start."""
    method = SEARCH_METHODS[self._sweep.search]
    assert method.n_points is not None  # a population has a size
    state = SearchState(
      sweep=self._sweep,
      space=self._compiled.space,
      seed=self._sweep.search_seed,
      directions=self._sweep.directions,
    )
    return method.propose(state, method.n_points(self._sweep, self._compiled.space))

  def _members(self, points: Sequence[Point]) -> list[Trial]:
    """Returns the trials of the population. Adds them to a study that does not have them yet."""
    if not self._engine.trials_of_cohort(COHORT):
      trials = []
      for number, point in enumerate(points):
        seeded = self._engine.task.with_seed(
          point.overrides, number, reseed_data=self._sweep.reseeds_data
        )
        trial = Trial(
          number=number,
          point=number,
          seed=seeded.seed,
          parameters=point.parameters,
          overrides=seeded.overrides,
          cohort=COHORT,
        )
        trials.append(trial)
      self._engine.add(trials)
    return self._engine.trials_of_cohort(COHORT)

  def _store_lineages(
    self, numbers: Sequence[int], lineages: Sequence[Sequence[LineageStep]]
  ) -> None:
    """Stores the lineage of each member, if it is not stored yet.

    It must be called before the last part, because a trial that has ended cannot change.
    """
    changed = []
    for number, lineage in zip(numbers, lineages, strict=True):
      trial = self._engine.trials[number]
      if not trial.lineage:
        changed.append(dataclasses.replace(trial, lineage=tuple(lineage)))
    self._engine.update(changed)

  def _stage(
    self,
    numbers: Sequence[int],
    exchange: Exchange,
    fixed: Mapping[str, Value],
    part: int,
    fraction: float,
  ) -> Stage:
    """Returns the stage up to the next exchange, or to the end.

    Args:
      numbers: Number of the trial in each slot.
      exchange: Parents and values of the slots.
      fixed: {dotted path: value} that all members share.
      part: Index of this part of the training, from 0.
      fraction: Fraction of training at which this part ends.
    """
    starts = {}
    for slot, number in enumerate(numbers):
      parent = numbers[exchange.parents[slot]]
      state = self._engine.progress_of[parent].state
      values = exchange.values[slot]
      drawn = {p.paths[0]: values[p.name] for p in self._compiled.parameters}
      starts[number] = MemberStart(state, {**fixed, **drawn})
      # A diverged member now continues from the state of another one.
      self._engine.progress_of[number].diverged = False
    is_last = fraction == 1
    return Stage(
      name=f'{COHORT}-{part}',
      trials=tuple(numbers),
      fraction=fraction,
      data_per_trial=self._engine.data_per_trial(self._compiled.space),
      keep_states=not is_last,
      planned_steps=len(numbers) * self._engine.jobs[numbers[0]].steps,
      starts=starts,
      # A member that diverges before the last part is replaced at the next exchange.
      divergence_ends=is_last,
    )

  def _exchange(
    self, numbers: Sequence[int], step: int, part: int, before: Exchange
  ) -> Exchange:
    """Returns the parents and the values with which the members continue after `step`."""
    # Lower is better, so the sign is -1 for an objective that is maximized.
    sign = self._sweep.signs[0]
    scores = []
    for number in numbers:
      progress = self._engine.progress_of[number]
      score = math.inf if progress.diverged else sign * progress.values[step][0]
      scores.append(score)
    state = PopulationState(
      sweep=self._sweep,
      parameters=self._compiled.parameters,
      seed=self._sweep.search_seed,
      exchange=part,
      scores=tuple(scores),
      values=before.values,
    )
    return self._rules.exchange(state)
