"""Optuna's side of a study: parameters and trials as its storages hold them, and its samplers asked for points."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.util
import itertools
import json
import math
from typing import Any, Callable, Iterator, Mapping, Sequence
import warnings

import numpy as np
import optuna
from optuna.distributions import (BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution,
                                  check_distribution_compatibility)
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from lmhp.hypers import ConfigError
from lmhp.sweeping.domains import Choice, Float, from_unit, unit
from lmhp.sweeping.parameters import Parameter, Plan, Point
from lmhp.sweeping.streams import key_of
from lmhp.sweeping.study import ENDED, FIRST, Trial, from_line
from lmhp.training.history import plain

# --- parameters as Optuna has them ----------------------------------------------------------------------------------


def distribution(parameter: Parameter) -> BaseDistribution:
  """A parameter's domain as Optuna has it; of a Choice each value as it is `shown`."""
  domain = parameter.domain
  if isinstance(domain, Choice):
    return CategoricalDistribution([shown(value) for value in domain.values])
  kind = FloatDistribution if isinstance(domain, Float) else IntDistribution
  return kind(domain.low, domain.high, log=domain.log)


def only(value: Any) -> BaseDistribution:
  """The distribution of a value of which no domain is known."""
  if isinstance(value, float) and math.isfinite(value):
    return FloatDistribution(value, value)
  if isinstance(value, int) and not isinstance(value, bool):
    return IntDistribution(value, value)
  return CategoricalDistribution([shown(value)])


def shown(value: Any) -> Any:
  """A value as Optuna can hold and show it: tuples, NaN and infinity as their JSON text."""
  if value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
    return value
  text = plain(value)
  return text if isinstance(text, str) else json.dumps(text)


# --- trials as Optuna's records -------------------------------------------------------------------------------------

_STATES = {'waiting': TrialState.WAITING, 'running': TrialState.RUNNING, 'complete': TrialState.COMPLETE,
           'diverged': TrialState.COMPLETE, 'pruned': TrialState.PRUNED, 'failed': TrialState.FAIL}
Line = Mapping[str, Any]  # a trial as `trials.jsonl` has it
_OWN = ('point', 'seed', 'cohort', 'overrides')


class Records:
  """The trials of one study in an Optuna storage.

  Args:
    storage: any of Optuna's.
    study_id: of the study in it.
    space: of new trials, {name: parameter}.
    together: what joins many writes to one.
  """

  def __init__(self, storage: BaseStorage, study_id: int, space: Mapping[str, Parameter],
               together: Callable[[], Any] = contextlib.nullcontext):
    self.storage, self.study_id, self.together, self._space = storage, study_id, together, space
    self._of_space = {name: distribution(parameter) for name, parameter in space.items()}
    self._known: dict[str, BaseDistribution] = {}  # by name, the first that Optuna was told
    self._ids: list[int] = []  # by number

  def card(self) -> dict[str, Any]:
    """What the study knows of itself."""
    return self.storage.get_study_user_attrs(self.study_id).get('lmhp', {})

  def set_card(self, card: Mapping[str, Any]) -> None:
    """Replaces it."""
    self.storage.set_study_user_attr(self.study_id, 'lmhp', dict(card))

  def close(self) -> None:
    """Leaves the storage."""
    self.storage.remove_session()
    if hasattr(self.storage, 'engine'):  # of a database
      self.storage.engine.dispose()

  def load(self, mend: bool) -> list[Line]:
    """The trials by number.

    Args:
      mend: whether to finish what a kill has left half done.

    Raises:
      ConfigError: where another program has added trials.
    """
    lines = []
    with self.together() if mend else contextlib.nullcontext():
      for frozen in self.storage.get_all_trials(self.study_id, deepcopy=False):
        lines.append(_line_of(frozen))
        self._ids.append(frozen._trial_id)
        self._known = {**frozen.distributions, **self._known}
        if mend:
          self._align(lines[-1], frozen.state, frozen.intermediate_values, 'diverged' in frozen.user_attrs)
      if mend and (added := self.storage.get_study_user_attrs(self.study_id).get('adding')):
        lines += self._create([line for line in added if line['number'] >= len(lines)])
        self.storage.set_study_user_attr(self.study_id, 'adding', None)
    return lines

  def add(self, lines: Sequence[Line]) -> None:
    """Creates trials: all of them, whatever is killed when, or none."""
    with self.together():
      self.storage.set_study_user_attr(self.study_id, 'adding', list(lines))
      self._create(lines)
      self.storage.set_study_user_attr(self.study_id, 'adding', None)

  def change(self, changes: Sequence[tuple[Trial, Line]]) -> None:
    """Brings trials from an old condition to a new one."""
    with self.together():
      for old, new in changes:
        self.storage.set_trial_user_attr(self._ids[old.number], 'about', _about(new))
        self._align(new, _STATES[old.status], old.scores, old.status == 'diverged')

  def _align(self, line: Line, state: TrialState, scores: Mapping[int, float], diverged: bool) -> None:
    """Writes what Optuna does not show yet of a trial's condition; its state last, for that closes the trial."""
    if state.is_finished():
      return
    trial, new = self._ids[line['number']], _STATES[line['status']]
    for step, score in _scores(line).items():
      if str(scores.get(step)) != str(score):
        self.storage.set_trial_intermediate_value(trial, step, score)
    if line['status'] == 'diverged' and not diverged:
      self.storage.set_trial_user_attr(trial, 'diverged', True)
    if state == TrialState.WAITING and new != state:
      self.storage.set_trial_state_values(trial, TrialState.RUNNING)
    if new.is_finished():
      self.storage.set_trial_state_values(trial, new, _values(line))

  def _create(self, lines: Sequence[Line]) -> Sequence[Line]:
    for line in lines:
      self._ids.append(self.storage.create_new_trial(self.study_id, template_trial=self._frozen(line)))
    return lines

  def _frozen(self, line: Line) -> FrozenTrial:
    """A trial as Optuna shall show it."""
    parameters, state, now = from_line(line).parameters, _STATES[line['status']], datetime.datetime.now()
    params, distributions = {}, {}
    for name, value in parameters.items():
      key, distribution = self._distribution(name, value)
      params[key], distributions[key] = shown(value), distribution
    attrs = {**{key: line[key] for key in _OWN}, 'about': _about(line)}
    if params != parameters:
      attrs['parameters'] = line['parameters']
    if line['status'] == 'diverged':
      attrs['diverged'] = True
    return FrozenTrial(
        number=line['number'], trial_id=-1, state=state, value=None, values=_values(line), params=params,
        distributions=distributions, user_attrs=attrs, system_attrs={}, intermediate_values=_scores(line),
        datetime_start=None if state == TrialState.WAITING else now,
        datetime_complete=now if state.is_finished() else None)

  def _distribution(self, name: str, value: Any) -> tuple[str, BaseDistribution]:
    """The name and the distribution under which Optuna shall know a value.

    Optuna refuses a parameter whose choices changed, and plots skip it: with others it is a parameter of its own.
    """
    if name in self._space and value in self._space[name].domain:
      wanted = self._of_space[name]
    else:
      wanted = only(value)
    for number in itertools.count(1):
      key = name if number == 1 else f'{name} ({number})'
      if _compatible(self._known.setdefault(key, wanted), wanted):
        return key, wanted


def _compatible(known: BaseDistribution, wanted: BaseDistribution) -> bool:
  try:
    known is wanted or check_distribution_compatibility(known, wanted)
  except ValueError:
    return False
  return True


def _scores(line: Line) -> dict[int, float]:
  return {int(step): float(score) for step, score in line['scores'].items()}


def _values(line: Line) -> list[float] | None:
  """What Optuna shall show as a trial's values: of one that was pruned without any, its last score."""
  if line['status'] == 'failed' or line['status'] not in ENDED:
    return None
  values = line['objective']
  if values is None:
    values = [score for _, score in sorted(_scores(line).items())][-1:]
  values = [float(value) for value in (values if isinstance(values, list) else [values])]
  return values if values and all(map(math.isfinite, values)) else None


def _about(line: Line) -> dict[str, Any]:
  """The record that a trial's condition is in."""
  return {key: value for key, value in line.items() if key not in (*_OWN, 'number', 'parameters')}


def _line_of(frozen: FrozenTrial) -> Line:
  attrs = frozen.user_attrs
  if not {*_OWN, 'about'} <= set(attrs):
    raise ConfigError(f'study: trial {frozen.number} is not of lmhp, expected none that another program has added')
  found = {'number': frozen.number, 'parameters': frozen.params, **attrs, **attrs['about']}
  return {**{name: found[name] for name in FIRST}, **attrs['about']}


# --- asking for points ----------------------------------------------------------------------------------------------

_EXTRAS = {'gp': 'torch', 'cmaes': 'cmaes'}


def ask(trials: Sequence[Trial], space: Any, kind: str, seed: int, n: int, directions: Sequence[str],
        first_number: int | None = None) -> list[Point]:
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
    raise ConfigError(f'sweep.search: got {kind!r}, which needs {package}; pip install "lmhp[{kind}]"')
  if first_number is None:
    first_number = max((trial.number for trial in trials), default=-1) + 1
  seeds = [key_of(seed, 'ask', kind, str(number)) % 2**32 for number in range(first_number, first_number + n)]
  plan = Plan(space)
  known = _known_points(trials, plan, len(directions) == 1 and kind == 'tpe')
  if kind == 'cmaes':
    return _ask_cmaes(plan, known, seeds, directions)
  with quiet():
    return _ask_optuna(plan, known, seeds, directions, kind)


@dataclasses.dataclass(frozen=True)
class _Known:
  """A point that was tried: its parameters, and what is known of it; no values where it runs."""

  parameters: Mapping[str, Any]
  values: tuple[float, ...] | None
  scores: Mapping[int, float]  # of one that was pruned


def _known_points(trials: Sequence[Trial], plan: Plan, prunes: bool) -> list[_Known]:
  groups: dict[int, list[Trial]] = {}
  for trial in sorted(trials, key=lambda t: t.number):
    groups.setdefault(trial.point, []).append(trial)
  found = []
  for _, group in sorted(groups.items()):
    with contextlib.suppress(KeyError, ValueError):  # not of this space
      parameters = plan.walk(lambda parameter: group[0].parameters[parameter.name]).parameters
      if any(t.status != 'failed' for t in group):
        found.append(_Known(parameters, *_mean(group, prunes)))
  return found


def _mean(group: Sequence[Trial], prunes: bool) -> tuple[tuple[float, ...] | None, dict[int, float]]:
  """Values and, of a pruned point, scores: means over seeds."""
  whole = [t for t in group if t.status in ('complete', 'diverged')]
  pruned = [t for t in group if t.status == 'pruned' and t.values is not None]
  if not (ended := whole or pruned):
    return None, {}
  mean = lambda rows: tuple(math.fsum(column) / len(column) for column in zip(*rows))
  steps = set.intersection(*(set(t.scores) for t in ended)) if prunes and not whole else ()
  return mean([t.values for t in ended]), {s: mean([(t.scores[s],) for t in ended])[0] for s in sorted(steps)}


def _ask_optuna(plan: Plan, known: Sequence[_Known], seeds: Sequence[int], directions: Sequence[str],
                kind: str) -> list[Point]:
  study = optuna.create_study(directions=list(directions), storage=optuna.storages.InMemoryStorage())
  of_name = {parameter.name: parameter for parameter in plan.parameters}
  study.add_trials([_as_tried(one, of_name) for one in known])
  conditional, points = any(p.condition for p in plan.parameters), []
  for seed in seeds:
    study.sampler = _sampler(kind, seed, conditional)
    trial = study.ask()
    points.append(plan.walk(lambda parameter: _suggested(trial, parameter)))
    study.tell(trial, state=TrialState.FAIL)  # goes on as one that runs, the same as if it came from the study
    study.add_trial(_as_tried(_Known(points[-1].parameters, None, {}), of_name))
  return points


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Without Optuna's lines about studies that it creates."""
  verbosity = optuna.logging.get_verbosity()
  optuna.logging.set_verbosity(optuna.logging.ERROR)
  try:
    yield
  finally:
    optuna.logging.set_verbosity(verbosity)


def _sampler(kind: str, seed: int, conditional: bool) -> optuna.samplers.BaseSampler:
  with warnings.catch_warnings():
    warnings.simplefilter('ignore', optuna.exceptions.ExperimentalWarning)
    if kind == 'gp':
      return optuna.samplers.GPSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=conditional, constant_liar=True)


def _as_tried(one: _Known, of_name: Mapping[str, Parameter]) -> FrozenTrial:
  """A point as a trial of the samplers' study, where a Choice goes by the number of its value."""
  params = {name: _number_of(value, of_name[name]) for name, value in one.parameters.items()}
  state = TrialState.RUNNING if one.values is None else TrialState.PRUNED if one.scores else TrialState.COMPLETE
  return optuna.trial.create_trial(
      state=state, values=one.values, params=params, intermediate_values=dict(one.scores),
      distributions={name: _numbered(of_name[name]) for name in params})


def _numbered(parameter: Parameter) -> BaseDistribution:
  choice = isinstance(parameter.domain, Choice)
  return CategoricalDistribution(range(len(parameter.domain.values))) if choice else distribution(parameter)


def _number_of(value: Any, parameter: Parameter) -> Any:
  return parameter.domain.values.index(value) if isinstance(parameter.domain, Choice) else value


def _suggested(trial: optuna.Trial, parameter: Parameter) -> Any:
  name, domain = parameter.name, parameter.domain
  if isinstance(domain, Choice):
    return domain.values[trial.suggest_categorical(name, range(len(domain.values)))]
  suggest = trial.suggest_float if isinstance(domain, Float) else trial.suggest_int
  return suggest(name, domain.low, domain.high, log=domain.log)


def _ask_cmaes(plan: Plan, known: Sequence[_Known], seeds: Sequence[int], directions: Sequence[str]) -> list[Point]:
  """CMA-ES over the unit cube, told all points so far in their order, a generation at a time.

  Not Optuna's `CmaEsSampler`: that learns only from trials it asked for itself, by the state it left in them.
  """
  import cmaes

  if len(directions) > 1 or any(isinstance(p.domain, Choice) or p.condition for p in plan.parameters):
    raise ConfigError("sweep.search: got 'cmaes', expected 'tpe' for a Choice, a condition or two objectives")
  sign = -1.0 if directions[0] == 'maximize' else 1.0
  told = [(np.array([unit(p.domain, one.parameters[p.name]) for p in plan.parameters]), sign * one.values[0])
          for one in known if one.values is not None]
  d = len(plan.parameters)
  optimizer = cmaes.CMA(mean=np.full(d, 0.5), sigma=12**-0.5, bounds=np.tile([0.0, 1.0], (d, 1)))  # as wide as the cube
  size = optimizer.population_size
  for start in range(0, len(told) - size + 1, size):
    optimizer.tell(told[start: start + size])
  points = []
  for seed in seeds:
    optimizer.reseed_rng(seed)
    u = dict(zip((p.name for p in plan.parameters), optimizer.ask().tolist()))
    points.append(plan.walk(lambda parameter: from_unit(parameter.domain, u[parameter.name])))
  return points
