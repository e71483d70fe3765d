"""Trials of a study as Optuna's trials, in a storage of Optuna.

Optuna stores for each trial::

  params               the values that the search chose; a value that Optuna cannot store,
                       such as a tuple, is its JSON text
  intermediate values  scores by step
  state and values     complete and diverged are COMPLETE, pruned is PRUNED, failed is FAIL
  user attributes      lmhp_number, point, seed, cohort, overrides, model; `record` with all
                       fields that change; `parameters` if they differ from params;
                       `diverged`

lmhp reads the fields of a trial that change from the attribute `record`, which is written in one
operation. So after a kill, a trial has all of its old values or all of its new ones. The
intermediate values, the state, the values and `diverged` are copies for Optuna. If a kill came
before they were written, they are corrected when the study is opened. Trials that are added
together are first listed in the study's attribute `lmhp_adding`. So after a kill either all of
them exist or none.

A trial without these attributes was added by another program. It is left out, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import contextlib
import datetime
import itertools
import math

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from lmhp.errors import ConfigError
from lmhp.files import to_jsonable
from lmhp.sweeping.space import Parameter
from lmhp.sweeping.store.journal_records import ATTRIBUTE_PREFIX
from lmhp.sweeping.store.json_records import from_json, to_json
from lmhp.sweeping.store.manifest import StudyManifest
from lmhp.sweeping.store.optuna_distributions import (
  are_compatible,
  distribution_of,
  optuna_value,
  single_value_distribution,
)
from lmhp.sweeping.store.trial import FIXED, Trial
from lmhp.typing import JSON

# Names of attributes. The last one belongs to each trial, and the others to the study.
ID = f'{ATTRIBUTE_PREFIX}_id'
MANIFEST = f'{ATTRIBUTE_PREFIX}_manifest'
ADDING = f'{ATTRIBUTE_PREFIX}_adding'
MEASUREMENTS = f'{ATTRIBUTE_PREFIX}_measurements'
NUMBER = f'{ATTRIBUTE_PREFIX}_number'

Transaction = Callable[[], contextlib.AbstractContextManager[object]]
"""Returns a context manager that joins all writes in its `with` block to one write."""

_STATES = {
  'waiting': TrialState.WAITING,
  'running': TrialState.RUNNING,
  'complete': TrialState.COMPLETE,
  'diverged': TrialState.COMPLETE,
  'pruned': TrialState.PRUNED,
  'failed': TrialState.FAIL,
}
# A trial without one of these attributes was added by another program.
_REQUIRED = (NUMBER, 'point', 'seed', 'cohort', 'overrides', 'record')


class OptunaRecords:
  """The trials and the manifest of one study in an Optuna storage.

  Args:
    storage: The storage.
    study_id: Optuna's id of the study in the storage.
    space: {name: parameter} of the trials that will be added.
    transaction: Returns a context manager that joins several writes into one.
  """

  def __init__(
    self,
    storage: BaseStorage,
    study_id: int,
    space: Mapping[str, Parameter],
    transaction: Transaction = contextlib.nullcontext,
  ):
    self.storage = storage
    self.study_id = study_id
    self.transaction = transaction
    self._space = space
    self._distributions_of_space = {
      name: distribution_of(parameter) for name, parameter in space.items()
    }
    # {name of a parameter in Optuna: the first distribution that was stored for it}.
    self._stored_distributions: dict[str, BaseDistribution] = {}
    # Number of trials that another program has added.
    self.n_foreign = 0
    # Optuna's id of each trial, at the index of the trial's number in lmhp.
    self._ids: list[int] = []

  def manifest(self) -> StudyManifest:
    """Returns the manifest of the study."""
    attributes = self.storage.get_study_user_attrs(self.study_id)
    return from_json(StudyManifest, attributes[MANIFEST], 'manifest')

  def set_manifest(self, manifest: StudyManifest) -> None:
    """Replaces the manifest of the study."""
    self.storage.set_study_user_attr(self.study_id, MANIFEST, to_json(manifest))

  def measurements(self) -> Mapping[str, JSON] | None:
    """Returns the measurements of the packs of the study, or None if there are none."""
    return self.storage.get_study_user_attrs(self.study_id).get(MEASUREMENTS)

  def set_measurements(self, measurements: Mapping[str, JSON]) -> None:
    """Replaces the measurements of the packs of the study."""
    self.storage.set_study_user_attr(self.study_id, MEASUREMENTS, dict(measurements))

  # --- reading ------------------------------------------------------------------------

  def load(self, repair: bool) -> list[Trial]:
    """Returns the trials of lmhp, by number.

    Args:
      repair: If True, completes the writes that a kill has interrupted. Else, writes nothing.

    Raises:
      ConfigError: If a trial is missing, or a record cannot be read.
    """
    with self.transaction():
      trials = self._load_trials(repair)
      if repair:
        trials += self._add_interrupted(len(trials))
    return trials

  def _load_trials(self, repair: bool) -> list[Trial]:
    frozen_by_number: dict[int, FrozenTrial] = {}
    for frozen in self.storage.get_all_trials(self.study_id, deepcopy=False):
      for name, distribution in frozen.distributions.items():
        self._stored_distributions.setdefault(name, distribution)
      has_all = all(name in frozen.user_attrs for name in _REQUIRED)
      if has_all and isinstance(frozen.user_attrs[NUMBER], int):
        # Another program may have added a copy of a trial. The original comes first.
        frozen_by_number.setdefault(frozen.user_attrs[NUMBER], frozen)
      else:
        self.n_foreign += 1

    # Trials of lmhp are numbered without gaps. Optuna's numbers also count other trials.
    trials = []
    for number in range(len(frozen_by_number)):
      if number not in frozen_by_number:
        raise ConfigError(f'study: trial {number} is missing in its storage')
      frozen = frozen_by_number[number]
      trial = _trial_of(frozen)
      trials.append(trial)
      self._ids.append(frozen._trial_id)
      if repair:
        self._update_optuna_fields(
          trial,
          stored_state=frozen.state,
          stored_scores=frozen.intermediate_values,
          is_stored_as_diverged='diverged' in frozen.user_attrs,
        )
    return trials

  def _add_interrupted(self, n_trials: int) -> list[Trial]:
    """Adds the trials that are missing after a kill during `add`."""
    adding = self.storage.get_study_user_attrs(self.study_id).get(ADDING)
    if not adding:
      return []
    trials = [from_json(Trial, item, 'trial') for item in adding]
    missing = [trial for trial in trials if trial.number >= n_trials]
    self._create(missing)
    self.storage.set_study_user_attr(self.study_id, ADDING, None)
    return missing

  # --- writing ------------------------------------------------------------------------

  def add(self, trials: Sequence[Trial]) -> None:
    """Creates trials. If the process is killed, either all of them exist later or none."""
    with self.transaction():
      adding = [to_json(trial) for trial in trials]
      self.storage.set_study_user_attr(self.study_id, ADDING, adding)
      self._create(trials)
      self.storage.set_study_user_attr(self.study_id, ADDING, None)

  def change(self, changes: Sequence[tuple[Trial, Trial]]) -> None:
    """Stores changes of trials, given as (old, new)."""
    with self.transaction():
      for old, new in changes:
        self.storage.set_trial_user_attr(
          self._ids[old.number], 'record', _record_of(new)
        )
        self._update_optuna_fields(
          new,
          stored_state=_STATES[old.status],
          stored_scores=old.scores,
          is_stored_as_diverged=old.status == 'diverged',
        )

  def _update_optuna_fields(
    self,
    trial: Trial,
    *,
    stored_state: TrialState,
    stored_scores: Mapping[int, float],
    is_stored_as_diverged: bool,
  ) -> None:
    """Writes Optuna's copies of fields in `record` that differ from what Optuna has stored.

    The copies are the scores, the attribute `diverged`, and the state with its values.
    """
    # Optuna does not change a finished trial.
    if stored_state.is_finished():
      return
    trial_id = self._ids[trial.number]
    state = _STATES[trial.status]
    for step, score in sorted(trial.scores.items()):
      # Texts are compared, so that NaN equals NaN.
      if str(stored_scores.get(step)) != str(score):
        self.storage.set_trial_intermediate_value(trial_id, step, score)
    if trial.status == 'diverged' and not is_stored_as_diverged:
      self.storage.set_trial_user_attr(trial_id, 'diverged', True)

    # The state is written last, because it may finish the trial. A waiting trial is set to
    # running first, so that Optuna stores its start time.
    if stored_state == TrialState.WAITING and state != stored_state:
      self.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    if state.is_finished():
      self.storage.set_trial_state_values(trial_id, state, _optuna_values(trial))

  def _create(self, trials: Sequence[Trial]) -> None:
    for trial in trials:
      self._ids.append(
        self.storage.create_new_trial(self.study_id, self._template(trial))
      )

  def _template(self, trial: Trial) -> FrozenTrial:
    """Returns a trial as Optuna's `FrozenTrial`, from which Optuna creates it."""
    now = datetime.datetime.now()
    state = _STATES[trial.status]
    # Optuna may store a parameter under another name, and its value as text.
    params = {}
    distributions = {}
    for name, value in trial.parameters.items():
      key, distribution = self._key_and_distribution(name, value)
      params[key] = optuna_value(value)
      distributions[key] = distribution

    # Each field that does not change is one attribute. `record` holds all fields that change.
    stored = to_json(trial)
    attributes = {
      NUMBER: trial.number,
      'point': trial.point,
      'seed': trial.seed,
      'cohort': trial.cohort,
      'overrides': stored['overrides'],
      'record': _record_of(trial),
    }
    if 'model' in stored:
      attributes['model'] = stored['model']
    if params != trial.parameters:
      attributes['parameters'] = stored['parameters']
    if trial.status == 'diverged':
      attributes['diverged'] = True
    return FrozenTrial(
      number=trial.number,
      trial_id=-1,  # Optuna assigns another one
      state=state,
      value=None,
      values=_optuna_values(trial),
      params=params,
      distributions=distributions,
      user_attrs=attributes,
      system_attrs={},
      intermediate_values=dict(trial.scores),
      datetime_start=None if state == TrialState.WAITING else now,
      datetime_complete=now if state.is_finished() else None,
    )

  def _key_and_distribution(
    self, name: str, value: object
  ) -> tuple[str, BaseDistribution]:
    """Returns the name and the distribution under which Optuna stores a value.

    Optuna refuses a distribution that does not fit the one that it has stored under the same
    name, such as a Choice with other values. The value is then stored under another name, such
    as "optimizer.name (2)".
    """
    if name in self._space and value in self._space[name].domain:
      distribution = self._distributions_of_space[name]
    else:
      distribution = single_value_distribution(value)
    # Take the first name whose stored distribution fits.
    for count in itertools.count(1):
      key = name if count == 1 else f'{name} ({count})'
      stored = self._stored_distributions.setdefault(key, distribution)
      if are_compatible(stored, distribution):
        return key, distribution
    raise AssertionError('unreachable')


def _record_of(trial: Trial) -> dict[str, JSON]:
  """Returns the fields of a trial that change, as JSON."""
  return {name: value for name, value in to_json(trial).items() if name not in FIXED}


def _trial_of(frozen: FrozenTrial) -> Trial:
  """Returns the trial of lmhp that is stored in a trial of Optuna."""
  attributes = frozen.user_attrs
  if not isinstance(attributes['record'], Mapping):
    raise ConfigError(
      f'trial {attributes[NUMBER]!r:.20}: record: got {attributes["record"]!r:.60}, expected '
      'a JSON object'
    )
  stored = {
    'number': attributes[NUMBER],
    'parameters': to_jsonable(frozen.params),
    **{name: attributes[name] for name in FIXED if name in attributes},
    **attributes['record'],
  }
  return from_json(Trial, stored, 'trial')


def _optuna_values(trial: Trial) -> list[float] | None:
  """Returns the values that Optuna stores for a trial, or None if there are none.

  There are none if the trial has not ended or has failed, or if a value is not finite. For a
  pruned trial without values, the value is its last score.
  """
  if trial.status == 'failed' or not trial.ended:
    return None
  values = list(trial.values or ())
  if trial.values is None and trial.scores:
    values = [trial.scores[max(trial.scores)]]
  if not values or not all(map(math.isfinite, values)):
    return None
  return values
