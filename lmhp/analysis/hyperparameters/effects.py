"""Does a hyperparameter change the loss at all, and how much is the right value of it worth?

Whether: the axis's values are dealt anew among the points, thousands of times, and each time a parabola in it (or a
level for each choice) is fitted beside the other axes' parabolas. Where the values were drawn without looking at the
losses, as in random, quasi-random and grid search, and the axis does nothing, the values that were run are one deal
among these, whatever the noise is, whatever the other axes do and however wrong a parabola is: so the share of deals
that fit as well is a p-value that holds its level. An adaptive search (TPE) draws values by the losses before them, and
its p-values are too small. Losses go in as normal scores of their ranks, so that diverged runs do not rule.

How much: the fitted curve in nats, its size by the noncentral F distribution of the fit, so that what noise alone makes
of a curve does not count.

Dimension key: P points (runs that differ in their seed alone are one), D deals, C columns of the axis, Q of all else.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Sequence

import numpy as np

from lmhp.analysis.hyperparameters.surface import axis_of, columns_of, merged
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError, suggest
from lmhp.statistics.hypothesis_tests import adjust_p_values, noncentrality

LEVEL = 0.01
"""At which an axis is said to matter, for all axes of a study together: what a report claims must seldom be wrong."""
N_PERMUTATIONS = 4999
CEILING = 6.0
FEWEST = 8
"""Points that have a value of the axis, below which nothing is said."""


@dataclasses.dataclass(frozen=True)
class Effect:
  """What one axis does to the loss. Numbers that cannot be said are NaN, and `reason` says why.

  Attributes:
    axis: its name.
    p_value: of 'the axis does nothing': below x in at most x of studies in which that is so.
    p_holm: the same, adjusted for all axes that were asked about together; `p_value` where it was asked alone.
    best_value: where the fitted curve is lowest, of what was tried.
    range_nats: how much more loss a typical value has than the best one (the median over the range that was tried, or
      over the other choices), the other axes at their best; 0 where the fit is no better than noise's. Of the
      objective's unit.
    range_low: the interval's lower end; 0 where noise may be all.
    range_high: the upper end.
    confidence: of that interval.
    points: how many were used.
    reason: why nothing is said, or ''.
  """

  axis: str
  p_value: float = math.nan
  p_holm: float = math.nan
  best_value: Any = None
  range_nats: float = math.nan
  range_low: float = math.nan
  range_high: float = math.nan
  confidence: float = 0.9
  points: int = 0
  reason: str = ''

  def shown(self, level: float = LEVEL) -> bool:
    """Whether it is shown to matter, at a level for all axes together."""
    return self.p_holm <= level


def effect(runs: Runs, axis: str, seed: int = 0, confidence: float = 0.9) -> Effect:
  """What an axis does to the loss, of the runs that have a value of it.

  Args:
    runs: of which `Runs.for_response()` is used; the seeds of one point are averaged.
    axis: its name.
    seed: of the deals.
    confidence: of the interval of `range_nats`.

  Raises:
    ConfigError: no such axis, or a confidence outside (0, 1).

  Source: permuted regressors, Draper and Stoneman 1966; compared by Winkler et al. 2014, NeuroImage 92. The interval
  inverts the noncentral F: Steiger 2004, Psychological Methods 9(2).

  >>> from lmhp.analysis.runs.table import Axis
  >>> rng = np.random.default_rng(0)
  >>> x, y = rng.random((2, 40))
  >>> losses = 3 + (x - 0.3) ** 2 + 0.01 * rng.standard_normal(40)
  >>> runs = Runs(
  ...   's',
  ...   {'x': Axis('x', low=0, high=1), 'y': Axis('y', low=0, high=1)},
  ...   {'x': x, 'y': y},
  ...   losses,
  ... )
  >>> (
  ...   effect(runs, 'x').shown(),
  ...   effect(runs, 'y').shown(),
  ...   abs(effect(runs, 'x').best_value - 0.3) < 0.1,
  ... )
  (True, False, True)
  """
  if axis not in runs.axes:
    raise ConfigError(
      f'axis: got {axis!r}, expected one of {sorted(runs.axes)}{suggest(axis, runs.axes)}'
    )
  if not 0 < confidence < 1:
    raise ConfigError(
      f'confidence: got {confidence}, expected a number between 0 and 1'
    )
  points, losses = with_axes(runs, (axis,))
  columns = columns_of(points, axis)
  blank = Effect(axis, confidence=confidence, points=len(points))
  rest = nuisance(points, (axis,), losses, columns.shape[1])
  reason = _reason(points, losses, columns, rest)
  if reason:
    return dataclasses.replace(blank, reason=reason)
  p_value = _permutation_test(
    normal_scores(losses), columns, rest, np.random.default_rng(seed)
  )
  worth = _worth(points, axis, losses, columns, rest, confidence)
  if p_value > (1 - confidence) / 2:
    worth['range_low'] = 0.0
  return dataclasses.replace(blank, p_value=p_value, p_holm=p_value, **worth)


def effects(runs: Runs, seed: int = 0, confidence: float = 0.9) -> list[Effect]:
  """The effect of each axis that was varied, p-values adjusted for all of them; the surest first, refused ones last.

  Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
  """
  found = [
    effect(runs, name, seed, confidence) for name in runs.for_response()[0].varied()
  ]
  adjusted = adjust_p_values([one.p_value for one in found])
  found = [dataclasses.replace(one, p_holm=p) for one, p in zip(found, adjusted)]
  return sorted(
    found, key=lambda one: (math.isnan(one.p_value), one.p_value, -one.range_nats)
  )


# --- what goes in ---------------------------------------------------------------------------------------------------


def with_axes(runs: Runs, names: Sequence[str]) -> tuple[Runs, np.ndarray]:
  """One row for each point that has a value of these axes, and (P,) mean losses."""
  points, losses = merged(runs.for_response()[0])
  has = np.ones(len(points), bool)
  for name in names:
    has &= np.array(
      [v is not None and v == v for v in points.values[name].tolist()], bool
    )  # NaN is not itself
  return points.where(has), losses[has]


def normal_scores(losses: np.ndarray) -> np.ndarray:
  """(P,) the normal quantiles of the losses' ranks, ties sharing theirs; van der Waerden's scores."""
  from scipy.special import ndtri
  from scipy.stats import rankdata

  return ndtri(rankdata(losses) / (len(losses) + 1))


def fit_near_best(
  design: np.ndarray, losses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Least squares in which a run counts the less the higher its fit is over the best.

  Errors grow with the height, both the noise's and those of a parabola that ought to be a wall. So the weight is
  1 / (c + h)^2 of the fitted height h, c being the median height of the runs; runs higher than `CEILING` times c count
  as if they lay there: how bad a bad run is says nothing of the good ones.

  Args:
    design: (P, Q) columns.
    losses: (P,)

  Returns:
    (Q,) coefficients and (P,) weights, of mean 1.
  """
  height = losses - losses.min()
  scale = float(np.median(height)) or float(height.max()) or 1.0
  target = np.minimum(losses, losses.min() + CEILING * scale)
  weights = np.ones(len(losses))
  for _ in range(4):
    root = np.sqrt(weights)
    coefficients = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0]
    fitted = design @ coefficients
    raw = (scale + fitted - fitted.min()) ** -2.0
    weights = raw / raw.mean()
  return coefficients, weights


def nuisance(
  points: Runs, names: Sequence[str], losses: np.ndarray, spare: int = 2
) -> np.ndarray:
  """(P, Q) orthonormal columns of a constant and of the axes not named, by parabolas.

  Where there are many axes for few points, those come first that explain the most, until a third of the points' degrees
  of freedom is used; the axes named have no say in that.
  """
  scores = normal_scores(losses)
  groups = [columns_of(points, name) for name in points.varied() if name not in names]
  groups = [group - group.mean(0) for group in groups if group.shape[1]]
  basis = np.full((len(points), 1), 1 / math.sqrt(max(len(points), 1)))
  spare = max(len(points) - spare - 1, 0)
  room = spare if sum(group.shape[1] for group in groups) <= spare // 2 else spare / 3
  while groups:
    added = [orthonormal(group, basis) for group in groups]
    gains = [np.sum((own.T @ scores) ** 2) / max(own.shape[1], 1) for own in added]
    best = int(np.argmax(gains))
    if basis.shape[1] + added[best].shape[1] - 1 <= room:
      basis = np.column_stack([basis, added[best]])
    groups.pop(best)
  return basis


def orthonormal(columns: np.ndarray, basis: np.ndarray) -> np.ndarray:
  """(P, at most C) an orthonormal basis of what columns add to an orthonormal basis (P, Q)."""
  rest = columns - basis @ (basis.T @ columns)
  rest = rest - basis @ (basis.T @ rest)
  left, size, _ = np.linalg.svd(rest, full_matrices=False)
  return left[:, size > 1e-6 * max(1e-12, float(np.linalg.norm(columns)))]


def _reason(
  points: Runs, losses: np.ndarray, columns: np.ndarray, rest: np.ndarray
) -> str:
  if not columns.shape[1]:
    return 'it was not varied'
  if len(points) < max(FEWEST, rest.shape[1] + columns.shape[1] + 4):
    return f'{len(points)} points have a value of it; needs {max(FEWEST, rest.shape[1] + columns.shape[1] + 4)}'
  if np.ptp(losses) == 0:
    return 'all losses are equal'
  own = columns - columns.mean(0)
  if orthonormal(own, rest).shape[1] < orthonormal(own, rest[:, :1]).shape[1]:
    return 'it was varied only together with other hyperparameters'
  return ''


# --- whether and how much -------------------------------------------------------------------------------------------


def _permutation_test(
  scores: np.ndarray, columns: np.ndarray, rest: np.ndarray, rng: np.random.Generator
) -> float:
  """Share of deals of the axis's values in which they explain as much of the scores as they do."""
  n = len(scores)
  left = scores - rest @ (rest.T @ scores)
  columns = (columns - columns.mean(0)) / columns.std(0)
  deals, at_least = min(N_PERMUTATIONS, max(999, 400_000 // n)), 1
  own = _explained(left, columns[None], rest)[0]
  for start in range(0, deals, 500):
    order = rng.permuted(np.tile(np.arange(n), (min(500, deals - start), 1)), axis=1)
    at_least += int(np.sum(_explained(left, columns[order], rest) >= own * (1 - 1e-9)))
  return at_least / (1 + deals)


def _explained(left: np.ndarray, columns: np.ndarray, rest: np.ndarray) -> np.ndarray:
  """(D,) sum of squares of `left` (P,) that columns (D, P, C) explain, once `rest` (P, Q) is taken out of them."""
  along = rest.T @ columns
  gram = np.swapaxes(columns, 1, 2) @ columns - np.swapaxes(along, 1, 2) @ along
  with_left = np.einsum('p,dpc->dc', left, columns)
  gram = gram + 1e-9 * columns.shape[1] * np.eye(columns.shape[2])
  return np.einsum(
    'dc,dc->d', with_left, np.linalg.solve(gram, with_left[..., None])[..., 0]
  )


def _worth(
  points: Runs,
  name: str,
  losses: np.ndarray,
  columns: np.ndarray,
  rest: np.ndarray,
  confidence: float,
) -> dict[str, Any]:
  """The best value and what it is worth."""
  design = np.column_stack([columns, rest])
  coefficients, weights = fit_near_best(design, losses)
  root = np.sqrt(weights)[:, None]
  target = root[:, 0] * np.minimum(
    losses, losses.min() + CEILING * (float(np.median(losses - losses.min())) or np.inf)
  )
  freedom = len(target) - design.shape[1]
  noise = float(np.sum((target - (root * design) @ coefficients) ** 2)) / freedom
  basis = orthonormal(
    root * columns, orthonormal(root * rest, np.zeros((len(target), 0)))
  )
  count = basis.shape[1]
  ratio = float(np.sum((basis.T @ target) ** 2)) / count / max(noise, 1e-300)
  grid, curve = _curve(points, name, columns, coefficients)
  best = int(np.argmin(curve))
  typical = float(np.median(np.delete(curve, best))) - float(curve[best])
  share = lambda p: math.sqrt(
    noncentrality(ratio, count, freedom, p) / max(count * ratio, 1e-300)
  )
  levels = {
    'range_nats': 0.5,
    'range_low': (1 + confidence) / 2,
    'range_high': (1 - confidence) / 2,
  }
  return {
    'best_value': grid[best],
    **{field: typical * share(p) for field, p in levels.items()},
  }


def _curve(
  points: Runs, name: str, columns: np.ndarray, coefficients: np.ndarray
) -> tuple[list, np.ndarray]:
  """Values of an axis, 101 over what was tried or all choices that were, and the fitted curve there."""
  axis, values = axis_of(points, name), points.values[name]
  if axis.kind == 'choice':
    grid = list(dict.fromkeys(values.tolist()))
    return grid, np.array(
      [
        columns[values.tolist().index(v)] @ coefficients[: columns.shape[1]]
        for v in grid
      ]
    )
  units = axis.unit(values)
  shares = (
    np.unique(units)
    if len(np.unique(units)) <= 2
    else np.linspace(units.min(), units.max(), 101)
  )
  powers = np.column_stack([shares - 0.5, (shares - 0.5) ** 2])[:, : columns.shape[1]]
  grid = axis.from_unit(shares)
  return (np.round(grid) if axis.whole else grid).tolist(), powers @ coefficients[
    : columns.shape[1]
  ]
