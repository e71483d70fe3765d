"""Sentences about runs that are measured with different yardsticks."""

from __future__ import annotations

import numpy as np

from lmhp.analysis.advice.setting_names import describe_point, describe_size
from lmhp.analysis.phrases import listed, quantity
from lmhp.analysis.runs.columns import point_numbers
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.main_group import in_main_group
from lmhp.analysis.winner.winner import find_winner
from lmhp.statistics.column_names import YARDSTICK

MAX_GROUPS = 4


def describe_yardsticks(runs: Runs) -> list[str]:
  """Returns sentences about the yardsticks of a table. Empty if all runs share one.

  Results on different data, vocabularies or contexts are not compared. The answer is that of
  one group, and the best settings of the other groups are named.
  """
  names = [name for name, column in runs.columns.items() if column.role == YARDSTICK]
  groups = point_numbers(runs.compared_within, len(runs))
  if not names or len(np.unique(groups)) < 2:
    return []
  main = in_main_group(runs)
  first = int(runs.point[np.flatnonzero(main)[0]])
  sentences = [
    f'Results for different {listed(names)} are not compared. The answer is about '
    f'{describe_size(runs, first)}, which has the most results (if {names[0]} is a choice: '
    f'--roles {names[0]}=hyperparameter).'
  ]
  others = []
  for group in np.unique(groups[~main]).tolist():
    part = runs.select(groups == group)
    winner = find_winner(part)
    if winner is not None:
      best = quantity(runs.to_objective(winner.mean), runs.unit)
      others.append(f'{describe_point(runs, winner.point)} ({best})')
  if others:
    sentences.append(f'Best in the other groups: {listed(others, MAX_GROUPS)}.')
  return sentences
