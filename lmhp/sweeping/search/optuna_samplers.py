"""Samplers of Optuna: TPE and a Gaussian process, over the results of a study.

Optuna does not store the state of a sampler. So each call builds a study in memory from the
results so far, and each new point has a new sampler with its own seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import functools
import warnings

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lmhp.renamed_keys import stream_name
from lmhp.sweeping.search.sampler import PointResult, SamplerState
from lmhp.sweeping.space import Choice, CompiledSpace, Float, Parameter, Point, Value
from lmhp.sweeping.store.optuna_distributions import distribution_of, quiet_optuna

SamplerFactory = Callable[[int, CompiledSpace], BaseSampler]
"""Function from a seed and a space to a sampler."""


def tpe_sampler(seed: int, space: CompiledSpace) -> BaseSampler:
  """Returns a multivariate TPE sampler."""
  has_conditions = any(parameter.condition for parameter in space.parameters)
  with _experimental_warnings_off():
    return TPESampler(
      seed=seed, multivariate=True, group=has_conditions, constant_liar=True
    )


def gp_sampler(seed: int, space: CompiledSpace) -> BaseSampler:
  """Returns a sampler that models the objective by a Gaussian process."""
  del space
  with _experimental_warnings_off():
    return GPSampler(seed=seed)


def _experimental_warnings_off() -> warnings.catch_warnings:
  return warnings.catch_warnings(
    action='ignore', category=optuna.exceptions.ExperimentalWarning
  )


def sample(state: SamplerState, make_sampler: SamplerFactory) -> list[Point]:
  """Returns one new point for each seed.

  Args:
    state: Results and seeds.
    make_sampler: Function that makes the sampler of one point.
  """
  parameter_of = {parameter.name: parameter for parameter in state.space.parameters}
  directions = [StudyDirection[name.upper()] for name in state.directions]
  with quiet_optuna():
    study = optuna.create_study(
      directions=directions, storage=optuna.storages.InMemoryStorage()
    )
    study.add_trials([_optuna_trial(r, parameter_of) for r in state.results])

    # Each point is drawn by a new sampler, which gets the points before it as running trials.
    points = []
    for seed in state.seeds:
      study.sampler = make_sampler(seed, state.space)
      trial = study.ask()
      point = state.space.draw_point(functools.partial(_suggest, trial))
      points.append(point)

      # Replace the trial by a running one like those that are made from results.
      study.tell(trial, state=TrialState.FAIL)
      running = PointResult(point.parameters, None)
      study.add_trial(_optuna_trial(running, parameter_of))
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
    parameter = parameter_of[name]
    params[stream_name(name)] = _optuna_value(value, parameter)
    distributions[stream_name(name)] = _distribution(parameter)
  return optuna.trial.create_trial(
    state=status,
    values=result.values,
    params=params,
    distributions=distributions,
    intermediate_values=dict(result.scores),
  )


# Optuna accepts only simple values in a choice. So a `Choice` is passed to Optuna as the index
# of its value.


def _distribution(parameter: Parameter) -> BaseDistribution:
  if isinstance(parameter.domain, Choice):
    return CategoricalDistribution(range(len(parameter.domain.values)))
  return distribution_of(parameter)


def _optuna_value(value: Value, parameter: Parameter) -> Value:
  if isinstance(parameter.domain, Choice):
    return parameter.domain.values.index(value)
  return value


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Value:
  name = stream_name(parameter.name)
  domain = parameter.domain
  if isinstance(domain, Choice):
    index = trial.suggest_categorical(name, range(len(domain.values)))
    return domain.values[index]
  if isinstance(domain, Float):
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log)
  return trial.suggest_int(name, domain.low, domain.high, log=domain.log)
