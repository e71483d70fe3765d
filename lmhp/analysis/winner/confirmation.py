"""Confirmation: the winner and the base config on fresh seeds, pair by pair.

Dimension key: S seeds.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.runs.table import BASE_POINT, Runs
from lmhp.analysis.winner.winner import confirmation_runs
from lmhp.statistics.intervals import paired_difference

CONFIDENCE = 0.95
"""Confidence of the difference between winner and base config."""
BETTER = 'better'
WORSE = 'worse'
NO_DIFFERENCE = 'no significant difference'
UNKNOWN = 'unknown'


@dataclasses.dataclass(frozen=True)
class Confirmation:
  """The winner and the base config on seeds that chose neither. Less is better.

  Attributes:
    seeds: (S,) seeds that both ran with.
    winner: (S,) losses of the winner.
    base: (S,) losses of the base config.
    winner_diverged: Number of seeds on which the winner diverged.
    base_diverged: Number of seeds on which the base config diverged.
    difference: Mean of winner - base. NaN if a seed diverged.
    low: Lower end of its interval, Student's over pairs. NaN if there is no interval.
    high: Upper end of the interval.
    confidence: Confidence of the interval.
  """

  seeds: np.ndarray
  winner: np.ndarray
  base: np.ndarray
  winner_diverged: int
  base_diverged: int
  difference: float
  low: float
  high: float
  confidence: float = CONFIDENCE

  @property
  def verdict(self) -> str:
    """'better', 'worse', 'no significant difference' or 'unknown'."""
    if self.winner_diverged != self.base_diverged:
      only_base = self.winner_diverged < self.base_diverged == len(self.seeds)
      return BETTER if only_base else UNKNOWN
    if not math.isfinite(self.low):
      return UNKNOWN
    if self.high < 0:
      return BETTER
    return WORSE if self.low > 0 else NO_DIFFERENCE


def confirm(
  runs: Runs, point: int, confidence: float = CONFIDENCE
) -> Confirmation | None:
  """Compares a point with the base config on the seeds that both ran with.

  Args:
    runs: Table of runs, with the runs of the confirmation.
    point: Point of the winner.
    confidence: Confidence of the interval of the difference.

  Returns:
    The comparison. None if the base config did not run with a seed of the winner.
  """
  of_winner = _by_seed(confirmation_runs(runs, point))
  of_base = _by_seed(confirmation_runs(runs, BASE_POINT))
  seeds = sorted(set(of_winner) & set(of_base))
  if not seeds:
    return None
  winner = np.array([of_winner[seed].loss for seed in seeds])
  base = np.array([of_base[seed].loss for seed in seeds])
  winner_diverged = sum(of_winner[seed].diverged for seed in seeds)
  base_diverged = sum(of_base[seed].diverged for seed in seeds)
  difference = low = high = math.nan
  if not winner_diverged and not base_diverged:
    difference, low, high = paired_difference(winner, base, confidence)
  return Confirmation(
    seeds=np.array(seeds),
    winner=winner,
    base=base,
    winner_diverged=winner_diverged,
    base_diverged=base_diverged,
    difference=difference,
    low=low,
    high=high,
    confidence=confidence,
  )


@dataclasses.dataclass(frozen=True)
class _Result:
  """Result of one seed."""

  loss: float
  diverged: bool


def _by_seed(runs: Runs) -> dict[int, _Result]:
  return {
    int(seed): _Result(float(loss), bool(status == 'diverged'))
    for seed, loss, status in zip(runs.seed, runs.losses, runs.status)
  }
