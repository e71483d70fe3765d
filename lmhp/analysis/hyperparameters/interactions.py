"""Interactions: tests if the best value of one axis depends on the value of another.

The model has a parabola in each axis, the product of the two (for choices, an indicator of
each combination), and Tukey's one degree of freedom, the square of the fit without products.
The square takes up what a bend of the loss's scale alone would make look like an
interaction. The test permutes the residuals without the product across points. The p-value
is the fraction of permutations in which the product explains as much. As in `effects`, the
test uses normal scores, and the size is estimated with weights that favour good runs.

Dimension key: P points, R permutations, C columns of a product.
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
  design_columns,
  normal_scores,
  orthonormal_columns,
  other_axes_basis,
  permutation_p_value,
  points_with_axes,
)
from lmhp.analysis.hyperparameters.effects import N_PERMUTATIONS, Effect
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


def interaction(runs: Runs, a: str, b: str, seed: int = 0) -> Interaction:
  """Tests if the best value of one axis depends on the other, and describes how.

  Args:
    runs: Table of runs. `Runs.comparable_runs()` with a value of both axes are used, with the
      seeds of each point averaged.
    a: Name of one axis.
    b: Name of the other axis.
    seed: Seed of the permutations.

  Raises:
    ConfigError: If there is no such axis, or both names are equal.

  Source: Permuted residuals: Freedman and Lane 1983, Journal of Business & Economic
  Statistics 1(4). Tukey 1949, Biometrics 5(3).

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

  # Columns of the model without the product: other axes, and main effects of both axes.
  main = [design_columns(points, name) for name in (a, b)]
  linear = [design_columns(points, name, square=False) for name in (a, b)]
  products = column_products(*(each - each.mean(0) for each in linear))
  n_columns = sum(each.shape[1] for each in main) + products.shape[1]
  others = other_axes_basis(points, (a, b), losses, n_columns)
  without = np.column_stack(
    [others, orthonormal_columns(np.column_stack(main), others)]
  )
  reason = _reason(losses, main, products, without)
  if reason:
    return dataclasses.replace(blank, reason=reason)

  # The test uses normal scores of the losses. The description uses the losses.
  p_value = _permutation_test(normal_scores(losses), products, without, seed)
  optimum = dependent_optimum(points, losses, (a, b), others)
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
  runs: Runs, known_effects: Sequence[Effect], seed: int = 0
) -> list[Interaction]:
  """Tests all pairs of the axes with the largest effects, with Holm's correction.

  Args:
    runs: Table of runs, as in `interaction`.
    known_effects: Result of `effects(runs)`.
    seed: Seed of the permutations.

  Returns:
    The pairs of at most `MAX_AXES` axes, by rising p-value.

  Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
  """
  names = [one.axis for one in known_effects if not one.reason][:MAX_AXES]
  tested = [interaction(runs, a, b, seed) for a, b in itertools.combinations(names, 2)]
  adjusted = adjust_p_values([one.p_value for one in tested])
  corrected = [dataclasses.replace(one, p_holm=p) for one, p in zip(tested, adjusted)]
  return sorted(
    corrected, key=lambda one: (math.isnan(one.p_value), one.p_value, -one.size)
  )


# --- permutation test -------------------------------------------------------------------


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


def _permutation_test(
  scores: np.ndarray,
  products: np.ndarray,
  without: np.ndarray,
  seed: int,
) -> float:
  """Returns the fraction of permuted residuals that products explain as well.

  Args:
    scores: (P,) normal scores.
    products: (P, C) columns of the product.
    without: (P, Q) orthonormal columns of the model without products.
    seed: Seed of the permutations.
  """
  # Add Tukey's column to the model without products.
  n = len(scores)
  fitted = without @ (without.T @ scores)
  tukey = orthonormal_columns(fitted[:, None] ** 2, without)
  without = np.column_stack([without, tukey])
  added = orthonormal_columns(products, without)
  if not added.shape[1]:
    return 1.0

  residuals = scores - without @ (without.T @ scores)

  def explained_fraction(orders: np.ndarray) -> np.ndarray:
    y = residuals[orders]
    # By Pythagoras: the columns of `without` are orthonormal.
    unexplained = np.sum(y**2, -1) - np.sum((y @ without) ** 2, -1)
    return np.sum((y @ added) ** 2, -1) / np.maximum(unexplained, 1e-12 * n)

  n_permutations = min(N_PERMUTATIONS, max(999, 800_000 // n))
  return permutation_p_value(explained_fraction, n, n_permutations, seed)
