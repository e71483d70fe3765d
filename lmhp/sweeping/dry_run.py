"""What a sweep would be, before it is spent: trials, packs, compiles, memory, FLOPs, hours."""

from __future__ import annotations

import collections
import tempfile
from typing import Any

from etils import epath

from lmhp.sweeping import budget as plans
from lmhp.sweeping import space as spaces
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.execution.autotuning import Autotuner
from lmhp.sweeping.execution.pack_widths import cut_into_packs
from lmhp.sweeping.search.designs import KINDS, Design

PREVIEWED = 256
"""Points whose structures are looked at; of those that a Bayesian search will choose the first design stands in."""


def describe(task: Any, sweep: SweepConfig) -> dict[str, Any]:
  """Counts what a sweep would take. The programs are compiled and a few steps measured; nothing is written.

  Returns:
    `trials`, `stopped_early` (whether rungs may stop trials), `rungs`, `structures` (one for each compiled program:
    its `trials`, `parameters`, `method`, `widths`, `bytes`, `member_step_seconds`), `compiles`, `steps`, `tokens`,
    `flops`, `hours`; the confirmation apart under `confirm`.
  """
  space = spaces.as_space(sweep.space)
  with tempfile.TemporaryDirectory() as folder:
    choices = Autotuner(task, epath.Path(folder), sweep.execution, sweep.max_pack_width)
    base = task.job({})
    seconds = None
    if sweep.seconds is not None:
      seconds = min(
        choices.method_of([base] * 8, False, float('inf')).member_step_seconds.values()
      )
    plan = plans.plan_search(task, sweep, space, seconds)
    jobs = [
      task.job(task.with_matched_length(point.overrides))
      for point in _preview(sweep, space, plan.n_points)
    ]
    share = plan.steps / (sweep.seeds_per_point * plan.n_points * base.steps)
    groups = collections.defaultdict(list)
    for job in jobs:
      groups[job.structure].append(job)
    structures = [
      _structure(choices, group, sweep, share, plan.n_points / len(jobs))
      for group in groups.values()
    ]
  total = lambda key: float(sum(s[key] for s in structures))
  points = sweep.confirm_points + (1 if sweep.confirm_points else 0)
  confirm_steps = points * sweep.confirm_seeds * base.steps
  rate = total('seconds') / max(total('steps'), 1)
  return {
    'trials': plan.n_points * sweep.seeds_per_point,
    'stopped_early': plan.halving is not None,
    'rungs': list(plan.rungs),
    'structures': structures,
    'compiles': sum(len(s['widths']) for s in structures),
    'steps': total('steps'),
    'tokens': total('tokens'),
    'flops': total('flops'),
    'hours': total('seconds') / 3600,
    'confirm': {
      'trials': points * sweep.confirm_seeds,
      'steps': confirm_steps,
      'tokens': confirm_steps * base.tokens_per_step,
      'flops': confirm_steps * base.flops_per_step,
      'hours': confirm_steps * rate / 3600,
    },
  }


def _preview(
  sweep: SweepConfig, space: spaces.Space, n_points: int
) -> list[spaces.Point]:
  if sweep.search == 'grid':
    return spaces.grid(space, sweep.grid_levels)[:PREVIEWED]
  kind = (
    sweep.search
    if sweep.search in KINDS
    else 'random'
    if sweep.search == 'pbt'
    else 'halton'
  )
  return Design(space, kind, sweep.search_seed).points(0, min(n_points, PREVIEWED))


def _structure(
  choices: Autotuner, jobs: list[Any], sweep: SweepConfig, share: float, scale: float
) -> dict[str, Any]:
  """One structure's part: `share` of its trials' steps are made, and each job stands for `scale` points."""
  n = max(1, round(len(jobs) * scale)) * sweep.seeds_per_point
  steps = share * n * jobs[0].steps
  choice = choices.method_of((jobs * n)[:n], sweep.data_order == 'per_trial', steps)
  seconds = min(choice.member_step_seconds.values(), default=float('nan'))
  cut = (
    sorted(
      {width for _, width in cut_into_packs(n, choice.method, choice.max_pack_width)}
    )
    if choice.method != 'loop'
    else [1]
  )
  return {
    'trials': n,
    'parameters': jobs[0].known_metrics.get('parameters', 0),
    'method': choice.method,
    'widths': cut,
    'reason': choice.reason,
    'bytes': choice.bytes_per_member * max(cut),
    'member_step_seconds': seconds,
    'steps': steps,
    'tokens': steps * jobs[0].tokens_per_step,
    'flops': steps * jobs[0].flops_per_step,
    'seconds': steps * seconds,
  }
