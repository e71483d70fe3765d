"""Settings that may be as good as the winner."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def contender_weights(gaps: np.ndarray) -> np.ndarray:
  """Returns how much points count as contenders of the winner, between 0 and 1.

  Among K equal points, the winner leads by its luck. The weight is the p-value of a gap that is
  smaller by the typical luck of K points, so that points that may well be equal to the winner
  count in full.

  Args:
    gaps: (K - 1,) leads of the winner in standard errors of a mean.

  >>> contender_weights(np.array([0.0, 3.0, 6.0])).round(3).tolist()
  [1.0, 0.157, 0.0]
  """
  from scipy.special import ndtr, ndtri

  # The median of the smallest of K normal errors.
  luck = -ndtri(1 - 0.5 ** (1 / (len(gaps) + 1)))
  return np.minimum(1, 2 * ndtr(-(gaps - luck) / math.sqrt(2)))


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
