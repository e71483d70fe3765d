"""A table of runs from wherever they are: an lmhp study or run, an Optuna study, a CSV, JSONL or parquet file."""

from __future__ import annotations

import json
import math
import os
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.runs import CONFIRM, SEARCH, Axis, Runs
from lmhp.hypers import ConfigError
from lmhp.sweeping import combinators
from lmhp.sweeping.domains import Choice, Float
from lmhp.sweeping.parameters import Parameter, Plan
from lmhp.sweeping.study import HEADER, Study, Trial
from lmhp.training.history import local_or_remote, numbers, read as read_history

TABLES = ('.csv', '.tsv', '.jsonl', '.parquet')
_ABOUT = ('data_sha256', 'versions', 'git', 'device', 'command', 'changes')
FEWEST_OF_A_NUMBER = 3
"""A choice between this many numbers, or more, is a number that was varied."""


def read(path: Any, **options: Any) -> Runs:
  """The table of runs of a path.

  Args:
    path: an lmhp study's directory, a training run's or one with several of them in it; an Optuna journal
      (`.journal`, `.log`), database file (`.db`) or URL; a `.csv`, `.tsv`, `.jsonl` or `.parquet` file of runs.
    **options: `storage` of an lmhp study in a database; `study` of an Optuna storage with several; `objective`,
      `maximize` and `parameters` of a file, as in `lmhp.analysis.tables.read_table`.

  Raises:
    ConfigError: where nothing of the kind is there.
  """
  asked = {name: value for name, value in options.items() if value is not None}
  text = os.fspath(path)
  if '://' in text and not text.startswith(('gs://', 's3://')):
    return _optuna(text, asked)
  path = local_or_remote(text)
  if (path / HEADER).exists():
    return read_study(path, **asked)
  if path.is_dir():
    return _directory(path, asked)
  if not path.exists():
    raise ConfigError(
      f'{text}: no such file or directory, expected a study, a run, or a table of runs'
    )
  suffix = path.suffix.lower()
  if suffix in TABLES:
    from lmhp.analysis.tables import read_table

    return read_table(path, **asked)
  if suffix in ('.journal', '.log', '.db', '.sqlite', '.sqlite3'):
    return _optuna(text, asked)
  raise ConfigError(
    f'{text}: got a {suffix or "file without suffix"}, expected a directory, an Optuna journal, or one '
    f'of {", ".join(TABLES)}'
  )


def _optuna(where: str, options: Mapping[str, Any]) -> Runs:
  from lmhp.analysis.optuna_study import read_optuna

  return read_optuna(where, **options)


def _directory(path: Any, options: Mapping[str, Any]) -> Runs:
  if options:
    raise ConfigError(
      f'--{next(iter(options))}: is for a file of runs or an Optuna storage, and {path} is a directory'
    )
  from lmhp.analysis.runs_of_train import read_runs

  return read_runs(path)


# --- an lmhp study --------------------------------------------------------------------------------------------------


def read_study(workdir: Any, storage: str | None = None) -> Runs:
  """The trials of an lmhp study, as it stands; also while it runs.

  Raises:
    ConfigError: where there is none, or it is damaged.
  """
  with Study.read(workdir, storage=storage) as study:
    trials, card, directions, name = (
      study.trials,
      study.card,
      study.directions,
      study.name,
    )
  space = combinators.from_json(card['space'])
  base = base_values(card.get('task', {}))
  parameters = Plan(space).parameters
  axes = {p.name: axis_of(p, base) for p in parameters}
  sweep = card.get('sweep', {})
  objectives = sweep.get('objective', ['objective'])
  measured = _measured(trials)
  for i, objective in enumerate(objectives[1:], start=1):
    measured.setdefault(
      objective, np.array([t.values[i] if t.values else math.nan for t in trials])
    )
  about = {key: card[key] for key in _ABOUT if key in card}
  about |= {
    'source': str(workdir),
    'kind': 'study',
    'sweep': sweep,
    'objectives': objectives,
    'base': base,
    'directions': list(directions),
    'held_equal': sweep.get('held_equal'),
    'rungs': card.get('ladder', {}).get('rungs', []),
    'task': card.get('task', {}),
  }
  return Runs(
    name=name,
    axes=axes,
    values={p.name: _column(axes[p.name], p, trials) for p in parameters},
    objective=np.array(
      [
        t.values[0] if t.values and t.status in ('complete', 'diverged') else math.nan
        for t in trials
      ],
      np.float64,
    ),
    objective_name=objectives[0],
    maximize=directions[0] == 'maximize',
    status=np.array([t.status for t in trials], str),
    number=np.array([t.number for t in trials], int),
    point=np.array([t.point for t in trials], int),
    seed=np.array([t.seed for t in trials], int),
    cohort=np.array(
      [CONFIRM if t.cohort.startswith('confirm') else SEARCH for t in trials],
      dtype='<U8',
    ),
    scores=tuple(dict(t.scores) for t in trials),
    measured=measured,
    curves=_curves(workdir, trials),
    configs={t.number: {**base, **t.overrides} for t in trials},
    about=about,
  )


def base_values(task: Mapping[str, Any]) -> dict[str, Any]:
  """What the base config had by dotted path, of a study's card; of one's own functions their numbers by name."""
  if 'hypers' in task:
    return dict(numbers(task['hypers']))
  return {
    f'{section}.{key}': value
    for section, keys in numbers(task).items()
    if isinstance(keys, Mapping)
    for key, value in keys.items()
  }


def axis_of(parameter: Parameter, base: Mapping[str, Any]) -> Axis:
  """A space's parameter as an axis; a choice between three numbers or more is a number."""
  domain, own = (
    parameter.domain,
    base.get(parameter.paths[0]) if len(parameter.paths) == 1 else None,
  )
  common = {'name': parameter.name, 'role': parameter.role, 'base': own}
  if not isinstance(domain, Choice):
    return Axis(
      **common,
      low=float(domain.low),
      high=float(domain.high),
      log=domain.log,
      whole=not isinstance(domain, Float),
    )
  values = tuple(domain.values)
  numeric = all(
    isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)
    for v in values
  )
  if numeric and len(parameter.paths) == 1 and len(set(values)) >= FEWEST_OF_A_NUMBER:
    return Axis(
      **common,
      low=float(min(values)),
      high=float(max(values)),
      log=looks_logarithmic(values),
      choices=values,
      whole=all(isinstance(v, int) for v in values),
    )
  return Axis(**common, kind='choice', choices=values)


def looks_logarithmic(values: Sequence[float]) -> bool:
  """Whether values are spread by ratios: all above 0, and the middle nearer to the geometric mean of the ends.

  >>> looks_logarithmic([1e-4, 1e-3, 1e-2]), looks_logarithmic([0.8, 0.9, 0.99])
  (True, False)
  """
  values = np.sort(np.asarray(values, np.float64))
  if values[0] <= 0 or values[-1] < 4 * values[0]:
    return False
  middle, low, high = float(np.median(values)), values[0], values[-1]
  return bool(abs(middle - math.sqrt(low * high)) < abs(middle - (low + high) / 2))


def _column(axis: Axis, parameter: Parameter, trials: Sequence[Trial]) -> np.ndarray:
  """A column of values; what changed while a trial trained (population-based training) by its last."""
  last = [t.about.get('lineage', [{}])[-1] for t in trials]
  given = [
    one.get(axis.name, t.parameters.get(axis.name)) for one, t in zip(last, trials)
  ]
  if axis.kind == 'number':
    return np.array([math.nan if v is None else float(v) for v in given], np.float64)
  column = np.empty(len(given), object)
  column[:] = given
  return column


def _measured(trials: Sequence[Trial]) -> dict[str, np.ndarray]:
  """What was measured of each trial: its length without its forks', its metrics and its counts."""
  rows = []
  for t in trials:
    about = t.about
    steps, forked = about.get('steps', math.nan), about.get('cooldown_steps', 0)
    own = steps / (steps + forked) if steps and steps == steps else math.nan
    row = {
      'steps': steps,
      'tokens': about.get('tokens', math.nan) * own,
      'flops': about.get('flops', math.nan) * own,
      'tokens_spent': about.get('tokens', math.nan),
      'seconds': about.get('seconds', math.nan),
      'diverged_at': about.get('diverged_at', math.nan),
      'parameters': about.get('n_parameters', math.nan),
    }
    row |= {
      f'parameters_{kind}': n for kind, n in about.get('parameters_by_kind', {}).items()
    }
    rows.append(
      {
        **row,
        **{
          k: v
          for k, v in about.get('metrics', {}).items()
          if isinstance(v, (int, float))
        },
      }
    )
  return columns_of(rows)


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
  """Rows of numbers as columns; NaN where a row has none."""
  names = dict.fromkeys(name for row in rows for name in row)
  return {
    name: np.array([_number(row.get(name)) for row in rows], np.float64)
    for name in names
  }


def _number(value: Any) -> float:
  return float(value) if isinstance(value, (int, float)) else math.nan


def _curves(workdir: Any, trials: Sequence[Trial]) -> dict[int, dict[str, np.ndarray]]:
  """The curves of trials, from the packs that each was in, in order."""
  from lmhp.sweeping import curves

  packs: dict[str, dict[int, dict[str, np.ndarray]]] = {}
  directory, found = local_or_remote(workdir) / 'curves', {}
  for t in trials:
    parts = []
    for name in dict.fromkeys(t.about.get('packs', ())):
      if name not in packs:
        path = directory / f'{name}.parquet'
        packs[name] = _by_trial(curves.read(path)) if path.exists() else {}
      parts += [packs[name][t.number]] if t.number in packs[name] else []
    if parts:
      found[t.number] = _joined(parts)
  return found


def _by_trial(table: Any) -> dict[int, dict[str, np.ndarray]]:
  columns = {
    name: np.asarray(table[name].to_numpy(zero_copy_only=False), np.float64)
    for name in table.column_names
  }
  trials = columns.pop('trial')
  return {
    int(number): {name: column[trials == number] for name, column in columns.items()}
    for number in np.unique(trials)
  }


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
  """Curves one after the other, rows in the order of their steps."""
  names = dict.fromkeys(name for part in parts for name in part)
  whole = {
    name: np.concatenate(
      [part.get(name, np.full(len(part['step']), math.nan)) for part in parts]
    )
    for name in names
  }
  order = np.argsort(whole['step'], kind='stable')
  return {name: column[order] for name, column in whole.items()}


def history_of(path: Any) -> dict[str, np.ndarray]:
  """The curve of a training run from its `metrics.jsonl`."""
  rows = read_history(path)
  return {
    name: np.asarray(column, np.float64)
    for name, column in rows.items()
    if column.dtype != object
  }


def json_of(path: Any) -> dict[str, Any] | None:
  """A JSON file's object with its numbers; None where it is not there.

  Raises:
    ConfigError: where it is damaged.
  """
  path = local_or_remote(path)
  if not path.exists():
    return None
  try:
    found = json.loads(path.read_text())
  except ValueError as error:
    raise ConfigError(f'{path}: is damaged: {error}') from None
  if not isinstance(found, dict):
    raise ConfigError(f'{path}: is damaged, expected a JSON object')
  return numbers(found)
