"""Test of a difference, adjustment of p-values, and the noncentrality of an F ratio."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np

from lmhp.statistics.intervals import student_quantile


class TestedDifference(NamedTuple):
  """A difference with its interval and test. NaN if its error is not known.

  Attributes:
    difference: Difference of means.
    low: Lower end of the confidence interval.
    high: Upper end of the interval.
    p_value: Two-sided p-value of "the difference is 0".
    freedom: Degrees of freedom of Student's distribution.
  """

  difference: float
  low: float = math.nan
  high: float = math.nan
  p_value: float = math.nan
  freedom: float = math.nan


def difference_test(
  difference: float, variances: np.ndarray, freedoms: np.ndarray, confidence: float
) -> TestedDifference:
  """Tests a sum or difference of independent means by Student's distribution.

  Args:
    difference: Observed difference.
    variances: (k,) variance of each mean. One alone for a mean of paired differences.
    freedoms: (k,) degrees of freedom of the variances.
    confidence: Confidence of the interval.

  Source: Welch 1947, Biometrika 34. Satterthwaite 1946, Biometrics Bulletin 2.

  >>> found = difference_test(0.4, np.array([0.01, 0.03]), np.array([4, 4]), 0.9)
  >>> round(found.freedom, 1), round(found.p_value, 3)
  (6.4, 0.089)
  """
  # The import takes long, and only a few callers need it.
  from scipy.special import stdtr

  square = float(np.sum(variances))
  if not 0 < square < math.inf:
    return TestedDifference(difference)
  freedom = square**2 / float(np.sum(variances**2 / freedoms))
  error = math.sqrt(square)
  half = student_quantile((1 + confidence) / 2, freedom) * error
  p_value = 2 * float(stdtr(freedom, -abs(difference) / error))
  return TestedDifference(
    difference, difference - half, difference + half, p_value, freedom
  )


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
  """Returns Holm's adjusted p-values, in the order given.

  Args:
    p_values: One p-value for each test. NaN stands for a test that was not made. A NaN
      stays NaN, and is not counted as a test.

  Source: Holm, Scandinavian Journal of Statistics 6(2) (1979).

  >>> [round(p, 2) for p in adjust_p_values([0.04, 0.01, 0.03])]
  [0.06, 0.03, 0.06]
  """
  values = np.asarray(p_values, np.float64)
  tested = np.flatnonzero(~np.isnan(values))
  order = tested[np.argsort(values[tested], kind='stable')]
  n = len(order)

  # In increasing order, p-value number k (counted from 0) is multiplied by n - k. Then each is
  # at least the one before, and at most 1.
  multiplied = (n - np.arange(n)) * values[order]
  adjusted = np.full(len(values), math.nan)
  adjusted[order] = np.minimum(1, np.maximum.accumulate(multiplied))
  return adjusted.tolist()


def noncentrality(ratio: float, columns: int, freedom: int, p: float) -> float:
  """Returns the noncentrality of the F distribution that has `ratio` as its quantile p.

  With this noncentrality, a noncentral F variable is below `ratio` with probability p.
  `scipy.special.ncfdtrinc` computes the same, but only up to a noncentrality of 10,000, and with
  relative errors of up to 1e-2.

  Args:
    ratio: Observed F ratio.
    columns: Degrees of freedom of the numerator, the columns of the design that are tested.
    freedom: Degrees of freedom of the denominator.
    p: Probability of a value below the ratio. 0.5 gives a median estimate.

  Returns:
    The noncentrality. It is 0 if the probability of a value below the ratio is at most p already
    with noncentrality 0, because a larger noncentrality only lowers this probability. If the
    ratio is above 1e6, it is `columns * ratio`, the limit for large ratios.

  >>> round(noncentrality(4.0, columns=2, freedom=30, p=0.5), 3)
  6.831
  """
  # The imports take long, and only a few callers need them.
  from scipy.optimize import root_scalar
  from scipy.special import ncfdtr

  if not np.isfinite(ratio) or ratio > 1e6:
    return columns * ratio
  if ncfdtr(columns, freedom, 0.0, ratio) <= p:
    return 0.0

  def excess(value: float) -> float:
    return float(ncfdtr(columns, freedom, value, ratio)) - p

  # The probability falls as the noncentrality grows. The solution is about `columns * ratio`.
  bracket = (0.0, 4 * columns * ratio + 100.0)
  solution = root_scalar(
    excess, bracket=bracket, method='brentq', xtol=1e-12, rtol=1e-14
  )
  return float(solution.root)


def combined_p_value(p_values: Sequence[float]) -> float:
  """Returns the p-value of several tests of one hypothesis, by Cauchy's combination.

  It holds for small p-values whatever the dependence between the tests is.

  Source: Liu and Xie, Journal of the American Statistical Association 115(529) (2020).

  >>> round(combined_p_value([0.01, 0.01]), 6), round(combined_p_value([0.01, 0.9]), 3)
  (0.01, 0.022)
  """
  scores = [math.tan((0.5 - min(max(p, 1e-15), 1 - 1e-15)) * math.pi) for p in p_values]
  return 0.5 - math.atan(sum(scores) / len(scores)) / math.pi
