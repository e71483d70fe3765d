"""Finding about early stopping: scores at a rung that do not agree with the final order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmhp.analysis.findings import Finding
from lmhp.analysis.hyperparameters.effects import effects
from lmhp.analysis.phrases import counted
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.rung_agreement import RungAgreement
from lmhp.statistics.seed_noise import seed_noise

MIN_CORRELATION = 0.6
"""Rank correlation of a rung with the end below which early stopping is unfair."""
NOISE_LEVEL = 5e-4
"""Significance level of differences between points, against the noise between seeds."""
EFFECT_LEVEL = 0.002
"""Significance level of effects, if no point has several seeds."""


def unfair_early_stopping(
  curve_runs: Runs, rung_agreement: Sequence[RungAgreement]
) -> list[Finding]:
  """Reports a rung at which the order of runs hardly agrees with the final order.

  It needs a study whose final objectives differ by more than noise.
  """
  low = [each for each in rung_agreement if each.corrected_high < MIN_CORRELATION]
  if not low or not _points_differ(curve_runs):
    return []
  # Report the rung that agrees least.
  rung = min(low, key=lambda each: each.high)
  n_pruned = int(np.sum(curve_runs.search_runs().status == 'pruned'))
  evidence = (
    f"Over {counted(rung.n_runs, 'complete run')}; Kendall's tau is {rung.kendall:.2f}. The run "
    f'that is best at the end has rank {rung.rank_of_best} at that rung.'
  )
  if n_pruned:
    evidence += (
      f' {counted(n_pruned, "run was", "runs were")} pruned, and any of them could have won. '
      f'Corrected for the spread of their scores, the correlation is {rung.corrected:.2f}.'
    )
  evidence += ' Prune later, or prune fewer trials.'
  return [
    Finding(
      kind='unfair_early_stopping',
      level='warning' if n_pruned else 'advice',
      title=(
        f'Early stopping at step {rung.step:,} {"was" if n_pruned else "would be"} unfair: '
        f'scores there have a rank correlation of {rung.spearman:.2f} with the final '
        f'objective (90% interval {rung.low:.2f} to {rung.high:.2f}).'
      ),
      evidence=evidence,
      numbers={
        'step': rung.step,
        'spearman': rung.spearman,
        'low': rung.low,
        'high': rung.high,
        'kendall': rung.kendall,
        'runs': rung.n_runs,
        'rank_of_best': rung.rank_of_best,
        'pruned': n_pruned,
        'corrected_spearman': rung.corrected,
      },
    )
  ]


def _points_differ(runs: Runs) -> bool:
  """Returns True if final objectives differ by more than the noise between seeds.

  Without several seeds, returns True if some axis has an effect.
  """
  from scipy.special import fdtrc

  complete = runs.complete_runs()
  finished = runs.select((runs.status == 'complete') & np.isfinite(runs.objective))
  # With repeated seeds: F test of the variance between points over that between seeds.
  has_seeds = len(np.unique(finished.point)) < len(finished)
  if has_seeds and len(complete) > 2:
    noise = seed_noise(finished.losses, finished.point, finished.seed)
    firsts = [complete.losses[rows][0] for rows in complete.rows_by_point().values()]
    if noise.noise > 0 and noise.degrees_of_freedom >= 3 and len(firsts) > 2:
      ratio = float(np.var(firsts, ddof=1)) / noise.noise**2
      return bool(fdtrc(len(firsts) - 1, noise.degrees_of_freedom, ratio) < NOISE_LEVEL)
  # Without repeated seeds, a significant effect shows that points differ.
  return any(effect.significant(EFFECT_LEVEL) for effect in effects(complete))
