"""The order of scores, and the promotion of the best points.

A point is one assignment of values to the parameters of a space, and a rung is a step at which
points are scored. A score is a number, or a pair if there are two objectives. Lower is better,
so a score that is maximized comes with a negative sign. A score that is not finite is worse
than all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from typing import TypeAlias

import numpy as np

from lmhp.statistics.pareto import front_numbers

Score: TypeAlias = float | tuple[float, float]
"""Objective of a point, or the pair of both objectives."""


def pareto_order(values: Sequence[tuple[float, float]]) -> list[int]:
  """Ranks pairs by their Pareto front, then by their first number.

  A pair dominates another one if it is not worse in both numbers and better in one. Front 0 is
  the pairs that no pair dominates. Front 1 is the pairs that only pairs of front 0 dominate, and
  so on.

  Args:
    values: Finite pairs. Lower is better.

  Returns:
    The rank of each pair. 0 is the best. Equal pairs have the same rank.

  Source: Deb et al. 2002 (NSGA-II), section III A, non-dominated sorting.

  >>> pareto_order([(1, 5), (2, 2), (3, 3), (5, 1)])
  [0, 1, 3, 2]
  """
  if not values:
    return []
  front_of = dict(zip(values, front_numbers(values).tolist(), strict=True))
  ordered = sorted(front_of, key=lambda pair: (front_of[pair], pair[0]))
  rank_of = {pair: rank for rank, pair in enumerate(ordered)}
  return [rank_of[pair] for pair in values]


def ranking_values(scores: Mapping[int, Score]) -> dict[int, float]:
  """Returns {point: number by which the points are ranked}. Lower is better.

  The number is the score itself for one objective, and the rank of the pair for two. It is
  infinity if the score is not finite.
  """
  finite = {point: score for point, score in scores.items() if np.isfinite(score).all()}
  numbers = {p: score for p, score in finite.items() if not isinstance(score, tuple)}
  pairs = {p: score for p, score in finite.items() if isinstance(score, tuple)}
  numbers.update(zip(pairs, pareto_order(list(pairs.values())), strict=True))
  return {point: numbers.get(point, math.inf) for point in scores}


def promote(scores: Mapping[int, Score], n: int) -> tuple[int, ...]:
  """Returns the numbers of the best n points, in increasing order.

  Of points with equal scores, those with lower numbers are better. Points without a finite
  score are the worst.

  >>> promote({0: 2.0, 1: float('nan'), 2: 1.0, 3: 2.0}, 2)
  (0, 2)
  """
  value_of = ranking_values(scores)
  ranked = sorted(scores, key=lambda point: (value_of[point], point))
  return tuple(sorted(ranked[:n]))
