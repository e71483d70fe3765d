"""The result of a study: `result.json`, and `best.py`, an experiment file of the winner."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import math
import shlex

import numpy as np

from lmhp.config_keys import SECTIONS, keys
from lmhp.files import as_path, python_docstring, to_jsonable, write_atomic
from lmhp.statistics.pareto import pareto_front
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.confirmation import ConfirmedPoint, ranked_points, seed_noise
from lmhp.sweeping.store.manifest import CalibrationCost
from lmhp.sweeping.store.trial import ENDED, Trial
from lmhp.typing import PathLike

_BEST_FILE = """{docstring}

import lmhp


def get_config():
  config = lmhp.default_config()

{lines}
  return config
"""
"""Template of `best.py`."""


@dataclasses.dataclass(frozen=True)
class StudySummary:
  """The content of `result.json`.

  Attributes:
    objective: Names of the objectives.
    directions: 'minimize' or 'maximize' for each objective.
    matched_budget: Budget that is equal for all trials, in words.
    best_trial: Number of the first trial of the best point. None if no point is complete.
    best_overrides: {dotted path: value} of the best point, for values that differ from the
      base config.
    best_value: Mean objective of the best point. NaN if no point is complete.
    pareto_front: Numbers of the trials on the Pareto front. Empty for one objective.
    confirmed: The best points and the base config on new seeds.
    seed_noise: Standard deviation between seeds of one point. NaN if not known.
    trials_by_status: {status of ended trials: number of trials of the search}.
    rank_correlations: {step of a rung: rank correlation of its scores with the final scores}.
    unaffordable_calibration: Cost of the calibration of early stopping, if it was too high and
      no trial was stopped for this reason. None otherwise.
    tokens: Training tokens of the search.
    confirmation_tokens: Training tokens of the confirmation.
    seconds: Wall time of the study.
  """

  objective: tuple[str, ...]
  directions: tuple[str, ...]
  matched_budget: str
  best_trial: int | None
  best_overrides: Mapping[str, object]
  best_value: float
  pareto_front: tuple[int, ...]
  confirmed: tuple[ConfirmedPoint, ...]
  seed_noise: float
  trials_by_status: Mapping[str, int]
  rank_correlations: Mapping[int, float]
  unaffordable_calibration: CalibrationCost | None
  tokens: int
  confirmation_tokens: int
  seconds: float


@dataclasses.dataclass(frozen=True)
class StudyResult:
  """The result of `lmhp.sweep`.

  Attributes:
    workdir: Directory of the study.
    trials: All trials, by number.
    base: Values of the base config, by path.
    summary: Content of `result.json`. None if a signal interrupted the study.
    signal: Number of the signal that interrupted the study. The same call continues the study.
      None if the study is complete.
  """

  workdir: str
  trials: tuple[Trial, ...]
  base: Mapping[str, object]
  summary: StudySummary | None = None
  signal: int | None = None

  @property
  def complete(self) -> bool:
    """True if the study is complete. False if a signal interrupted it."""
    return self.signal is None

  @property
  def best(self) -> Mapping[str, object]:
    """Overrides of the best point, by path. Empty if no point is complete."""
    return {} if self.summary is None else self.summary.best_overrides

  @property
  def confirmed(self) -> tuple[ConfirmedPoint, ...]:
    """The best points and the base config on new seeds. Empty without a confirmation."""
    return () if self.summary is None else self.summary.confirmed

  def __repr__(self) -> str:
    """Returns a short summary. The last cell of a notebook prints it."""
    n_trials = f'{len(self.trials):,} trials'
    if self.summary is None:
      return f'study in {self.workdir}, interrupted after {n_trials}'
    best = ', '.join(f'{path}={value!r}' for path, value in self.best.items())
    return f'study of {n_trials} in {self.workdir}; best: {best or "the base config"}'


def pareto_trials(trials: Sequence[Trial], signs: Sequence[float]) -> list[Trial]:
  """Returns the complete trials on the Pareto front, in order of the first objective.

  Args:
    trials: Trials of a study.
    signs: For each objective, -1 if it is maximized, else 1. With one objective, the front
      consists of the trials with the best value.
  """
  # Lower is better for all columns.
  done = [trial for trial in trials if trial.status == 'complete']
  values = np.array([trial.values for trial in done])
  values = values.reshape(len(done), len(signs)) * np.array(signs)
  on_front = np.flatnonzero(pareto_front(values[:, 0], values[:, 1:]))
  order = on_front[np.argsort(values[on_front, 0], kind='stable')]
  return [done[i] for i in order]


def summarize(
  trials: Sequence[Trial],
  sweep: SweepConfig,
  confirmed: Sequence[ConfirmedPoint],
  rank_correlations: Mapping[int, float],
  *,
  unaffordable_calibration: CalibrationCost | None,
  matched_budget: str,
  seconds: float,
) -> StudySummary:
  """Summarizes a complete study.

  Args:
    trials: All trials.
    sweep: Config of the sweep.
    confirmed: Result of the confirmation.
    rank_correlations: {step of a rung: rank correlation of its scores with the final scores}.
    unaffordable_calibration: Cost of the calibration, if it was too high. None otherwise.
    matched_budget: Budget that is equal for all trials, in words.
    seconds: Wall time of the study.
  """
  # The best point of the search, by the mean over its seeds.
  search = [trial for trial in trials if not trial.cohort.startswith('confirm')]
  best_point = next(iter(ranked_points(trials, sweep.signs[0])), None)
  best = [t for t in search if t.point == best_point and t.status == 'complete']
  # With one objective, `best_trial` is enough.
  front = pareto_trials(search, sweep.signs) if len(sweep.signs) > 1 else []
  statuses = collections.Counter(trial.status for trial in search)
  # The tokens of the other trials are those of the confirmation.
  tokens = sum(trial.cost.tokens for trial in search)
  all_tokens = sum(trial.cost.tokens for trial in trials)
  best_values = [trial.values[0] for trial in best if trial.values is not None]
  return StudySummary(
    objective=tuple(sweep.objective),
    directions=sweep.directions,
    matched_budget=matched_budget,
    best_trial=best[0].number if best else None,
    best_overrides=_last_overrides(best[0]) if best else {},
    best_value=float(np.mean(best_values)) if best else math.nan,
    pareto_front=tuple(trial.number for trial in front),
    confirmed=tuple(confirmed),
    seed_noise=seed_noise(trials),
    trials_by_status={status: statuses[status] for status in ENDED},
    rank_correlations=rank_correlations,
    unaffordable_calibration=unaffordable_calibration,
    tokens=tokens,
    confirmation_tokens=all_tokens - tokens,
    seconds=seconds,
  )


def _last_overrides(trial: Trial) -> dict[str, object]:
  """Returns the overrides of a trial, with the values at the end of training.

  Population-based training changes values during training.
  """
  last_values = trial.lineage[-1].values if trial.lineage else {}
  return {path: last_values.get(path, v) for path, v in trial.overrides.items()}


def write_best_file(
  workdir: PathLike, config: Mapping[str, Mapping[str, object]], docstring: str
) -> None:
  """Writes `best.py`, an experiment file that sets each key that differs from its default.

  Args:
    workdir: Directory of the study.
    config: {section: {key: value}} of the best trial.
    docstring: Text at the start of the file's docstring.
  """
  # One line for each value that differs from its default. Fields that are not keys cannot be
  # set.
  lines = []
  for name, values in config.items():
    fields = {field.name: field for field in dataclasses.fields(SECTIONS[name])}
    for key, value in values.items():
      if f'{name}.{key}' in keys() and value != fields[key].default:
        lines.append(f'  config.{name}.{key} = {_literal(value)}')
  path = as_path(workdir) / 'best.py'
  command = f'lmhp train --config={shlex.quote(str(path))}'
  text = _BEST_FILE.format(
    docstring=python_docstring(f'{docstring}\n\n  {command}\n'), lines='\n'.join(lines)
  )
  write_atomic(path, text.encode())


def _literal(value: object) -> str:
  """Returns a value as Python code."""
  if isinstance(value, (list, tuple)):
    items = ', '.join(map(_literal, value))
    return f'({items},)' if len(value) == 1 else f'({items})'
  if isinstance(value, float) and not math.isfinite(value):
    return f"float('{value}')"
  return repr(to_jsonable(value))
