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
from lmhp.statistics.sequential_pairs import is_futile, repeated_interval

CONFIDENCE = 0.95
"""Confidence of a claim that one config is better than another."""

# Values of `Confirmation.verdict`, about the winner.
BETTER = 'better'
WORSE = 'worse'
NO_DIFFERENCE = 'no significant difference'
UNKNOWN = 'unknown'


@dataclasses.dataclass(frozen=True)
class SeedLoss:
  """Result of training one config with one seed.

  Attributes:
    loss: Value of the objective. Lower is better. A penalty if the run diverged.
    diverged: True if the run diverged.
  """

  loss: float
  diverged: bool = False


@dataclasses.dataclass(frozen=True)
class Confirmation:
  """Losses of the winner and of the base config on the same seeds. Lower is better.

  Attributes:
    seeds: (S,) seeds with which both were trained.
    winner: (S,) losses of the winner.
    base: (S,) losses of the base config.
    winner_diverged: Number of seeds on which the winner diverged.
    base_diverged: Number of seeds on which the base config diverged.
    difference: Mean loss of the winner minus that of the base config. NaN if a run diverged.
    low: Lower end of the confidence interval of `difference`, from pairs of runs with the same
      seed. It allows for looks at fewer pairs. NaN for one seed, and if a run diverged.
    high: Upper end of the same interval.
    max_pairs: Largest number of pairs of the comparison, which it may have stopped before.
    confidence: Confidence of the interval, such as 0.95.
  """

  seeds: npt.NDArray[np.int64]
  winner: npt.NDArray[np.float64]
  base: npt.NDArray[np.float64]
  winner_diverged: int
  base_diverged: int
  difference: float
  low: float
  high: float
  max_pairs: int
  confidence: float = CONFIDENCE

  @property
  def verdict(self) -> str:
    """One of 'better', 'worse', 'no significant difference' and 'unknown'.

    - If no run diverged, the interval decides: the winner is better if all of it is below 0, and
      worse if all of it is above 0. With one seed there is no interval, so the verdict is
      'unknown'.
    - If a run diverged, the winner is better if the base config diverged on all seeds and the
      winner on fewer. Otherwise, the verdict is 'unknown'.
    """
    if self.winner_diverged != self.base_diverged:
      is_better = self.winner_diverged < self.base_diverged == len(self.seeds)
      return BETTER if is_better else UNKNOWN
    if not math.isfinite(self.low):
      return UNKNOWN
    if self.high < 0:
      return BETTER
    return WORSE if self.low > 0 else NO_DIFFERENCE

  @property
  def is_decided(self) -> bool:
    """True if more pairs are not needed: one config is better, or that will hardly be shown."""
    if self.verdict in (BETTER, WORSE):
      return True
    has_losses = math.isfinite(self.difference)
    return has_losses and is_futile(self.winner - self.base, self.max_pairs)


def confirm_on_seeds(
  winner: Mapping[int, SeedLoss],
  base: Mapping[int, SeedLoss],
  max_pairs: int | None = None,
) -> Confirmation | None:
  """Compares a winner with the base config, seed by seed.

  Args:
    winner: {seed: result of the winner}.
    base: {seed: result of the base config}.
    max_pairs: Largest number of pairs, if the comparison may stop before it. None takes the
      number of seeds, with Student's interval.

  Returns:
    The comparison on the seeds that both have. None if they have no seed in common.

  >>> winner = {7: SeedLoss(1.0), 8: SeedLoss(3.0), 9: SeedLoss(2.0)}
  >>> base = {9: SeedLoss(2.5), 8: SeedLoss(3.4), 7: SeedLoss(1.6)}
  >>> confirmation = confirm_on_seeds(winner, base)
  >>> round(confirmation.difference, 3), confirmation.verdict
  (-0.5, 'better')
  """
  seeds = sorted(set(winner) & set(base))
  if not seeds:
    return None
  winner_S = np.array([winner[seed].loss for seed in seeds])
  base_S = np.array([base[seed].loss for seed in seeds])
  winner_diverged = sum(winner[seed].diverged for seed in seeds)
  base_diverged = sum(base[seed].diverged for seed in seeds)

  # The loss of a diverged run is a penalty, so a mean that includes it has no meaning.
  difference = MeanInterval(math.nan, math.nan, math.nan)
  most = max(max_pairs or 0, len(seeds))
  if not winner_diverged and not base_diverged:
    if max_pairs is None:
      difference = paired_difference(winner_S, base_S, CONFIDENCE)
    else:
      difference = repeated_interval(winner_S - base_S, most)
  return Confirmation(
    seeds=np.array(seeds),
    winner=winner_S,
    base=base_S,
    winner_diverged=winner_diverged,
    base_diverged=base_diverged,
    difference=difference.mean,
    low=difference.low,
    high=difference.high,
    max_pairs=most,
  )
