"""Comparison of the winner of a search with the base config, on new seeds.

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

BETTER = 'better'
WORSE = 'worse'
NO_DIFFERENCE = 'no significant difference'
UNKNOWN = 'unknown'


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
    seeds: (S,) seeds with which both were trained.
    winner: (S,) losses of the winner.
    base: (S,) losses of the base config.
    winner_diverged: Number of seeds on which the winner diverged.
    base_diverged: Number of seeds on which the base config diverged.
    difference: Mean of winner minus base. NaN if a run diverged.
    low: Lower end of the confidence interval of the difference, Student's over pairs of runs
      with the same seed. NaN for one seed.
    high: Upper end of this interval. NaN for one seed.
    confidence: Confidence of the interval.
  """

  seeds: npt.NDArray[np.int64]
  winner: npt.NDArray[np.float64]
  base: npt.NDArray[np.float64]
  winner_diverged: int
  base_diverged: int
  difference: float
  low: float
  high: float
  confidence: float = CONFIDENCE

  @property
  def verdict(self) -> str:
    """'better', 'worse', 'no significant difference' or 'unknown'.

    A winner is better than a base config that diverged on all seeds.
    """
    if self.winner_diverged != self.base_diverged:
      only_base = self.winner_diverged < self.base_diverged == len(self.seeds)
      return BETTER if only_base else UNKNOWN
    if not math.isfinite(self.low):
      return UNKNOWN
    if self.high < 0:
      return BETTER
    return WORSE if self.low > 0 else NO_DIFFERENCE


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
  winner_diverged = sum(winner[seed].diverged for seed in seeds)
  base_diverged = sum(base[seed].diverged for seed in seeds)

  # The loss of a run that diverged is a penalty, so a mean has no meaning then.
  difference = MeanInterval(math.nan, math.nan, math.nan)
  if not winner_diverged and not base_diverged:
    difference = paired_difference(winner_S, base_S, CONFIDENCE)
  return Confirmation(
    seeds=np.array(seeds),
    winner=winner_S,
    base=base_S,
    winner_diverged=winner_diverged,
    base_diverged=base_diverged,
    difference=difference.mean,
    low=difference.low,
    high=difference.high,
  )
