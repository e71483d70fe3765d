"""Training runs as a table: one directory that `lmhp train` left, or a directory with several of them."""

from __future__ import annotations

import math
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.runs.columns import (
  axis_of_values,
  base_values,
  columns_of,
  history_of,
  json_of,
  points_of,
)
from lmhp.analysis.runs.table import Axis, Runs
from lmhp.errors import ConfigError
from lmhp.files import as_path
from lmhp.training.history import METRICS_FILE

OBJECTIVE = 'eval_loss_nats'
_IGNORED = ('train.seed', 'data.seed')


def read_runs(path: Any) -> Runs:
  """The run in a directory, or all those in its subdirectories; what their configs differ in are the axes.

  Raises:
    ConfigError: where there is none.
  """
  path = as_path(path)
  found = (
    [path]
    if is_run(path)
    else sorted(p for p in path.iterdir() if p.is_dir() and is_run(p))
  )
  if not found:
    raise ConfigError(
      f'{path}: neither a study nor a run, nor a directory of runs, expected a study.json or a '
      'config.json there'
    )
  cards = [json_of(p / 'config.json') for p in found]
  results = [json_of(p / 'result.json') or {} for p in found]
  curves = {i: history_of(p) for i, p in enumerate(found) if (p / METRICS_FILE).exists()}
  configs = [base_values(card.get('config', {})) for card in cards]
  objective = np.array(
    [_end(result, curves.get(i, {})) for i, result in enumerate(results)], np.float64
  )
  axes, values = _axes(configs)
  diverged = [result.get('diverged_at') is not None for result in results]
  status = np.where(
    diverged, 'diverged', np.where([bool(r) for r in results], 'complete', 'running')
  )
  about = {
    'source': str(path),
    'kind': 'run' if len(found) == 1 else 'runs',
    'objectives': [OBJECTIVE],
    'result': results[0] if len(found) == 1 else {},
    'names': [p.name for p in found],
    **{
      key: cards[0][key]
      for key in ('data_sha256', 'versions', 'git', 'device', 'command')
      if key in cards[0]
    },
  }
  return Runs(
    name=path.name,
    axes=axes,
    values=values,
    objective=objective,
    objective_name=OBJECTIVE,
    status=status,
    point=points_of(values, len(found)),
    seed=np.array([c.get('train.seed', 0) for c in configs], int),
    measured=_measured(results),
    curves=curves,
    configs=dict(enumerate(configs)),
    about=about,
  )


def is_run(path: Any) -> bool:
  """Whether a directory is a training run's."""
  return (path / 'config.json').exists() and (
    (path / METRICS_FILE).exists() or (path / 'result.json').exists()
  )


def _end(result: Mapping[str, Any], curve: Mapping[str, np.ndarray]) -> float:
  """A run's last evaluation; of one that still runs, the newest."""
  if f'final_{OBJECTIVE}' in result:
    return result[f'final_{OBJECTIVE}']
  scores = curve.get(OBJECTIVE, np.array([]))
  scores = scores[np.isfinite(scores)]
  return float(scores[-1]) if len(scores) else math.nan


def _axes(
  configs: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, Axis], dict[str, np.ndarray]]:
  """The keys that differ."""
  axes, values = {}, {}
  for name in dict.fromkeys(key for config in configs for key in config):
    column = [config.get(name) for config in configs]
    if name in _IGNORED or len({repr(v) for v in column}) < 2:
      continue
    axes[name], values[name] = axis_of_values(name, column)
  return axes, values


def _measured(results: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
  rows = []
  for result in results:
    row = {
      k: v
      for k, v in result.items()
      if isinstance(v, (int, float)) and not isinstance(v, bool)
    }
    row |= {
      f'parameters_{kind}': n
      for kind, n in result.get('parameters_by_kind', {}).items()
    }
    row |= {
      name.removeprefix('final_'): v
      for name, v in row.items()
      if name.startswith('final_')
    }
    rows.append(row)
  return columns_of(rows)
