"""Pareto fronts: dominance of points in several quantities that are all minimized."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmhp.errors import ConfigError


def front_numbers(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
  """Returns the number of the Pareto front of each point (non-dominated sorting).

  A point dominates another if it is at most as large in every quantity, and smaller in one.
  Equal points do not dominate each other. Front 0 has the points that no point dominates,
  front 1 those that only points of front 0 dominate, and so on.

  Args:
    values: (n, c) finite numbers. Smaller is better.

  Returns:
    (n,) numbers of fronts.

  Source: Deb et al. 2002 (NSGA-II), section III A.

  >>> front_numbers([[1, 5], [2, 2], [3, 3], [5, 1]]).tolist()
  [0, 0, 1, 0]
  """
  values = np.asarray(values, np.float64)
  # In sorted order, the points that dominate a point come before it.
  points, positions = np.unique(values, axis=0, return_inverse=True)
  numbers = np.zeros(len(points), np.int64)
  for i, point in enumerate(points):
    dominating = numbers[:i][(points[:i] <= point).all(axis=1)]
    if dominating.size:
      numbers[i] = dominating.max() + 1
  return numbers[positions.ravel()]


def pareto_front(losses: npt.ArrayLike, costs: npt.ArrayLike) -> npt.NDArray[np.bool_]:
  """Returns True for each run that no other run dominates.

  A run dominates another if it is at most as large in the loss and in every cost, and
  smaller in one of them. Runs that are equal in all values are all kept. A run with a loss
  or a cost that is NaN or infinite is never on the front, and dominates nothing.

  Args:
    losses: (n,) losses. Smaller is better.
    costs: (n,) or (n, c) costs, such as parameters, FLOPs, latency or memory. Smaller is
      better.

  Returns:
    (n,) bool.

  Raises:
    ConfigError: If the shapes do not fit.

  >>> pareto_front([3.0, 2.5, 2.5, 2.0], [1, 2, 3, 4]).tolist()
  [True, True, False, True]
  """
  losses = np.asarray(losses, np.float64)
  costs = np.asarray(costs, np.float64)
  if costs.ndim == 1:
    costs = costs[:, None]
  if losses.ndim != 1 or costs.ndim != 2 or len(costs) != len(losses):
    raise ConfigError(
      f'losses, costs: got shapes {losses.shape}, {costs.shape}, expected (n,) and (n, c)'
    )
  values = np.column_stack([losses, costs])
  known = np.flatnonzero(np.isfinite(values).all(axis=1))
  is_on_front = np.zeros(len(values), np.bool_)
  is_on_front[known] = front_numbers(values[known]) == 0
  return is_on_front
