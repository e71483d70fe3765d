"""The search: which points there are, cohort after cohort, and which of them go on.

A cohort is the points that are chosen at one moment: a whole design, or a batch that a Bayesian search asks for once
the cohorts before it are done. The study's card lists them, so that a study that is run again, or extended, knows which
points it has.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, Mapping

from lmhp.errors import ConfigError
from lmhp.sweeping import space as spaces
from lmhp.sweeping.budget import SearchPlan
from lmhp.sweeping.config import BAYESIAN, SweepConfig
from lmhp.sweeping.engine import Engine
from lmhp.sweeping.execution.stages import Stage
from lmhp.sweeping.search import bayesian as bayes
from lmhp.sweeping.search import halving
from lmhp.sweeping.search import rungs as ladder
from lmhp.sweeping.search.designs import KINDS, Design
from lmhp.sweeping.store.manifest import Cohort
from lmhp.sweeping.store.trial import Trial


class Search:
  """Chooses points, and stops trials at rungs.

  Args:
    engine: brings trials to their rungs.
    sweep: what is asked for.
    space: the space.
    plan: the size of the search.
  """

  def __init__(
    self, engine: Engine, sweep: SweepConfig, space: spaces.Space, plan: SearchPlan
  ):
    self.engine, self.sweep, self.space, self.plan = engine, sweep, space, plan
    self.correlations: dict[int, float] = {}

  def run(self) -> None:
    """Runs every cohort to its end."""
    for cohort in self.cohorts():
      self._run(cohort)
    while self._missing():
      self._run(self._new_cohort())
    if extra := self._missing_seeds():
      self.engine.add(extra)
    for name in self.engine.cohorts('seeds'):
      numbers = [t.number for t in self.engine.trials_of_cohort(name)]
      self.engine.train_to(
        Stage(
          name=name,
          trials=tuple(numbers),
          data_per_trial=self._data_per_trial(),
          planned_steps=self.plan.steps,
        )
      )

  # --- cohorts --------------------------------------------------------------------------------------------------------

  def cohorts(self) -> list[Cohort]:
    """Returns the cohorts of the search so far."""
    return list(self.engine.study.manifest.cohorts)

  def _n_points(self) -> int:
    return sum(c.n_points for c in self.cohorts())

  def _missing(self) -> int:
    """Points that were asked for and are in no cohort."""
    return (
      len(self._new_of_grid())
      if self.sweep.search == 'grid'
      else self.plan.n_points - self._n_points()
    )

  def _new_cohort(self) -> dict[str, Any]:
    """Notes the next cohort in the study's card, once all of its points are known to be possible."""
    cohorts, done, left = self.cohorts(), self._n_points(), self._missing()
    kind, n = self.sweep.search, left
    if kind == 'auto' or kind in BAYESIAN:
      quasi = math.ceil(self.sweep.quasi_random_fraction * self.plan.n_points)
      if not cohorts and quasi:
        kind, n = 'halton', min(left, quasi)
      else:
        kind, n = (
          'tpe' if kind == 'auto' else kind,
          min(left, self.sweep.ask_batch_size),
        )
    manifest = self.engine.study.manifest
    cohort = Cohort(
      name=f'search-{len(cohorts)}',
      first_point=done,
      n_points=n,
      method=kind,
      seeds_per_point=self.sweep.seeds_per_point,
      data_per_trial=self._data_per_trial(),
      space=spaces.to_json(self.space),
      grid_levels=self.sweep.grid_levels,
    )
    dimensions = dict(manifest.dimensions)
    if kind in KINDS:
      design = Design(
        self.space, kind, self.sweep.search_seed, dict(dimensions.get(kind, {}))
      )
      cohort = dataclasses.replace(cohort, dimensions=design.dimensions)
      dimensions[kind] = design.dimensions
    if (
      kind not in BAYESIAN
    ):  # what a Bayesian search proposes and cannot be is a failed trial
      for point in self._points(cohort):
        self.engine.task.job(point.overrides)
    self.engine.study.set_manifest(
      dataclasses.replace(manifest, cohorts=(*cohorts, cohort), dimensions=dimensions)
    )
    return cohort

  def _points(self, cohort: Cohort) -> list[spaces.Point]:
    """The points of a cohort: a pure function of its entry in the card and of the cohorts before it."""
    space, kind = spaces.from_json(cohort.space), cohort.method
    first, n = cohort.first_point, cohort.n_points
    if kind == 'grid':
      return self._new_of_grid(cohort)
    if kind in KINDS:
      return Design(
        space, kind, self.sweep.search_seed, dict(cohort.dimensions)
      ).points(first, first + n)
    before = [
      self._filled(t, space)
      for t in self.engine.trials.values()
      if t.point < first and t.values is not None
    ]
    return bayes.ask(
      before,
      space,
      kind,
      self.sweep.search_seed,
      n,
      self.sweep.directions,
      first_number=first,
    )

  def _new_of_grid(self, cohort: Cohort | None = None) -> list[spaces.Point]:
    """The points of a cohort's grid, or of the one that is asked for, that no cohort before it has."""
    space = self.space if cohort is None else spaces.from_json(cohort.space)
    levels = self.sweep.grid_levels if cohort is None else cohort.grid_levels
    first = math.inf if cohort is None else cohort.first_point
    there = [
      self._filled(t, space).parameters
      for t in self.engine.trials.values()
      if t.cohort.startswith('search-') and t.point < first
    ]
    known = {repr(sorted(parameters.items())) for parameters in there}
    return [
      p
      for p in spaces.grid(space, levels)
      if repr(sorted(p.parameters.items())) not in known
    ]

  def _filled(self, trial: Trial, space: spaces.Space) -> Trial:
    """A trial with the base config's values for parameters that its space did not have yet."""
    missing = {}
    for parameter in spaces.parameters(space):
      if (
        parameter.name not in trial.parameters
        and parameter.condition is None
        and len(parameter.paths) == 1
      ):
        value = self.engine.task.base_value(parameter.paths[0])
        if value in parameter.domain:
          missing[parameter.name] = value
    return (
      dataclasses.replace(trial, parameters={**missing, **trial.parameters})
      if missing
      else trial
    )

  def _trials_of(self, cohort: Cohort) -> list[Trial]:
    """A cohort's trials; added to the study where they are not there yet."""
    name, task = cohort.name, self.engine.task
    if not self.engine.trials_of_cohort(name):
      number, new = len(self.engine.trials), []
      for i, point in enumerate(self._points(cohort)):
        overrides, error = self._sized(point.overrides)
        for replicate in range(cohort.seeds_per_point):
          seeded = task.with_seed(
            overrides, replicate, reseed_data=self.sweep.data_order == 'per_trial'
          )
          new.append(
            Trial(
              number=number + len(new),
              point=cohort.first_point + i,
              seed=seeded.seed,
              parameters=point.parameters,
              overrides=seeded.overrides,
              cohort=name,
              status='failed' if error else 'waiting',
              error=error,
            )
          )
      self.engine.add(new)
    return self.engine.trials_of_cohort(name)

  def _sized(self, overrides: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """A point's values with its length, where that is not the base's; and why it cannot be, if it cannot."""
    try:
      sized = self.engine.task.with_matched_length(overrides)
      self.engine.task.job(sized)
      return sized, None
    except ConfigError as error:
      return dict(overrides), str(error)

  # --- rungs ----------------------------------------------------------------------------------------------------------

  def _run(self, cohort: Cohort) -> None:
    """Brings a cohort's trials as far as they go."""
    trials, name = (
      [t for t in self._trials_of(cohort) if t.status != 'failed'],
      cohort.name,
    )
    if self.plan.halving is None:
      self.engine.train_to(
        Stage(
          name=name,
          trials=tuple(t.number for t in trials),
          data_per_trial=cohort.data_per_trial,
          planned_steps=self.plan.steps,
        )
      )
      return
    plan = self._halving_up_to(cohort)
    for number in itertools.count():
      found = halving.halving_state(self._point_states(cohort), plan)
      self.correlations = found.correlations
      if found.stage is None:
        break
      stage = f'{name}-rung{plan.rungs.index(found.stage.step)}-{number}'
      self.engine.progress.message(
        f'step {found.stage.step:,} of {plan.rungs[-1]:,}: {found.stage.reason}'
      )
      members = [t.number for t in trials if t.point in found.stage.points]
      fraction = found.stage.step / plan.rungs[-1]
      self.engine.train_to(
        Stage(
          name=stage,
          trials=tuple(members),
          fraction=fraction,
          cooldown=self.plan.cooldown,
          data_per_trial=cohort.data_per_trial,
          keep_states=fraction < 1,
          planned_steps=self.plan.steps,
        )
      )
    stopped = [
      t
      for t in self.engine.trials_of_cohort(name)
      if t.status in ('waiting', 'running')
    ]
    self.engine.update(
      [
        dataclasses.replace(t, status='pruned', values=self._last_values(t))
        for t in stopped
      ]
    )

  def _data_per_trial(self) -> bool:
    """Whether each trial reads batches of its own."""
    return (
      self.sweep.data_order == 'per_trial'
      or self.engine.task.varies_data_per_trial(self.space)
    )

  def _halving_up_to(self, cohort: Cohort) -> halving.HalvingPlan:
    """The plan over all points so far, each cohort its own brackets; the first of them calibrates for all."""
    names = [c.name for c in self.cohorts()]
    cohorts = self.cohorts()[: names.index(cohort.name) + 1]
    each = [
      ladder.brackets(
        c.n_points, self.sweep.eta, len(self.plan.rungs), self.sweep.halving
      )
      for c in cohorts
    ]
    return dataclasses.replace(
      self.plan.halving, brackets=tuple(itertools.chain(*each))
    )

  def _point_states(self, cohort: Cohort) -> dict[int, halving.PointState]:
    """What is known of every point up to a cohort's; smaller scores are better."""
    last = cohort.first_point + cohort.n_points
    by_point: dict[int, list[Trial]] = {}
    for trial in self.engine.trials.values():
      if trial.cohort.startswith('search-') and trial.point < last:
        by_point.setdefault(trial.point, []).append(trial)
    return {
      point: halving.PointState.of_seeds(
        [self._scores(t) for t in trials],
        [
          self.engine.progress_of(t.number).diverged or t.status == 'failed'
          for t in trials
        ],
      )
      for point, trials in by_point.items()
    }

  def _scores(self, trial: Trial) -> dict[int, halving.Score]:
    """A trial's scores by rung of the base config, whose length its own may differ from."""
    steps, scores = self.engine.job(trial.number).steps, {}
    signs = [
      -1.0 if direction == 'maximize' else 1.0 for direction in self.sweep.directions
    ]
    for rung in self.plan.rungs:
      found = self.engine.progress_of(trial.number).values.get(
        max(1, round(rung / self.plan.rungs[-1] * steps))
      )
      if found is not None:
        signed = tuple(sign * value for sign, value in zip(signs, found))
        scores[rung] = signed[0] if len(signed) == 1 else signed
    return scores

  def _last_values(self, trial: Trial) -> tuple[float, ...]:
    """The objectives of a trial where it was stopped."""
    return self.engine.objectives(trial.metrics, self.engine.job(trial.number))

  # --- more seeds of points that are there ----------------------------------------------------------------------------

  def _missing_seeds(self) -> list[Trial]:
    """Trials of the seeds that were asked for after a point had ended."""
    points: dict[int, list[Trial]] = {}
    for trial in self.engine.trials.values():
      if trial.cohort.startswith(('search-', 'seeds-')):
        points.setdefault(trial.point, []).append(trial)
    number, new = len(self.engine.trials), []
    cohort = f'seeds-{len(self.engine.cohorts("seeds"))}'
    for point, trials in sorted(points.items()):
      if all(t.status == 'complete' for t in trials):
        for replicate in range(len(trials), self.sweep.seeds_per_point):
          own = {
            p for p in self.engine.task.seed_paths if p not in trials[0].parameters
          }
          plain = {p: v for p, v in trials[0].overrides.items() if p not in own}
          seeded = self.engine.task.with_seed(
            plain, replicate, reseed_data=self.sweep.data_order == 'per_trial'
          )
          new.append(
            Trial(
              number=number + len(new),
              point=point,
              seed=seeded.seed,
              parameters=trials[0].parameters,
              overrides=seeded.overrides,
              cohort=cohort,
            )
          )
    return new
