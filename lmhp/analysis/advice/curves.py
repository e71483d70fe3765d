"""What training curves say: each a finding with its number. `curve_findings(runs)` is all of them.

What claims that something is wrong stands many standard deviations of a curve's own noise away from a healthy curve, or
behind a test: over studies of healthy curves all of them together come in at most 2%
(`bench/calibration_curves.py` counts it). What only describes (still improving, saturated, step variance) is a note.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from lmhp.analysis.curves import instability, overfitting
from lmhp.analysis.curves import trends as curve_trends
from lmhp.analysis.findings import Finding
from lmhp.analysis.hyperparameters.effects import effects
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.rung_agreement import RungAgreement, rung_agreement
from lmhp.statistics.seed_noise import seed_noise

KINDS = (
  'overfitting',
  'best_before_last',
  'spiking',
  'warmup_indicated',
  'clipping_indicated',
  'unfair_early_stop',
  'still_improving',
  'saturated',
  'step_variance',
)
NOTES = ('still_improving', 'saturated', 'step_variance')

FAIR = 0.6
"""Rank correlation of a rung with the end, below which early stopping is called unfair."""
DIFFER_LEVEL = 5e-4
EFFECT_LEVEL = 0.002


def curve_findings(runs: Runs) -> list[Finding]:
  """All that the curves of a study say, and the scores at its rungs.

  Args:
    runs: of which those with curves are looked at; those of the search, for rungs.

  Returns:
    Findings of `KINDS`, at most one of each. None where there are no curves and no rungs.

  >>> steps, rng = np.arange(1.0, 101), np.random.default_rng(0)
  >>> curve = lambda: {
  ...   'step': steps,
  ...   'loss_nats': 2 + 3 / steps + 0.01 * rng.standard_normal(100),
  ... }
  >>> runs = Runs(
  ...   'a study',
  ...   {},
  ...   {},
  ...   np.full(8, 2.0),
  ...   curves={number: curve() for number in range(8)},
  ... )
  >>> [one.kind for one in curve_findings(runs)]
  ['step_variance']
  """
  alive = runs.number[~np.isin(runs.status, ('failed', 'waiting'))].tolist()
  runs = dataclasses.replace(
    runs, curves={n: runs.curves[n] for n in alive if _has_rows(runs, n)}
  )
  evaluated = overfitting.evaluations(runs) if _losses(runs) else []
  return [
    *overfitting.overfitting(runs, evaluated),
    *overfitting.best_before_last(evaluated),
    *instability.spiking(runs),
    *instability.warmup_indicated(runs),
    *instability.clipping_indicated(runs),
    *unfair_early_stop(runs),
    *curve_trends.ends(runs),
    *curve_trends.variance(runs),
  ]


def _has_rows(runs: Runs, number: int) -> bool:
  return number in runs.curves and len(runs.curves[number].get('step', ())) > 0


def _losses(runs: Runs) -> bool:
  return any(overfitting.EVAL in curve for curve in runs.curves.values())


# --- rungs ----------------------------------------------------------------------------------------------------------


def unfair_early_stop(runs: Runs) -> list[Finding]:
  """A rung whose order had little to do with that of the ends, in a study whose ends differ by more than noise."""
  low = [a for a in rung_agreement(runs) if a.widened_high < FAIR]
  if not low or not _ends_differ(runs):
    return []
  a = min(low, key=lambda a: a.high)
  stopped = int(np.sum(runs.searched().status == 'pruned'))
  return [
    Finding(
      'unfair_early_stop',
      'warning' if stopped else 'advice',
      f'Early stopping at step {a.step:,} {"was" if stopped else "would be"} unfair: scores there have a rank correlation '
      f'of {a.spearman:.2f} with the ends (90% interval {a.low:.2f} to {a.high:.2f}).',
      f"Over {a.runs} runs that came to their end; Kendall's tau {a.kendall:.2f}. The run that ended best was number "
      f'{a.rank_of_best} at that rung. {_stopped_words(a, stopped)}Stop later, or fewer.',
      {
        'step': a.step,
        'spearman': a.spearman,
        'low': a.low,
        'high': a.high,
        'kendall': a.kendall,
        'runs': a.runs,
        'rank_of_best': a.rank_of_best,
        'stopped': stopped,
        'widened_spearman': a.widened,
      },
    )
  ]


def _stopped_words(a: RungAgreement, stopped: int) -> str:
  return (
    f'{stopped} runs were stopped early, any of which could have won; with the spread of their scores the '
    f'correlation is {a.widened:.2f}. '
    if stopped
    else ''
  )


def _ends_differ(runs: Runs) -> bool:
  """Whether final objectives differ by more than seeds do, or go with an axis; the order of equals means nothing."""
  from scipy.special import fdtrc  # slow to import, and only here

  complete = runs.complete()
  ended = runs.where((runs.status == 'complete') & np.isfinite(runs.objective))
  if len(np.unique(ended.point)) < len(ended) and len(complete) > 2:
    spread = seed_noise(ended.losses, ended.point, ended.seed)
    means = [complete.losses[rows][0] for rows in complete.points().values()]
    if spread.noise > 0 and spread.degrees_of_freedom >= 3 and len(means) > 2:
      ratio = float(np.var(means, ddof=1)) / spread.noise**2
      return bool(
        fdtrc(len(means) - 1, spread.degrees_of_freedom, ratio) < DIFFER_LEVEL
      )
  return any(e.shown(EFFECT_LEVEL) for e in effects(complete))
