"""Sequential comparison of two configs by pairs of runs, which may stop before the last pair.

The pairs are looked at three times: at half, at three quarters and at all of the largest number
of pairs. A comparison stops at a look in two cases:

- The confidence interval of the difference excludes 0.
- It is unlikely that the last look will exclude 0 (futility).

Each look is another chance to find a difference that is not there. So the interval of each look
is wider than Student's. The error rate of 5% is spent in proportion to the number of pairs. Such
repeated intervals contain the true difference at all looks together with a probability of 95%,
whatever the reason to stop is. Boundaries are simulated, because there are few pairs and their
standard deviation is not known.

Dimension key: D simulated comparisons, K looks, N pairs.

Source: Jennison and Turnbull, Group Sequential Methods (2000), chapters 7, 9 and 10. Lan and
DeMets, Biometrika 70(3) (1983).
"""

from __future__ import annotations

from collections.abc import Sequence
import functools
import math

import numpy as np
import numpy.typing as npt

from lmhp.statistics.intervals import MeanInterval, mean_interval, student_quantile

ERROR = 0.05
"""Probability that any look finds a difference, if there is none."""
MIN_PAIRS = 3
"""Smallest number of pairs at which a comparison may stop early."""
FRACTIONS = (0.5, 0.75, 1.0)
"""Looks, as fractions of the largest number of pairs."""
FUTILE = 0.1
"""A comparison stops if the last look excludes 0 with a smaller probability than this."""
MAX_SIMULATED = 1_600_000
"""Number of pairs that a simulation draws. It draws more if 10,000 comparisons need more."""


def looks(max_pairs: int) -> tuple[int, ...]:
  """Returns the numbers of pairs at which a comparison may stop.

  >>> looks(8), looks(5), looks(3), looks(2)
  ((4, 6, 8), (3, 4, 5), (3,), (2,))
  """
  counts = {max(MIN_PAIRS, math.ceil(fraction * max_pairs)) for fraction in FRACTIONS}
  return tuple(sorted({min(count, max_pairs) for count in counts}))


def repeated_interval(differences: npt.ArrayLike, max_pairs: int) -> MeanInterval:
  """Returns the mean difference, and its interval that allows for all looks.

  Args:
    differences: Difference of each pair. If their number is between two looks, the interval is
      as wide as for the critical value of the earlier look, which is larger. Before the first
      look, it is that of the first look.
    max_pairs: Largest number of pairs of the comparison.

  >>> interval = repeated_interval([1.0, 2.0, 3.0, 2.0], 8)
  >>> [round(end, 2) for end in interval]
  [2.0, 0.29, 3.71]
  >>> [round(end, 2) for end in mean_interval([1.0, 2.0, 3.0, 2.0])]
  [2.0, 0.7, 3.3]
  """
  mean, low, _ = mean_interval(differences, 1 - ERROR)
  n_pairs = np.size(differences)
  if not math.isfinite(low):
    return MeanInterval(mean, low, low)
  standard_error = (mean - low) / student_quantile(1 - ERROR / 2, n_pairs - 1)
  half = standard_error * _critical_value(n_pairs, max_pairs)
  return MeanInterval(mean, mean - half, mean + half)


def is_futile(differences: npt.ArrayLike, max_pairs: int) -> bool:
  """Returns True if the last look is unlikely to exclude 0.

  The probability is over the pairs to come, given the pairs so far. Differences are taken as
  normal, with a flat prior on their mean and on the logarithm of their standard deviation.

  >>> is_futile([1.0, -1.0, 0.5, -0.4], 8), is_futile([1.0, 2.0, 0.5, 3.0], 8)
  (True, False)
  """
  seen = np.asarray(differences, np.float64)
  n_pairs = len(seen)
  n_left = max_pairs - n_pairs
  if n_left <= 0 or n_pairs < 2:
    return False
  mean = float(np.mean(seen))
  variance = float(np.var(seen, ddof=1))

  # Draw the standard deviation, the mean, and the pairs that are left.
  rng = np.random.default_rng(0)
  n_draws = max(2000, MAX_SIMULATED // 20 // max_pairs)
  spread = np.sqrt(variance * (n_pairs - 1) / rng.chisquare(n_pairs - 1, (n_draws, 1)))
  true_mean = mean + spread * rng.standard_normal((n_draws, 1)) / math.sqrt(n_pairs)
  future = true_mean + spread * rng.standard_normal((n_draws, n_left))
  known = np.broadcast_to(seen, (n_draws, n_pairs))
  statistic = _statistics(np.concatenate([known, future], axis=1), (max_pairs,))
  critical = _critical_value(max_pairs, max_pairs)
  return bool(np.mean(np.abs(statistic) > critical) < FUTILE)


@functools.lru_cache(maxsize=64)
def power(max_pairs: int, difference: float) -> float:
  """Returns the probability that any look excludes 0.

  Args:
    max_pairs: Largest number of pairs.
    difference: True difference of two configs, in standard deviations between the seeds of one
      config. The runs of a pair are taken as independent. If a seed affects both configs alike,
      the power is larger.

  >>> round(power(8, 2.0), 2), round(power(4, 2.0), 2)
  (0.85, 0.37)
  """
  draws = _normal_pairs(max_pairs, seed=1) + difference / math.sqrt(2)
  statistic = np.abs(_statistics(draws, looks(max_pairs)))
  return float(np.mean((statistic > critical_values(max_pairs)).any(axis=1)))


@functools.lru_cache(maxsize=64)
def critical_values(max_pairs: int) -> np.ndarray:
  """Returns (K,) the smallest |t| at each look at which the interval excludes 0."""
  counts = looks(max_pairs)
  statistic = np.abs(_statistics(_normal_pairs(max_pairs, seed=0), counts))
  # The first look is exact: its statistic has Student's distribution.
  first_error = ERROR * counts[0] / max_pairs
  critical = [student_quantile(1 - first_error / 2, counts[0] - 1)]
  goes_on = statistic[:, 0] <= critical[0]
  for look in range(1, len(counts)):
    # Spend the error of this look among the comparisons that no look before has stopped.
    spent = ERROR * (counts[look] - counts[look - 1]) / max_pairs
    left = statistic[goes_on, look]
    critical.append(float(np.quantile(left, 1 - spent * len(statistic) / len(left))))
    goes_on &= statistic[:, look] <= critical[look]
  return np.array(critical)


def _critical_value(n_pairs: int, max_pairs: int) -> float:
  """Returns the critical value of the last look at or before a number of pairs."""
  look = int(np.searchsorted(looks(max_pairs), n_pairs, side='right')) - 1
  return float(critical_values(max_pairs)[max(look, 0)])


def _normal_pairs(max_pairs: int, seed: int) -> np.ndarray:
  """Returns (D, N) simulated differences of pairs, with mean 0 and variance 1."""
  n_draws = max(10_000, MAX_SIMULATED // max_pairs)
  return np.random.default_rng(seed).standard_normal((n_draws, max_pairs))


def _statistics(differences: np.ndarray, counts: Sequence[int]) -> np.ndarray:
  """Returns (D, K) Student's t at each look.

  Args:
    differences: (D, N) differences of the pairs.
    counts: (K,) numbers of pairs of the looks.
  """
  columns = []
  for count in counts:
    seen = differences[:, :count]
    # Equal differences have no spread. Their t is infinite, or 0 if they are 0.
    standard_error = np.maximum(seen.std(axis=1, ddof=1), 1e-300) / math.sqrt(count)
    columns.append(seen.mean(axis=1) / standard_error)
  return np.stack(columns, axis=1)
