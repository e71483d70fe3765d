"""The manifest of a study: the facts that all of its trials share, and its cohorts.

A point is one assignment of values to the parameters of a space. A cohort is a set of points
that a search chose at one time. A rung is a step at which trials are scored and may be stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
import dataclasses
import math

from lmhp.data.config import SOURCE_KEYS
from lmhp.errors import ConfigError
from lmhp.sections import FREE_SECTIONS
from lmhp.sweeping.store.json_records import as_stored, raw_json


@dataclasses.dataclass(frozen=True)
class TaskDescription:
  """The facts that distinguish one task from another.

  A task is what the trials train: a language model, or functions of the user. If a study is run
  again, the description must be equal to the stored one.

  Attributes:
    kind: Kind of the task, "language_model" or "function".
    base_values: Values of the base config, by dotted path.
    identity: Further facts, such as a digest of the functions that are trained.
    data_sha256: Digest of the training data, or None for a task without data.
  """

  kind: str
  base_values: Mapping[str, object]
  identity: Mapping[str, object] = dataclasses.field(default_factory=dict)
  data_sha256: str | None = None


MAX_CALIBRATION_FRACTION = 0.25
"""Largest cost of a calibration, as a fraction of the cost of a search that stops no trial."""


@dataclasses.dataclass(frozen=True)
class CalibrationCost:
  """Cost of the calibration of early stopping, compared with that of the whole search.

  The calibration points are trained to the end, whatever their scores are, to test if the
  scores at a rung predict the final scores.

  Attributes:
    n_calibration_points: Number of calibration points.
    n_points: Number of points of the search.
    calibration_steps: Updates of all trials of the calibration points, with their forks.
    search_steps: Updates of all trials of the search, if no trial is stopped.
    tokens_per_step: Tokens of one update of the base config. 0 for a task without tokens.
  """

  n_calibration_points: int
  n_points: int
  calibration_steps: int
  search_steps: int
  tokens_per_step: int

  @property
  def fraction(self) -> float:
    """Cost of the calibration as a fraction of that of the search."""
    return self.calibration_steps / self.search_steps

  @property
  def is_affordable(self) -> bool:
    """True if the calibration costs at most `MAX_CALIBRATION_FRACTION` of the search."""
    return self.fraction <= MAX_CALIBRATION_FRACTION

  @property
  def n_points_needed(self) -> int:
    """Smallest number of points of a search that can afford the calibration."""
    search_steps = self.calibration_steps / MAX_CALIBRATION_FRACTION
    return math.ceil(search_steps * self.n_points / self.search_steps)

  def describe(self) -> str:
    """Returns the comparison in words, for a search that cannot afford the calibration."""
    # A task without tokens is measured in updates.
    unit = 'tokens' if self.tokens_per_step else 'updates'
    cost_per_step = self.tokens_per_step or 1
    calibration = self.calibration_steps * cost_per_step
    search = self.search_steps * cost_per_step
    return (
      f'To test the rungs, {self.n_calibration_points} of {self.n_points} points would be '
      f'trained to the end. They would take {calibration:,} {unit}, which is '
      f'{self.fraction:.0%} of the {search:,} {unit} of all trials without early stopping. '
      f'At most {MAX_CALIBRATION_FRACTION:.0%} is allowed, so at least '
      f'{self.n_points_needed} points are needed.'
    )


@dataclasses.dataclass(frozen=True)
class RungSchedule:
  """The rungs of a study.

  Attributes:
    steps: Steps at which trials are scored and may be stopped, for a trial with the length of
      the base config. A trial of another length is scored at the same fractions of its
      training. The last step is the end of training.
    cooldown: If True, a rung scores a fork: a copy of the training whose learning rate decays
      to zero. If False, it scores the training itself.
    unaffordable_calibration: Cost of the calibration, if it is too high for the study. Then
      no trial is stopped, and the only rung is the end of training. None otherwise.
  """

  steps: tuple[int, ...]
  cooldown: bool = False
  unaffordable_calibration: CalibrationCost | None = None


@dataclasses.dataclass(frozen=True)
class Cohort:
  """Points that a search chose at one time, such as a batch of a Bayesian search.

  Attributes:
    name: Name, such as "search-0".
    first_point: Number of the first point.
    n_points: Number of points.
    method: Name of the search method that chose the points.
    seeds_per_point: Number of trials of each point.
    data_per_trial: If True, each trial reads different batches. If False, all trials read the
      same batches.
    space: Space of the points, as JSON.
    settings: {key of the search method: value} with which the points were chosen.
    n_requested: Number of points that were requested from the method. Some may have been left
      out, because they are not valid or repeat other points.
    n_drawn: Number of points that the method proposed, with those that were left out.
  """

  name: str
  first_point: int
  n_points: int
  method: str
  seeds_per_point: int
  data_per_trial: bool
  space: Mapping[str, object] = raw_json()
  settings: Mapping[str, object] = dataclasses.field(default_factory=dict)
  n_requested: int = 0
  n_drawn: int = 0


@dataclasses.dataclass(frozen=True)
class Origin:
  """The code, machine and command of the last run of a study.

  Attributes:
    versions: Version of each package, or None if it is not installed as a package.
    git: {"commit": hash, "dirty": True if tracked files differ from the commit}, or None
      without git.
    device: Kind and number of the devices.
    command: The command, split into its words.
  """

  versions: Mapping[str, object] = dataclasses.field(default_factory=dict)
  git: Mapping[str, object] | None = None
  device: Mapping[str, object] = dataclasses.field(default_factory=dict)
  command: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class StudyManifest:
  """The facts that all trials of a study share, and the progress of its search.

  Attributes:
    task: Description of the task.
    sweep: {key of the sweep: value}, without the space.
    space: Space of the newest cohort, as JSON.
    origin: Code, machine and command of the last run.
    plugins: Import names of the modules outside lmhp that registered something with it, such as
      a search method.
    changes: Messages about changes of the code, the machine, the sweep or the space since the
      study began.
    rungs: Rungs of the study, or None before the search is planned.
    cohorts: Cohorts of the search, in order.
    confirmation_pairs: Largest number of pairs of runs of the confirmation. None before the
      confirmation begins.
    seconds: Wall time of all runs of the study together.
    stopped: {"search" or "confirmation": budget in seconds that ended it}. A larger budget
      continues it.
  """

  task: TaskDescription
  sweep: Mapping[str, object] = raw_json()
  space: Mapping[str, object] = raw_json()
  origin: Origin = Origin()
  plugins: tuple[str, ...] = ()
  changes: tuple[str, ...] = ()
  rungs: RungSchedule | None = None
  cohorts: tuple[Cohort, ...] = ()
  confirmation_pairs: int | None = None
  seconds: float = 0.0
  stopped: Mapping[str, float] = dataclasses.field(default_factory=dict)


# --- a study that is continued or extended ---------------------------------------------

EXTENDABLE = (
  'trials',
  'tokens',
  'flops',
  'seconds',
  'seeds_per_point',
  'confirm_points',
  'confirm_seeds',
  'execution',
  'max_pack_width',
)
"""Keys of a sweep that may change when a study is run again. The space may change too."""


def extended_manifest(
  stored: StudyManifest,
  new: StudyManifest,
  workdir: object,
  method_keys: Collection[str] = (),
) -> StudyManifest:
  """Returns the manifest of a study that a sweep continues or extends.

  Args:
    stored: Manifest of the study.
    new: Manifest of the sweep.
    workdir: Directory of the study, for messages.
    method_keys: Keys of search methods that may change, in addition to `EXTENDABLE`.

  Raises:
    ConfigError: If the new trials would not be comparable with those of the study.
  """
  # The stored manifest was read from JSON, so the new one is converted before the comparison.
  new = as_stored(new, 'manifest')
  _check_sweep_keys(stored, new, workdir, method_keys)
  _check_task(stored, new, workdir)

  # The versions and the machine may change. The changes are reported.
  changes = []
  for name in ('git', 'versions', 'device'):
    old_value = getattr(stored.origin, name)
    new_value = getattr(new.origin, name)
    if old_value != new_value:
      difference = first_difference(old_value, new_value)
      changes.append(f'{name} changed since this study began: {difference}')
  if new.sweep != stored.sweep or new.space != stored.space:
    changes.append('this study is extended: its old trials do not change')
  return dataclasses.replace(
    stored,
    task=new.task,
    sweep=new.sweep,
    space=new.space,
    origin=new.origin,
    plugins=tuple(dict.fromkeys(stored.plugins + new.plugins)),
    changes=(*stored.changes, *changes),
  )


def _check_sweep_keys(
  stored: StudyManifest,
  new: StudyManifest,
  workdir: object,
  method_keys: Collection[str],
) -> None:
  for key, value in new.sweep.items():
    old_value = stored.sweep.get(key)
    # Without `match_budget`, all trials have the length and the cost of the base config. So the
    # key may be added to a study that does not have it.
    is_new_key = key == 'match_budget' and old_value is None
    if old_value != value and not is_new_key and key not in (*EXTENDABLE, *method_keys):
      raise ConfigError(
        f'sweep.{key}: got {value!r}, but the study in {workdir} has {old_value!r}; use '
        'that value, or another workdir'
      )


def _check_task(stored: StudyManifest, new: StudyManifest, workdir: object) -> None:
  old_task = stored.task
  new_task = new.task
  # The data have their own message below, so they are left out of this comparison.
  old_facts = _facts(old_task)
  new_facts = _facts(new_task)
  # A study of an older version lacks some options of jax, or all.
  old_options = old_task.identity.get('jax_options')
  if isinstance(old_options, Mapping):
    new_options = new_task.identity.get('jax_options')
    if isinstance(new_options, Mapping):
      stored_options = {k: v for k, v in new_options.items() if k in old_options}
      new_facts['jax_options'] = stored_options
  else:
    new_facts.pop('jax_options', None)
  if old_facts != new_facts:
    difference = first_difference(old_facts, new_facts)
    raise ConfigError(
      f'{difference} as in the study in {workdir}; use the base config of the study, or '
      'another workdir'
    )
  if old_task.data_sha256 != new_task.data_sha256:
    raise ConfigError(
      f'data.path: the text changed since the study in {workdir} began; use another '
      'workdir'
    )


def _facts(task: TaskDescription) -> dict[str, object]:
  """Returns the facts of a task that change the numbers of its trials, without the data."""
  base_values = {
    path: value
    for path, value in task.base_values.items()
    if path not in SOURCE_KEYS and path.partition('.')[0] not in FREE_SECTIONS
  }
  return {**base_values, **task.identity, 'task': task.kind}


def first_difference(old: object, new: object, path: str = '') -> str:
  """Describes the first difference between two nested dicts.

  >>> first_difference({'a': {'b': 1}}, {'a': {'b': 2}})
  'a.b: got 2, expected 1'
  """
  if isinstance(old, Mapping) and isinstance(new, Mapping):
    for key in {**old, **new}:
      if old.get(key) != new.get(key):
        inner = f'{path}.{key}' if path else str(key)
        return first_difference(old.get(key), new.get(key), inner)
  return f'{path or "value"}: got {new!r}, expected {old!r}'
