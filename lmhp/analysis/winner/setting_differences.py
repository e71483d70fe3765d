"""Differences between the settings of a study, tested against the noise between seeds.

A setting is a point: one value of each hyperparameter. If settings ran with several seeds, their
means are compared by Welch's test, or pair by pair if they share seeds. Holm's correction
counts all pairs of settings, because the winner is the best of all. The winner was also lucky,
so differences are too large on average. The lower end of an interval is therefore moved
down, as for the largest of K differences, if K settings may be the winner (`contenders`).

Dimension key: P settings, S shared seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.runs.table import SEARCH, Runs
from lmhp.analysis.winner.contenders import contender_weights
from lmhp.statistics.group_variances import GroupVariances, variances_of_groups
from lmhp.statistics.hypothesis_tests import adjust_p_values
from lmhp.statistics.seed_noise import seed_noise

LEVEL = 0.05
"""Significance level of differences between settings, for all pairs together."""
PAIRED_LEVEL = 0.05
"""Significance level of the test if a seed has the same effect in all settings. If it has,
settings are compared seed by seed."""
MIN_FREEDOM = 3
"""A setting with one run is compared if the common variance has as many degrees of freedom."""
MAX_SETTINGS = 60
"""Number of the best settings that are compared. More pairs would hide every difference."""


@dataclasses.dataclass(frozen=True)
class SettingDifference:
  """Difference of the mean loss of a setting and of the winner.

  Attributes:
    point: The setting.
    difference: Mean loss of the setting minus that of the winner.
    low: Lower end of the confidence interval of this one difference. It allows for the luck
      of the winner.
    high: Upper end of the interval.
    p_holm: p-value with Holm's correction over all pairs of settings.
    confidence: Confidence of the interval.
    n_seeds: Number of runs of the setting.
  """

  point: int
  difference: float
  low: float
  high: float
  p_holm: float
  confidence: float
  n_seeds: int

  @property
  def is_significant(self) -> bool:
    """True if the setting is worse than the winner beyond the noise between seeds."""
    return self.p_holm <= LEVEL


def setting_differences(
  runs: Runs, winner: int, confidence: float = 0.9
) -> list[SettingDifference]:
  """Compares the winner with each setting of its block: runs of equal size and data.

  Args:
    runs: Table of runs. A diverged run counts with its loss.
    winner: Point of the winner.
    confidence: Confidence of the intervals.

  Returns:
    The settings by rising difference. Empty if the noise between seeds is unknown.

  >>> losses = [3.0, 3.1, 3.05, 3.5, 3.6, 3.52]
  >>> runs = Runs(
  ...   's',
  ...   {},
  ...   {},
  ...   np.array(losses),
  ...   point=np.array([0, 0, 0, 1, 1, 1]),
  ...   seed=np.arange(6),
  ... )
  >>> (one,) = setting_differences(runs, 0)
  >>> round(one.difference, 2), one.is_significant
  (0.49, True)
  """
  from scipy.special import stdtr

  search = runs.select((runs.cohort == SEARCH) & (runs.status == 'complete'))
  blocks = search.blocks()
  rows = {}
  for point, indices in search.rows_by_point().items():
    if np.isfinite(search.losses[indices]).all():
      rows[point] = indices
  if winner not in rows:
    return []
  block = blocks[rows[winner][0]]
  rows = {point: r for point, r in rows.items() if blocks[r[0]] == block}
  means = {point: float(search.losses[r].mean()) for point, r in rows.items()}
  order = sorted(means, key=lambda point: (point != winner, means[point]))[
    :MAX_SETTINGS
  ]
  groups = [search.losses[rows[point]] for point in order]

  # The noise of each setting, moved towards the common one.
  found = variances_of_groups(groups)
  if math.isnan(found.common) or not found.common > 0:
    return []
  # A single run is compared only if the other settings show its noise well enough.
  is_known = (found.freedom >= MIN_FREEDOM) | ([len(group) > 1 for group in groups])
  if not is_known[0]:
    return []
  order = [point for point, known in zip(order, is_known) if known]
  groups = [group for group, known in zip(groups, is_known) if known]
  found = dataclasses.replace(
    found, variance=found.variance[is_known], freedom=found.freedom[is_known]
  )
  differences, errors, freedoms = _pairs(search, [rows[p] for p in order], found)
  ratios = np.abs(differences) / errors
  adjusted = adjust_p_values((2 * stdtr(freedoms, -ratios)).tolist())

  # The first pairs are those with the winner.
  n_others = len(order) - 1
  below, above = _luck(ratios[:n_others], freedoms[:n_others], confidence)
  return [
    SettingDifference(
      point=order[row + 1],
      difference=float(differences[row]),
      low=float(differences[row] - below[row] * errors[row]),
      high=float(differences[row] + above[row] * errors[row]),
      p_holm=adjusted[row],
      confidence=confidence,
      n_seeds=len(groups[row + 1]),
    )
    for row in range(n_others)
  ]


def _pairs(
  search: Runs, rows: Sequence[np.ndarray], found: GroupVariances
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the difference, standard error and degrees of freedom of each pair of settings.

  Args:
    search: Table of runs.
    rows: Rows of each setting.
    found: Variances of the settings.
  """
  from scipy.special import fdtrc

  # Welch's standard error and Satterthwaite's degrees of freedom.
  first, second = np.triu_indices(len(rows), 1)
  mean_P = np.array([search.losses[each].mean() for each in rows])
  part_P = found.variance / np.array([len(each) for each in rows])
  squares = part_P[first] + part_P[second]
  terms_P = part_P**2 / found.freedom
  freedoms = squares**2 / (terms_P[first] + terms_P[second])

  # Two settings are compared pair by pair if they share seeds. More settings are so only if an
  # F test shows that a seed has the same effect in all of them.
  n = len(rows)
  correlation = seed_noise(search.losses, search.point, search.seed).correlation
  freedom = min(len(each) for each in rows) - 1.0
  ratio = 1 + correlation * n / (1 - correlation)
  p_value = fdtrc(freedom, (n - 1) * freedom, ratio)
  if len(rows) == 2 or p_value <= PAIRED_LEVEL:
    for pair, (i, j) in enumerate(zip(first.tolist(), second.tolist())):
      paired = _paired_differences(search, rows[i], rows[j])
      if len(paired) > 2:
        squares[pair] = np.var(paired, ddof=1) / len(paired)
        freedoms[pair] = len(paired) - 1.0
  # Copies of one run show no noise, and are not tested.
  errors = np.sqrt(np.where(squares > 0, squares, math.nan))
  return mean_P[second] - mean_P[first], errors, freedoms


def _luck(
  ratios: np.ndarray, freedoms: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the lower and the upper part of intervals, in standard errors.

  In the difference between the winner and one setting, K of the others may be the winner, so its
  mean has the error of the luckiest of K. The spread of this error around its median is added to
  the error of the one setting.

  Args:
    ratios: (P,) lead of the winner over each other setting, in standard errors.
    freedoms: (P,) degrees of freedom of the standard errors.
    confidence: Confidence of the intervals.
  """
  from scipy.special import stdtrit

  # A lead of x standard errors of a difference is one of x * sqrt(2) of a mean.
  weights = contender_weights(math.sqrt(2) * np.nan_to_num(ratios))
  contenders = 1 + weights.sum() - weights
  tail = (1 - confidence) / 2
  luck = stdtrit(freedoms, (1 - tail) ** (1 / contenders))
  typical = stdtrit(freedoms, 0.5 ** (1 / contenders))
  plain = stdtrit(freedoms, 1 - tail)
  return (typical + np.hypot(plain, luck - typical)) / math.sqrt(2), plain


def _paired_differences(search: Runs, a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Returns (S,) the differences b - a of two settings that ran each seed once.

  It is empty if a setting ran a seed twice, or a seed that the other did not run.

  Args:
    search: Table of runs.
    a: Rows of one setting.
    b: Rows of the other setting.
  """
  of_a = dict(zip(search.seed[a].tolist(), search.losses[a].tolist()))
  of_b = dict(zip(search.seed[b].tolist(), search.losses[b].tolist()))
  if not len(of_a) == len(a) == len(of_b) == len(b) or set(of_a) != set(of_b):
    return np.zeros(0)
  return np.array([of_b[seed] - of_a[seed] for seed in of_a])


def worse_settings(differences: Sequence[SettingDifference]) -> int:
  """Returns the number of settings that are worse than the winner beyond the noise."""
  return sum(each.is_significant for each in differences)
