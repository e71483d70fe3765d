"""A table of runs from an Optuna study."""

from __future__ import annotations

from collections.abc import Sequence
import math
import os
from typing import TYPE_CHECKING

import numpy as np

from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.columns import (
  is_numeric,
  looks_logarithmic,
  number_columns,
  to_float,
  typed_column,
)
from lmhp.analysis.runs.table import Runs, StudyFacts
from lmhp.errors import ConfigError
from lmhp.errors.redaction import redact_url

if TYPE_CHECKING:
  import optuna
  from optuna.distributions import BaseDistribution
  from optuna.storages import BaseStorage
  from optuna.trial import FrozenTrial

STATUSES = {
  'COMPLETE': 'complete',
  'PRUNED': 'pruned',
  'FAIL': 'failed',
  'RUNNING': 'running',
  'WAITING': 'waiting',
}
"""{state of an Optuna trial: status of a run}."""


def read_optuna(source: str, study: str | None = None) -> Runs:
  """Reads an Optuna study. It need not be one of lmhp.

  Args:
    source: Journal file, SQLite file, or URL of a storage.
    study: Name of the study. None if the storage has only one.

  Raises:
    ConfigError: If the storage cannot be read, or it has several studies and `study` is
      None.
  """
  try:
    return _read_study(_open_storage(source), redact_url(source), study)
  except ConfigError:
    raise
  except Exception as error:
    # Optuna, SQLAlchemy and the database drivers share no base class of errors.
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    raise ConfigError(
      f'{redact_url(source)}: cannot be read as an Optuna storage ({reason})'
    ) from None


def _read_study(storage: BaseStorage, source: str, study: str | None) -> Runs:
  import optuna

  names = optuna.get_all_study_names(storage)
  if study is None and len(names) != 1:
    raise ConfigError(
      f'--study: got none, expected one of {", ".join(names) or "(no studies)"} in {source}'
    )
  if study is not None and study not in names:
    raise ConfigError(
      f'--study: got {study!r}, expected one of {", ".join(names)} in {source}'
    )
  loaded = optuna.load_study(study_name=study or names[0], storage=storage)
  return runs_of_study(loaded, source)


def runs_of_study(study: optuna.Study, source: str = '') -> Runs:
  """Returns the table of runs of an Optuna study.

  Args:
    study: The study.
    source: Path or URL that it was loaded from.
  """
  trials = study.get_trials(deepcopy=False)
  # Trials may differ in their parameters. The last distribution of each name counts.
  distributions: dict[str, BaseDistribution] = {}
  for trial in trials:
    distributions |= trial.distributions
  axes = {name: _axis(name, each) for name, each in distributions.items()}
  names = study.metric_names or [
    f'objective_{i}' if i else 'objective' for i in range(len(study.directions))
  ]

  measured = number_columns([_measured(trial) for trial in trials])
  for i, name in enumerate(names[1:], start=1):
    measured[name] = np.array([t.values[i] if t.values else math.nan for t in trials])

  return Runs(
    name=study.study_name,
    axes=axes,
    values={name: _column(axis, trials) for name, axis in axes.items()},
    objective=np.array([_objective(trial) for trial in trials], np.float64),
    objective_name=names[0],
    maximize=study.directions[0].name == 'MAXIMIZE',
    status=np.array([STATUSES[t.state.name] for t in trials], str),
    number=np.array([t.number for t in trials], int),
    scores=tuple(dict(t.intermediate_values) for t in trials),
    measured=measured,
    configs={t.number: {**t.params, **t.user_attrs} for t in trials},
    facts=StudyFacts(source=source, source_type='optuna'),
  )


def _objective(trial: FrozenTrial) -> float:
  if trial.values and trial.state.name == 'COMPLETE':
    return trial.values[0]
  return math.nan


def _measured(trial: FrozenTrial) -> dict[str, float]:
  """Returns the numbers among the user attributes, and the duration in seconds."""
  row = {key: value for key, value in trial.user_attrs.items() if is_numeric(value)}
  duration = trial.duration
  row['seconds'] = duration.total_seconds() if duration else math.nan
  return row


def _column(axis: Axis, trials: Sequence[FrozenTrial]) -> np.ndarray:
  return typed_column(axis, [trial.params.get(axis.name) for trial in trials])


def _open_storage(source: str) -> BaseStorage:
  from optuna.storages import JournalStorage

  from lmhp.sweeping.store import databases
  from lmhp.sweeping.store.journal import JournalSnapshot

  if '://' in source:
    return databases.open_for_reading(source)
  if not os.path.exists(source):
    raise ConfigError(f'{source}: no such file')
  if source.endswith(('.db', '.sqlite', '.sqlite3')):
    return databases.open_for_reading(databases.sqlite_url(source))
  return JournalStorage(JournalSnapshot(source))


def _axis(name: str, distribution: BaseDistribution) -> Axis:
  from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
  )

  if isinstance(distribution, CategoricalDistribution):
    choices = tuple(distribution.choices)
    # A choice between more than two numbers is an axis of numbers.
    numbers = [to_float(choice) for choice in choices if is_numeric(choice)]
    if len(numbers) == len(choices) and len(set(choices)) > 2:
      return Axis(
        name,
        low=min(numbers),
        high=max(numbers),
        log=looks_logarithmic(numbers),
        choices=choices,
      )
    return Axis(name, is_choice=True, choices=choices)
  if isinstance(distribution, (FloatDistribution, IntDistribution)):
    return Axis(
      name,
      low=float(distribution.low),
      high=float(distribution.high),
      log=bool(distribution.log),
      is_integer=isinstance(distribution, IntDistribution),
    )
  raise ConfigError(
    f'{name}: got a {type(distribution).__name__}, expected a float, an integer or a '
    'categorical distribution'
  )
