"""Population-based training over the pack engine: train, score, copy from the best, perturb, and so on to the end.

The one search whose members depend on each other. A member is a trial; what it trained with, and whom it copied, is in
its `lineage`. Each exchange is a pure function of the scores before it (`lmhp.sweeping.search.population_exchange`), so a study that was
killed replays them.

Source: Jaderberg et al., arXiv:1711.09846.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from lmhp.errors import ConfigError
from lmhp.sweeping import space as spaces
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.engine import Engine
from lmhp.sweeping.execution.stages import MemberStart, Stage
from lmhp.sweeping.search import population_exchange as pbt
from lmhp.sweeping.search.designs import Design
from lmhp.sweeping.store.trial import LineageStep, Trial

COHORT = 'pbt'


class PopulationBasedTraining:
  """One population, from its first step to its last.

  Args:
    engine: brings trials to their rungs.
    sweep: what is asked for.
    space: of what members may change while they train: traced numbers alone.

  Raises:
    ConfigError: where the space changes the structure, or has conditions.
  """

  def __init__(self, engine: Engine, sweep: SweepConfig, space: spaces.Space):
    self.engine, self.sweep, self.space = engine, sweep, space
    self.parameters = spaces.parameters(space)
    for path in sorted(spaces.varied_paths(space)):
      if not engine.task.is_traced(path):
        raise ConfigError(
          f'{path}: got structure in the space of population-based training, expected numbers that may '
          'change while a member runs'
        )
    if not all(len(p.paths) == 1 and p.condition is None for p in self.parameters):
      raise ConfigError(
        'sweep.space: got conditions or a Zip, expected single paths with search=pbt'
      )
    self.fixed = {
      path: value
      for path, value in Design(space, 'random', 0).point(0).overrides.items()
      if path not in {p.paths[0] for p in self.parameters}
    }

  def run(self) -> None:
    """Trains the population to its end."""
    numbers = [t.number for t in self._members()]
    steps = self.engine.job(numbers[0]).steps
    every = max(1, round(self.sweep.pbt_interval_fraction * steps))
    ends = [*range(every, steps, every), steps]
    values = [dict(self.engine.trials[n].parameters) for n in numbers]
    parents = list(range(len(numbers)))
    lineage: list[list[LineageStep]] = [[] for _ in numbers]
    own = (
      self.sweep.data_order == 'per_trial'
      or self.engine.task.varies_data_per_trial(self.space)
    )
    for exchange, end in enumerate(ends):
      for slot, parent in enumerate(parents):
        lineage[slot].append(LineageStep(end, numbers[parent], values[slot]))
      if end == steps:
        self._note(numbers, lineage)
      states = [self.engine.progress_of(numbers[parent]).state for parent in parents]
      starts = {}
      for number, state, member_values in zip(numbers, states, values):
        starts[number] = MemberStart(state, self._overrides(member_values))
        # A member that diverged has been replaced.
        self.engine.progress_of(number).diverged = False
      self.engine.train_to(
        Stage(
          name=f'{COHORT}-{exchange}',
          trials=tuple(numbers),
          fraction=end / steps,
          data_per_trial=own,
          keep_states=end < steps,
          planned_steps=len(numbers) * steps,
          starts=starts,
          divergence_ends=end == steps,
        )
      )
      if end < steps:
        parents, values = self._exchange(numbers, end, exchange, values)

  def _note(self, numbers: list[int], lineage: list[list[LineageStep]]) -> None:
    """Puts each member's way into its trial, before it ends."""
    trials = [(self.engine.trials[n], way) for n, way in zip(numbers, lineage)]
    self.engine.update(
      [dataclasses.replace(t, lineage=tuple(way)) for t, way in trials if not t.lineage]
    )

  def _members(self) -> list[Trial]:
    """The population's trials; added to the study where they are not there yet."""
    if not self.engine.trials_of_cohort(COHORT):
      points = Design(self.space, 'random', self.sweep.search_seed).points(
        0, self.sweep.population_size
      )
      new = []
      for number, point in enumerate(points):
        seeded = self.engine.task.with_seed(
          point.overrides, number, reseed_data=self.sweep.data_order == 'per_trial'
        )
        new.append(
          Trial(
            number=number,
            point=number,
            seed=seeded.seed,
            parameters=point.parameters,
            overrides=seeded.overrides,
            cohort=COHORT,
          )
        )
      self.engine.add(new)
    return self.engine.trials_of_cohort(COHORT)

  def _overrides(self, values: dict[str, Any]) -> dict[str, Any]:
    """{dotted path: value} of a member's parameters."""
    return {**self.fixed, **{p.paths[0]: values[p.name] for p in self.parameters}}

  def _exchange(
    self, numbers: list[int], end: int, exchange: int, values: list[dict]
  ) -> tuple[list[int], list[dict]]:
    """Who goes on from whom, and with which values."""
    sign = -1.0 if self.sweep.directions[0] == 'maximize' else 1.0
    scores = [
      float('inf')
      if self.engine.progress_of(n).diverged
      else sign * self.engine.progress_of(n).values[end][0]
      for n in numbers
    ]
    parents = list(
      pbt.exploit(
        scores, self.sweep.pbt_replaced_fraction, self.sweep.search_seed, exchange
      )
    )
    new = [
      values[parent]
      if parent == slot
      else pbt.explore(
        values[parent], self.parameters, self.sweep.search_seed, exchange, slot
      )
      for slot, parent in enumerate(parents)
    ]
    return parents, new
