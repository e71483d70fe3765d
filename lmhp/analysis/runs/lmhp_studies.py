"""A table of runs from an lmhp study."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.runs.columns import columns_of, looks_logarithmic
from lmhp.analysis.runs.table import CONFIRM, SEARCH, Axis, Runs
from lmhp.files import as_path
from lmhp.registry import load_plugin_modules
from lmhp.sweeping.space import Choice, CompiledSpace, Float, Parameter, from_json
from lmhp.sweeping.store.study import Study
from lmhp.sweeping.store.trial import Trial

FEWEST_OF_A_NUMBER = 3
"""A choice between this many numbers, or more, is a number that was varied."""


def read_study(workdir: Any, storage: str | None = None) -> Runs:
  """The trials of an lmhp study, as it stands; also while it runs.

  Raises:
    ConfigError: where there is none, or it is damaged.
  """
  with Study.read(workdir, storage=storage) as study:
    trials = study.trials
    manifest = study.manifest
    directions = study.directions
    name = study.name
  load_plugin_modules(manifest.plugins, f'the study in {workdir}')
  space = from_json(manifest.space)
  base = dict(manifest.task.base_values)
  parameters = CompiledSpace(space).parameters
  axes = {p.name: axis_of(p, base) for p in parameters}
  sweep = manifest.sweep
  objectives = sweep.get('objective', ['objective'])
  measured = _measured(trials)
  for i, objective in enumerate(objectives[1:], start=1):
    measured.setdefault(
      objective, np.array([t.values[i] if t.values else math.nan for t in trials])
    )
  about = {
    'data_sha256': manifest.task.data_sha256,
    **dataclasses.asdict(manifest.origin),
    'changes': list(manifest.changes),
    'source': str(workdir),
    'kind': 'study',
    'sweep': sweep,
    'objectives': objectives,
    'base': base,
    'directions': list(directions),
    'match_budget': sweep.get('match_budget'),
    'rungs': list(manifest.rungs.steps) if manifest.rungs else [],
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


def _column(axis: Axis, parameter: Parameter, trials: Sequence[Trial]) -> np.ndarray:
  """A column of values; what changed while a trial trained (population-based training) by its last."""
  last = [t.lineage[-1].values if t.lineage else {} for t in trials]
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
    cost = t.cost
    row = dict.fromkeys(('steps', 'tokens', 'flops', 'tokens_spent', 'seconds'))
    if cost.steps:
      own = cost.steps / (cost.steps + cost.cooldown_steps)
      row['steps'] = cost.steps
      row['tokens'] = cost.tokens * own
      row['flops'] = cost.flops * own
      row['tokens_spent'] = cost.tokens
      row['seconds'] = cost.seconds
    row['diverged_at'] = t.diverged_at
    row['parameters'] = t.model.n_parameters
    for kind, n in t.model.parameters_by_kind.items():
      row[f'parameters_{kind}'] = n
    rows.append(
      {
        **row,
        **{k: v for k, v in t.metrics.items() if isinstance(v, (int, float))},
      }
    )
  return columns_of(rows)


def _curves(workdir: Any, trials: Sequence[Trial]) -> dict[int, dict[str, np.ndarray]]:
  """The curves of trials, from the packs that each was in, in order."""
  from lmhp.sweeping.execution import curves

  packs: dict[str, dict[int, dict[str, np.ndarray]]] = {}
  directory, found = as_path(workdir) / 'curves', {}
  for t in trials:
    parts = []
    for name in dict.fromkeys(t.packs):
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
