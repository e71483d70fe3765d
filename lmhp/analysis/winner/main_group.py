"""The runs that a report answers for, if a table holds results on several yardsticks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmhp.analysis.runs.columns import point_numbers
from lmhp.analysis.runs.table import Runs


def in_main_group(runs: Runs) -> npt.NDArray[np.bool_]:
  """Returns (T,) True for the runs of one group with equal values of `Runs.compared_within`.

  It is the group with the most results. Of several, it is the one with the best result.

  >>> data = np.array(['a', 'b', 'b'], object)
  >>> runs = Runs(
  ...   's', {}, {}, np.array([1.0, 3.0, 2.0]), compared_within={'dataset': data}
  ... )
  >>> in_main_group(runs).tolist()
  [False, True, True]
  """
  groups = point_numbers(runs.compared_within, len(runs))
  has_result = (runs.status == 'complete') & np.isfinite(runs.losses)
  if not has_result.any():
    return np.ones(len(runs), bool)
  ranks = {}
  for group in np.unique(groups[has_result]).tolist():
    losses = runs.losses[has_result & (groups == group)]
    ranks[group] = (-len(losses), float(losses.min()))
  return groups == min(ranks, key=lambda group: ranks[group])


def best_of_each_size(runs: Runs) -> Runs:
  """Returns the best run of each block of equal size in a sweep, and all runs of other tables.

  A law of the loss over sizes is that of tuned runs. Runs are those of a sweep if
  hyperparameters were varied, and blocks have two runs on average.
  """
  blocks = runs.blocks()
  numbers = np.unique(blocks)
  if not runs.varied_axes() or 2 * len(numbers) > len(runs):
    return runs
  best = []
  for block in numbers:
    rows = np.flatnonzero(blocks == block)
    best.append(rows[np.argmin(runs.losses[rows])])
  return runs.select(best)
