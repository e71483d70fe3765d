"""Comparisons of two settings over seeds, and of the levels of a choice within blocks.

A block is a matched group: runs that are equal in all settings but the choice.

Dimension key: n runs, G blocks, K levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmhp.analysis.result_tables import ResultTable
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError, suggest
from lmhp.statistics.hypothesis_tests import (
  TestedDifference,
  adjust_p_values,
  difference_test,
)
from lmhp.statistics.intervals import check_confidence
from lmhp.statistics.ranks import as_numbers, check_paired

if TYPE_CHECKING:
  import pandas as pd


def compare_samples(
  a: npt.ArrayLike, b: npt.ArrayLike, *, paired: bool = False, confidence: float = 0.9
) -> TestedDifference:
  """Compares the means of two samples, such as the losses of two settings over seeds.

  Args:
    a: (n_a,) values of one setting.
    b: (n_b,) values of the other. If paired, value i has the seed of value i of a.
    paired: True compares the values pair by pair, so that what a seed adds to both cancels.
      False is Welch's test, which allows unequal variances.
    confidence: Confidence of the interval.

  Returns:
    Mean of a minus mean of b in their unit, its interval, the two-sided p-value of "the means
    are equal", and the degrees of freedom.

  Raises:
    ConfigError: If a value is not finite, a sample has fewer than two values, lengths of pairs
      differ, or no difference varies.

  Source: Welch 1947, Biometrika 34.

  >>> found = compare_samples([3.31, 3.33, 3.32], [3.28, 3.27, 3.29])
  >>> [round(value, 3) for value in found]
  [0.04, 0.023, 0.057, 0.008, 4.0]
  """
  check_confidence(confidence)
  if paired:
    a, b = check_paired(a, b)
  x = as_numbers(a, 'a')
  y = as_numbers(b, 'b')
  for name, values in (('a', x), ('b', y)):
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
      raise ConfigError(f'{name}: got {values}, expected at least two finite values')
  samples = [x - y] if paired else [x, y]
  variances = np.array([np.var(sample, ddof=1) / len(sample) for sample in samples])
  if not variances.any():
    raise ConfigError('a, b: got values that do not vary, so their noise is not known')
  freedoms = np.array([len(sample) - 1 for sample in samples])
  return difference_test(float(x.mean() - y.mean()), variances, freedoms, confidence)


# --- levels of a choice within blocks -----------------------------------------------


@dataclasses.dataclass(frozen=True)
class LevelInBlocks:
  """One level of a choice, judged within blocks.

  Attributes:
    level: Value of the choice.
    n_blocks: Number of blocks with this level and another one.
    n_wins: Number of blocks in which it is the best. Levels that tie for the best share the win
      with equal parts.
    median_excess: Median over blocks of its loss minus that of the block's best level.
    low: Lower end of the confidence interval of the median.
    high: Upper end of the interval. NaN if there are too few blocks.
    p_holm: p-value of "it is as good as the level with the smallest mean rank", by Wilcoxon's
      signed-rank test over the blocks with both, with Holm's correction over all pairs of
      levels. NaN for that level itself.
  """

  level: object
  n_blocks: int
  n_wins: float
  median_excess: float
  low: float
  high: float
  p_holm: float


@dataclasses.dataclass(frozen=True)
class BlockComparison(ResultTable):
  """A choice, judged within blocks of runs that are equal in all else.

  Attributes:
    choice: Name of the choice.
    levels: Levels, the one with the smallest mean rank first.
    n_blocks: Number of blocks with at least two levels.
    statistic: Skillings and Mack's statistic. Friedman's, if each block has all levels.
    p_value: p-value of "all levels are equal in each block", by the chi-squared distribution.
    confidence: Confidence of the intervals.
  """

  choice: str
  levels: tuple[LevelInBlocks, ...]
  n_blocks: int
  statistic: float
  p_value: float
  confidence: float

  @property
  def title(self) -> str:
    """The choice, the number of blocks, and the test of all levels."""
    return (
      f'{self.choice} in {self.n_blocks} blocks, p = {self.p_value:.2g} that all levels '
      f'are equal, {self.confidence:.0%} intervals'
    )

  def rows(self) -> list[dict[str, object]]:
    """Returns a row for each level."""
    return [dataclasses.asdict(level) for level in self.levels]


def compare_in_blocks(
  runs: Runs | Mapping[str, npt.ArrayLike] | pd.DataFrame,
  choice: str,
  blocks: Sequence[str],
  objective: str = 'objective',
  *,
  maximize: bool = False,
  min_levels: int = 2,
  confidence: float = 0.9,
) -> BlockComparison:
  """Judges a choice within blocks, which are matched groups of runs.

  The difference between blocks, such as that between model sizes, has no effect. Runs of one
  block and level are averaged, as seeds are.

  Args:
    runs: Table of runs, or {column: values}, such as a DataFrame.
    choice: Name of the column whose values are compared.
    blocks: Names of the columns that are equal within a block.
    objective: Name of the column of results. Rows without a finite result are left out. A table
      of runs has its own objective in 'objective'.
    maximize: True if a larger result is better. A table of runs knows its own direction.
    min_levels: Smallest number of levels of a block. Blocks with fewer are left out.
    confidence: Confidence of the intervals of medians.

  Raises:
    ConfigError: If there is no such column, or no block has two levels.

  Source: Skillings and Mack 1981, Technometrics 23(2). Holm 1979.

  >>> table = {
  ...   'width': [64, 64, 128, 128, 256, 256, 512, 512],
  ...   'warmup': [100, 400] * 4,
  ...   'loss': [3.9, 3.8, 3.5, 3.3, 3.1, 3.0, 2.9, 2.7],
  ... }
  >>> found = compare_in_blocks(table, 'warmup', ['width'], 'loss')
  >>> found.n_blocks, found.levels[0].level, found.levels[0].n_wins
  (4, 400, 4.0)
  >>> round(found.levels[1].median_excess, 3), round(found.p_value, 3)
  (0.15, 0.046)
  """
  check_confidence(confidence)
  if isinstance(runs, Runs):
    maximize = runs.maximize
  source = runs.to_columns() if isinstance(runs, Runs) else runs
  columns = {}
  for name in (choice, *blocks, objective):
    if name not in source:
      names = [str(each) for each in source]
      raise ConfigError(
        f'{name}: is not a column, expected one of {", ".join(names)}{suggest(name, names)}'
      )
    columns[name] = np.asarray(source[name])
  levels, table = _mean_losses(columns, choice, blocks, objective)
  losses = -table if maximize else table

  # Keep the blocks that have a comparison.
  losses = losses[np.isfinite(losses).sum(axis=1) >= max(min_levels, 2)]
  if not len(losses):
    raise ConfigError(f'{choice}: got no block with two levels, expected blocks')
  ranks, statistic, p_value = _skillings_mack(losses)

  # Each level against the best one, in the blocks that have both.
  order = np.argsort(np.nanmean(ranks, axis=0), kind='stable')
  order = order[np.isfinite(ranks[:, order]).any(axis=0)]
  pairs = list(itertools.combinations(order.tolist(), 2))
  p_values = [_signed_rank(losses[:, j] - losses[:, i]) for i, j in pairs]
  # The best level was found in these blocks, so all pairs count.
  p_holm = dict(zip(pairs, adjust_p_values(p_values)))
  excess = losses - np.nanmin(losses, axis=1, keepdims=True)
  wins = (excess == 0) / (excess == 0).sum(axis=1, keepdims=True)
  found = []
  for j in order.tolist():
    own = excess[np.isfinite(excess[:, j]), j]
    low, high = _median_interval(own, confidence)
    found.append(
      LevelInBlocks(
        level=levels[j],
        n_blocks=len(own),
        n_wins=float(wins[:, j].sum()),
        median_excess=float(np.median(own)),
        low=low,
        high=high,
        p_holm=p_holm.get((order[0], j), math.nan),
      )
    )
  return BlockComparison(
    choice, tuple(found), len(losses), statistic, p_value, confidence
  )


def _mean_losses(
  columns: Mapping[str, np.ndarray],
  choice: str,
  blocks: Sequence[str],
  objective: str,
) -> tuple[list[object], np.ndarray]:
  """Returns the K levels, and (G, K) the mean result of each in each block, NaN without one."""
  results = as_numbers(columns[objective], objective)
  keys = zip(*(_labels(columns[name]) for name in blocks), results)
  cells: dict[tuple[object, object], list[float]] = {}
  for (*key, result), level in zip(keys, _labels(columns[choice])):
    if level is not None and np.isfinite(result):
      cells.setdefault((tuple(key), level), []).append(float(result))
  rows = {key: i for i, key in enumerate(dict.fromkeys(key for key, _ in cells))}
  levels = {
    level: j for j, level in enumerate(dict.fromkeys(level for _, level in cells))
  }
  table = np.full((len(rows), len(levels)), np.nan)
  for (key, level), values in cells.items():
    table[rows[key], levels[level]] = np.mean(values)
  return list(levels), table


def _labels(column: np.ndarray) -> list[object]:
  """Returns the values of a column, None for a missing one."""
  return [None if value != value else value for value in column.tolist()]


def _skillings_mack(losses: np.ndarray) -> tuple[np.ndarray, float, float]:
  """Returns the ranks within blocks (G, K), the statistic, and its p-value.

  The covariance is that of permutations within each block, so that it holds for ties. Without
  ties it is Skillings and Mack's.
  """
  from scipy import stats

  ranks = stats.rankdata(losses, axis=1, nan_policy='omit')
  is_present = np.isfinite(ranks)
  size = is_present.sum(axis=1, keepdims=True)
  # Weighted sum of the centred ranks of each level. A missing level counts as 0.
  centred = np.nan_to_num(ranks - (size + 1) / 2) * np.sqrt(12 / (size + 1))
  total = centred.sum(axis=0)
  # Covariance over the permutations within blocks.
  spread = np.sum(centred**2, axis=1, keepdims=True) / (size - 1)
  cov = np.diag(np.sum(spread * is_present, axis=0))
  cov -= is_present.T @ (spread / size * is_present)
  statistic = float(total @ np.linalg.pinv(cov, hermitian=True) @ total)
  freedom = int(np.linalg.matrix_rank(cov, hermitian=True))
  return ranks, statistic, float(stats.chi2.sf(statistic, freedom))


def _signed_rank(differences: np.ndarray) -> float:
  """Returns Wilcoxon's p-value of differences. NaN if none differs from 0."""
  from scipy import stats

  kept = differences[np.isfinite(differences) & (differences != 0)]
  return float(np.asarray(stats.wilcoxon(kept))[1]) if len(kept) else math.nan


def _median_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
  """Returns an interval of the median between order statistics. NaN with too few values."""
  from scipy import stats

  interval = stats.quantile_test(values, p=0.5).confidence_interval(confidence)
  return float(interval.low), float(interval.high)
