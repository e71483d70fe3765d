"""Does the best value of one hyperparameter depend on another's, in which direction, and what does ignoring it cost?

Beside a parabola in each axis stands the product of the two (of choices, one for each combination), and Tukey's one
degree of freedom: the square of the fit without products, which takes up whatever a bend of the loss's scale alone
would make look like an interaction. Residuals without the product are dealt anew among the points; the share of deals
in which the product explains as much is the p-value. As in `lmhp.analysis.hyperparameters.effects`, losses go in as normal scores for
the test, and in nats, the worse the less they count, for the size.

Dimension key: P points, D deals, G values of an axis on a grid.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np

from lmhp.analysis.hyperparameters.effects import (
  N_PERMUTATIONS,
  Effect,
  effects,
  fit_near_best,
  normal_scores,
  nuisance,
  orthonormal,
  with_axes,
)
from lmhp.analysis.hyperparameters.surface import axis_of, columns_of, units_of
from lmhp.analysis.runs.table import Axis, Runs
from lmhp.errors import ConfigError, suggest
from lmhp.statistics.hypothesis_tests import adjust_p_values
from lmhp.statistics.number_format import format_value

LEVEL = 0.005
"""At which two axes are said to act together, for all pairs of a study."""
MOST_AXES = 6
GRID = 41


@dataclasses.dataclass(frozen=True)
class Interaction:
  """How two axes act together. Numbers that cannot be said are NaN, and `reason` says why.

  Attributes:
    axes: their names; the best value of the first is what the words are about: the one that was named first, or the
      other where only that one's moves.
    p_value: of 'the best value of each is the same at each value of the other'.
    p_holm: the same, adjusted for all pairs that were asked about together; `p_value` where it was asked alone.
    direction: in words, as 'the best learning_rate falls by a factor of 3 as depth goes from 2 to 8'; '' if refused.
    best_values: the first axis's best value at the lowest and at the highest tried value of the second; of a choice at
      each of its values, in the order of `at_values`.
    at_values: those values of the second.
    size_nats: what it costs, on average over the second axis, to hold the first at the one value that is best on
      average instead of the best for each; of the objective's unit. Of noise it is above 0, too: read it if shown.
    points: how many were used.
    reason: why nothing is said, or ''.
  """

  axes: tuple[str, str]
  p_value: float = math.nan
  p_holm: float = math.nan
  direction: str = ''
  best_values: tuple = ()
  at_values: tuple = ()
  size_nats: float = math.nan
  points: int = 0
  reason: str = ''

  def shown(self, level: float = LEVEL) -> bool:
    """Whether it is shown, at a level for all pairs together."""
    return self.p_holm <= level


def interaction(runs: Runs, a: str, b: str, seed: int = 0) -> Interaction:
  """Whether and how the best value of one axis depends on the other.

  Args:
    runs: of which `Runs.for_response()` is used, where both axes have a value; the seeds of one point are averaged.
    a: name of one axis.
    b: of the other.
    seed: of the deals.

  Raises:
    ConfigError: no such axis, or twice the same.

  Source: permuted residuals, Freedman and Lane 1983, Journal of Business & Economic Statistics 1(4); Tukey 1949,
  Biometrics 5(3).

  >>> from lmhp.analysis.runs.table import Axis
  >>> rng = np.random.default_rng(0)
  >>> x, y = rng.random((2, 60))
  >>> losses = 3 + (x - 0.7 + 0.4 * y) ** 2 + 0.01 * rng.standard_normal(60)
  >>> runs = Runs(
  ...   's',
  ...   {'x': Axis('x', low=0, high=1), 'y': Axis('y', low=0, high=1)},
  ...   {'x': x, 'y': y},
  ...   losses,
  ... )
  >>> found = interaction(runs, 'x', 'y')
  >>> (
  ...   found.shown(),
  ...   found.axes,
  ...   found.best_values[0] > found.best_values[1],
  ...   'falls' in found.direction,
  ... )
  (True, ('x', 'y'), True, True)
  """
  for name in (a, b):
    if name not in runs.axes:
      raise ConfigError(
        f'axes: got {name!r}, expected two of {sorted(runs.axes)}{suggest(name, runs.axes)}'
      )
  if a == b:
    raise ConfigError(f'axes: got {a!r} twice, expected two that differ')
  points, losses = with_axes(runs, (a, b))
  blank = Interaction((a, b), points=len(points))
  own = [columns_of(points, name) for name in (a, b)]
  products = _products(points, a, b)
  rest = nuisance(
    points, (a, b), losses, sum(c.shape[1] for c in own) + products.shape[1]
  )
  reduced = np.column_stack([rest, orthonormal(np.column_stack(own), rest)])
  reason = _reason(points, losses, own, products, reduced)
  if reason:
    return dataclasses.replace(blank, reason=reason)
  p_value = _deal(normal_scores(losses), products, reduced, np.random.default_rng(seed))
  return dataclasses.replace(
    blank, p_value=p_value, p_holm=p_value, **_direction(points, losses, (a, b), rest)
  )


def interactions(
  runs: Runs, seed: int = 0, found: list[Effect] | None = None
) -> list[Interaction]:
  """Of all pairs of the axes of largest effect, at most `MOST_AXES`, p-values adjusted for all pairs; the surest first.

  Args:
    runs: as of :func:`interaction`.
    seed: of the deals.
    found: `effects(runs)`, where they are known already.

  Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
  """
  found = effects(runs, seed) if found is None else found
  names = [one.axis for one in found if not one.reason][:MOST_AXES]
  found = [interaction(runs, a, b, seed) for a, b in itertools.combinations(names, 2)]
  found = [
    dataclasses.replace(one, p_holm=p)
    for one, p in zip(found, adjust_p_values([one.p_value for one in found]))
  ]
  return sorted(
    found, key=lambda one: (math.isnan(one.p_value), one.p_value, -one.size_nats)
  )


# --- whether --------------------------------------------------------------------------------------------------------


def _linear(points: Runs, name: str) -> np.ndarray:
  columns = columns_of(points, name, square=False)
  return columns - columns.mean(0)


def _products(points: Runs, a: str, b: str) -> np.ndarray:
  """(P, C) each column of one axis times each of the other."""
  one, other = _linear(points, a), _linear(points, b)
  return (one[:, :, None] * other[:, None, :]).reshape(len(points), -1)


def _reason(
  points: Runs,
  losses: np.ndarray,
  own: list[np.ndarray],
  products: np.ndarray,
  reduced: np.ndarray,
) -> str:
  if not own[0].shape[1] or not own[1].shape[1]:
    return 'one of them was not varied'
  needs = reduced.shape[1] + products.shape[1] + 6
  if len(points) < needs:
    return f'{len(points)} points have a value of both; needs {needs}'
  if np.ptp(losses) == 0:
    return 'all losses are equal'
  if not orthonormal(products, reduced).shape[1]:
    return 'no combination of their values was tried that could tell'
  return ''


def _deal(
  scores: np.ndarray,
  products: np.ndarray,
  reduced: np.ndarray,
  rng: np.random.Generator,
) -> float:
  """Share of deals of the residuals in which the products explain as much of them as they do."""
  n = len(scores)
  fitted = reduced @ (reduced.T @ scores)
  reduced = np.column_stack([reduced, orthonormal(fitted[:, None] ** 2, reduced)])
  added = orthonormal(products, reduced)
  if not added.shape[1]:
    return 1.0
  left = scores - reduced @ (reduced.T @ scores)
  share = lambda y: (
    np.sum((y @ added) ** 2, -1)
    / np.maximum(np.sum(y**2, -1) - np.sum((y @ reduced) ** 2, -1), 1e-12 * n)
  )
  own, deals, at_least = share(left), min(N_PERMUTATIONS, max(999, 800_000 // n)), 1
  for start in range(0, deals, 1000):
    dealt = rng.permuted(np.tile(left, (min(1000, deals - start), 1)), axis=1)
    at_least += int(np.sum(share(dealt) >= own * (1 - 1e-9)))
  return at_least / (1 + deals)


# --- which way, and how much ----------------------------------------------------------------------------------------


def _direction(
  points: Runs, losses: np.ndarray, names: tuple[str, str], rest: np.ndarray
) -> dict[str, Any]:
  """The fitted loss over both axes, and what it says of the first; of the second where only its best value moves."""
  bases = [_basis(points, name) for name in names]
  rows = [places for _, places, _, _ in bases]
  both = lambda one, other: np.column_stack(
    [
      one[0],
      other[0],
      (one[1][:, :, None] * other[1][:, None, :]).reshape(len(one[0]), -1),
    ]
  )
  design = np.column_stack([both(*rows), rest])
  coefficients, _ = fit_near_best(design, losses)
  grids = [grid for _, _, _, grid in bases]
  i, j = (index.ravel() for index in np.indices([len(g[0]) for g in grids]))
  at = both([g[i] for g in grids[0]], [g[j] for g in grids[1]])
  fitted = (at @ coefficients[: at.shape[1]]).reshape(
    len(grids[0][0]), len(grids[1][0])
  )
  found = [
    _told(fitted, bases[0], bases[1], names),
    _told(fitted.T, bases[1], bases[0], names[::-1]),
  ]
  return (
    found[0]
    if len(set(found[0]['best_values'])) > 1 or len(set(found[1]['best_values'])) == 1
    else found[1]
  )


def _basis(points: Runs, name: str) -> tuple[Axis, tuple, list, tuple]:
  """An axis; its columns, for main effects and for products, of each point; the values of a grid; the columns there."""
  axis, main, linear = (
    axis_of(points, name),
    columns_of(points, name),
    columns_of(points, name, square=False),
  )
  if axis.kind == 'choice':
    values = list(dict.fromkeys(points.values[name].tolist()))
    first = [points.values[name].tolist().index(v) for v in values]
    return axis, (main, linear), values, (main[first], linear[first])
  units = units_of(points, name)
  shares = np.linspace(units.min(), units.max(), GRID)
  powers = np.column_stack([shares - 0.5, (shares - 0.5) ** 2])[:, : main.shape[1]]
  return axis, (main, linear), axis.from_unit(shares).tolist(), (powers, powers[:, :1])


def _told(
  fitted: np.ndarray, one: tuple, other: tuple, names: tuple[str, str]
) -> dict[str, Any]:
  """What a surface (G of one, G of the other) says of the best value of the one."""
  axis, values = one[0], one[2]
  best = np.argmin(fitted, 0)
  held = int(np.argmin(fitted.mean(1)))
  size = float(np.mean(fitted[held] - fitted.min(0)))
  ends = [0, -1] if other[0].kind == 'number' else range(len(other[2]))
  best_values, at_values = (
    tuple(values[best[k]] for k in ends),
    tuple(other[2][k] for k in ends),
  )
  return {
    'axes': names,
    'direction': _words(
      axis, best_values, other[0], at_values, fitted[:, list(ends)], values
    ),
    'best_values': best_values,
    'at_values': at_values,
    'size_nats': size,
  }


def _words(
  axis: Axis, best: tuple, other: Axis, at: tuple, ends: np.ndarray, values: list
) -> str:
  """One sentence without its stop; `ends` (G, K) is the loss of each value of the one at those of the other."""
  if len(set(best)) == 1:
    gains = np.ptp(ends, axis=0)
    k, m = int(np.argmax(gains)), int(np.argmin(gains))
    return (
      f'{axis.name} matters more at {other.name}={format_value(at[k])} than at {format_value(at[m])} '
      f'({gains[k]:.3g} against {gains[m]:.3g}); {format_value(best[0])} is best at both'
    )
  if other.kind == 'choice' or axis.kind == 'choice':
    return f'the best {axis.name} is ' + ', '.join(
      f'{format_value(v)} at {other.name}={format_value(w)}' for v, w in zip(best, at)
    )
  verb, step = (
    ('rises', best[1] / best[0] if axis.log else best[1] - best[0])
    if best[1] > best[0]
    else ('falls', best[0] / best[1] if axis.log else best[0] - best[1])
  )
  amount = f'by a factor of {step:.2g}' if axis.log else f'by {step:.2g}'
  return f'the best {axis.name} {verb} {amount} as {other.name} goes from {format_value(at[0])} to {format_value(at[1])}'
