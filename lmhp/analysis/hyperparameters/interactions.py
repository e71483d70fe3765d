"""Interactions: tests if the best value of one axis depends on the value of another.

The model has a parabola in each axis, the product of the two (for choices, an indicator of
each combination), and Tukey's one degree of freedom, the square of the fit without products.
The square takes up what a bend of the loss's scale alone would make look like an
interaction. The test is an F test on normal scores, and the size is estimated
with weights that favour good runs.

Dimension key: P points, C columns of a product.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import itertools
import math

import numpy as np

from lmhp.analysis.hyperparameters.dependent_optimum import dependent_optimum
from lmhp.analysis.hyperparameters.design import (
  column_products,
  comparable_losses,
  design_columns,
  f_test,
  normal_scores,
  orthonormal_columns,
  other_axes_basis,
  points_with_axes,
  size_shift_columns,
)
from lmhp.analysis.hyperparameters.effects import Effect, effects
from lmhp.analysis.runs.axis import SIZE
from lmhp.analysis.runs.columns import axis_and_column
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError
from lmhp.statistics.hypothesis_tests import adjust_p_values

LEVEL = 0.005
"""Significance level of interactions, for all pairs of a study together."""
MAX_AXES = 6


@dataclasses.dataclass(frozen=True)
class Interaction:
  """Interaction of two axes. If a number cannot be computed it is NaN.

  Attributes:
    axes: Names of the two axes. The first is the one whose best value depends on the second.
    p_value: p-value of "the best value of each axis is the same at each value of the other".
    p_holm: p-value with Holm's correction for all pairs that were tested together. Equal to
      `p_value` if one pair was tested alone.
    description: The interaction in words, such as "the best learning_rate falls by a factor
      of 3 as depth goes from 2 to 8". Empty if there is no result.
    best_values: Best value of the first axis at each of `at_values`.
    at_values: Values of the second axis: the lowest and the highest that were tried, or all
      values of a choice.
    size: Mean loss, over the second axis, of using one value of the first instead of the
      best value for each. It is above 0 for noise too, so read it only if the interaction is
      significant. In the unit of the objective.
    n_points: Number of points that were used.
    reason: Reason why there is no result. Empty if there is one.
  """

  axes: tuple[str, str]
  p_value: float = math.nan
  p_holm: float = math.nan
  description: str = ''
  best_values: tuple[object, ...] = ()
  at_values: tuple[object, ...] = ()
  size: float = math.nan
  n_points: int = 0
  reason: str = ''

  def significant(self, level: float = LEVEL) -> bool:
    """Returns True if the interaction is significant, for all pairs together."""
    return self.p_holm <= level


def interaction(runs: Runs, a: str, b: str) -> Interaction:
  """Tests if the best value of one axis depends on the other, and describes how.

  Args:
    runs: Table of runs. Those that can be compared at one step (`Runs.comparable_runs()`) and
      have a value of both axes are used, with the seeds of each point averaged.
    a: Name of one axis.
    b: Name of the other axis.

  Raises:
    ConfigError: If there is no such axis, or both names are equal.

  Source: Tukey 1949, Biometrics 5(3).

  >>> from lmhp.analysis.runs.axis import Axis
  >>> rng = np.random.default_rng(0)
  >>> x, y = rng.random((2, 60))
  >>> losses = 3 + (x - 0.7 + 0.4 * y) ** 2 + 0.01 * rng.standard_normal(60)
  >>> runs = Runs(
  ...   's',
  ...   {'x': Axis('x', low=0, high=1), 'y': Axis('y', low=0, high=1)},
  ...   {'x': x, 'y': y},
  ...   losses,
  ... )
  >>> result = interaction(runs, 'x', 'y')
  >>> result.significant(), result.axes, 'falls' in result.description
  (True, ('x', 'y'), True)
  >>> result.best_values[0] > result.best_values[1]
  True
  """
  for name in (a, b):
    runs.require_axis(name, 'axes', 'two of')
  if a == b:
    raise ConfigError(f'axes: got {a!r} twice, expected two that differ')
  points, losses = points_with_axes(runs, (a, b))
  blank = Interaction((a, b), n_points=len(points))
  if not len(points):
    return dataclasses.replace(blank, reason='no point has a value of both')

  # Columns of the model without the product: other axes, and main effects of both axes.
  main = [design_columns(points, name) for name in (a, b)]
  linear = [design_columns(points, name, square=False) for name in (a, b)]
  products = column_products(*(each - each.mean(0) for each in linear))
  n_columns = sum(each.shape[1] for each in main) + products.shape[1]
  others = other_axes_basis(points, (a, b), losses, n_columns)
  # Best values that move with the size would look like an interaction, or hide it.
  shifts = orthonormal_columns(size_shift_columns(points, (a, b)), others)
  if others.shape[1] + shifts.shape[1] + n_columns <= len(points) / 2:
    others = np.column_stack([others, shifts])
  without = np.column_stack(
    [others, orthonormal_columns(np.column_stack(main), others)]
  )
  reason = _reason(losses, main, products, without)
  if reason:
    return dataclasses.replace(blank, reason=reason)

  # The test uses normal scores of the losses. The description uses the losses.
  scores = normal_scores(losses)
  # Tukey's column, the square of the fit without products.
  fitted = without @ (without.T @ scores)
  tukey = orthonormal_columns(fitted[:, None] ** 2, without)
  p_value = f_test(scores, products, np.column_stack([without, tukey]))
  # Heights above the best point of the same size are comparable between sizes.
  heights = comparable_losses(points, losses)
  optimum = dependent_optimum(points, heights, (a, b), others)
  return Interaction(
    axes=optimum.axes,
    p_value=p_value,
    p_holm=p_value,
    description=optimum.description,
    best_values=optimum.best_values,
    at_values=optimum.at_values,
    size=optimum.size,
    n_points=len(points),
  )


def interactions(
  runs: Runs, known_effects: Sequence[Effect] | None = None
) -> list[Interaction]:
  """Tests all pairs of the axes with the largest effects, with Holm's correction.

  Args:
    runs: Table of runs, as in `interaction`.
    known_effects: Result of `effects(runs)`. None computes it.

  Returns:
    The pairs of at most `MAX_AXES` axes, and of each with each size that was varied, by rising
    p-value. `pandas.DataFrame` makes a table of the list.

  Source: Holm 1979, Scandinavian Journal of Statistics 6(2).

  >>> from lmhp.analysis.runs.axis import Axis
  >>> x, y, z = np.random.default_rng(0).random((3, 60))
  >>> axes = {name: Axis(name, low=0, high=1) for name in 'xyz'}
  >>> runs = Runs(
  ...   'a study', axes, {'x': x, 'y': y, 'z': z}, (x - 0.7 + 0.4 * y) ** 2 + z
  ... )
  >>> [one.axes for one in interactions(runs) if one.significant()]
  [('x', 'y')]
  """
  known_effects = effects(runs) if known_effects is None else known_effects
  names = [one.axis for one in known_effects if not one.reason][:MAX_AXES]
  tested = [interaction(runs, a, b) for a, b in itertools.combinations(names, 2)]
  # The best value of an axis may also depend on the size of the runs.
  for size in runs.sizes:
    with_size = _with_size_as_axis(runs, size)
    if with_size is not None:
      tested += [interaction(with_size, name, size) for name in names]
  adjusted = adjust_p_values([one.p_value for one in tested])
  corrected = [dataclasses.replace(one, p_holm=p) for one, p in zip(tested, adjusted)]
  return sorted(
    corrected, key=lambda one: (math.isnan(one.p_value), one.p_value, -one.size)
  )


def _with_size_as_axis(runs: Runs, size: str) -> Runs | None:
  """Returns the table with a size among its axes. None if it has fewer than three values.

  The runs are still compared within blocks of equal size.
  """
  axis, values = axis_and_column(size, runs.measured[size].tolist())
  if axis.is_choice or size in runs.axes:
    return None
  axis = dataclasses.replace(axis, role=SIZE)
  return dataclasses.replace(
    runs, axes={**runs.axes, size: axis}, values={**runs.values, size: values}
  )


def _reason(
  losses: np.ndarray,
  main: Sequence[np.ndarray],
  products: np.ndarray,
  without: np.ndarray,
) -> str:
  """Returns the reason why an interaction cannot be tested, or an empty string."""
  if not main[0].shape[1] or not main[1].shape[1]:
    return 'one of them was not varied'
  needed = without.shape[1] + products.shape[1] + 6
  if len(losses) < needed:
    return f'both have values at {len(losses)} points, and {needed} are needed'
  if np.ptp(losses) == 0:
    return 'all losses are equal'
  if not orthonormal_columns(products, without).shape[1]:
    return 'the combinations that were tried do not determine it'
  return ''
