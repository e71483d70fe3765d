"""`SweepConfig`, the config of a sweep, which `get_sweep()` of an experiment file returns.

A rung is a step at which trials are scored, and at which the worst trials may be stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses

from lmhp.config_keys import suggest_key
from lmhp.declarations import Declaration, declared, static
from lmhp.errors import ConfigError
from lmhp.sections import Section, add_keys, require, section, wrong
from lmhp.statistics.column_names import column_name
from lmhp.sweeping.search import bayesian, designs, grid, population_exchange
from lmhp.sweeping.search.method import SEARCH_METHODS, SearchMethod
from lmhp.sweeping.search.rungs import MIN_CALIBRATION_POINTS
from lmhp.sweeping.space import SpaceLike

BUDGETS = ('trials', 'tokens', 'flops', 'seconds')
"""Keys that state the budget of a search. At most one of them is set."""
MATCHED_BUDGETS = ('steps', 'tokens', 'flops', 'seconds', 'none')
"""Values of the key `match_budget`."""


@section('sweep')
class SweepConfig(Section):
  """A sweep: the search space, the search, its budget, and the objective.

  `aliases`, `value_aliases` and `converted_aliases` are names that other libraries use. Error
  messages for them contain the name in lmhp.

  Attributes:
    space: The search space: a dict from dotted path to `Float`, `Int`, `Choice` and so on, or
      a space of `lmhp.sweeping.space`.
  """

  space: SpaceLike = dataclasses.field(default_factory=dict)

  # --- search -------------------------------------------------------------------------

  search: str = static(
    'auto',
    'method that chooses the points to try. auto: quasi-random points first, then TPE',
    choices=SEARCH_METHODS,
    aliases=('sampler', 'search_alg', 'method', 'algorithm'),
    value_aliases={
      'bayes': "'tpe' or 'gp'",
      'bayesian': "'tpe' or 'gp'",
      'bohb': "'tpe' with sweep.halving='hyperband'",
      'cma-es': "'cmaes'",
      'cmaessampler': "'cmaes'",
      'gpsampler': "'gp'",
      'gridsampler': "'grid'",
      'hyperopt': "'tpe'",
      'optuna': "'tpe'",
      'qmc': "'halton' or 'sobol'",
      'qmcsampler': "'halton' or 'sobol'",
      'randomsampler': "'random'",
      'tpesampler': "'tpe'",
    },
    source='google-research/tuning_playbook: quasi-random search first',
  )
  search_seed: int = static(
    0,
    'random seed of the search. The seeds of training are separate',
    unit='seed',
    low=0,
    high=2**32 - 1,
    aliases=('sampler_seed', 'random_state'),
  )
  seeds_per_point: int = static(
    1,
    'number of training seeds of each point. The search uses the mean objective over the seeds',
    low=1,
    aliases=('repeat', 'n_seeds'),
  )

  # --- budget -------------------------------------------------------------------------

  trials: int | None = static(
    None,
    'budget: number of points to try. Each point is trained seeds_per_point times, each time '
    'with another seed',
    low=1,
    high=1_000_000,
    aliases=('n_trials', 'num_samples', 'run_cap', 'count'),
  )
  tokens: float | None = static(
    None,
    'budget: training tokens of all trials together',
    unit='tokens',
    low=1,
  )
  flops: float | None = static(
    None,
    'budget: training FLOPs of all trials together',
    unit='FLOPs',
    low=1,
    aliases=('compute_budget',),
  )
  seconds: float | None = static(
    None,
    'budget: wall time of the search. The speed is measured before the first trial',
    unit='seconds',
    low=0,
    open_low=True,
    aliases=('timeout', 'time_budget_s'),
  )
  match_budget: str | None = static(
    None,
    'quantity that is equal for all trials and the base config. train.steps of each trial is '
    'set accordingly. none: trials may differ. Required if the space changes the batch size, '
    'the model size or the sequence length',
    choices=MATCHED_BUDGETS,
    source='arXiv:1811.03600: with equal steps, a larger batch size uses more data and compute',
  )

  # --- objective ----------------------------------------------------------------------

  objective: tuple[str, ...] = static(
    ('eval_loss_nats',),
    'metric to optimize, or two metrics for a Pareto front. Accepted: the metrics of the last '
    'evaluation, the metrics of the last training step, parameters, flops, tokens, '
    'latency_seconds, kv_cache_bytes_per_token',
    aliases=('metric', 'monitor', 'target'),
  )
  maximize: tuple[str, ...] | None = static(
    None,
    'objectives that are maximized. None: those named as a metric that should be high, such as '
    'eval_accuracy',
    converted_aliases={
      'direction': "the name of the objective, for direction='maximize'",
      'directions': "the names of the objectives with the direction 'maximize'",
      'mode': "the name of the objective, for mode='max'",
      'goal': "the name of the objective, for goal='maximize'",
    },
  )
  data_order: str = static(
    'shared',
    'order of the training data. shared: one order for all trials, which reduces the noise of '
    'comparisons. per_trial: the order depends on the seed of the trial',
    choices=('shared', 'per_trial'),
  )

  # --- halving ------------------------------------------------------------------------

  halving: str = static(
    'none',
    'early stopping of bad trials at certain steps, the rungs. successive: successive halving. '
    'hyperband: successive halving in several groups of trials. Each group has another first '
    'rung',
    choices=('none', 'successive', 'hyperband'),
    aliases=('pruner', 'scheduler', 'early_terminate'),
    value_aliases={
      'asha': "'successive'",
      'hyperbandpruner': "'hyperband'",
      'nop': "'none'",
      'noppruner': "'none'",
      'sha': "'successive'",
      'successive_halving': "'successive'",
      'successivehalvingpruner': "'successive'",
    },
    source='arXiv:1502.07943; arXiv:1603.06560',
  )
  eta: int = static(
    3,
    'at each rung, one of eta trials continues',
    low=2,
    aliases=('reduction_factor',),
    source='arXiv:1603.06560 section 3',
  )
  first_rung_fraction: float | None = static(
    None,
    'first rung, the earliest step at which trials are compared. None: 1/27, or twice the '
    'longest warmup if this is above 1/27',
    unit='fraction of training',
    low=0.0,
    open_low=True,
    high=1.0,
    converted_aliases={
      'min_resource': 'min_resource / train.steps',
      'grace_period': 'grace_period / train.steps',
      'min_iter': 'min_iter / train.steps',
    },
  )
  rung_score: str = static(
    'auto',
    'score of a trial at a rung. prefix: its objective at that step. cooldown: the objective of '
    'a copy that is trained further while its learning rate decays to zero. auto: cooldown if a '
    'schedule decays or is varied, else prefix',
    choices=('auto', 'prefix', 'cooldown'),
  )
  rung_cooldown_fraction: float = static(
    0.2,
    'length of the decay to zero for rung_score=cooldown',
    unit='fraction of the steps up to the rung',
    low=0.0,
    open_low=True,
    high=1.0,
  )
  n_calibration_trials: int = static(
    6,
    'number of points (with all of their seeds) that are trained to the end, to test how well '
    'the scores at a rung predict the final scores. No trial is stopped if these points need '
    'more than a quarter of the tokens of a sweep without halving',
    low=0,
  )
  min_rank_correlation: float | None = static(
    0.82,
    'a rung stops trials only if the rank correlation of its scores with the final scores is at '
    'least this value, and is significant. None: every rung stops trials, without a test',
    low=-1.0,
    high=1.0,
  )

  # --- execution and confirmation -----------------------------------------------------

  execution: str = static(
    'auto',
    'how the trials that share a compiled program run. vmap: in parallel, in one program. map: '
    'one after another, in one program. loop: one after another, one program call for each. '
    'auto: the fastest, as measured',
    choices=('auto', 'vmap', 'map', 'loop'),
  )
  max_pack_width: int | None = static(
    None,
    'largest number of trials that train together. None: as many as fit in memory',
    low=1,
    aliases=('n_jobs', 'max_concurrent_trials'),
  )
  confirm_points: int = static(
    1,
    'number of best points that are trained again on new seeds and compared with the base '
    'config. 0: no confirmation',
    low=0,
  )
  confirm_seeds: int | None = static(
    None,
    'largest number of new seeds for each point of the confirmation. It stops before as soon as '
    'the difference is clear, or will hardly become clear. None: as many as cost less than the '
    'search, and 2 to 8',
    low=2,
  )

  def __new__(cls, **values: object) -> SweepConfig:
    """Checks the names of the keys, and suggests others, which `__init__` would not."""
    for name in values:
      if name not in {field.name for field in dataclasses.fields(cls)}:
        raise unknown_key(name)
    return super().__new__(cls)

  def resolve(self) -> None:
    """Checks the keys that depend on each other."""
    method = SEARCH_METHODS[self.search]
    self._check_budget(method)
    self._check_objectives(method)
    if method.population is not None:
      self._check_population()
    tests_rungs = self.halving != 'none' and self.min_rank_correlation is not None
    require(
      self,
      not tests_rungs or self.n_calibration_trials >= MIN_CALIBRATION_POINTS,
      'n_calibration_trials',
      f'at least {MIN_CALIBRATION_POINTS}, since the ranks of fewer trials may agree by '
      'chance, or sweep.min_rank_correlation=None',
    )

  def _check_budget(self, method: SearchMethod) -> None:
    """Checks that exactly one budget is set, or none if the method needs none."""
    given = [name for name in BUDGETS if getattr(self, name) is not None]
    if len(given) > 1:
      raise wrong(self, given[1], f'None, since sweep.{given[0]} is the budget')
    if not given and method.n_points is None:
      raise wrong(self, 'trials', f'a budget: one of {", ".join(BUDGETS)}')
    if given and given[0] != 'trials' and method.n_points is not None:
      raise wrong(
        self, given[0], f'None, since search={self.search} decides the number of points'
      )

  def _check_objectives(self, method: SearchMethod) -> None:
    n_objectives = len(self.objective)
    require(
      self,
      1 <= n_objectives <= 2,
      'objective',
      'one metric, or two for a Pareto front',
    )
    require(
      self,
      n_objectives <= method.max_objectives,
      'search',
      f'another method, since {self.search} accepts only one objective',
    )
    for name in self.maximize or ():
      if name not in self.objective:
        accepted = f'some of the objectives {", ".join(self.objective)}'
        raise wrong(self, 'maximize', accepted, self.objective)

  def _check_population(self) -> None:
    """Checks the keys that cannot be combined with a population method."""
    # The members copy states from each other, so no trial can stop early or be repeated.
    reason = f'with search={self.search}, whose trials copy states from each other'
    require(self, self.halving == 'none', 'halving', f'none {reason}')
    require(self, self.seeds_per_point == 1, 'seeds_per_point', f'1 {reason}')

  def check_objective(self, metrics: Iterable[str]) -> None:
    """Checks that the objectives are metrics of the task.

    Args:
      metrics: Names of all metrics.

    Raises:
      ConfigError: If an objective is not one of them.
    """
    metrics = tuple(dict.fromkeys(metrics))
    for name in self.objective:
      if name not in metrics:
        accepted = f'one of the metrics {", ".join(metrics)}'
        raise wrong(self, 'objective', accepted, metrics)

  @property
  def directions(self) -> tuple[str, ...]:
    """'minimize' or 'maximize' for each objective, in the words of Optuna."""
    return tuple(
      'maximize' if self.maximizes(name) else 'minimize' for name in self.objective
    )

  @property
  def signs(self) -> tuple[float, ...]:
    """Factor of each objective that makes lower better: -1 if it is maximized, else 1."""
    return tuple(-1.0 if self.maximizes(name) else 1.0 for name in self.objective)

  def maximizes(self, objective: str) -> bool:
    """Returns True if an objective is maximized."""
    if self.maximize is not None:
      return objective in self.maximize
    return column_name(objective).direction > 0

  @property
  def reseeds_data(self) -> bool:
    """True if each seed has its own order of the training data."""
    return self.data_order == 'per_trial'


# --- search methods -------------------------------------------------------------------


def register_search(name: str, method: SearchMethod) -> SearchMethod:
  """Adds a search method, and its keys to `SweepConfig`. Plugins call this too.

  Args:
    name: Name of the method, a value of `sweep.search`.
    method: The method, which is returned.

  Raises:
    ConfigError: If another module has registered this name, or a key of the method exists with
      another declaration.
  """
  SEARCH_METHODS.register(name, method)
  if method.keys is not None:
    add_keys(SweepConfig, method.keys)
  return method


_METHODS = {
  'auto': bayesian.TPE,
  'grid': grid.GRID,
  'random': designs.search_method('random'),
  'halton': designs.search_method('halton'),
  'sobol': designs.search_method('sobol'),
  'tpe': bayesian.TPE,
  'gp': bayesian.GP,
  'cmaes': bayesian.CMAES,
  'pbt': population_exchange.PBT,
}
for _name, _method in _METHODS.items():
  register_search(_name, _method)


# --- keys by name ---------------------------------------------------------------------


def sweep_keys() -> dict[str, Declaration]:
  """Returns the declarations of all keys of a sweep, by dotted path."""
  return {
    'sweep.space': Declaration(
      doc='the search space',
      aliases=('search_space', 'param_space', 'parameters', 'param_distributions'),
    ),
    **{f'sweep.{name}': key for name, key in declared(SweepConfig).items()},
  }


def unknown_key(name: str) -> ConfigError:
  """Builds the error for a key of a sweep that does not exist. It suggests a key."""
  path = f'sweep.{name}'
  return ConfigError(f'{path}: no such key{suggest_key(path, sweep_keys())}')
