"""The cost of a sweep before it starts: trials, packs, compiled programs, memory and hours."""

from __future__ import annotations

import collections
from collections.abc import Sequence
import dataclasses
import math
import tempfile

from etils import epath

from lmhp.sweeping.budget import SearchPlan, plan_search
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.execution.autotuning import Autotuner
from lmhp.sweeping.execution.pack_widths import cut_into_packs
from lmhp.sweeping.search.method import SearchState, preview_points
from lmhp.sweeping.space import as_space
from lmhp.sweeping.tasks.task import Job, Task

MAX_PREVIEWED_POINTS = 256
"""Number of points whose structures are looked at. The others are assumed to be alike."""


@dataclasses.dataclass(frozen=True)
class StructureCost:
  """Cost of all trials that share their compiled programs.

  Attributes:
    trials: Number of trials.
    parameters: Number of parameters of the model.
    method: Method of execution: 'vmap', 'map' or 'loop'.
    widths: Numbers of trials in the packs.
    reason: Reason for the method.
    bytes: Memory of the widest pack, in bytes.
    member_step_seconds: Seconds of one update of one trial. NaN if it was not measured.
    steps: Updates of all trials.
    tokens: Training tokens of all trials.
    flops: Training FLOPs of all trials.
    seconds: Seconds of all trials.
  """

  trials: int
  parameters: int
  method: str
  widths: list[int]
  reason: str
  bytes: float
  member_step_seconds: float
  steps: float
  tokens: float
  flops: float
  seconds: float


@dataclasses.dataclass(frozen=True)
class ConfirmationCost:
  """Cost of the confirmation.

  Attributes:
    trials: Number of trials.
    steps: Updates of all trials.
    tokens: Training tokens of all trials.
    flops: Training FLOPs of all trials.
    hours: Hours of all trials.
  """

  trials: int
  steps: float
  tokens: float
  flops: float
  hours: float


def describe(task: Task, sweep: SweepConfig) -> dict[str, object]:
  """Estimates the cost of a sweep.

  The programs are compiled and a few steps are measured. Nothing is stored.

  Args:
    task: Task of the sweep.
    sweep: Config of the sweep.

  Returns:
    `trials`, `stopped_early` (True if rungs may stop trials), `rungs`, `structures` (a
    `StructureCost` for each compiled program, as a dict), `compiles`, `steps`, `tokens`,
    `flops` and `hours` of the search, and `confirm` (a `ConfirmationCost`, as a dict).
  """
  space = as_space(sweep.space)
  with tempfile.TemporaryDirectory() as folder:
    autotuner = Autotuner(
      task, epath.Path(folder), sweep.execution, sweep.max_pack_width
    )
    step_seconds = None
    if sweep.seconds is not None:
      step_seconds = _base_step_seconds(task, autotuner)
    plan = plan_search(task, sweep, space, step_seconds)
    structures = _structures(task, sweep, plan, autotuner)

  steps = sum(structure.steps for structure in structures)
  seconds = sum(structure.seconds for structure in structures)
  confirmation = _confirmation(task, sweep, seconds / max(steps, 1))
  return {
    'trials': plan.n_points * sweep.seeds_per_point,
    'stopped_early': plan.halving is not None,
    'rungs': list(plan.rungs),
    'structures': [dataclasses.asdict(structure) for structure in structures],
    'compiles': sum(len(structure.widths) for structure in structures),
    'steps': steps,
    'tokens': sum(structure.tokens for structure in structures),
    'flops': sum(structure.flops for structure in structures),
    'hours': seconds / 3600,
    'confirm': dataclasses.asdict(confirmation),
  }


def _base_step_seconds(task: Task, autotuner: Autotuner) -> float:
  """Returns the measured seconds of an update of the base config."""
  jobs = [task.job({})] * 8
  method = autotuner.method_of(jobs, False, float('inf'))
  return min(method.member_step_seconds.values())


def _structures(
  task: Task, sweep: SweepConfig, plan: SearchPlan, autotuner: Autotuner
) -> list[StructureCost]:
  """Returns the cost of each structure, from the first points of the search."""
  state = SearchState(
    sweep=sweep,
    space=as_space(sweep.space),
    seed=sweep.search_seed,
    directions=sweep.directions,
    n_planned=plan.n_points,
  )
  n_points = min(plan.n_points, MAX_PREVIEWED_POINTS)
  points = preview_points(sweep.search, state, n_points)
  jobs_of_structure = collections.defaultdict(list)
  for point in points:
    job = task.job(task.with_matched_length(point.overrides))
    jobs_of_structure[job.structure].append(job)

  # Halving trains a part of the steps. Each previewed point stands for several.
  n_trials = sweep.seeds_per_point * plan.n_points
  trained_fraction = plan.steps / (n_trials * task.job({}).steps)
  costs = []
  for jobs in jobs_of_structure.values():
    n = max(1, round(len(jobs) * plan.n_points / len(points))) * sweep.seeds_per_point
    costs.append(_structure_cost(autotuner, jobs, n, trained_fraction, sweep))
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
    autotuner: Autotuner that chooses their method of execution.
    jobs: Jobs of the structure.
    n_trials: Number of trials. The jobs are repeated.
    trained_fraction: Fraction of their steps that is trained.
    sweep: Config of the sweep.
  """
  steps = trained_fraction * n_trials * jobs[0].steps
  repeated = (list(jobs) * n_trials)[:n_trials]
  data_per_trial = sweep.data_order == 'per_trial'
  method = autotuner.method_of(repeated, data_per_trial, steps)
  step_seconds = min(method.member_step_seconds.values(), default=math.nan)
  pack_widths = [1]
  if method.method != 'loop':
    packs = cut_into_packs(n_trials, method.method, method.max_pack_width)
    pack_widths = sorted({width for _, width in packs})
  return StructureCost(
    trials=n_trials,
    parameters=int(jobs[0].known_metrics.get('parameters', 0)),
    method=method.method,
    widths=pack_widths,
    reason=method.reason,
    bytes=method.bytes_per_member * max(pack_widths),
    member_step_seconds=step_seconds,
    steps=steps,
    tokens=steps * jobs[0].tokens_per_step,
    flops=steps * jobs[0].flops_per_step,
    seconds=steps * step_seconds,
  )


def _confirmation(
  task: Task, sweep: SweepConfig, step_seconds: float
) -> ConfirmationCost:
  """Returns the cost of the confirmation: the best points and the base config, on new seeds."""
  n_points = sweep.confirm_points
  if n_points:
    n_points += 1  # the base config
  base = task.job({})
  n_trials = n_points * sweep.confirm_seeds
  steps = n_trials * base.steps
  return ConfirmationCost(
    trials=n_trials,
    steps=steps,
    tokens=steps * base.tokens_per_step,
    flops=steps * base.flops_per_step,
    hours=steps * step_seconds / 3600,
  )
