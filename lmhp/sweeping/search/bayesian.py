"""Points of a Bayesian search: Optuna's samplers, and CMA-ES, told what is known and asked for more."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import math
from typing import Any, Mapping, Sequence
import warnings

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from lmhp.errors import ConfigError
from lmhp.renamed_keys import stream_name
from lmhp.sweeping.search.quasi_random import key_of
from lmhp.sweeping.space.compiled_space import CompiledSpace, Parameter, Point
from lmhp.sweeping.space.domains import Choice, Float, from_unit, unit
from lmhp.sweeping.store.optuna_distributions import distribution_of, quiet_optuna
from lmhp.sweeping.store.trial import Trial

_EXTRAS = {'gp': 'torch', 'cmaes': 'cmaes'}


def ask(
  trials: Sequence[Trial],
  space: Any,
  kind: str,
  seed: int,
  n: int,
  directions: Sequence[str],
  first_number: int | None = None,
) -> list[Point]:
  """New points, given what is known: a pure function of its arguments, so that a killed study asks for the same again.

  Trials of one point enter as one, with the mean over its seeds; diverged ones with their finite bad value. Points
  that run, and those of the batch so far, are taken into account, so that a batch is no heap of one point. Points
  outside the space, as it is now, are left out.

  Args:
    trials: those so far, in any order.
    space: the space.
    kind: 'tpe', 'gp' (needs torch) or 'cmaes' (needs cmaes).
    seed: of the study.
    n: how many points.
    directions: `minimize` or `maximize`, one for each objective.
    first_number: what the first point's randomness is keyed by; None is the number after the last trial's.

  Raises:
    ConfigError: where the kind needs a package that is not there, or cannot search such a space.

  Source: Bergstra et al. 2011 (TPE); Watanabe, arXiv:2304.11127 (its multivariate kernel); Hansen, arXiv:1604.00772.
  """
  if (package := _EXTRAS.get(kind)) and importlib.util.find_spec(package) is None:
    raise ConfigError(
      f'sweep.search: got {kind!r}, which needs {package}; pip install "lmhp[{kind}]"'
    )
  if first_number is None:
    first_number = max((trial.number for trial in trials), default=-1) + 1
  seeds = [
    key_of(seed, 'ask', kind, str(number)) % 2**32
    for number in range(first_number, first_number + n)
  ]
  plan = CompiledSpace(space)
  known = _known_points(trials, plan, len(directions) == 1 and kind == 'tpe')
  if kind == 'cmaes':
    return _ask_cmaes(plan, known, seeds, directions)
  with quiet_optuna():
    return _ask_optuna(plan, known, seeds, directions, kind)


@dataclasses.dataclass(frozen=True)
class _Known:
  """A point that was tried: its parameters, and what is known of it; no values where it runs."""

  parameters: Mapping[str, Any]
  values: tuple[float, ...] | None
  scores: Mapping[int, float]  # of one that was pruned


def _known_points(
  trials: Sequence[Trial], plan: CompiledSpace, prunes: bool
) -> list[_Known]:
  groups: dict[int, list[Trial]] = {}
  for trial in sorted(trials, key=lambda t: t.number):
    groups.setdefault(trial.point, []).append(trial)
  found = []
  for _, group in sorted(groups.items()):
    with contextlib.suppress(KeyError, ValueError):  # not of this space
      parameters = plan.walk(
        lambda parameter: group[0].parameters[parameter.name]
      ).parameters
      if any(t.status != 'failed' for t in group):
        found.append(_Known(parameters, *_mean(group, prunes)))
  return found


def _mean(
  group: Sequence[Trial], prunes: bool
) -> tuple[tuple[float, ...] | None, dict[int, float]]:
  """Values and, of a pruned point, scores: means over seeds."""
  whole = [t for t in group if t.status in ('complete', 'diverged')]
  pruned = [t for t in group if t.status == 'pruned' and t.values is not None]
  if not (ended := whole or pruned):
    return None, {}
  mean = lambda rows: tuple(math.fsum(column) / len(column) for column in zip(*rows))
  steps = (
    set.intersection(*(set(t.scores) for t in ended)) if prunes and not whole else ()
  )
  return mean([t.values for t in ended]), {
    s: mean([(t.scores[s],) for t in ended])[0] for s in sorted(steps)
  }


def _ask_optuna(
  plan: CompiledSpace,
  known: Sequence[_Known],
  seeds: Sequence[int],
  directions: Sequence[str],
  kind: str,
) -> list[Point]:
  study = optuna.create_study(
    directions=list(directions), storage=optuna.storages.InMemoryStorage()
  )
  of_name = {parameter.name: parameter for parameter in plan.parameters}
  study.add_trials([_as_tried(one, of_name) for one in known])
  conditional, points = any(p.condition for p in plan.parameters), []
  for seed in seeds:
    study.sampler = _sampler(kind, seed, conditional)
    trial = study.ask()
    points.append(plan.walk(lambda parameter: _suggested(trial, parameter)))
    study.tell(
      trial, state=TrialState.FAIL
    )  # goes on as one that runs, the same as if it came from the study
    study.add_trial(_as_tried(_Known(points[-1].parameters, None, {}), of_name))
  return points


def _sampler(kind: str, seed: int, conditional: bool) -> optuna.samplers.BaseSampler:
  with warnings.catch_warnings():
    warnings.simplefilter('ignore', optuna.exceptions.ExperimentalWarning)
    if kind == 'gp':
      return optuna.samplers.GPSampler(seed=seed)
    return optuna.samplers.TPESampler(
      seed=seed, multivariate=True, group=conditional, constant_liar=True
    )


def _as_tried(one: _Known, of_name: Mapping[str, Parameter]) -> FrozenTrial:
  """A point as a trial of the samplers' study, where a Choice goes by the number of its value."""
  params = {
    stream_name(name): _number_of(value, of_name[name])
    for name, value in one.parameters.items()
  }
  state = (
    TrialState.RUNNING
    if one.values is None
    else TrialState.PRUNED
    if one.scores
    else TrialState.COMPLETE
  )
  return optuna.trial.create_trial(
    state=state,
    values=one.values,
    params=params,
    intermediate_values=dict(one.scores),
    distributions={
      stream_name(name): _numbered(of_name[name]) for name in one.parameters
    },
  )


def _numbered(parameter: Parameter) -> BaseDistribution:
  choice = isinstance(parameter.domain, Choice)
  return (
    CategoricalDistribution(range(len(parameter.domain.values)))
    if choice
    else distribution_of(parameter)
  )


def _number_of(value: Any, parameter: Parameter) -> Any:
  return (
    parameter.domain.values.index(value)
    if isinstance(parameter.domain, Choice)
    else value
  )


def _suggested(trial: optuna.Trial, parameter: Parameter) -> Any:
  name, domain = stream_name(parameter.name), parameter.domain
  if isinstance(domain, Choice):
    return domain.values[trial.suggest_categorical(name, range(len(domain.values)))]
  suggest = trial.suggest_float if isinstance(domain, Float) else trial.suggest_int
  return suggest(name, domain.low, domain.high, log=domain.log)


def _ask_cmaes(
  plan: CompiledSpace,
  known: Sequence[_Known],
  seeds: Sequence[int],
  directions: Sequence[str],
) -> list[Point]:
  """CMA-ES over the unit cube, told all points so far in their order, a generation at a time.

  Not Optuna's `CmaEsSampler`: that learns only from trials it asked for itself, by the state it left in them.
  """
  import cmaes

  if len(directions) > 1 or any(
    isinstance(p.domain, Choice) or p.condition for p in plan.parameters
  ):
    raise ConfigError(
      "sweep.search: got 'cmaes', expected 'tpe' for a Choice, a condition or two objectives"
    )
  sign = -1.0 if directions[0] == 'maximize' else 1.0
  told = [
    (
      np.array([unit(p.domain, one.parameters[p.name]) for p in plan.parameters]),
      sign * one.values[0],
    )
    for one in known
    if one.values is not None
  ]
  d = len(plan.parameters)
  optimizer = cmaes.CMA(
    mean=np.full(d, 0.5), sigma=12**-0.5, bounds=np.tile([0.0, 1.0], (d, 1))
  )  # as wide as the cube
  size = optimizer.population_size
  for start in range(0, len(told) - size + 1, size):
    optimizer.tell(told[start : start + size])
  points = []
  for seed in seeds:
    optimizer.reseed_rng(seed)
    u = dict(zip((p.name for p in plan.parameters), optimizer.ask().tolist()))
    points.append(
      plan.walk(lambda parameter: from_unit(parameter.domain, u[parameter.name]))
    )
  return points
