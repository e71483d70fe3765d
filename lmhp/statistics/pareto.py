"""Which runs are worth their cost: those that no other beats in everything."""

from __future__ import annotations

import numpy as np

from lmhp.errors import ConfigError


def pareto_front(losses, costs) -> np.ndarray:
  """Marks the runs that no other dominates.

  A run dominates another where it is no worse in the loss and in every cost, and better in one of them. Runs that are
  equal in all do not dominate each other: all are kept. A run with NaN or an infinite loss or cost is never on the
  front (it is not known to be worth anything) and dominates nothing.

  Args:
    losses: (n,), less is better.
    costs: (n,) or (n, c), less is better: parameters, FLOPs, latency, memory.

  Returns:
    (n,) bool.

  Raises:
    ConfigError: shapes that do not fit.

  >>> pareto_front([3.0, 2.5, 2.5, 2.0], [1, 2, 3, 4]).tolist()
  [True, True, False, True]
  """
  losses, costs = np.asarray(losses, np.float64), np.asarray(costs, np.float64)
  costs = costs[:, None] if costs.ndim == 1 else costs
  if losses.ndim != 1 or costs.ndim != 2 or len(costs) != len(losses):
    raise ConfigError(
      f'losses, costs: got shapes {losses.shape}, {costs.shape}; accepted are (n,) and (n, c)'
    )
  table = np.column_stack([losses, costs])
  front = np.isfinite(table).all(axis=1)
  rows, places = np.unique(
    table[front], axis=0, return_inverse=True
  )  # sorted: who dominates comes first
  kept = np.ones(len(rows), bool)
  for i, row in enumerate(rows):
    if kept[i]:  # what a dominated row dominates, its dominator does too
      kept[i + 1 :] &= ~(rows[i + 1 :] >= row).all(axis=1)
  front[front] = kept[places.ravel()]
  return front
