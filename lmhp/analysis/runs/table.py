"""The table of runs that the analysis works on, in NumPy.

A row is one training run: one point of a space with one seed. `lmhp.analysis.runs.sources`
reads the table of an lmhp study, an Optuna study, or a file of rows. All later code uses
this table only, and no jax.

Dimension key: T runs, P points, S rows of a curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import math
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from lmhp.analysis.result_tables import data_frame
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.columns import (
  SIZE_GAP as SIZE_GAP,
  groups_of_size,
  move_together,
  point_numbers,
)
from lmhp.analysis.runs.raw_table import Column
from lmhp.errors import ConfigError, suggest
from lmhp.statistics.seed_noise import rows_by_point
from lmhp.sweeping.store.manifest import CalibrationCost

if TYPE_CHECKING:
  import pandas as pd

STATUSES = tuple('waiting running complete pruned diverged failed missing'.split())
"""Ends of a run. A run is 'missing' if a table has its row, but no result and no status."""
SEARCH = 'search'
CONFIRM = 'confirm'
KEPT = 'kept'
DISCARDED = 'discarded'
BASE_POINT = -1
"""Point of the base config in the confirmation."""

Curve: TypeAlias = Mapping[str, np.ndarray]
"""{column: (S,) float64} of one run, NaN in rows without a value. It has 'step', and columns
such as 'tokens', 'seconds', 'loss_nats', 'eval_loss_nats' and 'grad_norm'."""

Losses = TypeVar('Losses', float, np.ndarray)


def _missing() -> np.ndarray:
  """Stands for a column that is filled in with its default."""
  return np.zeros(0)


@dataclasses.dataclass(frozen=True)
class StudyFacts:
  """Facts about a study that belong to no single run.

  Attributes:
    source: Path or URL that the runs were read from. Empty if unknown.
    source_type: 'study', 'run', 'runs', 'table' or 'optuna'. Empty if unknown.
    search: Name of the search method, such as 'random'. Empty if unknown.
    match_budget: Budget that all trials were set to match ('steps', 'tokens', 'flops',
      'seconds' or 'none'). None if the study did not declare one.
    base_config: {dotted path: value} of the base config. Empty if unknown.
    unaffordable_calibration: Cost that kept early stopping off. None if it was not too high.
    confirmation_pairs: Largest number of pairs of the confirmation. None if it was fixed.
    command: Command line that made the runs. Empty if unknown.
    data_sha256: Hash of the training data. Empty if unknown.
    versions: Versions of lmhp and its dependencies, by name.
    device: Accelerator that the runs used.
    git: Commit of the code.
  """

  source: str = ''
  source_type: str = ''
  search: str = ''
  match_budget: str | None = None
  base_config: Mapping[str, object] = dataclasses.field(default_factory=dict)
  unaffordable_calibration: CalibrationCost | None = None
  confirmation_pairs: int | None = None
  command: str = ''
  data_sha256: str = ''
  versions: Mapping[str, object] = dataclasses.field(default_factory=dict)
  device: object = None
  git: object = None


@dataclasses.dataclass(frozen=True)
class Runs:
  """A table of T runs.

  Attributes:
    name: Name of the study.
    axes: Hyperparameters that were varied, by name, in the order of the search space.
    values: Column of each axis: (T,) float64 with NaN for a missing number, or (T,) object
      with None for a missing choice.
    objective: (T,) float64, final objective. NaN if a run has none. A diverged run has a
      finite bad value.
    objective_name: Name of the objective, such as 'eval_loss_nats'.
    maximize: True if a larger objective is better.
    status: (T,) str, one of `STATUSES`.
    number: (T,) int, the number that identifies a run.
    point: (T,) int. Runs of a point differ in the seed only. The base config: `BASE_POINT`.
    seed: (T,) int.
    cohort: (T,) str, `SEARCH`, or `CONFIRM` for a run that confirms the result.
    scores: {step: objective} of each run at its rungs.
    measured: Other columns, (T,) float64 each, NaN if unknown: steps, tokens, flops,
      seconds, parameters, metrics.
    curves: Curves by run number, for the runs that have one.
    configs: {dotted path: value} by run number, for the runs whose config is known.
    columns: Role of each column of the table that was read. Empty for a study of lmhp.
    sizes: Names in `measured` of the sizes and budgets that a run was given, such as
      'parameters' and 'tokens'. Runs are compared only if these are equal.
    compared_within: (T,) object columns whose values must be equal too: sizes in words, and
      yardsticks such as the data set and the split that are evaluated. See `blocks`.
    labels: (T,) name of each run. Empty if the runs have none.
    decisions: (T,) 'kept', 'discarded' or '' of each run, if the table is a log of edits that
      were tried one after another. Empty otherwise.
    notes: Sentences about how the table was read.
    facts: Facts about the study.
  """

  name: str
  axes: Mapping[str, Axis]
  values: Mapping[str, np.ndarray]
  objective: np.ndarray
  objective_name: str = 'objective'
  maximize: bool = False
  status: np.ndarray = dataclasses.field(default_factory=_missing)
  number: np.ndarray = dataclasses.field(default_factory=_missing)
  point: np.ndarray = dataclasses.field(default_factory=_missing)
  seed: np.ndarray = dataclasses.field(default_factory=_missing)
  cohort: np.ndarray = dataclasses.field(default_factory=_missing)
  scores: Sequence[Mapping[int, float]] = ()
  measured: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  curves: Mapping[int, Curve] = dataclasses.field(default_factory=dict)
  configs: Mapping[int, Mapping[str, object]] = dataclasses.field(default_factory=dict)
  columns: Mapping[str, Column] = dataclasses.field(default_factory=dict)
  sizes: tuple[str, ...] = ()
  compared_within: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  labels: tuple[str, ...] = ()
  decisions: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()
  facts: StudyFacts = StudyFacts()

  def __post_init__(self) -> None:
    n = len(self.objective)
    defaults = {
      'status': np.where(np.isfinite(self.objective), 'complete', 'failed'),
      'number': np.arange(n),
      'point': np.arange(n),
      'seed': np.zeros(n, int),
      'cohort': np.full(n, SEARCH),
      'scores': ({},) * n,
    }
    for name, default in defaults.items():
      if not len(getattr(self, name)):
        # The dataclass is frozen, so defaults are set through `object`.
        object.__setattr__(self, name, default)

    # All columns must have one row per run.
    own_columns = {name: getattr(self, name) for name in defaults}
    columns = {**self.values, **self.measured, **own_columns}
    for name, column in columns.items():
      if len(column) != n:
        raise ValueError(f'{name}: got {len(column)} rows, expected {n}')

  def __len__(self) -> int:
    return len(self.objective)

  @property
  def unit(self) -> str:
    """Unit of the objective: 'nats', or an empty string."""
    return 'nats' if self.objective_name.endswith('_nats') else ''

  @property
  def n_points(self) -> int:
    """Number of points of the search. Seeds of one point count once."""
    return len(np.unique(self.point[self.cohort == SEARCH]))

  @property
  def losses(self) -> np.ndarray:
    """(T,) the objective, negated if it is maximized, so that less is better."""
    return -self.objective if self.maximize else self.objective

  def to_objective(self, loss: Losses) -> Losses:
    """Converts a value of `losses` to a value of the objective, or the reverse."""
    return -loss if self.maximize else loss

  def require_axis(
    self, name: str, argument: str = 'axis', accepted: str = 'one of'
  ) -> Axis:
    """Returns an axis by name.

    Args:
      name: Name of the axis.
      argument: Name of the argument that holds the name, for the error message.
      accepted: Number of names that the argument accepts, for the error message.

    Raises:
      ConfigError: If there is no such axis.
    """
    if name not in self.axes:
      raise ConfigError(
        f'{argument}: got {name!r}, expected {accepted} {sorted(self.axes)}'
        f'{suggest(name, self.axes)}'
      )
    return self.axes[name]

  def row(self, number: int) -> int:
    """Returns the index of the run with a number."""
    return int(np.flatnonzero(self.number == number)[0])

  def setting(self, number: int, name: str) -> object:
    """Returns a run's value of an axis, or else that of its config. None if unknown."""
    value = self.values[name][self.row(number)] if name in self.values else None
    return self.configs.get(number, {}).get(name) if value is None else value

  def objective_interval(self, low: float, high: float) -> tuple[float, float]:
    """Converts an interval of losses to one of the objective, the lower end first."""
    return (-high, -low) if self.maximize else (low, high)

  def select(self, rows: np.ndarray | Sequence[int]) -> Runs:
    """Returns the table of some rows, given by a mask (T,) or by indices."""
    index = np.asarray(rows)
    index = np.flatnonzero(index) if index.dtype == bool else index.astype(int)
    return dataclasses.replace(
      self,
      values={name: column[index] for name, column in self.values.items()},
      measured={name: column[index] for name, column in self.measured.items()},
      compared_within={
        name: column[index] for name, column in self.compared_within.items()
      },
      scores=tuple(self.scores[i] for i in index.tolist()),
      labels=tuple(self.labels[i] for i in index.tolist()) if self.labels else (),
      decisions=(),
      objective=self.objective[index],
      status=self.status[index],
      number=self.number[index],
      point=self.point[index],
      seed=self.seed[index],
      cohort=self.cohort[index],
    )

  def search_runs(self) -> Runs:
    """Returns the runs of the search, without those of the confirmation."""
    return self.select(self.cohort == SEARCH)

  def finished_runs(self) -> Runs:
    """Returns the runs of the search that are complete or diverged."""
    has_ended = np.isin(self.status, ('complete', 'diverged'))
    return self.select(
      (self.cohort == SEARCH) & has_ended & np.isfinite(self.objective)
    )

  def complete_runs(self) -> Runs:
    """Returns the complete runs of the search."""
    return self.select(
      (self.cohort == SEARCH)
      & (self.status == 'complete')
      & np.isfinite(self.objective)
    )

  def at_rung(self, step: int) -> Runs:
    """Returns the runs of the search that reached a rung, with their score there.

    Runs that diverged before the rung keep their final objective.
    """
    scores = np.array([float(each.get(step, math.nan)) for each in self.scores])
    has_score = np.isfinite(scores)
    has_diverged = self.status == 'diverged'
    scored = dataclasses.replace(
      self,
      objective=np.where(has_score, scores, self.objective),
      status=np.where(has_diverged, 'diverged', 'complete'),
    )
    return scored.select((self.cohort == SEARCH) & (has_score | has_diverged))

  def comparable_runs(self) -> tuple[Runs, int | None]:
    """Returns the runs that can be compared with each other, for effects and responses.

    These are the runs that finished. If most runs were pruned, they are all runs that
    reached a rung, with their score at the rung.

    Returns:
      The runs, and the step of the last rung that half of the runs reached. None stands for
      the end of training.
    """
    # Compare finished runs, unless more runs were pruned.
    finished = self.finished_runs()
    n_pruned = int(np.sum((self.cohort == SEARCH) & (self.status == 'pruned')))
    if n_pruned <= len(finished):
      return finished, None
    steps = sorted({step for scores in self.search_runs().scores for step in scores})

    # Take the last rung that half of the runs reached.
    for step in reversed(steps):
      reached = self.at_rung(step)
      if 2 * len(reached) >= len(finished) + n_pruned:
        return reached, step
    return finished, None

  def blocks(self) -> npt.NDArray[np.int64]:
    """Returns (T,) the number of each run's block: the runs that are compared.

    They have equal sizes, budgets and yardsticks. Sizes count as equal if no gap above
    `SIZE_GAP` divides them.
    """
    keys = [groups_of_size(self.measured[name]) for name in self.sizes]
    keys.append(point_numbers(self.compared_within, len(self)))
    return np.unique(np.column_stack(keys), axis=0, return_inverse=True)[1].ravel()

  def rows_by_point(self) -> dict[int, np.ndarray]:
    """Returns {point: row indices}, in the order of each point's first row."""
    return rows_by_point(self.point)

  def confirmation_runs(self, point: int) -> Runs:
    """Returns a point's runs in the confirmation that are complete or diverged."""
    return self.select(
      (self.cohort == CONFIRM)
      & (self.point == point)
      & np.isin(self.status, ('complete', 'diverged'))
    )

  def first_run(self, point: int) -> int:
    """Returns the number of a point's first run in the search."""
    return int(self.number[(self.point == point) & (self.cohort == SEARCH)][0])

  def varied_axes(self) -> dict[str, Axis]:
    """Returns the axes that take more than one value, one of those that move together."""
    return dict(self._varied)

  @functools.cached_property
  def _varied(self) -> dict[str, Axis]:
    together = self.axes_together
    return {
      name: axis
      for name, axis in self.axes.items()
      if name not in together
      and len({repr(value) for value in self.values[name].tolist()}) > 1
    }

  @functools.cached_property
  def axes_together(self) -> dict[str, str]:
    """{axis: another axis} of the axes that always move with another one.

    Their effects cannot be told apart. Of a number and a choice, the number is kept.
    """
    names = sorted(self.axes, key=lambda name: self.axes[name].is_choice)
    codes = {}
    for name in names:
      values = self.values[name]
      if self.axes[name].is_choice:
        values = np.array([repr(value) for value in values.tolist()])
      codes[name] = np.unique(values, return_inverse=True)[1].ravel()
    n_points = self.n_points
    together: dict[str, str] = {}
    kept: list[str] = []
    for name in names:
      is_varied = codes[name].any()
      for other in kept:
        if is_varied and move_together(codes[name], codes[other], n_points):
          together[name] = other
          break
      else:
        kept.append(name)
    return together

  def to_columns(self) -> dict[str, np.ndarray]:
    """Returns {column: (T,) values} of runs, axes and measurements."""
    own = ('number', 'point', 'seed', 'cohort', 'status', 'objective')
    columns = {name: getattr(self, name) for name in own}
    labels = {'label': np.array(self.labels)} if self.labels else {}
    return {**labels, **self.measured, **columns, **self.values}

  def to_pandas(self) -> pd.DataFrame:
    """Returns the table as a DataFrame with one row for each run, and `to_columns()`.

    Raises:
      ConfigError: If pandas is not installed.
    """
    return data_frame(self.to_columns())

  def with_usable_curves(self) -> Runs:
    """Returns the table of all runs, with the curves of those that started and logged rows."""
    has_started = ~np.isin(self.status, ('failed', 'waiting'))
    curves = {
      number: self.curves[number]
      for number in self.number[has_started].tolist()
      if len(self.curves.get(number, {}).get('step', ()))
    }
    return dataclasses.replace(self, curves=curves)
