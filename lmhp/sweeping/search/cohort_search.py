"""The search of a study: the points of each cohort, and the points that continue at each rung.

A point is one assignment of values to the parameters of the space. It has one trial for each
seed. A cohort is the set of points that are chosen at one time: all points of a grid or of a
random search, or a batch that a Bayesian search proposes after the earlier cohorts have ended.
A rung is a step at which the points of a cohort are scored. The best continue to the next
rung. A bracket is a set of points of a cohort that have the same first rung.

The study stores its cohorts, so a study that is run again, or extended, has the same points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import itertools

from lmhp.errors import ConfigError
from lmhp.sweeping.budget import SearchPlan
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.engine import Engine
from lmhp.sweeping.execution.stages import Stage
from lmhp.sweeping.search.halving import (
  HalvingPlan,
  HalvingStage,
  PointState,
  halving_state,
)
from lmhp.sweeping.search.method import (
  SEARCH_METHODS,
  SearchState,
  next_cohort,
  with_base_values,
)
from lmhp.sweeping.search.new_points import NewPoints, identity_of_point, new_points
from lmhp.sweeping.search.rungs import brackets
from lmhp.sweeping.search.score_order import Score
from lmhp.sweeping.space import (
  Point,
  Space,
  from_json,
  parameters,
  to_json,
)
from lmhp.sweeping.store.manifest import Cohort
from lmhp.sweeping.store.trial import Trial, trials_by_point


class CohortSearch:
  """A search in which no trial starts from the state of another trial.

  For population-based training, see `lmhp.sweeping.search.population_training`.

  Args:
    engine: Engine that trains trials up to each rung.
    sweep: Config of the sweep.
    space: Space of new points.
    plan: Number of points and rungs of the search.
  """

  def __init__(
    self, engine: Engine, sweep: SweepConfig, space: Space, plan: SearchPlan
  ):
    self._engine = engine
    self._sweep = sweep
    self._space = space
    self._plan = plan
    self._correlations: dict[int, float] = {}
    self._identities: dict[
      int, bytes
    ] = {}  # of the points of trials, by number of the trial

  def run(self) -> dict[int, float]:
    """Trains all cohorts to their ends.

    Returns:
      {step of a rung: rank correlation between the scores at this rung and the final scores}.
    """
    for cohort in self._cohorts():
      self._train(cohort)
    while (cohort := self._next_cohort()) is not None:
      self._train(cohort)
    # Train the complete points on more seeds, if `seeds_per_point` was raised after their
    # cohorts were chosen.
    self._engine.train_cohorts(
      'seeds',
      self._missing_seeds(),
      data_per_trial=self._engine.data_per_trial(self._space),
      planned_steps=self._plan.steps,
    )
    return self._correlations

  # --- cohorts ------------------------------------------------------------------------

  def _cohorts(self) -> tuple[Cohort, ...]:
    """Returns the cohorts of the study, from oldest to newest."""
    return self._engine.study.manifest.cohorts

  def _next_cohort(self) -> Cohort | None:
    """Adds the next cohort to the study, or returns None if the search has all points."""
    cohorts = self._cohorts()
    state = self._state(cohorts, self._sweep, self._space)
    plan = next_cohort(self._sweep.search, state)
    if not plan.n_points:
      return None

    new = self._new_points(plan.method, state, plan.n_points, cohorts)
    if new.points and new.describe():
      self._engine.progress.message(new.describe())
    if not new.points:
      # No cohort and no trial exists, so nothing can be trained.
      if not cohorts and new.error is not None:
        raise new.error
      self._engine.progress.message(
        f'the search ends with {state.first_point} of {state.n_planned} points, because the '
        'space has no other points'
      )
      return None

    # The values of the method's keys are stored, because they may change when the study is
    # extended.
    method = SEARCH_METHODS[plan.method]
    keys = () if method.keys is None else dataclasses.fields(method.keys)
    cohort = Cohort(
      name=f'search-{len(cohorts)}',
      first_point=state.first_point,
      n_points=len(new.points),
      n_requested=plan.n_points,
      n_drawn=new.n_drawn,
      method=plan.method,
      seeds_per_point=self._sweep.seeds_per_point,
      data_per_trial=self._engine.data_per_trial(self._space),
      space=to_json(self._space),
      settings={field.name: getattr(self._sweep, field.name) for field in keys},
    )
    study = self._engine.study
    study.set_manifest(dataclasses.replace(study.manifest, cohorts=(*cohorts, cohort)))
    return cohort

  def _points(self, cohort: Cohort) -> list[Point]:
    """Returns the points of a cohort. They depend only on the study before the cohort."""
    sweep = dataclasses.replace(self._sweep, **cohort.settings)
    earlier = [c for c in self._cohorts() if c.first_point < cohort.first_point]
    state = self._state(earlier, sweep, from_json(cohort.space))
    n_requested = cohort.n_requested or cohort.n_points
    new = self._new_points(cohort.method, state, n_requested, earlier)
    return new.points[: cohort.n_points]

  def _new_points(
    self, method: str, state: SearchState, n_points: int, earlier: Sequence[Cohort]
  ) -> NewPoints:
    """Returns the next points of a method, after the earlier cohorts."""
    spaces = [from_json(one.space) for one in earlier if one.method == method]
    state = dataclasses.replace(state, earlier_spaces=tuple(spaces))
    task = self._engine.task
    known = set()
    for trial in self._engine.trials.values():
      if trial.cohort.startswith('search-') and trial.point < state.first_point:
        if trial.number not in self._identities:
          self._identities[trial.number] = identity_of_point(task, trial)
        known.add(self._identities[trial.number])
    return new_points(task, method, state, n_points, known)

  def _state(
    self, cohorts: Sequence[Cohort], sweep: SweepConfig, space: Space
  ) -> SearchState:
    """Returns the state of the study after some cohorts.

    `sweep` has the values of the search method's keys that the next cohort uses, and `space` is
    the space of that cohort.
    """
    first_point = sum(cohort.n_points for cohort in cohorts)
    # If the space has new parameters, earlier trials were trained with the values of the base
    # config for them.
    all_parameters = parameters(space)
    base_values = self._engine.task.base_values()
    trials = [
      with_base_values(trial, all_parameters, base_values)
      for trial in self._engine.trials.values()
      if trial.point < first_point
    ]
    return SearchState(
      sweep=sweep,
      space=space,
      seed=sweep.search_seed,
      directions=sweep.directions,
      n_planned=self._plan.n_points,
      first_point=first_point,
      n_drawn=sum(cohort.n_drawn or cohort.n_points for cohort in cohorts),
      trials=tuple(trials),
    )

  # --- trials -------------------------------------------------------------------------

  def _trials_of(self, cohort: Cohort) -> list[Trial]:
    """Returns the trials of a cohort. They are added to the study if they are new."""
    if not self._engine.trials_of_cohort(cohort.name):
      self._engine.add(self._new_trials(cohort))
    return self._engine.trials_of_cohort(cohort.name)

  def _new_trials(self, cohort: Cohort) -> list[Trial]:
    """Returns new trials of the points of a cohort, one for each seed of a point."""
    trials: list[Trial] = []
    for number, point in enumerate(self._points(cohort), start=cohort.first_point):
      overrides, error = self._with_length(point.overrides)
      for replicate in range(cohort.seeds_per_point):
        seeded = self._engine.task.with_seed(
          overrides, replicate, reseed_data=self._sweep.reseeds_data
        )
        trial = Trial(
          number=len(self._engine.trials) + len(trials),
          point=number,
          seed=seeded.seed,
          parameters=point.parameters,
          overrides=seeded.overrides,
          cohort=cohort.name,
          status='failed' if error else 'waiting',
          error=error,
        )
        trials.append(trial)
    return trials

  def _with_length(
    self, overrides: Mapping[str, object]
  ) -> tuple[dict[str, object], str | None]:
    """Adds the number of training steps to the values of a point.

    With `sweep.match_budget`, all trials have the same budget, so the number of steps depends
    on the cost of a step. Nothing is added if the number is that of the base config.

    Returns:
      The values, and an error message if the point cannot be trained, else None.
    """
    try:
      with_length = self._engine.task.with_matched_length(overrides)
      self._engine.task.job(with_length)
      return with_length, None
    except ConfigError as error:
      return dict(overrides), str(error)

  def _missing_seeds(self) -> list[Trial]:
    """Returns new trials for the complete points that have too few seeds."""
    searched = [
      trial
      for trial in self._engine.trials.values()
      if trial.cohort.startswith(('search-', 'seeds-'))
    ]
    cohort = f'seeds-{len(self._engine.cohorts("seeds"))}'

    # A point that was stopped early gets no more seeds.
    new: list[Trial] = []
    for trials in trials_by_point(searched).values():
      if any(trial.status != 'complete' for trial in trials):
        continue
      for replicate in range(len(trials), self._sweep.seeds_per_point):
        number = len(self._engine.trials) + len(new)
        new.append(self._reseeded(trials[0], replicate, number, cohort))
    return new

  def _reseeded(self, trial: Trial, replicate: int, number: int, cohort: str) -> Trial:
    """Returns a new trial of the point of `trial`, with another seed."""
    task = self._engine.task
    # If the space varies a seed, this seed is a value of the point, and stays.
    seed_paths = set(task.seed_paths) - set(trial.parameters)
    unseeded = {
      path: v for path, v in trial.overrides.items() if path not in seed_paths
    }
    seeded = task.with_seed(unseeded, replicate, reseed_data=self._sweep.reseeds_data)
    return Trial(
      number=number,
      point=trial.point,
      seed=seeded.seed,
      parameters=trial.parameters,
      overrides=seeded.overrides,
      cohort=cohort,
    )

  # --- rungs --------------------------------------------------------------------------

  def _train(self, cohort: Cohort) -> None:
    """Trains the trials of a cohort to their ends, or to the rungs that halving selects."""
    trials = [t for t in self._trials_of(cohort) if t.status != 'failed']
    # A study that cannot afford its calibration stops no trial either.
    is_unaffordable = self._plan.schedule.unaffordable_calibration is not None
    if self._sweep.halving == 'none' or is_unaffordable:
      stage = Stage(
        name=cohort.name,
        trials=tuple(trial.number for trial in trials),
        data_per_trial=cohort.data_per_trial,
        planned_steps=self._plan.steps,
      )
      self._engine.train_to(stage)
      return
    plan = self._halving_plan(cohort)
    for number in itertools.count():
      state = halving_state(self._point_states(cohort), plan)
      self._correlations = state.correlations
      if state.stage is None:
        break
      self._train_to_rung(cohort, number, state.stage, plan)
    self._prune(cohort)

  def _train_to_rung(
    self, cohort: Cohort, number: int, stage: HalvingStage, plan: HalvingPlan
  ) -> None:
    """Trains the points of a stage. `number` is the number of the stage in the cohort."""
    # Rungs are steps of the base config. A trial of another length is trained up to the same
    # fraction of its length.
    last_step = plan.rungs[-1]
    rung = plan.rungs.index(stage.step)
    fraction = stage.step / last_step
    self._engine.progress.message(
      f'step {stage.step:,} of {last_step:,}: {stage.reason}'
    )
    numbers = [
      trial.number
      for trial in self._trials_of(cohort)
      if trial.point in stage.points and trial.status != 'failed'
    ]
    self._engine.train_to(
      Stage(
        name=f'{cohort.name}-rung{rung}-{number}',
        trials=tuple(numbers),
        fraction=fraction,
        cooldown=self._plan.schedule.cooldown,
        data_per_trial=cohort.data_per_trial,
        keep_states=fraction < 1,
        planned_steps=self._plan.steps,
      )
    )

  def _prune(self, cohort: Cohort) -> None:
    """Ends the trials of a cohort that were stopped at a rung. Their status is 'pruned'."""
    pruned = []
    for trial in self._engine.trials_of_cohort(cohort.name):
      if not trial.ended:
        values = self._engine.scores.objectives(
          trial.metrics, self._engine.jobs[trial.number]
        )
        pruned.append(dataclasses.replace(trial, status='pruned', values=values))
    self._engine.update(pruned)

  def _halving_plan(self, cohort: Cohort) -> HalvingPlan:
    """Returns the plan for the points of a cohort and of all cohorts before it.

    Each cohort has its own brackets. The rank correlations are those of the first cohort.
    """
    sweep = self._sweep
    rungs = self._plan.schedule.steps
    sizes = [c.n_points for c in self._cohorts() if c.first_point <= cohort.first_point]
    all_brackets = itertools.chain.from_iterable(
      brackets(n_points, sweep.eta, len(rungs), sweep.halving) for n_points in sizes
    )
    return HalvingPlan(
      rungs=rungs,
      eta=sweep.eta,
      brackets=tuple(all_brackets),
      n_calibration_points=sweep.n_calibration_trials,
      min_rank_correlation=sweep.min_rank_correlation,
    )

  def _point_states(self, cohort: Cohort) -> dict[int, PointState]:
    """Returns {number of a point: its state} for a cohort and all cohorts before it."""
    end = cohort.first_point + cohort.n_points
    searched = [
      trial
      for trial in self._engine.trials.values()
      if trial.cohort.startswith('search-') and trial.point < end
    ]

    # A failed trial counts as a diverged trial.
    states = {}
    for point, trials in trials_by_point(searched).items():
      scores = [self._scores(trial) for trial in trials]
      diverged = [
        self._engine.progress_of[trial.number].diverged or trial.status == 'failed'
        for trial in trials
      ]
      states[point] = PointState.of_seeds(scores, diverged)
    return states

  def _scores(self, trial: Trial) -> dict[int, Score]:
    """Returns {rung: score of a trial}, negated if the objective is maximized.

    The keys are rungs of the base config, in steps. For a trial of another length, the score
    is read at the same fraction of its training.
    """
    n_steps = self._engine.jobs[trial.number].steps
    values_at = self._engine.progress_of[trial.number].values
    scores: dict[int, Score] = {}
    rungs = self._plan.schedule.steps
    for rung in rungs:
      # The rung of a trial of another length is at the same fraction of its steps.
      step = max(1, round(rung / rungs[-1] * n_steps))
      if step in values_at:
        signed = [
          s * v for s, v in zip(self._sweep.signs, values_at[step], strict=True)
        ]
        scores[rung] = signed[0] if len(signed) == 1 else (signed[0], signed[1])
    return scores
