"""Calibration of halving: a test if the scores at a rung predict the final scores.

A point is one assignment of values to the parameters of a space, and a rung is a step at which
points are scored. Some points, the calibration points, are trained in full, whatever their
scores are. A rung may prune (stop) other points only if the calibration points have nearly the
same order at the rung and at the end.

Two mistakes are limited. If the scores of all rungs are pure noise, a study prunes with a
probability of at most `NOISE_LEVEL`, for any number of calibration points and of rungs. If the
true correlation is well below the threshold, more calibration points make a mistake rarer.
`bench/halving_guard.py` measures both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import math

from lmhp.statistics.ranks import spearman, spearman_p_value
from lmhp.sweeping.search.rungs import MIN_CALIBRATION_POINTS, evenly_spaced_ranks
from lmhp.sweeping.search.score_order import Score, ranking_values

NOISE_LEVEL = 0.1
"""Largest probability that a study prunes if no rung predicts the end. Its rungs share it."""


@dataclasses.dataclass(frozen=True)
class RungTest:
  """Result of the test of one rung.

  Attributes:
    correlation: Spearman's correlation of the scores at the rung with the final scores, over
      the calibration points. NaN if it could not be measured.
    failure: Reason why the rung must not prune points. None if it passed.
  """

  correlation: float
  failure: str | None


def calibration_points(scores: Mapping[int, Score], n: int) -> tuple[int, ...]:
  """Returns the points that are trained in full to test the rungs.

  The ranks are divided into n equal parts, and the best point of each part is returned. Points
  without a finite score are left out.

  >>> calibration_points({0: 3.0, 1: 1.0, 2: 4.0, 3: 2.0, 4: float('inf')}, 2)
  (0, 1)
  """
  value_of = ranking_values(scores)
  finite = [point for point in scores if value_of[point] < math.inf]
  ranked = sorted(finite, key=lambda point: (value_of[point], point))
  ranks = evenly_spaced_ranks(len(ranked), n)
  return tuple(sorted(ranked[rank] for rank in ranks))


def rung_tests(
  scores: Mapping[int, Mapping[int, Score]], min_rank_correlation: float | None
) -> dict[int, RungTest]:
  """Tests for each rung if its scores predict the final scores.

  A rung passes if Spearman's correlation over the calibration points

  1. is at least `min_rank_correlation`, and
  2. is larger than chance explains: the p-value of a one-sided permutation test is at most
     `NOISE_LEVEL` divided by the number of rungs (Bonferroni's correction).

  Points with equal scores have equal ranks. A point that diverges after the rung shares the last
  rank at the end. A point that has diverged before the rung is left out: its ranks agree, but
  this says nothing about the order of the points among which the rung chooses.

  Args:
    scores: {step of a rung: {calibration point: score}}, steps increasing. The last step is the
      end of training. All rungs have the same points, in the same order.
    min_rank_correlation: Threshold, -1 to 1. None: every rung passes.

  Returns:
    {step: result} for all rungs except the last one.

  >>> points = range(6)
  >>> at_end = {point: float(point) for point in points}
  >>> at_rung = {point: abs(point - 0.6) for point in points}
  >>> test = rung_tests({10: at_rung, 30: at_end}, 0.8)[10]
  >>> round(test.correlation, 3), test.failure
  (0.943, None)
  """
  *rungs, end = scores
  value_at_end = ranking_values(scores[end])
  tests = {}
  for step in rungs:
    value_at_rung = ranking_values(scores[step])
    reached = [point for point, value in value_at_rung.items() if value < math.inf]
    tests[step] = _rung_test(
      at_rung=[value_at_rung[point] for point in reached],
      at_end=[value_at_end[point] for point in reached],
      step=step,
      n_rungs=len(rungs),
      min_rank_correlation=min_rank_correlation,
    )
  return tests


def _rung_test(
  at_rung: Sequence[float],
  at_end: Sequence[float],
  step: int,
  n_rungs: int,
  min_rank_correlation: float | None,
) -> RungTest:
  """Returns the result of the test of one of several rungs.

  Args:
    at_rung: Scores of the calibration points that reached the rung. Lower is better.
    at_end: Their final scores, infinity for a point that diverged.
    step: Step of the rung, for the reason of a failure.
    n_rungs: Number of rungs that are tested.
    min_rank_correlation: Threshold, or None if every rung passes.
  """
  n_points = len(at_end)
  correlation = math.nan
  if n_points >= MIN_CALIBRATION_POINTS:
    correlation = spearman(at_rung, at_end)
  if min_rank_correlation is None:
    return RungTest(correlation, failure=None)

  start = f'the rank correlation at step {step}'
  if math.isnan(correlation):
    cause = f'all {n_points} calibration points have equal scores there or at the end'
    if n_points < MIN_CALIBRATION_POINTS:
      cause = (
        f'{n_points} calibration points have a score there, and at least '
        f'{MIN_CALIBRATION_POINTS} are needed'
      )
    return RungTest(correlation, f'{start} could not be measured: {cause}')

  start += f' is {correlation:.3f} over {n_points} calibration points'
  if correlation < min_rank_correlation:
    return RungTest(correlation, f'{start}, below {min_rank_correlation:g}')
  # The probability that any of several tests passes is at most the sum of their levels.
  level = NOISE_LEVEL / n_rungs
  p_value = spearman_p_value(at_rung, at_end)
  if p_value > level:
    chance = f'which may be chance (p = {p_value:.3f}, above {level:.3f})'
    return RungTest(correlation, f'{start}, {chance}')
  return RungTest(correlation, failure=None)
