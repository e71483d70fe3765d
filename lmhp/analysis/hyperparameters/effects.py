"""Effect of each hyperparameter: a test, and the gain from its best value.

The test fits a curve in the axis together with parabolas in the other axes that explain the
losses, and the mean of each group of equal size. The curve of a number is a line and a parabola,
with a test of each and one p-value for both. That of a choice is a level per choice. These are F
tests on losses that are cut a few standard deviations from their median, so that diverged runs
do not dominate. They take the values as drawn without regard to the losses, as in random,
quasi-random and grid search. An adaptive search (TPE) draws values by the losses before them, so
its p-values are too small.

The gain is the fitted curve's difference between a typical value and the best one. The
noncentral F distribution of the fit corrects it for the curve that noise alone produces.

Dimension key: P points (one per setting, seeds averaged), C columns of the axis, Q columns of
all other axes.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.hyperparameters.design import (
  CEILING,
  block_columns,
  clipped_losses,
  design_columns,
  design_grid,
  f_test,
  fit_near_best,
  orthonormal_columns,
  other_axes_basis,
  points_with_axes,
)
from lmhp.analysis.runs.table import Runs
from lmhp.statistics.hypothesis_tests import (
  adjust_p_values,
  combined_p_value,
  noncentrality,
)
from lmhp.statistics.intervals import check_confidence

LEVEL = 0.01
"""Significance level of effects, for all axes of a study together."""
SAME_AS_SIZE = 'it cannot be told apart from the size of the runs'
MIN_POINTS = 8
"""Smallest number of points with a value of the axis."""


@dataclasses.dataclass(frozen=True)
class Effect:
  """Effect of one axis on the loss. If a number cannot be computed it is NaN.

  Attributes:
    axis: Name of the axis.
    p_value: p-value of "the axis has no effect".
    p_holm: p-value with Holm's correction for all axes that were tested together. Equal to
      `p_value` if one axis was tested alone.
    best_value: Value at which the fitted curve is lowest, among the values that were tried.
    gain: Loss at a typical value minus loss at the best value, with the other axes at their
      best. Typical is the median over the range that was tried, or over the other choices.
      It is 0 if the fit is no better than a fit to noise. In the unit of the objective.
    gain_low: Lower end of the interval of the gain. 0 if noise alone may explain the fit.
    gain_high: Upper end of the interval of the gain.
    confidence: Confidence of the interval.
    n_points: Number of points that were used.
    reason: Reason why there is no result. Empty if there is one.
  """

  axis: str
  p_value: float = math.nan
  p_holm: float = math.nan
  best_value: object = None
  gain: float = math.nan
  gain_low: float = math.nan
  gain_high: float = math.nan
  confidence: float = 0.9
  n_points: int = 0
  reason: str = ''

  def significant(self, level: float = LEVEL) -> bool:
    """Returns True if the effect is significant, for all axes together."""
    return self.p_holm <= level


def effect(runs: Runs, axis: str, confidence: float = 0.9) -> Effect:
  """Estimates the effect of an axis on the loss.

  Args:
    runs: Table of runs. Those that can be compared at one step (`Runs.comparable_runs()`) are
      used, with the seeds of each point averaged.
    axis: Name of the axis.
    confidence: Confidence of the interval of the gain.

  Raises:
    ConfigError: If there is no such axis, or the confidence is outside (0, 1).

  Source: The interval inverts the noncentral F distribution: Steiger 2004, Psychological
  Methods 9(2).

  >>> from lmhp.analysis.runs.axis import Axis
  >>> rng = np.random.default_rng(0)
  >>> x, y = rng.random((2, 40))
  >>> losses = 3 + (x - 0.3) ** 2 + 0.01 * rng.standard_normal(40)
  >>> runs = Runs(
  ...   's',
  ...   {'x': Axis('x', low=0, high=1), 'y': Axis('y', low=0, high=1)},
  ...   {'x': x, 'y': y},
  ...   losses,
  ... )
  >>> effect(runs, 'x').significant(), effect(runs, 'y').significant()
  (True, False)
  >>> abs(effect(runs, 'x').best_value - 0.3) < 0.1
  True
  """
  runs.require_axis(axis)
  check_confidence(confidence)
  # Columns of the axis, and an orthonormal basis of the constant and the other axes.
  points, losses = points_with_axes(runs, (axis,))
  columns = design_columns(points, axis)
  others = other_axes_basis(points, (axis,), losses, columns.shape[1])
  blank = Effect(axis, confidence=confidence, n_points=len(points))
  reason = _reason(points, axis, losses, columns, others)
  if reason:
    return dataclasses.replace(blank, reason=reason)

  scores = clipped_losses(losses)
  p_value = f_test(scores, columns, others)
  if columns.shape[1] == 2 and not points.axes[axis].is_choice:
    # A line and a valley are tested both, because each test misses effects of the other form.
    p_line = f_test(scores, columns[:, :1], others)
    p_value = combined_p_value([p_line, p_value])

  # Gain of the best value over the median of the others, shrunk towards 0.
  quantiles = ((1 + confidence) / 2, 0.5, (1 - confidence) / 2)
  values, curve, shrinkage = _fit_curve(
    points, axis, losses, columns, others, quantiles
  )
  best = int(np.argmin(curve))
  typical = float(np.median(np.delete(curve, best))) - float(curve[best])
  gain_low, gain, gain_high = (typical * factor for factor in shrinkage)
  return dataclasses.replace(
    blank,
    p_value=p_value,
    p_holm=p_value,
    best_value=values[best],
    gain=gain,
    gain_low=0.0 if p_value > (1 - confidence) / 2 else gain_low,
    gain_high=gain_high,
  )


def effects(runs: Runs, confidence: float = 0.9) -> list[Effect]:
  """Estimates the effect of each varied axis, with Holm's correction over all of them.

  Args:
    runs: Table of runs, as in `effect`.
    confidence: Confidence of the intervals of gains.

  Returns:
    The effects by rising p-value. Those without a result come last. `pandas.DataFrame` makes a
    table of the list.

  Raises:
    ConfigError: If the confidence is outside (0, 1).

  Source: Holm 1979, Scandinavian Journal of Statistics 6(2).

  >>> from lmhp.analysis.runs.axis import Axis
  >>> rng = np.random.default_rng(0)
  >>> x, y = rng.random((2, 40))
  >>> axes = {name: Axis(name, low=0, high=1) for name in 'xy'}
  >>> losses = 3 + (x - 0.3) ** 2 + 0.01 * rng.standard_normal(40)
  >>> found = effects(Runs('a study', axes, {'x': x, 'y': y}, losses))
  >>> [(one.axis, one.significant()) for one in found]
  [('x', True), ('y', False)]
  """
  comparable, _ = runs.comparable_runs()
  tested = [effect(runs, name, confidence) for name in comparable.varied_axes()]
  adjusted = adjust_p_values([one.p_value for one in tested])
  corrected = [dataclasses.replace(one, p_holm=p) for one, p in zip(tested, adjusted)]
  return sorted(
    corrected, key=lambda one: (math.isnan(one.p_value), one.p_value, -one.gain)
  )


def _reason(
  points: Runs, axis: str, losses: np.ndarray, columns: np.ndarray, others: np.ndarray
) -> str:
  """Returns the reason why an effect cannot be estimated, or an empty string."""
  if not columns.shape[1]:
    return 'it was not varied'
  centred = columns - columns.mean(0)
  blocks = block_columns(points)
  if blocks.shape[1] > 1 and not orthonormal_columns(centred, blocks).shape[1]:
    return SAME_AS_SIZE
  needed = max(MIN_POINTS, others.shape[1] + columns.shape[1] + 4)
  if len(points) < needed:
    return f'it has values at {len(points)} points, and {needed} are needed'
  if np.ptp(losses) == 0:
    return 'all losses are equal'
  # Refuse if the other axes explain a column that varies by itself. Many axes explain any column,
  # so they are not taken together then.
  alone = orthonormal_columns(centred, blocks)
  beside = [
    design_columns(points, each) for each in points.varied_axes() if each != axis
  ]
  every = np.column_stack([others, *(each - each.mean(0) for each in beside)])
  if 2 * every.shape[1] <= len(points):
    others = orthonormal_columns(every, np.zeros((len(points), 0)))
  if orthonormal_columns(centred, others).shape[1] < alone.shape[1]:
    return 'it varies only together with other hyperparameters'
  return ''


# --- gain -------------------------------------------------------------------------------


def _fit_curve(
  points: Runs,
  name: str,
  losses: np.ndarray,
  columns: np.ndarray,
  others: np.ndarray,
  quantiles: Sequence[float],
) -> tuple[list[object], np.ndarray, list[float]]:
  """Fits a curve in one axis.

  Returns:
    Its values, the curve, and the factor that corrects its size at each quantile of the
    noncentral F distribution of the fit.
  """

  # Weighted fit of losses that are cut at a ceiling.
  design = np.column_stack([columns, others])
  coefficients, weights = fit_near_best(design, losses)
  root = np.sqrt(weights)[:, None]
  ceiling = CEILING * (float(np.median(losses - losses.min())) or np.inf)
  target = root[:, 0] * np.minimum(losses, losses.min() + ceiling)

  # F ratio of the axis's columns over the residual variance.
  freedom = len(target) - design.shape[1]
  residuals = target - (root * design) @ coefficients
  noise = float(np.sum(residuals**2)) / freedom
  empty = np.zeros((len(target), 0))
  basis = orthonormal_columns(root * columns, orthonormal_columns(root * others, empty))
  count = basis.shape[1]
  ratio = float(np.sum((basis.T @ target) ** 2)) / count / max(noise, 1e-300)

  # Fitted curve. Two values have no square, and the curve is a line between them.
  n_values = 101 if columns.shape[1] > 1 else 2
  values, on_grid = design_grid(points, name, columns, n_values)
  if points.axes[name].is_integer:
    values = np.round(np.array(values, np.float64)).tolist()
  curve = on_grid @ coefficients[: columns.shape[1]]
  sizes = [noncentrality(ratio, count, freedom, p) for p in quantiles]
  shrinkage = [math.sqrt(size / max(count * ratio, 1e-300)) for size in sizes]
  return values, curve, shrinkage
