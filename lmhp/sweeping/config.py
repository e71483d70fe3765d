"""`SweepConfig`: what an experiment file's `get_sweep()` asks for."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, Iterable, Mapping

from lmhp.config_keys import parse
from lmhp.declarations import declared, static
from lmhp.errors import ConfigError, suggest
from lmhp.sections import Section, section, wrong

SEARCHES = ('auto', 'grid', 'random', 'halton', 'sobol', 'tpe', 'gp', 'cmaes', 'pbt')
BAYESIAN = ('tpe', 'gp', 'cmaes')
QUASI_RANDOM = ('halton', 'sobol')
BUDGETS = ('trials', 'tokens', 'flops', 'seconds')
MATCHED_BUDGETS = ('steps', 'tokens', 'flops', 'seconds', 'none')


@section('sweep')
class SweepConfig(Section):
  """A study: what is varied, how it is searched, for how long, and what is compared.

  Attributes:
    space: what is varied: a dict from dotted path to `Float`, `Int`, `Choice`, ..., or a `Space`.
  """

  space: Any = dataclasses.field(default_factory=dict)

  search: str = static(
    'auto',
    'how points are chosen; auto: quasi-random first, Bayesian after',
    choices=SEARCHES,
    source='google-research/tuning_playbook: quasi-random first',
  )
  trials: int | None = static(
    None, 'budget in points of the space, each with all its seeds', low=1
  )
  tokens: float | None = static(
    None, 'budget in training tokens, cooldowns counted', unit='tokens', low=1
  )
  flops: float | None = static(None, 'budget in training FLOPs', unit='FLOPs', low=1)
  seconds: float | None = static(
    None,
    'budget in wall time, by the speed measured before the first trial',
    unit='seconds',
    low=0,
    open_low=True,
  )
  grid_levels: int = static(
    5, 'points of a grid along a Float, or along an Int of more values', low=2
  )
  search_seed: int = static(
    0,
    'of the search: what it draws and nothing else',
    unit='seed',
    low=0,
    high=2**32 - 1,
  )
  seeds_per_point: int = static(
    1, 'training seeds of each point, whose objectives are averaged', low=1
  )
  ask_batch_size: int = static(
    8, 'points that a Bayesian search asks for at a time', low=1
  )
  quasi_random_fraction: float = static(
    0.5,
    'share of the points of a Bayesian search that are quasi-random and come first',
    low=0.0,
    high=1.0,
  )

  objective: tuple[str, ...] = static(
    ('eval_loss_nats',),
    'metric that is minimized; two give a Pareto front: '
    'any metric of the evaluation or of the last step, parameters, flops, '
    'tokens, latency_seconds, kv_cache_bytes_per_token',
  )
  maximize: tuple[str, ...] = static(
    (), 'those of the objectives that are maximized, as eval_accuracy'
  )
  match_budget: str | None = static(
    None,
    'what all trials have the same amount of, as much as the base config; must be '
    "said where the space changes the batch, the model's size or the length",
    choices=MATCHED_BUDGETS,
    source='arXiv:1811.03600: equal steps compare token budgets',
  )
  data_order: str = static(
    'shared',
    'shared: all trials of a seed see the same batches, for paired comparisons; own: '
    'each trial draws its own order',
    choices=('shared', 'per_trial'),
  )

  halving: str = static(
    'none',
    'stop trials early, at rungs',
    choices=('none', 'successive', 'hyperband'),
    source='arXiv:1502.07943; arXiv:1603.06560',
  )
  eta: int = static(
    3,
    'of the trials at a rung one in eta goes on',
    low=2,
    source='arXiv:1603.06560 section 3',
  )
  first_rung_fraction: float | None = static(
    None,
    'the first rung; None is 1/27, or twice the longest warmup, during which '
    'rates have not met',
    unit='share of training',
    low=0.0,
    open_low=True,
    high=1.0,
  )
  rung_score: str = static(
    'auto',
    'what a rung compares: prefix, the state as it is; cooldown, a fork of it whose '
    'learning rate falls to zero; auto: cooldown where schedules decay',
    choices=('auto', 'prefix', 'cooldown'),
  )
  rung_cooldown_fraction: float = static(
    0.2,
    'length of that fork',
    unit='share of the rung',
    low=0.0,
    open_low=True,
    high=1.0,
  )
  n_calibration_trials: int = static(
    3,
    'trials that are trained in full, whatever their rungs say, to measure how well rungs '
    'predict the end',
    low=0,
  )
  min_rank_correlation: float | None = static(
    0.5,
    'rank correlation of a rung with the end below which it stops '
    'nobody; None stops them whatever it is',
    low=-1.0,
    high=1.0,
  )

  population_size: int = static(16, 'members of population-based training', low=2)
  pbt_interval_fraction: float = static(
    0.05,
    'steps between exchanges of population-based training',
    unit='share of training',
    low=0.0,
    open_low=True,
    high=1.0,
  )
  pbt_replaced_fraction: float = static(
    0.2,
    'share of the members that an exchange replaces',
    low=0.0,
    open_low=True,
    high=0.5,
    source='arXiv:1711.09846 appendix A',
  )

  execution: str = static(
    'auto',
    'how trials of one structure run together; auto measures',
    choices=('auto', 'vmap', 'map', 'loop'),
  )
  max_pack_width: int | None = static(
    None, 'most trials in one pack; None is what the memory holds', low=1
  )
  confirm_points: int = static(
    1,
    'best points that are trained again, beside the base config, on new seeds; 0 is none',
    low=0,
  )
  confirm_seeds: int = static(8, 'new seeds of each of them', low=2)

  def resolve(self) -> None:
    """Checks what involves several fields; the space is checked against the config, in `plan`."""
    said = [name for name in BUDGETS if getattr(self, name) is not None]
    if len(said) > 1:
      raise ConfigError(
        f'sweep.{said[1]}: got {getattr(self, said[1])!r}, expected None, since sweep.{said[0]} '
        'already is the budget'
      )
    if not said and self.search not in ('grid', 'pbt'):
      raise ConfigError(
        f'sweep.trials: got None, expected a budget: one of {", ".join(BUDGETS)}'
      )
    if said and said != ['trials'] and self.search == 'grid':
      raise ConfigError(
        f'sweep.{said[0]}: a grid is as long as its points, expected None; a Subsample takes some of '
        'them'
      )
    if said and said != ['trials'] and self.search == 'pbt':
      raise ConfigError(
        f'sweep.{said[0]}: population-based training is as long as its members, expected '
        'sweep.population_size'
      )
    if not 1 <= len(self.objective) <= 2:
      raise wrong(self, 'objective', 'one metric, or two for a Pareto front')
    for name in self.maximize:
      if name not in self.objective:
        raise wrong(
          self,
          'maximize',
          f'some of the objectives {", ".join(self.objective)}',
          self.objective,
        )
    if (
      self.halving != 'none'
      and self.min_rank_correlation is not None
      and self.n_calibration_trials < 3
    ):
      raise wrong(
        self,
        'n_calibration_trials',
        'at least 3, or sweep.min_rank_correlation=None: of fewer there is no rank '
        'correlation',
      )
    if self.search == 'pbt' and (self.halving != 'none' or self.seeds_per_point > 1):
      field = 'halving' if self.halving != 'none' else 'seeds_per_point'
      raise wrong(
        self,
        field,
        f'{"none" if field == "halving" else 1} with search=pbt, whose members depend on each '
        'other',
      )
    if self.search == 'cmaes' and len(self.objective) > 1:
      raise wrong(self, 'search', 'another search for two objectives: cmaes has one')

  def check_objective(self, known: Iterable[str]) -> None:
    """Refuses an objective that is none of the metrics there are."""
    known = tuple(dict.fromkeys(known))
    for name in self.objective:
      if name not in known:
        raise wrong(self, 'objective', 'metrics, of ' + ', '.join(known), known)

  @property
  def directions(self) -> tuple[str, ...]:
    """'minimize' or 'maximize' of each objective, in Optuna's words."""
    return tuple(
      'maximize' if name in self.maximize else 'minimize' for name in self.objective
    )


def override(sweep: SweepConfig, values: Mapping[str, Any]) -> SweepConfig:
  """A sweep with other values, each given as a value or as text.

  Raises:
    ConfigError: for a key that does not exist, with the nearest that does.
  """
  known = declared(SweepConfig)
  for name in values:
    if name not in known:
      raise ConfigError(f'sweep.{name}: no such key{suggest(name, known)}')
  hints = typing.get_type_hints(SweepConfig)
  parsed = {
    n: parse(v, hints[n]) if isinstance(v, str) else v for n, v in values.items()
  }
  budget = {name: None for name in BUDGETS} if set(parsed) & set(BUDGETS) else {}
  return dataclasses.replace(sweep, **{**budget, **parsed})
