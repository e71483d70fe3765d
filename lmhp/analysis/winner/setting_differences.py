"""Differences between the settings of a study, tested against the noise between seeds.

A setting is a point: one value of each hyperparameter. If settings ran with several seeds, their
means are compared by Welch's test, or pair by pair if they share seeds. Holm's correction
counts all pairs of settings, because the winner is the best of all.

Dimension key: P settings, S shared seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import itertools
import math

import numpy as np

from lmhp.analysis.runs.table import SEARCH, Runs
from lmhp.statistics.group_variances import variances_of_groups
from lmhp.statistics.hypothesis_tests import (
  TestedDifference,
  adjust_p_values,
  difference_test,
)
from lmhp.statistics.seed_noise import seed_noise

LEVEL = 0.05
"""Significance level of differences between settings, for all pairs together."""
PAIRED_CORRELATION = 0.3
"""Correlation of the noise of two settings on one seed above which they are paired."""
MAX_SETTINGS = 60
"""Number of the best settings that are compared. More pairs would hide every difference."""


@dataclasses.dataclass(frozen=True)
class SettingDifference:
  """Difference of the mean loss of a setting and of the winner.

  Attributes:
    point: The setting.
    difference: Mean loss of the setting minus that of the winner.
    low: Lower end of the confidence interval of the difference, without a correction for
      several settings.
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
  groups = [rows[point] for point in order]

  # The noise of each setting, moved towards the common one.
  found = variances_of_groups([search.losses[group] for group in groups])
  if math.isnan(found.common) or not found.common > 0:
    return []
  # Pairs of one seed are compared only if seeds have an effect that settings share.
  noise = seed_noise(search.losses, search.point, search.seed)
  is_paired = noise.correlation > PAIRED_CORRELATION
  tests: dict[tuple[int, int], TestedDifference] = {}
  for i, j in itertools.combinations(range(len(order)), 2):
    a = groups[i]
    b = groups[j]
    sizes = (len(a), len(b))
    variances = found.variance[[i, j]] / sizes
    freedoms = found.freedom[[i, j]]
    paired = _paired_differences(search, a, b) if is_paired else np.zeros(0)
    if len(paired) > 2 and sizes == (len(paired), len(paired)):
      variances = np.array([np.var(paired, ddof=1) / len(paired)])
      freedoms = np.array([len(paired) - 1])
    difference = means[order[j]] - means[order[i]]
    tests[i, j] = difference_test(difference, variances, freedoms, confidence)
  adjusted = dict(
    zip(tests, adjust_p_values([test.p_value for test in tests.values()]))
  )
  return [
    SettingDifference(
      point=order[j],
      difference=tests[0, j].difference,
      low=tests[0, j].low,
      high=tests[0, j].high,
      p_holm=adjusted[0, j],
      confidence=confidence,
      n_seeds=len(groups[j]),
    )
    for j in range(1, len(order))
  ]


def _paired_differences(runs: Runs, a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Returns (S,) the differences of rows b and a on the seeds that both have once."""
  of_a = dict(zip(runs.seed[a].tolist(), runs.losses[a].tolist()))
  of_b = dict(zip(runs.seed[b].tolist(), runs.losses[b].tolist()))
  if len(of_a) < len(a) or len(of_b) < len(b):
    return np.zeros(0)
  return np.array([of_b[seed] - of_a[seed] for seed in of_a if seed in of_b])


def worse_settings(differences: Sequence[SettingDifference]) -> int:
  """Returns the number of settings that are worse than the winner beyond the noise."""
  return sum(each.is_significant for each in differences)
