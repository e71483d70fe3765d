"""Was early stopping fair: how far the order of runs at a rung was that of their ends."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.runs.table import Runs

FEWEST_TO_RANK = 5
"""Runs below which an order agrees or not by chance: no interval."""


@dataclasses.dataclass(frozen=True)
class RungAgreement:
  """How far the order of runs at a rung was that of their ends.

  Attributes:
    step: of the rung.
    runs: how many that came to their end were scored there.
    stopped: how many were scored there and stopped early, there or later.
    spearman: rank correlation of score and final objective over the runs that came to their end.
    low: of its interval; NaN where there are too few runs.
    high: its other end.
    kendall: Kendall's tau-b.
    kendall_low: of its interval.
    kendall_high: its other end.
    widened: Spearman's for all that were scored, by the spread of scores that those stopped would have added; equal to
      `spearman` where none was stopped.
    widened_high: the same of `high`.
    rank_of_best: place at the rung, from 1, of the run that ended best.
  """

  step: int
  runs: int
  stopped: int
  spearman: float
  low: float
  high: float
  kendall: float
  kendall_low: float
  kendall_high: float
  widened: float
  widened_high: float
  rank_of_best: int


def rung_agreement(
  runs: Runs, confidence: float = 0.9, draws: int = 500, seed: int = 0
) -> list[RungAgreement]:
  """Was early stopping fair: did the order at each rung, short of the end, hold until the end?

  Only what came to its end can say so. Where early stopping took the others, those left are alike in their scores, and
  their correlation is less than that of all: `widened` takes the spread of all scores instead of theirs, which holds if
  the final objective goes with the score by one line with one scatter.

  Args:
    runs: with scores; of the search.
    confidence: of the intervals, percentiles over runs drawn with replacement.
    draws: how many times.
    seed: of the draws.

  Returns:
    Of each rung that three complete runs or more have a score of. Source: Thorndike 1949, Personnel Selection, case 2
    (restriction of range); Kendall 1945, Biometrika 33(3).

  >>> ends = np.arange(10.0)
  >>> found = rung_agreement(
  ...   Runs('a study', {}, {}, ends, scores=[{100: 2 * end + 5} for end in ends])
  ... )
  >>> found[0].step, found[0].spearman, found[0].rank_of_best
  (100, 1.0, 1)
  """
  searched = runs.searched()
  sign = -1.0 if runs.maximize else 1.0
  steps = sorted({step for scores in searched.scores for step in scores})
  complete, pruned = searched.complete(), searched.where(searched.status == 'pruned')
  found = []
  for step in steps:
    scores, ends, others = (
      _scores(complete, step) * sign,
      complete.losses,
      _scores(pruned, step) * sign,
    )
    there, others = np.isfinite(scores), others[np.isfinite(others)]
    is_end = _last(complete, step) or np.allclose(scores[there], ends[there], rtol=1e-9)
    if there.sum() >= 3 and not is_end:
      found.append(
        _agreement(step, scores[there], ends[there], others, confidence, draws, seed)
      )
  return found


def _last(complete: Runs, step: int) -> bool:
  """Whether a rung is where runs ended."""
  steps = complete.measured.get('steps', np.array([math.nan]))
  return bool(np.nanmin(steps) <= step) if np.isfinite(steps).any() else False


def _scores(runs: Runs, step: int) -> np.ndarray:
  return np.array(
    [float(scores.get(step, math.nan)) for scores in runs.scores], np.float64
  )


def _agreement(
  step: int,
  scores: np.ndarray,
  ends: np.ndarray,
  others: np.ndarray,
  confidence: float,
  draws: int,
  seed: int,
) -> RungAgreement:
  rng, n = np.random.default_rng(seed), len(ends)
  rho, tau = (float(c[0]) for c in _correlations(scores[None], ends[None]))
  spans = np.full((2, 2), math.nan)
  if n >= FEWEST_TO_RANK:
    drawn = rng.integers(0, n, (draws, n))
    share = [(1 - confidence) / 2, (1 + confidence) / 2]
    spans = np.array(
      [
        np.nanquantile(c, share) if np.isfinite(c).any() else (math.nan,) * 2
        for c in _correlations(scores[drawn], ends[drawn])
      ]
    )
  spread, all_of_them = (
    float(np.std(scores)),
    float(np.std(np.concatenate([scores, others]))),
  )
  ratio = max(1.0, all_of_them / spread) if len(others) and spread > 0 else 1.0
  widen = lambda r: r * ratio / math.sqrt(1 + r**2 * (ratio**2 - 1))
  best = int(np.argmin(ends))
  return RungAgreement(
    step,
    n,
    len(others),
    rho,
    *map(float, spans[0]),
    tau,
    *map(float, spans[1]),
    widen(rho),
    widen(float(spans[0, 1])),
    1 + int(np.sum(scores < scores[best])),
  )


def _correlations(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Spearman's rho and Kendall's tau-b of each row; NaN where one side is all equal."""
  from scipy.stats import rankdata  # slow to import, and only here

  ranks = [rankdata(x, axis=1) for x in (a, b)]
  centred = [r - r.mean(axis=1, keepdims=True) for r in ranks]
  signs = [np.sign(r[:, :, None] - r[:, None, :]).reshape(len(r), -1) for r in ranks]
  with np.errstate(invalid='ignore'):
    return tuple(
      (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
      for x, y in (centred, signs)
    )
