"""A table of runs from an lmhp study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import functools
import logging
import math
from typing import TYPE_CHECKING

import numpy as np

from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.columns import (
  is_numeric,
  looks_logarithmic,
  number_columns,
  typed_column,
)
from lmhp.analysis.runs.table import CONFIRM, SEARCH, Curve, Runs, StudyFacts
from lmhp.errors import ConfigError
from lmhp.errors.redaction import redact_command
from lmhp.registry import load_plugin_modules
from lmhp.sweeping.space import Choice, CompiledSpace, Float, Parameter, from_json
from lmhp.sweeping.store.study import Study
from lmhp.sweeping.store.trial import Trial
from lmhp.typing import PathLike

if TYPE_CHECKING:
  import pyarrow as pa

_log = logging.getLogger(__name__)

MIN_NUMERIC_CHOICES = 3
"""A choice between at least this many numbers is a number that was varied."""


def read_study(workdir: PathLike, storage: str | None = None) -> Runs:
  """Reads the trials of an lmhp study, also while the study runs.

  Args:
    workdir: Directory of the study.
    storage: URL of the database that holds the study. None reads the study's own files.

  Raises:
    ConfigError: If there is no study, or it is damaged.
  """
  with Study.read(workdir, storage=storage) as study:
    trials = _different(study.trials)
    manifest = study.manifest
    maximize = study.directions[0] == 'maximize'
    study_name = study.name
  load_plugin_modules(manifest.plugins, f'the study in {workdir}')

  # One axis for each parameter of the space.
  base = manifest.task.base_values
  parameters = CompiledSpace(from_json(manifest.space)).parameters
  axes = {parameter.name: parameter_axis(parameter, base) for parameter in parameters}
  sweep = manifest.sweep
  # The first objective is analysed. The others become measurements.
  objectives = _names(sweep.get('objective', ['objective']))
  match_budget = sweep.get('match_budget')
  rungs = manifest.rungs
  unaffordable = None if rungs is None else rungs.unaffordable_calibration
  measured = _measured(trials)
  for i, objective in enumerate(objectives[1:], start=1):
    measured.setdefault(
      objective, np.array([t.values[i] if t.values else math.nan for t in trials])
    )

  return Runs(
    name=study_name,
    axes=axes,
    values={name: _column(name, axis, trials) for name, axis in axes.items()},
    objective=np.array([_objective(trial) for trial in trials], np.float64),
    objective_name=objectives[0],
    maximize=maximize,
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
    facts=StudyFacts(
      source=str(workdir),
      source_type='study',
      search=str(sweep.get('search', '')),
      match_budget=None if match_budget is None else str(match_budget),
      base_config=base,
      unaffordable_calibration=unaffordable,
      confirmation_pairs=manifest.confirmation_pairs,
      command=' '.join(redact_command(manifest.origin.command)),
      data_sha256=manifest.task.data_sha256 or '',
      versions=manifest.origin.versions,
      device=manifest.origin.device,
      git=manifest.origin.git,
    ),
  )


def _different(trials: Sequence[Trial]) -> list[Trial]:
  """Returns the trials without those that repeat an earlier trial to the last bit.

  A repeated trial is no further evidence. Older studies have such trials.
  """
  kept = {}
  for trial in trials:
    is_confirmed = trial.cohort.startswith('confirm')
    settings = repr(sorted(trial.overrides.items()))
    # A trial without a result, or with an own course of values, repeats no other.
    own = trial.number if trial.values is None or trial.lineage else None
    kept.setdefault((is_confirmed, settings, trial.values, own), trial)
  return list(kept.values())


def _names(value: object) -> list[str]:
  """Returns the names of a list in a manifest."""
  return [str(name) for name in value] if isinstance(value, (list, tuple)) else []


def _objective(trial: Trial) -> float:
  if trial.values and trial.status in ('complete', 'diverged'):
    return trial.values[0]
  return math.nan


def parameter_axis(parameter: Parameter, base: Mapping[str, object]) -> Axis:
  """Returns the axis of a space's parameter.

  A choice between at least `MIN_NUMERIC_CHOICES` numbers becomes a number.
  """
  domain = parameter.domain
  name = parameter.name
  role = parameter.role
  has_one_path = len(parameter.paths) == 1
  base_value = base.get(parameter.paths[0]) if has_one_path else None

  if not isinstance(domain, Choice):
    return Axis(
      name,
      low=float(domain.low),
      high=float(domain.high),
      log=domain.log,
      role=role,
      base_value=base_value,
      is_integer=not isinstance(domain, Float),
    )

  # A choice between several numbers is an axis of numbers.
  values = tuple(domain.values)
  numbers = [value for value in values if is_numeric(value) and math.isfinite(value)]
  is_number = has_one_path and len(numbers) == len(values)
  if is_number and len(set(numbers)) >= MIN_NUMERIC_CHOICES:
    return Axis(
      name,
      low=float(min(numbers)),
      high=float(max(numbers)),
      log=looks_logarithmic(numbers),
      choices=values,
      role=role,
      base_value=base_value,
      is_integer=all(isinstance(value, int) for value in numbers),
    )
  return Axis(name, is_choice=True, choices=values, role=role, base_value=base_value)


def _column(name: str, axis: Axis, trials: Sequence[Trial]) -> np.ndarray:
  """Returns the column of a parameter.

  Population-based training changes values while a trial trains. The last one counts.
  """
  # A member of a population may have changed its values. The last ones count.
  last = [trial.lineage[-1].values if trial.lineage else {} for trial in trials]
  first = [trial.parameters.get(name) for trial in trials]
  return typed_column(axis, [new.get(name, old) for new, old in zip(last, first)])


def _measured(trials: Sequence[Trial]) -> dict[str, np.ndarray]:
  """Returns the columns of lengths, costs and metrics.

  `tokens` and `flops` leave out the forks that cool down at a rung. `tokens_spent` holds
  them.
  """
  rows = []
  for trial in trials:
    cost = trial.cost
    # Tokens and FLOPs of the trial itself, without its forks at rungs.
    fraction = cost.steps / max(cost.steps + cost.cooldown_steps, 1)
    costs = {
      'steps': cost.steps,
      'tokens': cost.tokens * fraction,
      'flops': cost.flops * fraction,
      'tokens_spent': cost.tokens,
      'seconds': cost.seconds,
    }
    kinds = trial.model.parameters_by_kind
    metrics = {
      metric: value
      for metric, value in trial.metrics.items()
      if isinstance(value, (int, float))
    }
    rows.append(
      {
        **(costs if cost.steps else dict.fromkeys(costs)),
        'diverged_at': trial.diverged_at,
        'parameters': trial.model.n_parameters,
        **{f'parameters_{kind}': count for kind, count in kinds.items()},
        **metrics,
      }
    )
  return number_columns(rows)


def _curves(
  workdir: PathLike, trials: Sequence[Trial]
) -> dict[int, dict[str, np.ndarray]]:
  """Reads the curves of trials from the packs that each was in, in order."""

  from lmhp.sweeping.store import curves as curve_files

  @functools.cache
  def read_pack(name: str) -> dict[int, dict[str, np.ndarray]]:
    path = curve_files.path_of_curves(workdir, name)
    if not path.exists():
      return {}
    try:
      return _by_trial(curve_files.read(path))
    except ConfigError as error:
      _log.warning('%s; its curves are left out', error)
      return {}

  curves = {}
  for trial in trials:
    # A trial that was resumed has a part of its curve in each of its packs.
    packs = map(read_pack, dict.fromkeys(trial.packs))
    parts = [pack[trial.number] for pack in packs if trial.number in pack]
    if parts:
      curves[trial.number] = _concatenate(parts)
  return curves


def _by_trial(table: pa.Table) -> dict[int, dict[str, np.ndarray]]:
  """Splits the curves of a pack by trial number."""
  columns = {
    name: np.asarray(table[name].to_numpy(zero_copy_only=False), np.float64)
    for name in table.column_names
  }
  # The file has the rows of all trials of the pack, with their numbers in a column.
  trials = columns.pop('trial')
  curves = {}
  for number in np.unique(trials):
    rows = trials == number
    curves[int(number)] = {name: column[rows] for name, column in columns.items()}
  return curves


def _concatenate(parts: Sequence[Curve]) -> dict[str, np.ndarray]:
  """Joins curves, with rows in the order of their steps."""
  names = dict.fromkeys(name for part in parts for name in part)
  joined = {}
  for name in names:
    columns = [part.get(name, np.full(len(part['step']), math.nan)) for part in parts]
    joined[name] = np.concatenate(columns)
  order = np.argsort(joined['step'], kind='stable')
  return {name: column[order] for name, column in joined.items()}
