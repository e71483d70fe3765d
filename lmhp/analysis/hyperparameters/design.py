"""Axes as columns of numbers, and regression of losses on them.

Dimension key: T runs, P points, C columns of an axis, Q columns of all other axes, G values
of a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs

CEILING = 6.0
"""Heights above the best loss are cut at this many times their median."""
CLIP = 3.0
"""Distance from the median, in robust standard deviations, at which losses are cut."""
COLLINEAR = 1e-6
"""If the part of a column that others do not explain is a smaller fraction, it is rounding."""
OTHERS_LEVEL = 0.1
"""Significance level at which an axis becomes part of the tests of other axes."""


def bounded_axis(runs: Runs, name: str) -> Axis:
  """Returns an axis, with the range of its values as bounds if it has none.

  Raises:
    ConfigError: If the runs have no such axis.
  """
  axis = runs.require_axis(name)
  if axis.is_choice:
    # Add the values of the runs that the axis does not list.
    values = [value for value in runs.values[name].tolist() if value is not None]
    return dataclasses.replace(
      axis, choices=tuple(dict.fromkeys([*axis.choices, *values]))
    )

  # `fmin` and `fmax` ignore NaN. The result is NaN without values.
  values = np.append(runs.values[name][np.isfinite(runs.values[name])], math.nan)
  low = axis.low if math.isfinite(axis.low) else np.fmin.reduce(values)
  high = axis.high if math.isfinite(axis.high) else np.fmax.reduce(values)
  return dataclasses.replace(
    axis, low=float(low), high=float(high), log=axis.log and bool(low > 0)
  )


def unit_values(runs: Runs, name: str) -> np.ndarray:
  """Returns (T,) numbers on a scale from 0 to 1, or choices as their index.

  A missing value is NaN.
  """
  axis = bounded_axis(runs, name)
  if axis.is_number:
    return axis.to_unit(runs.values[name])
  indices = [
    axis.choices.index(value) if value is not None else math.nan
    for value in runs.values[name].tolist()
  ]
  return np.array(indices, float)


def design_columns(runs: Runs, name: str, square: bool = True) -> np.ndarray:
  """Returns (T, C) an axis as columns for least squares.

  A number gives itself and its square. A choice gives an indicator of each value except
  the first. A missing number is set to the middle, with an indicator column. Constant columns
  are left out.

  Args:
    runs: Table of runs.
    name: Name of the axis.
    square: If True, a number with more than two values gives its square too.
  """
  units = unit_values(runs, name)
  axis = bounded_axis(runs, name)
  is_missing = ~np.isfinite(units)
  if axis.is_choice:
    # The first choice is the baseline, with zeros in all columns.
    columns = [(units == i).astype(float) for i in range(1, len(axis.choices))]
  else:
    # A missing value counts as the middle, and has a column that marks it.
    centred = np.where(is_missing, 0.5, units) - 0.5
    columns = [centred]
    if square and len(np.unique(units[~is_missing])) > 2:
      columns.append(centred**2)
  columns.append(is_missing.astype(float))

  # A constant column cannot be told from the intercept.
  columns = [column for column in columns if len(column) and np.ptp(column) > 0]
  return np.column_stack(columns) if columns else np.zeros((len(runs), 0))


def column_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Returns the products (P, C) of each column of one axis with each column of another."""
  products = a[:, :, None] * b[:, None, :]
  return products.reshape(len(a), a.shape[1] * b.shape[1])


def design_grid(
  points: Runs, name: str, columns: np.ndarray, n_values: int
) -> tuple[list[object], np.ndarray]:
  """Returns values of an axis over the range that was tried, and their columns.

  Args:
    points: Table with a value of the axis in each row.
    name: Name of the axis.
    columns: (P, C) its `design_columns`.
    n_values: Number G of values of a number. A choice has its own values.

  Returns:
    (G,) values, and (G, C) columns.
  """
  axis = bounded_axis(points, name)
  tried = points.values[name].tolist()
  if axis.is_choice:
    choices = list(dict.fromkeys(tried))
    # All rows of one value have the same columns, so the first row of each is enough.
    return choices, columns[[tried.index(choice) for choice in choices]]
  units = unit_values(points, name)
  grid = np.linspace(units.min(), units.max(), n_values)
  # The same centred powers as in `design_columns`.
  powers = np.column_stack([grid - 0.5, (grid - 0.5) ** 2])[:, : columns.shape[1]]
  return axis.from_unit(grid).tolist(), powers


def average_seeds(
  runs: Runs, losses: np.ndarray | None = None
) -> tuple[Runs, np.ndarray]:
  """Returns the first run of each point, and (P,) the mean loss of each point's runs.

  Args:
    runs: Table of runs.
    losses: (T,) losses. None takes `Runs.losses`, so that a diverged run counts with its
      loss.
  """
  losses = runs.losses if losses is None else losses
  points = list(runs.rows_by_point().values())
  means = np.array([losses[rows].mean() for rows in points])
  return runs.select([int(rows[0]) for rows in points]), means


# --- regression -------------------------------------------------------------------------


def points_with_axes(runs: Runs, names: Sequence[str]) -> tuple[Runs, np.ndarray]:
  """Returns one row per point that has a value of each axis, and (P,) mean losses."""
  points, losses = average_seeds(runs.comparable_runs()[0])
  has_all = np.ones(len(points), bool)
  for name in names:
    # NaN is not equal to itself.
    values = points.values[name].tolist()
    has_all &= np.array([v is not None and v == v for v in values], bool)
  return points.select(has_all), losses[has_all]


def clipped_losses(losses: np.ndarray) -> np.ndarray:
  """Returns (P,) losses minus their median, cut at `CLIP` robust standard deviations.

  Runs that diverged do not dominate then, and small tables keep more power than with ranks.
  """
  heights = losses - np.median(losses)
  # If half of the losses are equal, the mean distance takes the place of the median one.
  spread = float(np.median(np.abs(heights))) or float(np.mean(np.abs(heights)))
  # The median distance of a normal variable is 1 / 1.4826 standard deviations.
  limit = CLIP * 1.4826 * spread
  return np.clip(heights, -limit, limit)


def normal_scores(losses: np.ndarray) -> np.ndarray:
  """Returns (P,) the normal quantiles of the losses' ranks (van der Waerden scores).

  Equal losses share the mean of their ranks.
  """
  from scipy.special import ndtri
  from scipy.stats import rankdata

  return ndtri(rankdata(losses) / (len(losses) + 1))


def f_test(scores: np.ndarray, columns: np.ndarray, others: np.ndarray) -> float:
  """Returns the p-value of "the columns explain nothing beside the others".

  If the values of the axes were drawn without regard to the losses, it is nearly a permutation
  test. This holds for any distribution of the losses in which no loss is far from all others.

  Args:
    scores: (P,) `clipped_losses` or `normal_scores` of the losses.
    columns: (P, C) columns under test.
    others: (P, Q) orthonormal columns of all else, with the constant.

  Source: Box and Andersen, Journal of the Royal Statistical Society B 17(1) (1955), on
  permutation tests. Conover and Iman, The American Statistician 35(3) (1981), on scores.
  """
  from scipy.special import fdtrc

  added = orthonormal_columns(columns, others)
  n_columns = added.shape[1]
  freedom = len(scores) - others.shape[1] - n_columns
  if not n_columns or freedom < 1:
    return math.nan
  residuals = scores - others @ (others.T @ scores)
  explained = float(np.sum((added.T @ residuals) ** 2))
  unexplained = max(float(np.sum(residuals**2)) - explained, 1e-12 * len(scores))
  return float(
    fdtrc(n_columns, freedom, explained / n_columns / (unexplained / freedom))
  )


def fit_near_best(
  design: np.ndarray, losses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Fits least squares in which runs near the best one have the largest weight.

  The height of a run is its loss above the best one. Noise and lack of fit grow with it. With h
  the fitted height and c the median height, the weight of a run is 1 / (c + h)^2. Heights are
  cut at `CEILING` times c, because the exact loss of a bad run shows nothing about good ones.

  Args:
    design: (P, Q) columns.
    losses: (P,) losses.

  Returns:
    (Q,) coefficients and (P,) weights with mean 1.
  """
  # Cut the losses at a ceiling, so that one bad run does not bend the fit.
  height = losses - losses.min()
  scale = float(np.median(height)) or float(height.max()) or 1.0
  target = np.minimum(losses, losses.min() + CEILING * scale)
  coefficients = np.zeros(design.shape[1])
  weights = np.ones(len(losses))
  for _ in range(4):
    # Solve the normal equations, which is much faster than a decomposition of the design. If
    # columns are collinear, `lstsq` returns the shortest solution, which is unique.
    weighted = design * weights[:, None]
    coefficients = np.linalg.lstsq(
      design.T @ weighted, weighted.T @ target, rcond=COLLINEAR**2
    )[0]
    fitted = design @ coefficients
    # Weight 1 / (scale + fitted height)^2, refined by four rounds of fits.
    raw = (scale + fitted - fitted.min()) ** -2.0
    weights = raw / raw.mean()
  return coefficients, weights


def other_axes_basis(
  points: Runs, names: Sequence[str], losses: np.ndarray, n_columns: int = 2
) -> np.ndarray:
  """Returns (P, Q) orthonormal columns of the blocks and of parabolas in the other axes.

  A block is a group of points of equal size and budget. Its columns hold the constant.

  Columns of axes without an effect would only cost degrees of freedom. So axes are added one by
  one, the one that explains most first. This ends if the next one is not significant at
  `OTHERS_LEVEL`, corrected for the number of axes that are left. An axis that would use more
  than half of the degrees of freedom is left out.

  Args:
    points: One row per point.
    names: Axes under test, which are left out.
    losses: (P,) losses of the points.
    n_columns: Number of columns that the axes under test need.
  """
  groups = [
    design_columns(points, name) for name in points.varied_axes() if name not in names
  ]
  # Centred columns, because the first basis column is the constant.
  groups = [group - group.mean(0) for group in groups if group.shape[1]]
  basis = block_columns(points)
  if not groups:
    return basis
  max_columns = (len(points) - n_columns + basis.shape[1]) / 2
  scores = clipped_losses(losses)
  added = [orthonormal_columns(group, basis) for group in groups]
  while added:
    # Add the axis that explains most of the losses per column, if it fits.
    gains = [
      np.sum((design.T @ scores) ** 2) / max(design.shape[1], 1) for design in added
    ]
    best = int(np.argmax(gains))
    columns = added.pop(best)
    if basis.shape[1] + columns.shape[1] <= max_columns:
      if f_test(scores, columns, basis) * (len(added) + 1) > OTHERS_LEVEL:
        break
      basis = np.column_stack([basis, columns])
      # What the other axes add to the basis with these columns.
      added = [orthonormal_columns(each, columns) for each in added]
  return basis


def comparable_losses(points: Runs, losses: np.ndarray) -> np.ndarray:
  """Returns (P,) losses, shifted so that the best of each block equals the lowest of all."""
  moved = losses.copy()
  blocks = points.blocks()
  for block in np.unique(blocks):
    rows = blocks == block
    moved[rows] += losses.min() - losses[rows].min()
  return moved


def size_shift_columns(points: Runs, names: Sequence[str]) -> np.ndarray:
  """Returns (P, C) products of axes and sizes, which let best values move with the size.

  Args:
    points: One row per point.
    names: Axes. Sizes among them are left out.
  """
  columns = [np.zeros((len(points), 0))]
  for size in points.sizes:
    values = points.measured[size]
    if size in names or not (values > 0).all() or np.ptp(values) == 0:
      continue
    logs = np.log(values) - np.log(values).mean()
    for name in names:
      linear = design_columns(points, name, square=False)
      if name not in points.sizes:
        columns.append((linear - linear.mean(0)) * logs[:, None])
  return np.column_stack(columns)


def block_columns(points: Runs) -> np.ndarray:
  """Returns (P, number of blocks) orthonormal indicators of the blocks of points."""
  blocks = points.blocks()
  indicators = blocks[:, None] == np.unique(blocks)
  return indicators / np.sqrt(np.maximum(indicators.sum(0), 1))


def orthonormal_columns(columns: np.ndarray, basis: np.ndarray) -> np.ndarray:
  """Returns an orthonormal basis of the part of columns that another basis does not explain.

  Args:
    columns: (P, C) columns.
    basis: (P, Q) orthonormal columns.

  Returns:
    (P, at most C) orthonormal columns.
  """
  # Project twice, because the first projection leaves rounding errors.
  rest = columns - basis @ (basis.T @ columns)
  rest = rest - basis @ (basis.T @ rest)
  left, size, _ = np.linalg.svd(rest, full_matrices=False)
  return left[:, size > COLLINEAR * max(1e-12, float(np.linalg.norm(columns)))]
