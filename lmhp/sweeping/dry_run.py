"""The cost of a sweep before it starts: trials, packs, compiled programs, memory and hours.

A structure is the part of a config that is compiled into a program. A pack is a group of trials
of one structure that one program trains together. A rung is a step at which trials are scored
and may be stopped.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
import dataclasses
import itertools
import math
import tempfile

from etils import epath

from lmhp.sweeping.budget import SearchPlan, plan_search, preview_jobs
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.confirmation import max_seeds
from lmhp.sweeping.execution.autotuning import Autotuner
from lmhp.sweeping.execution.pack_widths import WIDTHS, cut_into_packs
from lmhp.sweeping.space import as_space
from lmhp.sweeping.store.manifest import CalibrationCost
from lmhp.sweeping.tasks.task import Job, Task

MAX_PREVIEWED_POINTS = 256
"""Largest number of points whose structures are determined. The other points are assumed to
have the same structures, in the same proportions."""


@dataclasses.dataclass(frozen=True)
class Cost:
  """Cost of several trials together.

  Attributes:
    trials: Number of trials.
    steps: Updates of all trials.
    tokens: Training tokens of all trials.
    flops: Training FLOPs of all trials.
    hours: Training time of all trials in packs, in hours. NaN if no speed was measured.
  """

  trials: int
  steps: float
  tokens: float
  flops: float
  hours: float


@dataclasses.dataclass(frozen=True)
class StructureCost:
  """Cost of all trials that share their compiled programs.

  Attributes:
    cost: Cost of the trials.
    parameters: Number of parameters of the model.
    method: Method of execution: 'vmap', 'map' or 'loop'.
    pack_widths: Numbers of trials that a pack may have, without repetition. One program is
      compiled for each.
    reason: Reason for the method.
    bytes: Memory of the widest pack, in bytes.
    member_step_seconds: Seconds of one update of one trial. NaN if it was not measured.
  """

  cost: Cost
  parameters: int
  method: str
  pack_widths: list[int]
  reason: str
  bytes: float
  member_step_seconds: float


@dataclasses.dataclass(frozen=True)
class SweepEstimate:
  """Estimated cost of a sweep.

  Attributes:
    search: Cost of the search.
    confirmation: Cost of the confirmation.
    rungs: Steps at which trials are scored.
    stopped_early: True if rungs may stop trials. The cost assumes that each rung stops trials.
    unaffordable_calibration: Cost of the calibration of early stopping, if it is too high and
      no trial is stopped for this reason. None otherwise.
    structures: Cost of the search by structure.
  """

  search: Cost
  confirmation: Cost
  rungs: tuple[int, ...]
  stopped_early: bool
  unaffordable_calibration: CalibrationCost | None
  structures: list[StructureCost]

  @property
  def n_programs(self) -> int:
    """Number of programs to compile."""
    return sum(len(structure.pack_widths) for structure in self.structures)


def estimate_sweep(task: Task, sweep: SweepConfig) -> SweepEstimate:
  """Estimates the cost of a sweep.

  The programs are compiled and a few steps are measured. Nothing is stored.

  Args:
    task: Task of the sweep.
    sweep: Config of the sweep.
  """
  # The autotuner compiles the programs and measures them.
  with tempfile.TemporaryDirectory() as folder:
    autotuner = Autotuner(
      task, epath.Path(folder), sweep.execution, sweep.max_pack_width
    )
    plan = plan_search(task, sweep, as_space(sweep.space), autotuner)
    structures = _structures(task, sweep, plan, autotuner)

  costs = [structure.cost for structure in structures]
  search = Cost(
    trials=plan.n_points * sweep.seeds_per_point,
    steps=sum(cost.steps for cost in costs),
    tokens=sum(cost.tokens for cost in costs),
    flops=sum(cost.flops for cost in costs),
    hours=sum(cost.hours for cost in costs),
  )

  # The confirmation trains the best points and the base config.
  n_points = sweep.confirm_points + 1 if sweep.confirm_points else 0
  base = task.job({})
  n_confirmed = n_points * max_seeds(sweep, search.steps, n_points * base.steps)
  # The mean time of an update in the search.
  hours_per_step = search.hours / max(search.steps, 1)
  unaffordable = plan.schedule.unaffordable_calibration
  return SweepEstimate(
    search=search,
    confirmation=_cost(base, n_confirmed, n_confirmed * base.steps, hours_per_step),
    rungs=plan.schedule.steps,
    stopped_early=sweep.halving != 'none' and unaffordable is None,
    unaffordable_calibration=unaffordable,
    structures=structures,
  )


def _cost(job: Job, n_trials: int, steps: float, hours_per_step: float) -> Cost:
  """Returns the cost of trials whose updates all cost the same.

  Args:
    job: Complete config of one of the trials.
    n_trials: Number of trials.
    steps: Updates of all trials together.
    hours_per_step: Hours of one update of one trial.
  """
  return Cost(
    trials=n_trials,
    steps=steps,
    tokens=steps * job.tokens_per_step,
    flops=steps * job.flops_per_step,
    hours=steps * hours_per_step,
  )


def _structures(
  task: Task, sweep: SweepConfig, plan: SearchPlan, autotuner: Autotuner
) -> list[StructureCost]:
  """Returns the cost of each structure, from the first points of the search."""
  # Group the first points by their compiled program.
  n_previewed = min(plan.n_points, MAX_PREVIEWED_POINTS)
  space = as_space(sweep.space)
  previewed = preview_jobs(task, sweep, space, plan.n_points, n_previewed)
  jobs_of_structure = collections.defaultdict(list)
  for job in previewed:
    jobs_of_structure[job.structure].append(job)

  # With halving, only a fraction of the steps is trained.
  all_trials_steps = sweep.seeds_per_point * plan.n_points * task.job({}).steps
  trained_fraction = plan.steps / all_trials_steps
  costs = []
  for jobs in jobs_of_structure.values():
    # The previewed points represent all points.
    n_points = max(1, round(len(jobs) * plan.n_points / len(previewed)))
    n_trials = n_points * sweep.seeds_per_point
    costs.append(_structure_cost(autotuner, jobs, n_trials, trained_fraction, sweep))
  return costs


def _structure_cost(
  autotuner: Autotuner,
  jobs: Sequence[Job],
  n_trials: int,
  trained_fraction: float,
  sweep: SweepConfig,
) -> StructureCost:
  """Returns the cost of the trials of one structure.

  Args:
    autotuner: Chooses the method of execution ('vmap', 'map' or 'loop').
    jobs: Complete configs of some of the trials.
    n_trials: Number of trials. If there are fewer jobs, the jobs are repeated.
    trained_fraction: Number of steps that the search trains, divided by the number of steps if
      no trial were stopped. It is below 1 if rungs stop trials.
    sweep: Config of the sweep.
  """
  # The method that the study would choose for this number of trials.
  steps = trained_fraction * n_trials * jobs[0].steps
  # Only the first ones are measured, so at most one pack of them is needed.
  repeated = list(itertools.islice(itertools.cycle(jobs), min(n_trials, WIDTHS[-1])))
  method = autotuner.method_of(repeated, sweep.reseeds_data, steps)
  step_seconds = min(method.member_step_seconds.values(), default=math.nan)

  # A loop trains one trial at a time. Other methods compile a program for each width.
  pack_widths = [1]
  if method.method != 'loop':
    packs = cut_into_packs(n_trials, method.method, method.max_pack_width)
    pack_widths = sorted({width for _, width in packs})
  return StructureCost(
    cost=_cost(jobs[0], n_trials, steps, step_seconds / 3600),
    parameters=int(jobs[0].known_metrics.get('parameters', 0)),
    method=method.method,
    pack_widths=pack_widths,
    reason=method.reason,
    bytes=method.bytes_per_member * max(pack_widths),
    member_step_seconds=step_seconds,
  )
