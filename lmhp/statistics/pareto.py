"""Pareto fronts: dominance of points in several quantities that are all minimized."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmhp.errors import ConfigError


def front_numbers(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
  """Returns the number of the Pareto front of each point (non-dominated sorting).

  A point dominates another if it is at most as large in every quantity, and smaller in at least
  one. Equal points do not dominate each other. Front 0 has the points that no point dominates.
  Front 1 has those that no point dominates after front 0 is removed, and so on.

  Args:
    values: (n, c) finite numbers, c quantities of n points. Smaller is better.

  Returns:
    (n,) number of the front of each point, from 0.

  Source: Deb et al. 2002 (NSGA-II), section III A.

  >>> front_numbers([[1, 5], [2, 2], [3, 3], [5, 1]]).tolist()
  [0, 0, 1, 0]
  """
  values = np.asarray(values, np.float64)
  # `unique` sorts the points by their first quantity, then the second, and so on. In this order,
  # the points that dominate a point come before it.
  points, positions = np.unique(values, axis=0, return_inverse=True)
  numbers = np.zeros(len(points), np.int64)
  for i, point in enumerate(points):
    dominating = numbers[:i][(points[:i] <= point).all(axis=1)]
    if dominating.size:
      numbers[i] = dominating.max() + 1
  return numbers[positions.ravel()]


def pareto_front(losses: npt.ArrayLike, costs: npt.ArrayLike) -> npt.NDArray[np.bool_]:
  """Returns True for each run that no other run dominates.

  A run dominates another if its loss and all its costs are at most as large, and at least one of
  them is smaller. Runs with equal values do not dominate each other. A run with a loss
  or a cost that is NaN or infinite is never on the front, and dominates nothing.

  Args:
    losses: (n,) losses. Smaller is better.
    costs: (n,) or (n, c) costs, such as parameters, FLOPs, latency or memory. Smaller is
      better.

  Returns:
    (n,) bool.

  Raises:
    ConfigError: If the shapes are not those above.

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
