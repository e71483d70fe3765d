"""What the analysis works on: a table of runs in numpy, whoever made them.

A row is one training run: one point of a space with one seed. `lmhp.analysis.runs.sources` makes the table of an lmhp study,
an Optuna study, or a file of rows; everything after that knows this table alone, and no jax.

Dimension key: T runs, P points.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Mapping, Sequence

import numpy as np

STATUSES = ('waiting', 'running', 'complete', 'pruned', 'diverged', 'failed')
SEARCH, CONFIRM = 'search', 'confirm'


@dataclasses.dataclass(frozen=True)
class Axis:
  """A hyperparameter that was varied.

  Attributes:
    name: of its column, and in all words: a dotted path where there is one.
    kind: 'number' or 'choice'.
    low: smallest value that the search could take; NaN where not known or a choice.
    high: largest.
    log: whether equal ratios are equal steps.
    choices: what a choice may be; () of a number.
    role: 'scientific', 'nuisance' or 'fixed', in the words of google-research/tuning_playbook.
    base: the base config's value; None where not known.
    whole: whether only whole numbers are meant.
  """

  name: str
  kind: str = 'number'
  low: float = math.nan
  high: float = math.nan
  log: bool = False
  choices: tuple = ()
  role: str = 'scientific'
  base: Any = None
  whole: bool = False

  def unit(self, values: Any) -> np.ndarray:
    """Numbers as a share of the range, on its own scale: 0 at `low`, 1 at `high`; NaN stays NaN.

    >>> Axis('lr', low=1e-4, high=1e-2, log=True).unit([1e-4, 1e-3]).round(6).tolist()
    [0.0, 0.5]
    """
    values, (low, high) = np.asarray(values, np.float64), (self.low, self.high)
    if self.log:
      with np.errstate(divide='ignore', invalid='ignore'):
        values, low, high = np.log(values), math.log(low), math.log(high)
    return (values - low) / (high - low) if high > low else np.zeros_like(values)

  def from_unit(self, shares: Any) -> np.ndarray:
    """The inverse of :meth:`unit`."""
    shares = np.asarray(shares, np.float64)
    if self.log:
      return np.exp(
        math.log(self.low) + shares * (math.log(self.high) - math.log(self.low))
      )
    return self.low + shares * (self.high - self.low)


@dataclasses.dataclass(frozen=True)
class Runs:
  """A table of T runs.

  Attributes:
    name: of the study.
    axes: what was varied, by name, in the order in which it was written.
    values: a column for each axis: (T,) float64 of a number, NaN where a run has none; (T,) object of a choice, None
      where a run has none.
    objective: (T,) float64, the final objective; NaN where a run has none. A diverged run has a finite bad value.
    objective_name: say 'eval_loss_nats'.
    maximize: whether more is better.
    status: (T,) str, of `STATUSES`.
    number: (T,) int, what a run is called.
    point: (T,) int; runs of one point differ in their seed alone.
    seed: (T,) int.
    cohort: (T,) str, `SEARCH` or `CONFIRM`: whether a run was there to choose, or to confirm what was chosen. The base
      config's point is -1.
    scores: of each run the objective at its rungs, {step: value}.
    measured: other columns, (T,) float64 each, NaN where not known: steps, tokens, flops, seconds, parameters, metrics.
    curves: of some runs by number, {name: (S,) float64}: 'step', and such as 'tokens', 'loss_nats', 'eval_loss_nats',
      'grad_norm', NaN where a row has no such value.
    configs: of some runs by number, all that is known of their config, as JSON.
    about: what is known of the whole: 'match_budget' (words, or None where nobody said), 'rungs', 'source' (where it was
      read), 'command', 'data_sha256', 'versions', 'device', 'git', ...
  """

  name: str
  axes: Mapping[str, Axis]
  values: Mapping[str, np.ndarray]
  objective: np.ndarray
  objective_name: str = 'objective'
  maximize: bool = False
  status: np.ndarray = None
  number: np.ndarray = None
  point: np.ndarray = None
  seed: np.ndarray = None
  cohort: np.ndarray = None
  scores: Sequence[Mapping[int, float]] = ()
  measured: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  curves: Mapping[int, Mapping[str, np.ndarray]] = dataclasses.field(
    default_factory=dict
  )
  configs: Mapping[int, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
  about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
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
      if getattr(self, name) is None or (name == 'scores' and not len(self.scores)):
        object.__setattr__(self, name, default)
    columns = {
      **self.values,
      **self.measured,
      **{k: getattr(self, k) for k in defaults},
    }
    for name, column in columns.items():
      if len(column) != n:
        raise ValueError(f'{name}: got {len(column)} rows, and {n} objectives')

  def __len__(self) -> int:
    return len(self.objective)

  @property
  def losses(self) -> np.ndarray:
    """(T,) the objective, such that less is better."""
    return -self.objective if self.maximize else self.objective

  def shown(self, loss: float) -> float:
    """A value of :attr:`losses` as the objective has it."""
    return -loss if self.maximize else loss

  def where(self, rows: Any) -> Runs:
    """The table of some rows, by a mask (T,) or by places."""
    rows = (
      np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, int)
    )
    pick = lambda columns: {name: column[rows] for name, column in columns.items()}
    own = {
      name: getattr(self, name)[rows]
      for name in ('objective', 'status', 'number', 'point', 'seed', 'cohort')
    }
    return dataclasses.replace(
      self,
      values=pick(self.values),
      measured=pick(self.measured),
      scores=tuple(self.scores[i] for i in rows),
      **own,
    )

  def searched(self) -> Runs:
    """Of the search alone: what was run to choose, and not to confirm."""
    return self.where(self.cohort == SEARCH)

  def ended(self) -> Runs:
    """Those of the search that came to their end or diverged: what a response is read from."""
    return self.where(
      (self.cohort == SEARCH)
      & np.isin(self.status, ('complete', 'diverged'))
      & np.isfinite(self.objective)
    )

  def complete(self) -> Runs:
    """Those of the search that came to their end."""
    return self.where(
      (self.cohort == SEARCH)
      & (self.status == 'complete')
      & np.isfinite(self.objective)
    )

  def at_rung(self, step: int) -> Runs:
    """Those of the search that were scored at a rung, judged by that score; those that diverged before it by their end."""
    rows = [
      i
      for i in range(len(self))
      if self.cohort[i] == SEARCH
      and (
        math.isfinite(self.scores[i].get(step, math.nan))
        or self.status[i] == 'diverged'
      )
    ]
    found = self.where(np.array(rows, int))
    scored = [
      float(scores.get(step, end)) for scores, end in zip(found.scores, found.objective)
    ]
    status = np.where(found.status == 'diverged', 'diverged', 'complete')
    return dataclasses.replace(
      found, objective=np.array(scored, np.float64), status=status
    )

  def for_response(self) -> tuple[Runs, int | None]:
    """What a response is read from: runs that ended; where most were stopped early, all that reached a rung.

    Returns:
      The runs, and the step at which they are compared: the last rung that half of the runs reached, or None for the
      ends.
    """
    ended = self.ended()
    n_pruned = int(np.sum((self.cohort == SEARCH) & (self.status == 'pruned')))
    if n_pruned <= len(ended):
      return ended, None
    steps = sorted(
      {
        step
        for row, scores in enumerate(self.scores)
        if self.cohort[row] == SEARCH
        for step in scores
      }
    )
    for step in reversed(steps):
      there = self.at_rung(step)
      if 2 * len(there) >= len(ended) + n_pruned:
        return there, step
    return ended, None

  def points(self) -> dict[int, np.ndarray]:
    """Rows of each point, {point: places}, in the order of their first."""
    found: dict[int, list[int]] = {}
    for row, point in enumerate(self.point.tolist()):
      found.setdefault(point, []).append(row)
    return {point: np.array(rows) for point, rows in found.items()}

  def varied(self) -> dict[str, Axis]:
    """The axes that take more than one value."""
    return {
      name: axis
      for name, axis in self.axes.items()
      if len({repr(v) for v in self.values[name].tolist()}) > 1
    }
