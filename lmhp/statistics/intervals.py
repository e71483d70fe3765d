"""Standard errors and confidence intervals."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmhp.errors import ConfigError
from lmhp.statistics.ranks import check_paired


class MeanInterval(NamedTuple):
  """A mean and its confidence interval.

  Attributes:
    mean: Estimate of the mean.
    low: Lower end of the interval.
    high: Upper end of the interval.
  """

  mean: float
  low: float
  high: float


def standard_error(values: npt.ArrayLike, weights: npt.ArrayLike) -> float:
  """Returns the standard error of a weighted mean of independent values.

  Args:
    values: (n,) float, such as the mean loss of each text sequence.
    weights: (n,) weight of each value, such as the number of tokens of the sequence. A value
      of weight 0 is left out.

  Returns:
    Standard error of the ratio estimator. NaN if fewer than two values have a weight above 0.

  Source: Cochran, Sampling Techniques (1977), eq. 2.46.

  >>> standard_error([1.0, 3.0], [1.0, 1.0])
  1.0
  """
  values = np.asarray(values, np.float64)
  weights = np.asarray(weights, np.float64)
  n = int(np.count_nonzero(weights))
  if n < 2:
    return math.nan
  # Ratio estimator: mean = sum(w x) / sum(w), residuals = w (x - mean) / mean(w).
  mean = np.sum(weights * values) / np.sum(weights)
  residuals = weights * (values - mean) / np.mean(weights[weights > 0])
  return float(np.sqrt(np.sum(residuals**2) / (n * (n - 1))))


def mean_interval(values: npt.ArrayLike, confidence: float = 0.95) -> MeanInterval:
  """Returns the mean of independent values, and Student's confidence interval of the mean.

  Args:
    values: (n,) float, with n at least 1.
    confidence: Fraction (0.95, for example) of such intervals that contain the true mean, if the
      values are normally distributed.

  Returns:
    The mean and the interval. Both ends are NaN if there is one value alone, or if a value is
    not finite.

  Source: Student, Biometrika 6 (1908).

  >>> [round(end, 2) for end in mean_interval([1.0, 2.0, 3.0])]
  [2.0, -0.48, 4.48]
  """
  values = np.asarray(values, np.float64)
  mean = float(np.mean(values))
  if len(values) < 2 or not np.isfinite(values).all():
    return MeanInterval(mean, math.nan, math.nan)
  # The import takes long, and only a few callers need it.
  from scipy import stats

  # Half the width is Student's quantile times the standard error.
  n = len(values)
  quantile = stats.t.ppf((1 + confidence) / 2, n - 1)
  half = float(quantile * np.std(values, ddof=1) / np.sqrt(n))
  return MeanInterval(mean, mean - half, mean + half)


def paired_difference(
  a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = 0.95
) -> MeanInterval:
  """Returns the mean of the differences a - b of pairs, and Student's interval of the mean.

  An effect that both values of a pair share, such as that of a seed, cancels.

  Args:
    a: (n,) float, the first value of each pair.
    b: (n,) float, the second value of each pair, in the same order.
    confidence: As in `mean_interval`.

  Raises:
    ValueError: If the shapes differ.

  >>> paired_difference([3.0, 5.0], [1.0, 3.0])
  MeanInterval(mean=2.0, low=2.0, high=2.0)
  """
  a, b = check_paired(a, b)
  # The difference of two infinities is NaN, which `mean_interval` handles.
  with np.errstate(invalid='ignore'):
    differences = a - b
    return mean_interval(differences, confidence)


def wilson_interval(
  count: int, total: int, confidence: float = 0.9
) -> tuple[float, float]:
  """Returns Wilson's confidence interval of a probability, from a count of successes.

  Args:
    count: Number of successes.
    total: Number of trials, successes and failures together.
    confidence: Fraction of such intervals that contain the true probability,
      approximately.

  Returns:
    The lower and the upper end. Both are NaN if there are no trials.

  Source: Wilson, JASA 22 (1927).

  >>> [round(end, 3) for end in wilson_interval(3, 10, 0.95)]
  [0.108, 0.603]
  """
  if not total:
    return math.nan, math.nan
  # The import takes long, and only a few callers need it.
  from scipy.stats import binomtest

  interval = binomtest(count, total).proportion_ci(confidence, method='wilson')
  return float(interval.low), float(interval.high)


def check_confidence(confidence: float) -> None:
  """Checks that a confidence is above 0 and below 1.

  Raises:
    ConfigError: If it is not.
  """
  if not 0 < confidence < 1:
    raise ConfigError(
      f'confidence: got {confidence}, expected a number above 0 and below 1'
    )


def student_quantile(probability: float, freedom: float) -> float:
  """Returns a quantile of Student's distribution, or of the normal one if freedom is inf."""
  from scipy.special import ndtri, stdtrit

  if math.isinf(freedom):
    return float(ndtri(probability))
  return float(stdtrit(freedom, probability))
