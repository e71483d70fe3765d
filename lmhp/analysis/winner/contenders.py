"""Settings that may be as good as the winner."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

CONTENDER_GAP = 1.5
"""Lead in standard errors up to which a point counts in full as a contender."""


def contender_weights(gaps: np.ndarray) -> np.ndarray:
  """Returns how much points count as contenders of the winner, between 0 and 1.

  The weight is the p-value of a gap that is smaller by `CONTENDER_GAP`, so that points which
  may well be equal to the winner count in full.

  Args:
    gaps: Leads of the winner in standard errors of a mean.

  >>> contender_weights(np.array([0.0, 3.0, 6.0])).round(3).tolist()
  [1.0, 0.289, 0.001]
  """
  from scipy.special import ndtr

  return np.minimum(1, 2 * ndtr(-(gaps - CONTENDER_GAP) / math.sqrt(2)))


def counted_contenders(n_contenders: float, n_points: int) -> str:
  """Returns the number of contenders in words."""
  n = round(n_contenders) - 1
  if n_points == 1:
    return "Student's interval"
  if not n:
    return f'no other of the {n_points} points comes near the winner'
  return f'about {n} of {n_points - 1} other points may be as good as the winner'


def has_finite_point(losses: np.ndarray, points: np.ndarray) -> npt.NDArray[np.bool_]:
  """Returns (T,) True for the runs of the points whose losses are all finite."""
  return ~np.isin(points, points[~np.isfinite(losses)])
