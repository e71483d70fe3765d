"""Bayesian search: points that are proposed from the results so far.

A point is one assignment of values to the parameters of a space. The first points are
quasi-random. Then a sampler proposes points in batches: TPE or a Gaussian process of Optuna, or
CMA-ES. The points are a pure function of the study's trials, so a study that was
killed proposes the same points again. A cohort is the set of points that are proposed at one
time.

Source: google-research/tuning_playbook, which recommends to begin with quasi-random search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
import contextlib
import dataclasses
import functools
import math
import statistics

from lmhp.declarations import static
from lmhp.errors import ConfigError
from lmhp.sections import keys, keys_of
from lmhp.sweeping.search.designs import check_subsamples
from lmhp.sweeping.search.method import (
  CohortPlan,
  PointResult,
  SamplerState,
  SearchMethod,
  SearchState,
)
from lmhp.sweeping.search.quasi_random import key_of
from lmhp.sweeping.space import Choice, CompiledSpace, Point, Space, Value, parameters
from lmhp.sweeping.store.trial import Trial, trials_by_point


@keys
class BayesianKeys:
  """Keys of the Bayesian methods. `static` declares a key that is not traced by JAX."""

  quasi_random_fraction: float = static(
    0.5,
    'fraction of the points that are quasi-random. They come first (search=auto, tpe, gp, cmaes)',
    low=0.0,
    high=1.0,
    converted_aliases={
      'n_startup_trials': 'n_startup_trials / sweep.trials',
      'n_initial_points': 'n_initial_points / sweep.trials',
    },
  )
  ask_batch_size: int = static(
    8,
    'number of points that are proposed at one time (search=auto, tpe, gp, cmaes)',
    low=1,
    aliases=('max_concurrent',),
  )


def propose(name: str, state: SearchState, n_points: int) -> list[Point]:
  """Returns the next points of a sampler.

  The result of a point is the mean over the seeds of its trials. Trials outside the space are
  left out. TPE and the Gaussian process treat the points that they have already proposed for
  this batch as running trials, so that the points of a batch differ.

  Args:
    name: Name of the search method: 'tpe', 'gp' or 'cmaes'. The random numbers depend on it.
    state: State of the study.
    n_points: Number of points.

  Source: Bergstra et al. 2011 (TPE). Watanabe, arXiv:2304.11127 (the multivariate kernel).
  Hansen, arXiv:1604.00772 (CMA-ES).
  """
  # One seed for each point, so that the points do not depend on the size of the batch.
  # `key_of` hashes the seed of the study and the names.
  numbers = range(state.first_point, state.first_point + n_points)
  seeds = [key_of(state.seed, 'ask', name, str(number)) % 2**32 for number in numbers]
  space = CompiledSpace(state.space)

  # TPE uses the scores of pruned trials, but Optuna accepts them only for a single objective.
  use_scores = name == 'tpe' and len(state.directions) == 1
  results = point_results(state.trials, space, use_scores)
  sampler_state = SamplerState(space, results, state.directions, tuple(seeds))

  # The packages optuna and cmaes take long to import, and cmaes is optional.
  if name == 'cmaes':
    from lmhp.sweeping.search import cma_es

    return cma_es.sample(sampler_state)
  from lmhp.sweeping.search import optuna_samplers

  return optuna_samplers.sample(name, sampler_state)


def point_results(
  trials: Iterable[Trial], space: CompiledSpace, use_scores: bool
) -> tuple[PointResult, ...]:
  """Returns the results of the points of a space, in the order of their numbers.

  Args:
    trials: Trials in any order. Those without final objectives are left out.
    space: Space. Points outside it are left out.
    use_scores: If True, the result of a pruned point contains its scores at rungs.
  """
  with_values = [trial for trial in trials if trial.values is not None]
  results = []
  for group in trials_by_point(with_values).values():
    # A missing parameter, or a value outside its domain, raises an error. The point then does
    # not belong to the space.
    with contextlib.suppress(KeyError, ValueError):
      values = space.point_of(group[0].parameters).parameters
      results.append(_mean_result(values, group, use_scores))
  return tuple(results)


def _mean_result(
  parameters: Mapping[str, Value], trials: Sequence[Trial], use_scores: bool
) -> PointResult:
  """Returns the mean result of the trials of one point."""
  # A point is pruned if all of its trials are pruned. Otherwise, its pruned trials are ignored.
  unpruned = [trial for trial in trials if trial.status != 'pruned']

  # The mean of each objective over the seeds.
  columns = zip(*[trial.values or () for trial in unpruned or trials], strict=True)
  values = tuple(statistics.fmean(column) for column in columns)

  # A sampler compares pruned points by their scores. Only rungs that all seeds reached count.
  scores = {}
  if use_scores and not unpruned:
    for step in sorted(set.intersection(*[set(trial.scores) for trial in trials])):
      scores[step] = statistics.fmean(trial.scores[step] for trial in trials)
  return PointResult(parameters, values, scores)


# --- cohorts --------------------------------------------------------------------------


def next_cohort(name: str, state: SearchState) -> CohortPlan:
  """Plans the next cohort of a Bayesian search: quasi-random points first, then batches.

  Args:
    name: Name of the method that proposes the batches.
    state: State of the study.
  """
  # The first cohort has all quasi-random points. Then each batch is a cohort.
  n_missing = max(0, state.n_planned - state.first_point)
  settings = keys_of(state.sweep, BayesianKeys)
  n_quasi_random = math.ceil(settings.quasi_random_fraction * state.n_planned)
  if state.first_point == 0 and n_quasi_random:
    return CohortPlan('halton', min(n_missing, n_quasi_random))
  return CohortPlan(name, min(n_missing, settings.ask_batch_size))


# --- search methods -------------------------------------------------------------------


def _check_cmaes_space(space: Space, is_traced: Callable[[str], bool]) -> None:
  check_subsamples(space, is_traced)
  for parameter in parameters(space):
    if isinstance(parameter.domain, Choice) or parameter.condition:
      raise ConfigError(
        f"sweep.search: got 'cmaes' for {parameter.name}, which is a Choice or has a "
        "condition, expected 'tpe'"
      )


TPE = SearchMethod(
  propose=functools.partial(propose, 'tpe'),
  next_cohort=functools.partial(next_cohort, 'tpe'),
  keys=BayesianKeys,
  changeable_keys=('ask_batch_size',),
  check_space=check_subsamples,
  depends_on_results=True,
  extends=True,
)
GP = dataclasses.replace(
  TPE,
  propose=functools.partial(propose, 'gp'),
  next_cohort=functools.partial(next_cohort, 'gp'),
  packages={'torch': 'pip install "lmhp[gp]"'},
)
CMAES = dataclasses.replace(
  TPE,
  propose=functools.partial(propose, 'cmaes'),
  next_cohort=functools.partial(next_cohort, 'cmaes'),
  check_space=_check_cmaes_space,
  max_objectives=1,
  packages={'cmaes': 'pip install "lmhp[cmaes]"'},
)
