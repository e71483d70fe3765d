"""Importances by Optuna's evaluators, of axes and points that are given as columns.

Dimension key: T points, A axes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
import contextlib
import copy
import importlib.util
import math
from typing import TYPE_CHECKING
import warnings

import numpy as np

from lmhp.analysis.runs.axis import Axis

if TYPE_CHECKING:
  from optuna.distributions import BaseDistribution
  from optuna.trial import FrozenTrial, TrialState

METHODS = ('ped_anova', 'fanova')
TARGET_QUANTILE = 0.25
"""Fraction of trials that count as the best. Optuna's default of 0.1 leaves 3 of 27 trials."""
N_TREES = 32
"""Trees of fANOVA's forest. Replicates use a quarter of them, to bound the time."""
TREE_DEPTH = 5
MAX_LEVELS = 10
"""A number with at most this many values is a set of levels, as in a grid."""

Column = tuple['BaseDistribution', list[object]]
"""Optuna's distribution of an axis, and the value of each point, None if it has none."""


def is_installed(method: str) -> bool:
  """Returns True if a method can be used. fANOVA needs scikit-learn."""
  return method != 'fanova' or importlib.util.find_spec('sklearn') is not None


def optuna_column(axis: Axis, values: np.ndarray) -> Column:
  """Returns an axis and its values in the form that Optuna needs.

  A log axis is given in logarithms, because fANOVA ignores the scale. The values of a grid
  become levels 0, 1, 2, ...
  """
  from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
  )

  if axis.is_choice:
    # Optuna accepts only plain values as choices, so each is given by its repr.
    words = [None if value is None else repr(value) for value in values.tolist()]
    choices = sorted({word for word in words if word is not None})
    return CategoricalDistribution(choices), list(words)

  numbers = values
  if axis.log and np.all(numbers[np.isfinite(numbers)] > 0):
    numbers = np.log(numbers)
  present = np.isfinite(numbers)
  # Few different values are a grid, and count as equally spaced integers.
  levels, index = np.unique(numbers[present], return_inverse=True)
  is_grid = len(levels) <= MAX_LEVELS
  if is_grid:
    distribution = IntDistribution(0, max(len(levels) - 1, 0))
    scaled = index
  else:
    distribution = FloatDistribution(0, 1)
    scaled = (numbers[present] - levels[0]) / (levels[-1] - levels[0])
  # A point without the axis keeps None, and its trial leaves the axis out.
  column: list[object] = [None] * len(numbers)
  for i, value in zip(np.flatnonzero(present), scaled.tolist()):
    column[i] = value
  return distribution, column


Evaluator = Callable[[Sequence['FrozenTrial'], bool], np.ndarray]
"""Function of trials, and of a flag to use all trees, that returns (A,) importances."""


def optuna_trials(
  columns: Mapping[str, Column], losses: np.ndarray
) -> list[FrozenTrial]:
  """Returns Optuna trials. A trial leaves out the axes that its point lacks."""
  import optuna

  study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
  for i, loss in enumerate(losses.tolist()):
    present = {name: c for name, c in columns.items() if c[1][i] is not None}
    trial = optuna.trial.create_trial(
      params={name: column[1][i] for name, column in present.items()},
      distributions={name: column[0] for name, column in present.items()},
      value=loss,
    )
    study.add_trial(trial)
  trials = study.get_trials(deepcopy=False)
  for trial in trials:
    # Trials that share one distribution are compared faster than those with copies of it.
    trial.distributions = {name: columns[name][0] for name in trial.params}
  return trials


def with_values(trials: Sequence[FrozenTrial], values: np.ndarray) -> list[FrozenTrial]:
  """Returns the same trials with other objectives."""
  copies = [copy.copy(trial) for trial in trials]
  for trial, value in zip(copies, values.tolist()):
    trial.value = value
  return copies


def optuna_evaluator(method: str, names: Sequence[str]) -> Evaluator:
  """Returns a function that evaluates the importance of each name. NaN if not assessed."""
  import optuna

  class GivenTrials(optuna.Study):
    """Study of given trials. To add trials for each replicate would be slow."""

    given: Sequence[FrozenTrial] = ()

    def get_trials(
      self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
      return list(self.given)

  storage = optuna.storages.InMemoryStorage()
  # One study for all replicates. Only its trials are replaced.
  study = GivenTrials(optuna.create_study(storage=storage).study_name, storage)

  def evaluate(trials: Sequence[FrozenTrial], with_all_trees: bool) -> np.ndarray:
    study.given = trials
    if method == 'ped_anova':
      evaluator = optuna.importance.PedAnovaImportanceEvaluator(
        target_quantile=TARGET_QUANTILE
      )
    else:
      evaluator = optuna.importance.FanovaImportanceEvaluator(
        n_trees=N_TREES if with_all_trees else N_TREES // 4,
        max_depth=TREE_DEPTH,
        seed=0,
      )
    importances = evaluator.evaluate(study)
    return np.array([importances.get(name, math.nan) for name in names], np.float64)

  return evaluate


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
  """Silences Optuna's log, and warnings that a resample or a conditional axis causes."""
  import optuna

  # Restore the user's level at the end.
  verbosity = optuna.logging.get_verbosity()
  optuna.logging.set_verbosity(optuna.logging.ERROR)
  messages = 'Some regimes for parameter|Target and region quantiles select the same'
  try:
    with warnings.catch_warnings():
      warnings.filterwarnings('ignore', message=messages, category=UserWarning)
      yield
  finally:
    optuna.logging.set_verbosity(verbosity)
