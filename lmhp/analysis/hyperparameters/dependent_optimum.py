"""Dependence of the best value of one axis on the value of another.

Dimension key: P points, G values of an axis on a grid, K values of the second axis.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from lmhp.analysis.hyperparameters.design import (
  bounded_axis,
  column_products,
  design_columns,
  design_grid,
  fit_near_best,
)
from lmhp.analysis.runs.axis import SIZE, Axis
from lmhp.analysis.runs.table import Runs
from lmhp.statistics.number_format import format_value

GRID = 41


@dataclasses.dataclass(frozen=True)
class DependentOptimum:
  """Dependence of the best value of one axis on the value of another.

  Attributes:
    axes: Names of the axes. The best value of the first depends on the second.
    description: Description in words, such as "the best learning_rate falls by a factor of 3
      as depth goes from 2 to 8".
    best_values: Best value of the first axis at each of `at_values`.
    at_values: Values of the second axis: the lowest and the highest that were tried, or all
      values of a choice.
    size: Mean loss, over the second axis, of using one value of the first instead of the
      best value for each. In the unit of the objective.
  """

  axes: tuple[str, str]
  description: str
  best_values: tuple[object, ...]
  at_values: tuple[object, ...]
  size: float


def dependent_optimum(
  points: Runs, losses: np.ndarray, names: tuple[str, str], others: np.ndarray
) -> DependentOptimum:
  """Fits the loss over two axes, and describes how the best value of one depends on the other.

  It describes the first axis, or the second one if only that one's best value moves.

  Args:
    points: One row per point.
    losses: (P,) mean losses.
    names: Names of the axes.
    others: (P, Q) orthonormal columns of the other axes.
  """
  first, second = (_basis(points, name) for name in names)
  # Columns of the two axes come first, so their coefficients do too.
  both = _two_axes(first, second, first.points, second.points)
  design = np.column_stack([both, others])
  coefficients, _ = fit_near_best(design, losses)

  # Evaluate the fit on the grid of both axes.
  shape = (len(first.values), len(second.values))
  i, j = (index.ravel() for index in np.indices(shape))
  # The other axes add a constant to the grid, which does not move the best value.
  on_grid = _two_axes(first, second, first.grid[i], second.grid[j])
  fitted = (on_grid @ coefficients[: on_grid.shape[1]]).reshape(shape)

  # Describe the axis whose best value depends on the other one.
  of_first = _best_values(fitted, first, second)
  of_second = _best_values(fitted.T, second, first)
  # A size is no choice, so its best value has no meaning.
  if second.axis.role == SIZE:
    return of_first
  if len(set(of_first.best_values)) > 1 or len(set(of_second.best_values)) == 1:
    return of_first
  return of_second


@dataclasses.dataclass(frozen=True)
class _Basis:
  """One axis of a fit over two axes.

  Attributes:
    axis: The axis.
    points: (P, C) columns at the points.
    values: (G,) values of the grid.
    grid: (G, C) columns at the values of the grid.
  """

  axis: Axis
  points: np.ndarray
  values: list[object]
  grid: np.ndarray

  def linear(self, columns: np.ndarray) -> np.ndarray:
    """Returns the columns that enter the products: all of a choice, no square."""
    return columns if self.axis.is_choice else columns[:, :1]


def _basis(points: Runs, name: str) -> _Basis:
  columns = design_columns(points, name)
  values, grid = design_grid(points, name, columns, GRID)
  return _Basis(bounded_axis(points, name), columns, values, grid)


def _two_axes(
  first: _Basis, second: _Basis, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
  """Returns the columns a and b of both axes, and their products."""
  return np.column_stack([a, b, column_products(first.linear(a), second.linear(b))])


def _best_values(fitted: np.ndarray, first: _Basis, second: _Basis) -> DependentOptimum:
  """Describes the best value of the first axis.

  Args:
    fitted: (G of the first, G of the second) fitted loss.
    first: Axis that is described.
    second: Axis that it depends on.
  """
  # Loss of the value that is best on average, minus that of the best value at each.
  best = np.argmin(fitted, 0)
  on_average = int(np.argmin(fitted.mean(1)))
  size = float(np.mean(fitted[on_average] - fitted.min(0)))
  # A number is described by the best values at its two ends, a choice by all of them.
  ends = [0, -1] if second.axis.is_number else list(range(len(second.values)))
  best_values = tuple(first.values[best[k]] for k in ends)
  at_values = tuple(second.values[k] for k in ends)
  # If the best value does not move, only the size of its effect depends on the other.
  if len(set(best_values)) == 1:
    words = _size_words(
      first.axis, second.axis, best_values, at_values, fitted[:, ends]
    )
  else:
    words = _direction_words(first.axis, second.axis, best_values, at_values)
  return DependentOptimum(
    axes=(first.axis.name, second.axis.name),
    description=words,
    best_values=best_values,
    at_values=at_values,
    size=size,
  )


def _size_words(
  first: Axis,
  second: Axis,
  best: tuple[object, ...],
  at: tuple[object, ...],
  losses: np.ndarray,
) -> str:
  """Describes an axis whose best value stays, and whose effect changes.

  Args:
    first: Axis that is described.
    second: Axis that it depends on.
    best: (K,) best values of the first axis, all equal.
    at: (K,) values of the second axis.
    losses: (G, K) fitted loss at each value of both.
  """
  gains = np.ptp(losses, axis=0)
  most = int(np.argmax(gains))
  least = int(np.argmin(gains))
  return (
    f'{first.name} has a larger effect at {second.name}={format_value(at[most])} than at '
    f'{format_value(at[least])} ({gains[most]:.3g} and {gains[least]:.3g}); '
    f'{format_value(best[0])} is best at both'
  )


def _direction_words(
  first: Axis, second: Axis, best: tuple[object, ...], at: tuple[object, ...]
) -> str:
  """Describes how the best value of an axis moves, as a sentence without a period."""
  low = best[0]
  high = best[-1]
  is_choice = first.is_choice or second.is_choice
  if is_choice or not isinstance(low, float) or not isinstance(high, float):
    listed = [
      f'{format_value(v)} at {second.name}={format_value(w)}' for v, w in zip(best, at)
    ]
    return f'the best {first.name} is {", ".join(listed)}'
  # From the low end of the second axis to its high end.
  verb = 'rises' if high > low else 'falls'
  small, large = sorted([low, high])
  change = f'a factor of {large / small:.2g}' if first.log else f'{large - small:.2g}'
  return (
    f'the best {first.name} {verb} by {change} as {second.name} goes from '
    f'{format_value(at[0])} to {format_value(at[1])}'
  )
