"""A table of training runs: one directory of `lmhp train`, or a directory of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math

from etils import epath
import numpy as np

from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.columns import (
  axis_and_column,
  base_config,
  finite_rows,
  is_numeric,
  number_columns,
  point_numbers,
  read_curve,
  read_json_object,
  to_float,
)
from lmhp.analysis.runs.table import Curve, Runs, StudyFacts
from lmhp.errors import ConfigError
from lmhp.errors.redaction import redact, redact_command
from lmhp.files import as_path
from lmhp.training.history import METRICS_FILE, check_rows
from lmhp.typing import JSON, PathLike

OBJECTIVE = 'eval_loss_nats'
SEED_KEYS = ('train.seed', 'data.seed')


def read_runs(path: PathLike) -> Runs:
  """Reads the training run in a directory, or the runs in its subdirectories.

  The keys in which the configs differ become the axes.

  Raises:
    ConfigError: If there is no run.
  """
  path = as_path(path)
  directories = _run_directories(path)
  manifests = [read_json_object(each / 'config.json') or {} for each in directories]
  results = [read_json_object(each / 'result.json') or {} for each in directories]
  for directory, result in zip(directories, results):
    check_rows(directory, result)
  curves = {
    i: read_curve(each)
    for i, each in enumerate(directories)
    if (each / METRICS_FILE).exists()
  }
  configs = [base_config(_section(manifest, 'config')) for manifest in manifests]
  # Settings that differ between the runs are the axes.
  axes, values = _axes(configs)
  status = [_status(result) for result in results]
  objective = [
    _objective(result, curves.get(i, {})) for i, result in enumerate(results)
  ]
  first = manifests[0]
  return Runs(
    name=path.name,
    axes=axes,
    values=values,
    objective=np.array(objective, np.float64),
    objective_name=OBJECTIVE,
    status=np.array(status),
    point=point_numbers(values, len(directories)),
    seed=np.array([config.get('train.seed', 0) for config in configs], int),
    measured=_measured(results),
    curves=curves,
    configs=dict(enumerate(configs)),
    facts=StudyFacts(
      source=str(path),
      source_type='run' if len(directories) == 1 else 'runs',
      command=_words(first.get('command')),
      data_sha256=str(first.get('data_sha256') or ''),
      versions=_section(first, 'versions'),
      device=first.get('device'),
      git=first.get('git'),
    ),
  )


def _run_directories(path: epath.Path) -> list[epath.Path]:
  directories = [path] if is_run(path) else _runs_below(path)
  if not directories:
    raise ConfigError(
      f'{path}: is no study, no run and no directory of runs, expected a study.json, a '
      'config.json, or runs of MLflow or TensorBoard in it'
    )
  return directories


def _runs_below(path: epath.Path) -> list[epath.Path]:
  return sorted(each for each in path.iterdir() if each.is_dir() and is_run(each))


def has_runs(path: epath.Path) -> bool:
  """Returns True for the directory of a training run or of several."""
  return is_run(path) or bool(_runs_below(path))


def is_run(path: epath.Path) -> bool:
  """Returns True for the directory of a training run."""
  has_result = (path / METRICS_FILE).exists() or (path / 'result.json').exists()
  return (path / 'config.json').exists() and has_result


def _section(manifest: Mapping[str, JSON], name: str) -> Mapping[str, JSON]:
  section = manifest.get(name)
  return section if isinstance(section, Mapping) else {}


def _words(command: JSON) -> str:
  if isinstance(command, (list, tuple)):
    return ' '.join(redact_command([str(word) for word in command]))
  return redact(str(command or ''))


def _status(result: Mapping[str, JSON]) -> str:
  if result.get('diverged_at') is not None:
    return 'diverged'
  return 'complete' if result else 'running'


def _objective(result: Mapping[str, JSON], curve: Curve) -> float:
  """Returns the last evaluation of a run. A run that still trains has its newest."""
  final = result.get(f'final_{OBJECTIVE}')
  if isinstance(final, (int, float)):
    return to_float(final)
  _, scores = finite_rows(curve, OBJECTIVE)
  return float(scores[-1]) if len(scores) else math.nan


def _axes(
  configs: Sequence[Mapping[str, object]],
) -> tuple[dict[str, Axis], dict[str, np.ndarray]]:
  """Returns the axes and columns of the keys that differ between configs."""
  axes: dict[str, Axis] = {}
  values: dict[str, np.ndarray] = {}
  for name in dict.fromkeys(key for config in configs for key in config):
    column = [config.get(name) for config in configs]
    if name in SEED_KEYS or len({repr(value) for value in column}) < 2:
      continue
    axes[name], values[name] = axis_and_column(name, column)
  return axes, values


def _measured(results: Sequence[Mapping[str, JSON]]) -> dict[str, np.ndarray]:
  """Returns the numbers of the results as columns, `final_` left out of their names."""
  rows = []
  for result in results:
    row: dict[str, object] = {
      name: value for name, value in result.items() if is_numeric(value)
    }
    # The effects of kinds read these columns.
    counts = _section(result, 'parameters_by_kind')
    row |= {f'parameters_{kind}': count for kind, count in counts.items()}
    finals = [name for name in row if name.startswith('final_')]
    row |= {name.removeprefix('final_'): row[name] for name in finals}
    rows.append(row)
  return number_columns(rows)
