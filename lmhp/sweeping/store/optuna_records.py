"""Trials as Optuna's records, in any storage of Optuna's.

Of a trial Optuna holds::

  params                   what the search chose; a value that Optuna cannot hold, as a tuple, is its JSON text there
  intermediate values      the scores by step
  state and values         complete and diverged are COMPLETE, pruned PRUNED, failed FAIL
  user attributes          point, seed, cohort, overrides; `about`: status, scores, objective and all the rest;
                           `diverged`; `parameters`, where params alone would not give them back

`about` is what counts. It is one record, so a trial has its old condition or its new one whatever is killed when; what
else Optuna shows is brought into line with it at open. Trials that are added together are noted in the study's
attribute `adding` first, so that they are all there after a kill, or none.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import math
from typing import Any, Callable, Iterator, Mapping, Sequence

import optuna
from optuna.distributions import (
  BaseDistribution,
  CategoricalDistribution,
  FloatDistribution,
  IntDistribution,
  check_distribution_compatibility,
)
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from lmhp.errors import ConfigError
from lmhp.files import to_jsonable
from lmhp.sweeping.space.compiled_space import Parameter
from lmhp.sweeping.space.domains import Choice, Float
from lmhp.sweeping.store.trial import ENDED, FIRST, Trial, from_line


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Without Optuna's lines about studies that it creates."""
  verbosity = optuna.logging.get_verbosity()
  optuna.logging.set_verbosity(optuna.logging.ERROR)
  try:
    yield
  finally:
    optuna.logging.set_verbosity(verbosity)


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
  if (
    value is None
    or isinstance(value, (str, bool, int))
    or (isinstance(value, float) and math.isfinite(value))
  ):
    return value
  text = to_jsonable(value)
  return text if isinstance(text, str) else json.dumps(text)


# --- trials as Optuna's records -------------------------------------------------------------------------------------

_STATES = {
  'waiting': TrialState.WAITING,
  'running': TrialState.RUNNING,
  'complete': TrialState.COMPLETE,
  'diverged': TrialState.COMPLETE,
  'pruned': TrialState.PRUNED,
  'failed': TrialState.FAIL,
}
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

  def __init__(
    self,
    storage: BaseStorage,
    study_id: int,
    space: Mapping[str, Parameter],
    together: Callable[[], Any] = contextlib.nullcontext,
  ):
    self.storage, self.study_id, self.together, self._space = (
      storage,
      study_id,
      together,
      space,
    )
    self._of_space = {
      name: distribution(parameter) for name, parameter in space.items()
    }
    self._known: dict[
      str, BaseDistribution
    ] = {}  # by name, the first that Optuna was told
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
          self._align(
            lines[-1],
            frozen.state,
            frozen.intermediate_values,
            'diverged' in frozen.user_attrs,
          )
      if mend and (
        added := self.storage.get_study_user_attrs(self.study_id).get('adding')
      ):
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

  def _align(
    self, line: Line, state: TrialState, scores: Mapping[int, float], diverged: bool
  ) -> None:
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
      self._ids.append(
        self.storage.create_new_trial(self.study_id, template_trial=self._frozen(line))
      )
    return lines

  def _frozen(self, line: Line) -> FrozenTrial:
    """A trial as Optuna shall show it."""
    parameters, state, now = (
      from_line(line).parameters,
      _STATES[line['status']],
      datetime.datetime.now(),
    )
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
      number=line['number'],
      trial_id=-1,
      state=state,
      value=None,
      values=_values(line),
      params=params,
      distributions=distributions,
      user_attrs=attrs,
      system_attrs={},
      intermediate_values=_scores(line),
      datetime_start=None if state == TrialState.WAITING else now,
      datetime_complete=now if state.is_finished() else None,
    )

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
  values = [
    float(value) for value in (values if isinstance(values, list) else [values])
  ]
  return values if values and all(map(math.isfinite, values)) else None


def _about(line: Line) -> dict[str, Any]:
  """The record that a trial's condition is in."""
  return {
    key: value
    for key, value in line.items()
    if key not in (*_OWN, 'number', 'parameters')
  }


def _line_of(frozen: FrozenTrial) -> Line:
  attrs = frozen.user_attrs
  if not {*_OWN, 'about'} <= set(attrs):
    raise ConfigError(
      f'study: trial {frozen.number} is not of lmhp, expected none that another program has added'
    )
  found = {
    'number': frozen.number,
    'parameters': frozen.params,
    **attrs,
    **attrs['about'],
  }
  return {**{name: found[name] for name in FIRST}, **attrs['about']}
