"""Differences between the settings of a study, tested against the noise between seeds.

A setting is a point: one value of each hyperparameter. If settings ran with several seeds, their
means are compared by Welch's test, or pair by pair if they share seeds. Holm's correction
counts all pairs of settings, because the winner is the best of all. The winner was also lucky,
so differences are too large on average. The lower end of an interval is therefore that of the
largest of K differences, if K settings may be the winner (`contenders`).

Dimension key: P settings, S shared seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.runs.table import SEARCH, Runs
from lmhp.analysis.winner.contenders import contender_weights
from lmhp.statistics.group_variances import variances_of_groups
from lmhp.statistics.hypothesis_tests import adjust_p_values
from lmhp.statistics.intervals import student_quantile
from lmhp.statistics.seed_noise import seed_noise

LEVEL = 0.05
"""Significance level of differences between settings, for all pairs together."""
PAIRED_LEVEL = 0.05
"""Level of the test for an effect of seeds that settings share, from which they are paired."""
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
  """Compares each setting of the winner's block with the winner.

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
  from scipy.special import fdtrc, stdtr

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
  groups = [_Group(search.losses[rows[p]], search.seed[rows[p]]) for p in order]

  # The noise of each setting, moved towards the common one.
  found = variances_of_groups([group.losses for group in groups])
  if math.isnan(found.common) or not found.common > 0:
    return []
  # Welch's standard error and Satterthwaite's degrees of freedom of each pair.
  first, second = np.triu_indices(len(order), 1)
  mean_P = np.array([means[point] for point in order])
  differences = mean_P[second] - mean_P[first]
  part_P = found.variance / np.array([len(group.losses) for group in groups])
  squares = part_P[first] + part_P[second]
  terms_P = part_P**2 / found.freedom
  freedoms = squares**2 / (terms_P[first] + terms_P[second])
  # Seeds that both settings ran are compared pair by pair. Among many settings, they are so
  # only if seeds have an effect that settings share, by the F ratio of seeds to residuals.
  correlation = seed_noise(search.losses, search.point, search.seed).correlation
  freedom = min(len(group.losses) for group in groups) - 1.0
  ratio = 1 + correlation * len(rows) / (1 - correlation)
  p_value = fdtrc(freedom, (len(rows) - 1) * freedom, ratio)
  if len(order) == 2 or p_value <= PAIRED_LEVEL:
    for row, (i, j) in enumerate(zip(first, second)):
      paired = _paired_differences(groups[i], groups[j])
      if len(paired) > 2 and 2 * len(paired) == len(groups[i].losses) + len(
        groups[j].losses
      ):
        squares[row] = np.var(paired, ddof=1) / len(paired)
        freedoms[row] = len(paired) - 1.0
  # Copies of one run show no noise, and are not tested.
  errors = np.sqrt(np.where(squares > 0, squares, math.nan))
  p_values = 2 * stdtr(freedoms, -np.abs(differences) / errors)
  adjusted = adjust_p_values(p_values.tolist())

  # The first pairs are those with the winner. A lead of x standard errors of a difference is
  # one of x * sqrt(2) standard errors of a mean.
  n_others = len(order) - 1
  leads = differences[:n_others] / errors[:n_others]
  weights = contender_weights(math.sqrt(2) * np.nan_to_num(leads))
  tail = (1 - confidence) / 2
  results = []
  for row in range(n_others):
    # Apart from this setting, K settings may be the winner. The error of the winner is that of
    # the luckiest of K. Its distance from the typical one adds to the error of this setting.
    n_contenders = 1 + float(weights.sum() - weights[row])
    luck = student_quantile((1 - tail) ** (1 / n_contenders), freedoms[row])
    typical = student_quantile(0.5 ** (1 / n_contenders), freedoms[row])
    plain = student_quantile(1 - tail, freedoms[row])
    below = (typical + math.hypot(plain, luck - typical)) / math.sqrt(2)
    results.append(
      SettingDifference(
        point=order[row + 1],
        difference=float(differences[row]),
        low=float(differences[row] - below * errors[row]),
        high=float(differences[row] + plain * errors[row]),
        p_holm=adjusted[row],
        confidence=confidence,
        n_seeds=len(groups[row + 1].losses),
      )
    )
  return results


@dataclasses.dataclass(frozen=True)
class _Group:
  """Losses and seeds of the runs of one setting."""

  losses: np.ndarray
  seeds: np.ndarray


def _paired_differences(a: _Group, b: _Group) -> np.ndarray:
  """Returns (S,) the differences on seeds that both settings ran once."""
  of_a = dict(zip(a.seeds.tolist(), a.losses.tolist()))
  of_b = dict(zip(b.seeds.tolist(), b.losses.tolist()))
  if len(of_a) < len(a.losses) or len(of_b) < len(b.losses):
    return np.zeros(0)
  return np.array([of_b[seed] - of_a[seed] for seed in of_a if seed in of_b])


def worse_settings(differences: Sequence[SettingDifference]) -> int:
  """Returns the number of settings that are worse than the winner beyond the noise."""
  return sum(each.is_significant for each in differences)
