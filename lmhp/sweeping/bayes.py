"""Optuna's side of a study: parameters and trials as its storages hold them, and its samplers asked for points."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import math
from typing import Any, Callable, Mapping, Sequence

from optuna.distributions import (BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution,
                                  check_distribution_compatibility)
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from lmhp.hypers import ConfigError
from lmhp.sweeping.domains import Choice, Float
from lmhp.sweeping.parameters import Parameter
from lmhp.sweeping.study import ENDED, Trial, from_line, to_line
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

  def load(self, mend: bool) -> list[Trial]:
    """The trials by number.

    Args:
      mend: whether to finish what a kill has left half done.

    Raises:
      ConfigError: where another program has added trials.
    """
    trials = []
    with self.together() if mend else contextlib.nullcontext():
      for frozen in self.storage.get_all_trials(self.study_id, deepcopy=False):
        trials.append(_trial_of(frozen))
        self._ids.append(frozen._trial_id)
        self._known = {**frozen.distributions, **self._known}
        if mend:
          self._align(trials[-1], frozen.state, frozen.intermediate_values, 'diverged' in frozen.user_attrs)
      if mend and (added := self.storage.get_study_user_attrs(self.study_id).get('adding')):
        trials += self._create([from_line(line) for line in added if line['number'] >= len(trials)])
        self.storage.set_study_user_attr(self.study_id, 'adding', None)
    return trials

  def add(self, trials: Sequence[Trial]) -> None:
    """Creates trials: all of them, whatever is killed when, or none."""
    with self.together():
      self.storage.set_study_user_attr(self.study_id, 'adding', [to_line(trial) for trial in trials])
      self._create(trials)
      self.storage.set_study_user_attr(self.study_id, 'adding', None)

  def change(self, pairs: Sequence[tuple[Trial, Trial]]) -> None:
    """Brings trials from an old condition to a new one."""
    with self.together():
      for old, new in pairs:
        self.storage.set_trial_user_attr(self._ids[new.number], 'about', _about(new))
        self._align(new, _STATES[old.status], old.scores, old.status == 'diverged')

  def _align(self, trial: Trial, state: TrialState, scores: Mapping[int, float], diverged: bool) -> None:
    """Writes what Optuna does not show yet of a trial's condition; its state last, for that closes the trial."""
    if state.is_finished():
      return
    number, new = self._ids[trial.number], _STATES[trial.status]
    for step, score in trial.scores.items():
      if str(scores.get(step)) != str(score):
        self.storage.set_trial_intermediate_value(number, step, score)
    if trial.status == 'diverged' and not diverged:
      self.storage.set_trial_user_attr(number, 'diverged', True)
    if state == TrialState.WAITING and new != state:
      self.storage.set_trial_state_values(number, TrialState.RUNNING)
    if new.is_finished():
      self.storage.set_trial_state_values(number, new, _values(trial))

  def _create(self, trials: Sequence[Trial]) -> Sequence[Trial]:
    for trial in trials:
      self._ids.append(self.storage.create_new_trial(self.study_id, template_trial=self._frozen(trial)))
    return trials

  def _frozen(self, trial: Trial) -> FrozenTrial:
    """A trial as Optuna shall show it."""
    line, state, now = to_line(trial), _STATES[trial.status], datetime.datetime.now()
    params, distributions = {}, {}
    for name, value in trial.parameters.items():
      key, distribution = self._distribution(name, value)
      params[key], distributions[key] = shown(value), distribution
    attrs = {**{key: line[key] for key in _OWN}, 'about': _about(trial)}
    if params != trial.parameters:
      attrs['parameters'] = line['parameters']
    if trial.status == 'diverged':
      attrs['diverged'] = True
    return FrozenTrial(
        number=trial.number, trial_id=-1, state=state, value=None, values=_values(trial), params=params,
        distributions=distributions, user_attrs=attrs, system_attrs={}, intermediate_values=dict(trial.scores),
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


def _values(trial: Trial) -> list[float] | None:
  """What Optuna shall show as a trial's values."""
  if trial.status == 'failed' or trial.status not in ENDED:
    return None
  values = list(trial.values or [trial.scores[step] for step in sorted(trial.scores)[-1:]])
  return values if values and all(map(math.isfinite, values)) else None


def _about(trial: Trial) -> dict[str, Any]:
  """The record that a trial's condition is in."""
  return {key: value for key, value in to_line(trial).items() if key not in (*_OWN, 'number', 'parameters')}


def _trial_of(frozen: FrozenTrial) -> Trial:
  attrs = frozen.user_attrs
  if not {*_OWN, 'about'} <= set(attrs):
    raise ConfigError(f'study: trial {frozen.number} is not of lmhp, expected none that another program has added')
  own = {key: attrs[key] for key in _OWN}
  return from_line({'number': frozen.number, **own, 'parameters': attrs.get('parameters', frozen.params),
                    **attrs['about']})
