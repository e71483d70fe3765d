"""Comparison of a search's winner with the base config, on seeds that chose neither.

Dimension key: S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math

import numpy as np
import numpy.typing as npt

from lmhp.statistics.intervals import MeanInterval, paired_difference

CONFIDENCE = 0.95
"""Confidence of a claim that one config is better than another."""


@dataclasses.dataclass(frozen=True)
class SeedLoss:
  """Result of one run of the confirmation.

  Attributes:
    loss: Objective. Lower is better.
    diverged: True if the run diverged.
  """

  loss: float
  diverged: bool = False


@dataclasses.dataclass(frozen=True)
class Confirmation:
  """The winner and the base config on the same seeds. Lower is better.

  Attributes:
    seeds: (S,) seeds that both were trained with.
    winner: (S,) losses of the winner.
    base: (S,) losses of the base config.
    difference: Mean of winner minus base. NaN if a run diverged.
    low: Lower end of its interval. NaN for one seed.
    high: Upper end of its interval. NaN for one seed.
    diverged: Numbers of seeds on which the winner and the base config diverged.
    confidence: Confidence of the interval.
  """

  seeds: npt.NDArray[np.int64]
  winner: npt.NDArray[np.float64]
  base: npt.NDArray[np.float64]
  difference: float
  low: float
  high: float
  diverged: tuple[int, int]
  confidence: float = CONFIDENCE

  @property
  def verdict(self) -> str:
    """'better', 'worse', 'no difference shown', or '' if there are too few results.

    A winner is better than a base config that diverged on all seeds.
    """
    n_winner, n_base = self.diverged
    if n_winner < n_base and n_base == len(self.seeds):
      return 'better'
    if n_winner != n_base or not math.isfinite(self.low):
      return ''
    if self.high < 0:
      return 'better'
    return 'worse' if self.low > 0 else 'no difference shown'


def confirm_on_seeds(
  winner: Mapping[int, SeedLoss], base: Mapping[int, SeedLoss]
) -> Confirmation | None:
  """Compares a winner with the base config, seed by seed.

  Args:
    winner: {seed: result of the winner}.
    base: {seed: result of the base config}.

  Returns:
    The comparison on the seeds that both have. None if there are none.

  >>> winner = {7: SeedLoss(1.0), 8: SeedLoss(3.0), 9: SeedLoss(2.0)}
  >>> base = {9: SeedLoss(2.5), 8: SeedLoss(3.4), 7: SeedLoss(1.6)}
  >>> found = confirm_on_seeds(winner, base)
  >>> round(found.difference, 3), found.verdict
  (-0.5, 'better')
  """
  seeds = sorted(set(winner) & set(base))
  if not seeds:
    return None
  winner_S = np.array([winner[seed].loss for seed in seeds])
  base_S = np.array([base[seed].loss for seed in seeds])
  n_winner = sum(winner[seed].diverged for seed in seeds)
  n_base = sum(base[seed].diverged for seed in seeds)

  difference = MeanInterval(math.nan, math.nan, math.nan)
  if not n_winner and not n_base:
    difference = paired_difference(winner_S, base_S, CONFIDENCE)
  return Confirmation(
    seeds=np.array(seeds),
    winner=winner_S,
    base=base_S,
    difference=difference.mean,
    low=difference.low,
    high=difference.high,
    diverged=(n_winner, n_base),
  )
