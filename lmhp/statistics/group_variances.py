"""Variances of several groups, small ones moved up to the common one as far as the data allow.

Settings of a model often differ in their noise between seeds. Few seeds show each variance
poorly, and one pooled variance is wrong if they differ. The moderated variance is between the
two: it counts the common variance as so many further degrees of freedom as the spread of the
variances supports. A variance that does not belong to the others stays as it is, and so does a
large one: noisy settings win most often, and a smaller variance would hide their noise.

Dimension key: P groups.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

OUTLIER_LEVEL = 0.05
"""Level of the test that a variance does not belong to the others, for all together."""
MIN_GROUPS = 3
"""Smallest number of variances that shows how much variances differ."""


@dataclasses.dataclass(frozen=True)
class GroupVariances:
  """Variances of groups.

  Attributes:
    variance: (P,) variance of each group. NaN if nothing is known of it.
    freedom: (P,) degrees of freedom of each variance.
    common: Common variance. NaN if no group has two values.
    common_freedom: Degrees of freedom that the common variance adds to each group. inf if
      the variances differ less than chance alone makes them, 0 if there are too few to say.
  """

  variance: Floats
  freedom: Floats
  common: float
  common_freedom: float


def variances_of_groups(groups: Sequence[Floats]) -> GroupVariances:
  """Returns the moderated variances of groups of values.

  >>> variances_of_groups([np.array([1.0, 3.0]), np.array([5.0])]).variance.tolist()
  [2.0, 2.0]
  """
  variances = [float(np.var(g, ddof=1)) if len(g) > 1 else 0.0 for g in groups]
  return moderated_variances(variances, [len(group) - 1 for group in groups])


def moderated_variances(
  variances: npt.ArrayLike, freedoms: npt.ArrayLike
) -> GroupVariances:
  """Returns the variances of groups, small ones moved up to their common variance.

  Args:
    variances: (P,) sample variance of each group. Ignored where a group has no freedom.
    freedoms: (P,) degrees of freedom of each: the number of values minus 1.

  Source: Smyth, Statistical Applications in Genetics and Molecular Biology 3(1) (2004),
  section 6.2.

  >>> moderated_variances([1.0, 4.0], [3, 3]).variance.tolist()
  [1.0, 4.0]
  >>> moderated_variances([1.0, 1.0, 4.0], [3, 3, 3]).variance.round(2).tolist()
  [2.05, 2.05, 4.0]
  """
  variance_P = np.asarray(variances, np.float64)
  freedom_P = np.asarray(freedoms, np.float64)
  known = (freedom_P > 0) & (variance_P > 0)
  total = float(freedom_P[freedom_P > 0].sum())
  if not total:
    nothing = np.full(len(variance_P), math.nan)
    return GroupVariances(nothing, np.zeros(len(variance_P)), math.nan, 0.0)
  pooled = float(np.sum(np.where(freedom_P > 0, variance_P * freedom_P, 0.0)) / total)

  common = pooled
  prior = 0.0
  if known.sum() >= MIN_GROUPS:
    common, prior = _common_variance(variance_P[known], freedom_P[known], pooled)
  if math.isinf(prior):
    # All groups have one variance, which all values together show.
    shared = np.full(len(variance_P), pooled)
    return GroupVariances(shared, np.full(len(variance_P), total), pooled, prior)

  # A group without replicates, or with copies of one run, shows no variance of its own.
  sums = np.where(known, variance_P * freedom_P, 0.0)
  weight = np.where(known, freedom_P, 0.0) + prior
  with np.errstate(invalid='ignore', divide='ignore'):
    moderated = (sums + prior * common) / weight
  # Large variances stay.
  moderated = np.where(weight > 0, np.maximum(moderated, known * variance_P), pooled)
  weight = np.where(weight > 0, weight, total)
  # A variance that does not belong to the others stays as it is.
  is_alone = _is_outlier(variance_P, freedom_P, common, prior)
  moderated = np.where(is_alone, variance_P, moderated)
  # No group can have more freedom than all values together.
  freedom = np.where(is_alone, freedom_P, np.minimum(weight, total))
  return GroupVariances(moderated, freedom, common, prior)


def _is_outlier(
  variance_P: Floats, freedom_P: Floats, common: float, prior: float
) -> npt.NDArray[np.bool_]:
  """Returns True for variances that are too far from the common one, by their F ratio."""
  from scipy.special import fdtr

  if not prior:
    return np.zeros(len(variance_P), bool)
  below = fdtr(np.maximum(freedom_P, 1), prior, variance_P / common)
  level = OUTLIER_LEVEL / len(variance_P)
  is_known = (freedom_P > 0) & (variance_P > 0)
  return is_known & (np.minimum(below, 1 - below) < level)


def _common_variance(
  variance_P: Floats, freedom_P: Floats, pooled: float
) -> tuple[float, float]:
  """Returns the common variance, and the freedom that it is worth. Smyth, equations 4 to 6."""
  from scipy.special import digamma, polygamma

  half = freedom_P / 2
  logs = np.log(variance_P) - digamma(half) + np.log(half)
  spread = float(np.var(logs, ddof=1))
  chance = float(np.mean(polygamma(1, half)))
  # Few variances show their spread poorly. Half a standard error more is the careful side: it
  # counts the common variance for less.
  error = max(spread, chance) * math.sqrt(2 / (len(logs) - 1))
  excess = spread - chance + error / 2
  if excess <= 0:
    return pooled, math.inf
  # The geometric mean of the variances, corrected for their few degrees of freedom. It does not
  # depend on the careful choice of the prior's freedom.
  return math.exp(float(np.mean(logs))), 2 * _inverse_trigamma(excess)


def _inverse_trigamma(value: float) -> float:
  """Returns the argument at which the trigamma function has a value, by Newton's method."""
  from scipy.special import polygamma

  if value > 1e7:
    return 1 / math.sqrt(value)
  if value < 1e-6:
    return 1 / value
  x = 0.5 + 1 / value
  for _ in range(50):
    tri = float(polygamma(1, x))
    step = tri * (1 - tri / value) / float(polygamma(2, x))
    x = x + step
    if -step / x < 1e-10:
      break
  return x
