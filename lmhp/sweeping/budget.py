"""What a sweep will be, before anything is spent: checks, rungs, how many points a budget buys."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Mapping

from lmhp import config as config_lib
from lmhp import config_keys
from lmhp.errors import ConfigError
from lmhp.hypers import flatten
from lmhp.sections import wrong
from lmhp.sweeping import space as spaces
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.search import designs, halving
from lmhp.sweeping.search import rungs as ladder
from lmhp.sweeping.store.manifest import RungSchedule
from lmhp.sweeping.tasks.language_model import LanguageModel
from lmhp.training.config import LENGTHS

MEAN_OVER_POINTS = 16
"""Points of the design over which the cost of a trial is averaged, where trials differ in cost."""


@dataclasses.dataclass(frozen=True)
class SearchPlan:
  """The size of a search.

  Attributes:
    n_points: points of the space.
    rungs: steps of the base config at which trials are scored, the last its end.
    halving: how trials are stopped at them; None where none is.
    cooldown: whether rungs score a fork that cools down.
    steps: updates that the search makes, cooldowns counted, where every rung may stop trials.
  """

  n_points: int
  rungs: tuple[int, ...]
  halving: halving.HalvingPlan | None
  cooldown: bool
  steps: float

  @property
  def schedule(self) -> RungSchedule:
    """The rungs, as the study stores them."""
    return RungSchedule(self.rungs, self.cooldown)


def checked_language_model(
  config: Any, sweep: SweepConfig, dtype: str | None = None
) -> LanguageModel:
  """The task of a sweep of lmhp's trainer, once everything that can be checked is.

  Raises:
    ConfigError: for a space that cannot be what was meant; trials of unlike tokens, FLOPs or length without a word on
      what is held equal; a loss per token where the tokenizer varies.
  """
  space = spaces.as_space(sweep.space)
  base = flatten(config_lib.resolve(config_lib.to_config_dict(config)))
  paths = spaces.varied_paths(space)
  if unknown := sorted(paths - {*config_keys.keys()}):
    raise ConfigError(f'{unknown[0]}: no such key{config_keys.suggest_key(unknown[0])}')
  spaces.check(space, config_keys.keys(), base)
  _check_length(sweep, paths)
  _check_seeds(sweep, paths)
  _check_objective(sweep, space, paths)
  rates = [
    p for p, d in config_keys.keys().items() if d.static_when_neutral and p in paths
  ]
  present = [
    p
    for p in rates
    if any(v != config_keys.keys()[p].neutral for v in _values(space, p))
  ]
  task = LanguageModel(
    config, present=present, match_budget=sweep.match_budget, dtype=dtype
  )
  _check_held_equal(task, sweep, space, paths)
  task.check(sweep)
  return task


def _values(space: Any, path: str) -> tuple:
  return tuple(spaces.values_of(space, path))


def _check_seeds(sweep: SweepConfig, paths: set[str]) -> None:
  """A seed that is a question of its own is not drawn anew."""
  if 'train.seed' in paths and sweep.seeds_per_point > 1:
    raise wrong(sweep, 'seeds_per_point', '1, since the space varies train.seed itself')


def _check_length(sweep: SweepConfig, paths: set[str]) -> None:
  lengths = [f'train.{name}' for name in LENGTHS if f'train.{name}' in paths]
  if lengths and sweep.match_budget != 'none':
    raise ConfigError(
      f"sweep.match_budget: got {sweep.match_budget!r}, expected 'none', since the space varies the "
      f'length of training itself ({lengths[0]})'
    )


def _check_objective(sweep: SweepConfig, space: Any, paths: set[str]) -> None:
  """Losses per token of different tokenizers do not compare."""
  tokenizers = {'data.tokenizer', 'data.path', 'data.vocab_size'} & paths
  per_token = [
    name
    for name in sweep.objective
    if name in ('eval_loss_nats', 'eval_perplexity', 'eval_accuracy')
  ]
  if tokenizers and per_token:
    raise ConfigError(
      f"sweep.objective: got {per_token[0]!r}, expected 'eval_bits_per_byte', since the space varies "
      f'{min(tokenizers)}, and losses per token of different tokens do not compare'
    )


def _check_held_equal(
  task: LanguageModel, sweep: SweepConfig, space: Any, paths: set[str]
) -> None:
  """Asks what is held equal, where trials differ in length or cost and nobody has said it."""
  if sweep.match_budget is not None:
    return
  base = task.job({}).known_metrics
  for path in sorted(paths):
    if config_keys.keys()[path].traced or path.partition('.')[0] not in (
      'model',
      'train',
      'data',
    ):
      continue
    for value in _values(space, path):
      try:
        facts = task.job({path: value}).known_metrics
      except ConfigError:  # alone it is not possible, or not a length
        continue
      unlike = [name for name in ('tokens', 'flops') if facts[name] != base[name]]
      if unlike:
        raise ConfigError(
          'sweep.match_budget: got None, expected steps, tokens, flops or seconds, since '
          f"{path}={value!r} makes trials of {facts[unlike[0]]:.3g} {unlike[0]} beside the base config's "
          f'{base[unlike[0]]:.3g}'
        )


def plan_search(
  task: Any,
  sweep: SweepConfig,
  space: Any,
  base_step_seconds: float | None = None,
  begun: RungSchedule | None = None,
) -> SearchPlan:
  """The size of the search that a budget buys.

  Args:
    task: what is run.
    sweep: what is asked for.
    space: the space.
    base_step_seconds: of a member's update, as measured; needed for a budget in seconds alone.
    begun: rungs that the study was begun with; a wider space does not move them.
  """
  base = task.job({})
  begun = begun or ladder_of(task, sweep, space, base.steps)
  cooldown, rungs = begun.cooldown, begun.steps
  kind = sweep.halving if sweep.halving != 'none' else 'successive'
  fraction = sweep.rung_cooldown_fraction if cooldown else 0.0
  how = (rungs, sweep.eta, sweep.n_calibration_trials, fraction, kind)
  n = _n_points(
    task,
    sweep,
    space,
    base,
    lambda steps: ladder.points_for(steps / sweep.seeds_per_point, *how),
    base_step_seconds,
  )
  plan = None
  if sweep.halving != 'none':
    plan = halving.HalvingPlan(
      rungs=rungs,
      eta=sweep.eta,
      kind=sweep.halving,
      brackets=ladder.brackets(n, sweep.eta, len(rungs), sweep.halving),
      calibration_points=sweep.n_calibration_trials,
      min_rank_correlation=sweep.min_rank_correlation,
    )
  return SearchPlan(
    n, rungs, plan, cooldown, sweep.seeds_per_point * ladder.cost_in_steps(n, *how)
  )


def ladder_of(task: Any, sweep: SweepConfig, space: Any, steps: int) -> RungSchedule:
  """The rungs of a study and whether they score forks, as JSON."""
  if sweep.halving == 'none':
    return RungSchedule((steps,))
  rungs = ladder.rungs(
    steps, sweep.eta, sweep.first_rung_fraction or _first_rung(task, space)
  )
  return RungSchedule(tuple(rungs), _cools_down(task, sweep, space))


def _first_rung(task: Any, space: Any) -> float:
  """Where the first rung is, as a share of training, unless somebody says so: after every trial's warmup."""
  return min(1.0, max(1 / 27, 2 * task.longest_warmup_fraction(space)))


def _cools_down(task: Any, sweep: SweepConfig, space: Any) -> bool:
  """Whether rungs score forks: where asked for, or where some schedule decays, whose prefix says little of its end."""
  if sweep.rung_score != 'auto':
    return sweep.rung_score == 'cooldown'
  paths = spaces.varied_paths(space)
  return any(p.startswith('schedule.') for p in paths) or task.decays()


def _n_points(
  task: Any,
  sweep: SweepConfig,
  space: Any,
  base: Any,
  points: Any,
  step_seconds: float | None,
) -> int:
  """Points that the budget buys, at least one."""
  if sweep.search == 'pbt':
    return sweep.population_size
  if sweep.search == 'grid':
    n = len(spaces.grid(space, sweep.grid_levels))
    if sweep.trials is not None and sweep.trials < n:
      raise wrong(
        sweep, 'trials', f'at least the {n} points of the grid, or a Subsample of it'
      )
    return n
  if sweep.trials is not None:
    return sweep.trials
  if sweep.seconds is not None:
    budget = sweep.seconds / step_seconds
  else:
    name = 'tokens' if sweep.tokens is not None else 'flops'
    budget = base.steps * getattr(sweep, name) / _mean_cost(task, sweep, space, name)
  n = points(budget)
  if not n:
    raise ConfigError(
      f'sweep: the budget buys not even one trial of {base.steps} steps'
    )
  return n


def _mean_cost(task: Any, sweep: SweepConfig, space: Any, name: str) -> float:
  """Tokens or FLOPs of a whole trial, the mean over the first points of a design."""
  kind = sweep.search if sweep.search in designs.KINDS else 'halton'
  most = designs.most_points(space) or MEAN_OVER_POINTS
  points = designs.Design(space, kind, sweep.search_seed).points(
    0, min(most, MEAN_OVER_POINTS)
  )
  costs = [
    task.job(task.with_matched_length(point.overrides)).known_metrics.get(name, 0.0)
    for point in points
  ]
  if not math.fsum(costs):
    raise ConfigError(
      f'sweep.{name}: trials of this task have no {name}, expected a budget in trials'
    )
  return math.fsum(costs) / len(costs)
