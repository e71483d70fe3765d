"""Samplers of Optuna (TPE and a Gaussian process) that propose points from earlier results.

Optuna does not store the state of a sampler. So each call builds a study in memory from the
results so far, and each new point has a new sampler with its own seed.
"""

from __future__ import annotations

from collections.abc import Mapping
import functools
import warnings

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lmhp.renamed_keys import stream_name
from lmhp.sweeping.search.method import PointResult, SamplerState
from lmhp.sweeping.space import Choice, CompiledSpace, Float, Parameter, Point, Value
from lmhp.sweeping.store.optuna_distributions import distribution_of, quiet_optuna


def _sampler(name: str, seed: int, space: CompiledSpace) -> BaseSampler:
  """Returns a Gaussian process ('gp'), or a multivariate TPE sampler ('tpe')."""
  with warnings.catch_warnings(
    action='ignore', category=optuna.exceptions.ExperimentalWarning
  ):
    if name == 'gp':
      return GPSampler(seed=seed)
    has_conditions = any(parameter.condition for parameter in space.parameters)
    return TPESampler(
      seed=seed, multivariate=True, group=has_conditions, constant_liar=True
    )


def sample(name: str, state: SamplerState) -> list[Point]:
  """Returns one new point for each seed.

  Args:
    name: Name of the search method, 'tpe' or 'gp'.
    state: Space, results so far, and the seeds.
  """
  parameter_of = {parameter.name: parameter for parameter in state.space.parameters}
  directions = [StudyDirection[direction.upper()] for direction in state.directions]
  with quiet_optuna():
    study = optuna.create_study(
      directions=directions, storage=optuna.storages.InMemoryStorage()
    )
    study.add_trials([_optuna_trial(r, parameter_of) for r in state.results])

    # Each point is drawn by a new sampler. The points drawn before it are running trials.
    points = []
    for seed in state.seeds:
      study.sampler = _sampler(name, seed, state.space)
      trial = study.ask()
      point = state.space.draw_point(functools.partial(_suggest, trial))
      points.append(point)

      # Replace Optuna's trial by one from `_optuna_trial`. So a running point looks the same to
      # the next sampler, whether it was drawn in this call or in an earlier one. The samplers
      # ignore the failed trial.
      study.tell(trial, state=TrialState.FAIL)
      study.add_trial(_optuna_trial(PointResult(point.parameters), parameter_of))
  return points


def _optuna_trial(
  result: PointResult, parameter_of: Mapping[str, Parameter]
) -> FrozenTrial:
  """Returns the result of a point as a trial of Optuna."""
  # A point without a result is running, and one with scores was pruned.
  if result.values is None:
    status = TrialState.RUNNING
  elif result.scores:
    status = TrialState.PRUNED
  else:
    status = TrialState.COMPLETE
  params = {}
  distributions = {}
  for name, value in result.parameters.items():
    # `stream_name` is the old name of a renamed key, so that draws stay the same.
    key = stream_name(name)
    domain = parameter_of[name].domain
    # Optuna accepts only simple values in a choice. So a `Choice` is passed to Optuna as the
    # index of its value.
    if isinstance(domain, Choice):
      params[key] = domain.values.index(value)
      distributions[key] = CategoricalDistribution(range(len(domain.values)))
    else:
      params[key] = value
      distributions[key] = distribution_of(parameter_of[name])
  return optuna.trial.create_trial(
    state=status,
    values=result.values,
    params=params,
    distributions=distributions,
    intermediate_values=dict(result.scores),
  )


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Value:
  """Draws a value. For a `Choice`, Optuna draws the index of the value."""
  name = stream_name(parameter.name)
  domain = parameter.domain
  if isinstance(domain, Choice):
    index = trial.suggest_categorical(name, range(len(domain.values)))
    return domain.values[index]
  if isinstance(domain, Float):
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log)
  return trial.suggest_int(name, domain.low, domain.high, log=domain.log)
