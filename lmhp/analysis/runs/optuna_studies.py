"""An Optuna study as a table of runs."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from lmhp.analysis.runs.columns import columns_of, looks_logarithmic
from lmhp.analysis.runs.table import Axis, Runs
from lmhp.errors import ConfigError

_STATES = {
  'COMPLETE': 'complete',
  'PRUNED': 'pruned',
  'FAIL': 'failed',
  'RUNNING': 'running',
  'WAITING': 'waiting',
}


def read_optuna(where: str, study: str | None = None) -> Runs:
  """An Optuna study, of any program.

  Args:
    where: a journal's file, a SQLite file, or a storage's URL.
    study: its name, where the storage has several.

  Raises:
    ConfigError: where it cannot be read, or there are several studies and none is named.
  """
  import optuna

  storage = _storage(optuna, where)
  names = optuna.get_all_study_names(storage)
  if study is None and len(names) != 1:
    raise ConfigError(
      f'--study: got none, expected one of {", ".join(names) or "none, since there are none"} in {where}'
    )
  if study is not None and study not in names:
    raise ConfigError(
      f'--study: got {study!r}, expected one of {", ".join(names)} in {where}'
    )
  found = optuna.load_study(study_name=study or names[0], storage=storage)
  return runs_of(found, where)


def runs_of(study: Any, where: str = '') -> Runs:
  """The table of an `optuna.Study`."""
  trials = study.get_trials(deepcopy=False)
  distributions: dict[str, Any] = {}
  for trial in trials:
    distributions |= trial.distributions
  axes = {name: _axis(name, d) for name, d in distributions.items()}
  values = {}
  for name, axis in axes.items():
    given = [t.params.get(name) for t in trials]
    if axis.kind == 'number':
      values[name] = np.array([math.nan if v is None else float(v) for v in given])
    else:
      values[name] = np.empty(len(given), object)
      values[name][:] = given
  rows = [
    {
      **{
        k: v
        for k, v in t.user_attrs.items()
        if isinstance(v, (int, float)) and not isinstance(v, bool)
      },
      'seconds': t.duration.total_seconds() if t.duration else math.nan,
    }
    for t in trials
  ]
  first = study.directions[0].name == 'MAXIMIZE'
  names = study.metric_names or [
    f'objective_{i}' if i else 'objective' for i in range(len(study.directions))
  ]
  measured = columns_of(rows)
  for i, name in enumerate(names[1:], start=1):
    measured[name] = np.array([t.values[i] if t.values else math.nan for t in trials])
  return Runs(
    name=study.study_name,
    axes=axes,
    values=values,
    objective_name=names[0],
    maximize=first,
    objective=np.array(
      [
        t.values[0] if t.values and t.state.name == 'COMPLETE' else math.nan
        for t in trials
      ]
    ),
    status=np.array([_STATES[t.state.name] for t in trials])
    if trials
    else np.array([], str),
    number=np.array([t.number for t in trials], int),
    scores=tuple(dict(t.intermediate_values) for t in trials),
    measured=measured,
    configs={t.number: {**t.params, **t.user_attrs} for t in trials},
    about={
      'source': where,
      'kind': 'optuna',
      'objectives': list(names),
      'directions': [d.name.lower() for d in study.directions],
    },
  )


def _storage(optuna: Any, where: str) -> Any:
  from optuna.storages import JournalStorage, RDBStorage

  from lmhp.sweeping.store.journal import JournalSnapshot

  try:
    if '://' in where:
      return RDBStorage(where, skip_compatibility_check=False)
    if not os.path.exists(where):
      raise ConfigError(f'{where}: no such file')
    if where.endswith(('.db', '.sqlite', '.sqlite3')):
      return RDBStorage(f'sqlite:///{os.path.abspath(where)}')
    return JournalStorage(JournalSnapshot(where))
  except ConfigError:
    raise
  except (
    Exception
  ) as error:  # Optuna, SQLAlchemy and the drivers have no exception in common
    raise ConfigError(
      f'{where}: cannot be read as an Optuna storage ({str(error).splitlines()[0]})'
    ) from None


def _axis(name: str, distribution: Any) -> Axis:
  if hasattr(distribution, 'choices'):
    choices = tuple(distribution.choices)
    numeric = (
      all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in choices)
      and len(set(choices)) > 2
    )
    if numeric:
      return Axis(
        name,
        low=float(min(choices)),
        high=float(max(choices)),
        log=looks_logarithmic(choices),
        choices=choices,
      )
    return Axis(name, kind='choice', choices=choices)
  return Axis(
    name,
    low=float(distribution.low),
    high=float(distribution.high),
    log=bool(distribution.log),
    whole=isinstance(distribution.low, int),
  )
