"""Regression of losses on axes, shared by effects and interactions.

Dimension key: P points, C columns of an axis, Q columns of all other axes.
"""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np

from lmhp.analysis.hyperparameters.design import average_seeds, design_columns
from lmhp.analysis.runs.table import Runs

CEILING = 6.0
"""Losses above this many times the median height count as if they had this height."""


def points_with_axes(runs: Runs, names: Sequence[str]) -> tuple[Runs, np.ndarray]:
  """Returns one row per point that has a value of each axis, and (P,) mean losses."""
  points, losses = average_seeds(runs.comparable_runs()[0])
  has_all = np.ones(len(points), bool)
  for name in names:
    # NaN is not equal to itself.
    values = points.values[name].tolist()
    has_all &= np.array([v is not None and v == v for v in values], bool)
  return points.select(has_all), losses[has_all]


def normal_scores(losses: np.ndarray) -> np.ndarray:
  """Returns (P,) the normal quantiles of the losses' ranks (van der Waerden scores).

  Equal losses share the mean of their ranks.
  """
  from scipy.special import ndtri
  from scipy.stats import rankdata

  return ndtri(rankdata(losses) / (len(losses) + 1))


def fit_near_best(
  design: np.ndarray, losses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Fits least squares in which runs near the best one have the largest weight.

  Noise and lack of fit grow with the height above the best loss. With h the fitted height
  and c the median height, the weight of a run is 1 / (c + h)^2. A height above `CEILING`
  times c counts as that height, because the exact loss of a bad run says nothing about the
  good ones.

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
    root = np.sqrt(weights)
    coefficients = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0]
    fitted = design @ coefficients
    # Weight 1 / (scale + fitted height)^2, refined by four rounds of fits.
    raw = (scale + fitted - fitted.min()) ** -2.0
    weights = raw / raw.mean()
  return coefficients, weights


def other_axes_basis(
  points: Runs, names: Sequence[str], losses: np.ndarray, n_columns: int = 2
) -> np.ndarray:
  """Returns (P, Q) orthonormal columns of a constant and of parabolas in the other axes.

  If there are many axes for few points, the axes that explain most come first, until a
  third of the degrees of freedom is used.

  Args:
    points: One row per point.
    names: Axes under test, which are left out.
    losses: (P,) losses of the points.
    n_columns: Number of columns that the axes under test need.
  """
  scores = normal_scores(losses)
  groups = [
    design_columns(points, name) for name in points.varied_axes() if name not in names
  ]
  # Centred columns, because the first basis column is the constant.
  groups = [group - group.mean(0) for group in groups if group.shape[1]]
  basis = np.full((len(points), 1), 1 / math.sqrt(max(len(points), 1)))
  freedom = max(len(points) - n_columns - 1, 0)
  total = sum(group.shape[1] for group in groups)
  # If all columns use at most half of the freedom, take all. Otherwise a third of it.
  budget = freedom if total <= freedom // 2 else freedom / 3
  while groups:
    # Add the axis that explains most of the scores per column, if it fits the budget.
    added = [orthonormal_columns(group, basis) for group in groups]
    gains = [
      np.sum((design.T @ scores) ** 2) / max(design.shape[1], 1) for design in added
    ]
    best = int(np.argmax(gains))
    if basis.shape[1] + added[best].shape[1] - 1 <= budget:
      basis = np.column_stack([basis, added[best]])
    groups.pop(best)
  return basis


def orthonormal_columns(columns: np.ndarray, basis: np.ndarray) -> np.ndarray:
  """Returns an orthonormal basis of what columns add to an orthonormal basis.

  Args:
    columns: (P, C) columns.
    basis: (P, Q) orthonormal columns.

  Returns:
    (P, at most C) orthonormal columns.
  """
  rest = columns - basis @ (basis.T @ columns)
  rest = rest - basis @ (basis.T @ rest)
  left, size, _ = np.linalg.svd(rest, full_matrices=False)
  return left[:, size > 1e-6 * max(1e-12, float(np.linalg.norm(columns)))]
