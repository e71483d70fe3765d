"""The size of a search: its rungs, and the number of points that fit in its budget.

A point is one assignment of values to the parameters of a space, and has one trial per seed. A
rung is a step at which points are scored and only the best continue. A fork is a copy of the
training state (parameters and optimizer state) of a trial. To score the trial at a rung, the
fork is trained further with a falling learning rate.
"""

from __future__ import annotations

import dataclasses
import logging
import math

from lmhp.errors import ConfigError
from lmhp.sections import require
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.execution.autotuning import Autotuner
from lmhp.sweeping.search.designs import max_points
from lmhp.sweeping.search.grid import number_of_points
from lmhp.sweeping.search.method import (
  SEARCH_METHODS,
  SearchState,
  check_search,
  preview_points,
)
from lmhp.sweeping.search.rungs import HalvingCost, rungs
from lmhp.sweeping.space import Space, paths_of
from lmhp.sweeping.store.manifest import CalibrationCost, RungSchedule
from lmhp.sweeping.tasks.task import Job, Task

_log = logging.getLogger(__name__)

POINTS_FOR_MEAN_COST = 16
"""Number of points over which the cost of a trial is averaged, if trials differ in cost."""

DEFAULT_FIRST_RUNG_FRACTION = 1 / 27
"""First rung, as a fraction of training, if the warmups of the trials are short enough."""


@dataclasses.dataclass(frozen=True)
class SearchPlan:
  """The size of a search.

  Attributes:
    n_points: Number of points.
    schedule: The rungs, for a trial as long as the base config. In a longer or shorter trial,
      they are at the same fractions of training.
    steps: Number of updates of all trials and forks together, at most, if every rung stops
      trials. If a rung stops none, there are more.
  """

  n_points: int
  schedule: RungSchedule
  steps: float


def plan_search(
  task: Task,
  sweep: SweepConfig,
  space: Space,
  autotuner: Autotuner,
  stored_rungs: RungSchedule | None = None,
) -> SearchPlan:
  """Plans the search that fits in a budget.

  Args:
    task: Task of the sweep.
    sweep: Config of the sweep.
    space: Space of the sweep.
    autotuner: Measures an update of the base config, for a budget in seconds.
    stored_rungs: Rungs of a study that exists. They are used again, even if the space or the
      number of points has changed. None for a new study.

  Raises:
    ConfigError: If the method cannot search the space, or the budget is too small for one
      trial.
  """
  check_search(sweep.search, space, task.is_traced)
  # The rungs of the base config, the cost of a search with them, and the number of points that
  # fit in the budget.
  schedule = stored_rungs or rungs_of(task, sweep, space)
  cost = _halving_cost(sweep, schedule)
  n_points = _n_points(task, sweep, space, cost, autotuner)

  # If the calibration is too expensive, the search stops no trial. It then needs no rungs, and
  # fewer points fit in a budget of tokens, FLOPs or seconds.
  calibration = _calibration_cost(task, sweep, cost, n_points)
  tests_rungs = len(schedule.steps) > 1 and sweep.min_rank_correlation is not None
  if stored_rungs is None and tests_rungs and not calibration.is_affordable:
    schedule = RungSchedule(
      steps=schedule.steps[-1:], unaffordable_calibration=calibration
    )
    cost = _halving_cost(sweep, schedule)
    n_points = _n_points(task, sweep, space, cost, autotuner)
  return SearchPlan(
    n_points=n_points,
    schedule=schedule,
    steps=sweep.seeds_per_point * cost.steps(n_points),
  )


def _halving_cost(sweep: SweepConfig, schedule: RungSchedule) -> HalvingCost:
  """Returns the parameters of the cost of a search with the rungs of a schedule."""
  return HalvingCost(
    rungs=schedule.steps,
    eta=sweep.eta,
    n_calibration_points=sweep.n_calibration_trials,
    rung_cooldown_fraction=sweep.rung_cooldown_fraction if schedule.cooldown else 0.0,
    # Without halving, the only rung is the end of training, so the kind has no effect.
    kind='successive' if sweep.halving == 'none' else sweep.halving,
  )


def _calibration_cost(
  task: Task, sweep: SweepConfig, cost: HalvingCost, n_points: int
) -> CalibrationCost:
  """Returns the cost of the calibration, for trials that cost as much as the base config."""
  n_seeds = sweep.seeds_per_point
  return CalibrationCost(
    n_calibration_points=sweep.n_calibration_trials,
    n_points=n_points,
    calibration_steps=n_seeds * sweep.n_calibration_trials * cost.complete_steps,
    search_steps=n_seeds * n_points * cost.rungs[-1],
    tokens_per_step=task.job({}).tokens_per_step,
  )


# --- rungs ----------------------------------------------------------------------------


def rungs_of(task: Task, sweep: SweepConfig, space: Space) -> RungSchedule:
  """Returns the rungs of a new study, for a trial as long as the base config."""
  # The job without overrides is that of the base config.
  n_steps = task.job({}).steps
  if sweep.halving == 'none':
    return RungSchedule((n_steps,))
  # Scores during a warmup could not be compared. By default, the first rung is at least at twice
  # the longest warmup of any trial.
  first_fraction = sweep.first_rung_fraction
  warmup = task.longest_warmup_fraction(space)
  if first_fraction is None:
    first_fraction = min(1.0, max(DEFAULT_FIRST_RUNG_FRACTION, 2 * warmup))
  accepted = f'at least {warmup:.3g}, the longest warmup as a fraction of training'
  require(sweep, first_fraction >= warmup, 'first_rung_fraction', accepted)
  return RungSchedule(
    steps=rungs(n_steps, sweep.eta, first_fraction),
    cooldown=_scores_forks(task, sweep, space),
  )


def _scores_forks(task: Task, sweep: SweepConfig, space: Space) -> bool:
  """Returns True if rungs score forks whose learning rate decays to zero.

  By default, rungs score forks if the schedule of a trial may decay. The loss before a decay
  is a poor prediction of the loss after it.
  """
  if sweep.rung_score != 'auto':
    return sweep.rung_score == 'cooldown'
  varies_schedule = any(path.startswith('schedule.') for path in paths_of(space))
  return varies_schedule or task.decays()


# --- points ---------------------------------------------------------------------------


def _n_points(
  task: Task,
  sweep: SweepConfig,
  space: Space,
  cost: HalvingCost,
  autotuner: Autotuner,
) -> int:
  """Returns the number of points that fit in the budget, at least one."""
  method = SEARCH_METHODS[sweep.search]
  # Some methods decide the number of points themselves, such as a grid.
  if method.n_points is not None:
    n_points = method.n_points(sweep, space)
    require(
      sweep,
      sweep.trials is None or sweep.trials >= n_points,
      'trials',
      f'at least {n_points}, the points of search={sweep.search}, or a smaller space',
    )
    return n_points
  # A space of few points has no more, whatever the budget is.
  largest = number_of_points(space) or math.inf
  if sweep.trials is not None:
    return int(min(sweep.trials, largest))
  # `cost` counts one trial for each point, so the budget is divided by the number of seeds.
  budget_steps = _budget_in_steps(task, sweep, space, autotuner)
  n_points = cost.points_for(budget_steps / sweep.seeds_per_point)
  if not n_points:
    raise ConfigError(
      f'sweep: got a budget of {budget_steps:,.0f} steps, expected at least one trial of '
      f'{cost.rungs[-1]:,} steps'
    )
  return int(min(n_points, largest))


def _budget_in_steps(
  task: Task, sweep: SweepConfig, space: Space, autotuner: Autotuner
) -> float:
  """Converts a budget in tokens, FLOPs or seconds to updates of the base config."""
  base = task.job({})
  # seconds / (seconds of a step). The step is measured in a pack of copies of the base config,
  # 8 copies if the sweep sets no largest width.
  if sweep.seconds is not None:
    jobs = [base] * (sweep.max_pack_width or 8)
    # With infinite steps, no method (vmap, map or loop) is left out to save time.
    measured = autotuner.method_of(jobs, sweep.reseeds_data, math.inf)
    # {method: seconds of one update of one member of the pack}
    return sweep.seconds / min(measured.member_step_seconds.values())
  # (steps of a trial) * budget / (mean cost of a trial)
  if sweep.tokens is not None:
    return base.steps * sweep.tokens / _mean_cost(task, sweep, space, 'tokens')
  assert sweep.flops is not None  # `SweepConfig` requires a budget
  return base.steps * sweep.flops / _mean_cost(task, sweep, space, 'flops')


def _mean_cost(task: Task, sweep: SweepConfig, space: Space, name: str) -> float:
  """Returns the mean cost of a complete trial, over the first points of the search.

  `name` is the unit of the cost, 'tokens' or 'flops'.
  """
  # A Subsample may limit the space to fewer points than `POINTS_FOR_MEAN_COST`.
  n_points = min(max_points(space) or POINTS_FOR_MEAN_COST, POINTS_FOR_MEAN_COST)
  # Points differ in cost if the space varies the model or the length.
  jobs = preview_jobs(task, sweep, space, POINTS_FOR_MEAN_COST, n_points)
  costs = [job.known_metrics.get(name, 0.0) for job in jobs]
  total = math.fsum(costs)
  if not total:
    raise ConfigError(
      f'sweep.{name}: got a budget for a task whose trials have no {name}, expected a '
      'budget in trials'
    )
  return total / len(costs)


def preview_jobs(
  task: Task, sweep: SweepConfig, space: Space, n_planned: int, n_points: int
) -> list[Job]:
  """Returns the jobs of the first points of a search.

  Args:
    task: Task of the sweep.
    sweep: Config of the sweep.
    space: Space of the sweep.
    n_planned: Number of points that the search plans in total. The first points may depend on
      it: a Bayesian search makes a fraction of them quasi-random.
    n_points: Number of jobs to return. Fewer are returned if the first cohort (the points
      that are chosen at one time) has fewer points, or if some are not valid.

  Raises:
    ConfigError: If no point is valid.
  """
  state = SearchState(
    sweep=sweep,
    space=space,
    seed=sweep.search_seed,
    directions=sweep.directions,
    n_planned=n_planned,
  )
  # With `sweep.match_budget`, `with_matched_length` adds the number of steps that gives the
  # point the same tokens, FLOPs or seconds as the base config.
  jobs = []
  errors = []
  for point in preview_points(sweep.search, state, n_points):
    try:
      jobs.append(task.job(task.with_matched_length(point.overrides)))
    except ConfigError as error:
      # The search leaves such a point out.
      errors.append(error)
  if errors and not jobs:
    raise errors[0]
  if errors:
    _log.warning(
      '%d of the first %d points are no valid config, and are left out, such as %s',
      len(errors),
      len(errors) + len(jobs),
      errors[0],
    )
  return jobs
