"""Agreement of the order of runs at a rung with their order at the end of training.

It shows if early stopping is fair.

Dimension key: T runs, R replicates.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.runs.table import Runs
from lmhp.statistics.ranks import spearman

MIN_RUNS_FOR_INTERVAL = 5
"""With fewer runs the agreement is due to chance, and has no interval."""


@dataclasses.dataclass(frozen=True)
class RungAgreement:
  """Agreement of the order of runs at a rung with their order at the end.

  Attributes:
    step: Step of the rung.
    n_runs: Number of complete runs with a score at the rung.
    spearman: Rank correlation of score and final objective over the complete runs.
    low: Lower end of its interval. NaN if there are too few runs.
    high: Upper end of the interval.
    corrected: Spearman's correlation corrected for the narrower range of scores that pruning
      leaves (Thorndike's case 2). Equal to `spearman` if no run was pruned.
    corrected_high: The same correction of `high`.
    rank_of_best: Rank at the rung, from 1, of the run that is best at the end.
  """

  step: int
  n_runs: int
  spearman: float
  low: float
  high: float
  corrected: float
  corrected_high: float
  rank_of_best: int


def rung_agreement(
  runs: Runs, confidence: float = 0.9, draws: int = 500, seed: int = 0
) -> list[RungAgreement]:
  """Measures if the order at each rung before the end holds until the end.

  Only complete runs show it. If runs were pruned, those that are left have similar scores,
  so their correlation is lower than that of all runs. `corrected` uses the spread of all
  scores. It holds if the final objective is linear in the score with a constant scatter.

  Args:
    runs: Table of runs with scores. The runs of the search are used.
    confidence: Confidence of the intervals, which are percentiles over resampled runs.
    draws: Number of resamples.
    seed: Seed of the resampling.

  Returns:
    The agreement at each rung with at least three complete runs. `pandas.DataFrame` makes a
    table of the list.

  Source: Thorndike 1949, Personnel Selection, case 2 (restriction of range).

  >>> ends = np.arange(10.0)
  >>> runs = Runs('a study', {}, {}, ends, scores=[{100: 2 * end + 5} for end in ends])
  >>> rung = rung_agreement(runs)[0]
  >>> rung.step, rung.spearman, rung.rank_of_best
  (100, 1.0, 1)
  """
  search = runs.search_runs()
  complete = search.complete_runs()
  pruned = search.select(search.status == 'pruned')
  last_steps = complete.measured.get('steps', np.array([]))

  # Compare the order at each rung with the order at the end, over complete runs. Scores
  # have the sign of a loss.
  agreements = []
  for step in sorted({step for scores in search.scores for step in scores}):
    scores = runs.to_objective(_scores_at(complete, step))
    pruned_scores = runs.to_objective(_scores_at(pruned, step))
    pruned_scores = pruned_scores[np.isfinite(pruned_scores)]
    has_score = np.isfinite(scores)
    scores = scores[has_score]
    ends = complete.losses[has_score]
    # The order at the last step agrees with the end by definition.
    is_end = (last_steps <= step).any() or np.allclose(scores, ends, rtol=1e-9)
    if len(scores) >= 3 and not is_end:
      agreements.append(
        _agreement(step, scores, ends, pruned_scores, confidence, draws, seed)
      )
  return agreements


def _scores_at(runs: Runs, step: int) -> np.ndarray:
  """Returns (T,) the scores at a step, NaN for a run without one."""
  return np.array(
    [float(scores.get(step, math.nan)) for scores in runs.scores], np.float64
  )


def _agreement(
  step: int,
  scores: np.ndarray,
  ends: np.ndarray,
  pruned_scores: np.ndarray,
  confidence: float,
  draws: int,
  seed: int,
) -> RungAgreement:
  """Returns the agreement of scores (T,) with final losses (T,)."""
  n = len(ends)
  rho = float(_spearman(scores[None], ends[None])[0])

  # Percentiles over resampled runs.
  low = high = math.nan
  if n >= MIN_RUNS_FOR_INTERVAL:
    drawn = np.random.default_rng(seed).integers(0, n, (draws, n))
    resampled = _spearman(scores[drawn], ends[drawn])
    if np.isfinite(resampled).any():
      levels = [(1 - confidence) / 2, (1 + confidence) / 2]
      low, high = np.nanquantile(resampled, levels).tolist()

  # Ratio of the spread of all scores to that of the complete runs.
  spread = float(np.std(scores))
  ratio = 1.0
  if len(pruned_scores) and spread > 0:
    ratio = max(1.0, float(np.std(np.concatenate([scores, pruned_scores]))) / spread)
  return RungAgreement(
    step=step,
    n_runs=n,
    spearman=rho,
    low=low,
    high=high,
    corrected=_correct_range(rho, ratio),
    corrected_high=_correct_range(high, ratio),
    # Rank at the rung of the run that is best at the end.
    rank_of_best=1 + int(np.sum(scores < scores[np.argmin(ends)])),
  )


def _correct_range(correlation: float, ratio: float) -> float:
  """Corrects a correlation for a restricted range. Thorndike's case 2."""
  return correlation * ratio / math.sqrt(1 + correlation**2 * (ratio**2 - 1))


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Returns Spearman's rho of each row. NaN if one side is constant."""
  from scipy.stats import rankdata

  ranks = np.stack([rankdata(a, axis=1), rankdata(b, axis=1)])
  x, y = ranks - ranks.mean(axis=2, keepdims=True)
  with np.errstate(invalid='ignore'):
    size = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return (x * y).sum(axis=1) / size


# --- scores of the complete runs ---------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class RungScores:
  """Scores of complete runs at a rung, and their final objective.

  Attributes:
    step: Step of the rung.
    scores: (T,) objective at the rung.
    objective: (T,) final objective.
    number: (T,) run numbers.
    spearman: Rank correlation of the two.
  """

  step: int
  scores: np.ndarray
  objective: np.ndarray
  number: np.ndarray
  spearman: float


def rung_scores(runs: Runs) -> list[RungScores]:
  """Returns the scores at each rung that at least three complete runs passed."""
  complete = runs.complete_runs()
  # The last score of a run is its end, not a rung.
  last_steps = np.array([max(scores, default=-1) for scores in complete.scores])
  rungs = []
  for step in sorted({step for scores in complete.scores for step in scores}):
    scores = _scores_at(complete, step)
    rows = np.isfinite(scores) & (last_steps > step)
    if rows.sum() >= 3:
      rungs.append(
        RungScores(
          step=step,
          scores=scores[rows],
          objective=complete.objective[rows],
          number=complete.number[rows],
          spearman=spearman(scores[rows], complete.objective[rows]),
        )
      )
  return rungs
