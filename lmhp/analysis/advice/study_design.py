"""Findings about the design of a study: what it compared, trials, seeds, and early stopping.

Source of the advice: Godbole et al., Deep Learning Tuning Playbook (2023). Ten points per
dimension: Loeppky, Sacks, Welch 2009, Technometrics 51(4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math

import numpy as np

from lmhp.analysis.advice.key_bounds import round_to_digits
from lmhp.analysis.findings import Finding, Proposal, ProposedRange
from lmhp.analysis.hyperparameters.effects import effects
from lmhp.analysis.phrases import amount, counted, listed, quantity, sentence
from lmhp.analysis.runs.columns import to_float
from lmhp.analysis.runs.table import BASE_POINT, Runs
from lmhp.analysis.winner.doubling_gain import DoublingGain
from lmhp.analysis.winner.matched_budget import BudgetRange
from lmhp.analysis.winner.rung_agreement import RungAgreement
from lmhp.analysis.winner.winner import FRESH_SEEDS, Winner
from lmhp.statistics.seed_noise import seed_noise

POINTS_PER_DIMENSION = 10
MAX_LISTED = 5
MIN_CORRELATION = 0.6
"""Early stopping at a rung is unfair if its rank correlation with the end is below this."""
NOISE_LEVEL = 5e-4
"""Significance level of differences between points, against the noise between seeds."""
EFFECT_LEVEL = 0.002
"""Significance level of effects, if no point has several seeds."""
LEARNING_RATE = 'optimizer.learning_rate'
STRUCTURE_PREFIXES = (
  'model.',
  'optimizer.name',
  'optimizer.b',
  'train.batch_size',
  'train.tokens',
  'train.steps',
  'schedule.',
)
"""Prefixes of the keys whose values are compared fairly only if the learning rate is tuned for
each value."""


def no_common_budget(
  runs: Runs, budgets: Mapping[str, BudgetRange], budget_sentence: str
) -> list[Finding]:
  """Reports runs that have no budget in common, unless the study declared its budget."""
  has_equal = any(budget.is_equal for budget in budgets.values())
  if not budgets or has_equal or runs.facts.match_budget is not None or runs.sizes:
    # Runs of a table are compared within each size.
    return []
  return [
    Finding(
      kind='no_common_budget',
      level='warning',
      title='The runs have no recorded budget in common.',
      evidence=budget_sentence,
      numbers={name: [budget.low, budget.high] for name, budget in budgets.items()},
    )
  ]


def not_confirmed(runs: Runs, winner: Winner | None) -> list[Finding]:
  """Reports a winner that did not run on fresh seeds."""
  if winner is None or winner.n_points < 2 or winner.method == FRESH_SEEDS:
    return []
  if runs.decisions:
    # A log of edits has advice of its own.
    return []
  return [
    Finding(
      kind='not_confirmed',
      level='warning',
      title=(
        'Next, run the winner and the next best setting on three new seeds each: the winner '
        'did not run on fresh seeds.'
      ),
      evidence=(
        'The best of many trials is partly lucky, so its result on a fresh seed is worse than '
        f'the study shows. {sentence(winner.reason)}'
      ),
      numbers={'points': winner.n_points},
      runs=(runs.first_run(winner.point),),
    )
  ]


def learning_rate_fixed(runs: Runs) -> list[Finding]:
  """Reports structures that were compared at a single learning rate."""
  varied = runs.varied_axes()
  base = runs.facts.base_config
  if any(axis.is_learning_rate for axis in varied.values()) or not base:
    return []
  # Settings that change the structure of the model, and are not only nuisances.
  compared = [
    name
    for name, axis in varied.items()
    if name.startswith(STRUCTURE_PREFIXES) and axis.role != 'nuisance'
  ]
  if not compared:
    return []
  # Propose a decade to each side of the learning rate.
  rate = to_float(base.get(LEARNING_RATE))
  proposal: dict[str, Proposal] = {}
  if rate > 0:
    proposal[LEARNING_RATE] = ProposedRange(
      round_to_digits(rate / 10), round_to_digits(rate * 10), log=True
    )
  return [
    Finding(
      kind='learning_rate_fixed',
      level='warning',
      title=f'The learning rate was the same for all values of {listed(compared)}.',
      evidence=(
        'The best learning rate depends on them, so the comparison favours the values that suit '
        f'a learning rate of {amount(rate)}. Vary the learning rate too, as a nuisance '
        'hyperparameter.'
      ),
      numbers={'learning_rate': rate},
      axes=tuple(compared),
      proposal=proposal,
    )
  ]


def too_few_trials(runs: Runs, doubling_gain: DoublingGain | None) -> list[Finding]:
  """Reports a study with fewer than ten points per dimension."""
  varied = runs.varied_axes()
  n_points = runs.n_points
  n_recommended = POINTS_PER_DIMENSION * len(varied)
  if n_points >= n_recommended:
    return []
  evidence = 'With fewer points, effects and optima are hard to separate from chance.'
  if doubling_gain is not None and math.isfinite(doubling_gain.gain):
    evidence += (
      ' Twice as many points are expected to improve the best result by '
      f'{quantity(doubling_gain.gain, runs.unit)}.'
    )
  return [
    Finding(
      kind='too_few_trials',
      level='advice',
      title=(
        f'{counted(n_points, "point")} for {counted(len(varied), "hyperparameter")} are few: '
        f'{n_recommended} would be {POINTS_PER_DIMENSION} per hyperparameter.'
      ),
      evidence=evidence,
      numbers={
        'points': n_points,
        'dimensions': len(varied),
        'recommended': n_recommended,
      },
      axes=tuple(varied),
    )
  ]


def winner_within_noise(runs: Runs, winner: Winner | None) -> list[Finding]:
  """Reports points that the noise between seeds does not separate from the winner."""
  if winner is None or not math.isfinite(winner.noise_sd + winner.runner_up):
    return []
  # Two standard errors of the difference between two means over n seeds each.
  limit = 2 * (winner.noise_sd * math.sqrt(2 / winner.n_seeds))
  complete = runs.complete_runs()
  means = {
    point: float(complete.losses[rows].mean())
    for point, rows in complete.rows_by_point().items()
    if point not in (BASE_POINT, winner.point)
  }
  near = sorted(
    (point for point, mean in means.items() if mean - winner.mean < limit),
    key=lambda point: means[point],
  )
  if not near:
    return []
  numbers = [runs.first_run(point) for point in near]
  word = 'trial' if len(near) == 1 else 'trials'
  others = counted(len(near), 'other point is', 'other points are')
  return [
    Finding(
      kind='winner_within_noise',
      level='note',
      title=f'{others} within the noise of the winner.',
      evidence=(
        f'Two points with {counted(winner.n_seeds, "seed")} each may differ by '
        f'{quantity(limit, runs.unit)} by chance. The mean loss of {word} '
        f'{listed(list(map(str, numbers)), MAX_LISTED)} is closer to that of the winner. '
        'Choose among them by cost.'
      ),
      numbers={'noise': winner.noise_sd, 'points': len(near)},
      runs=(runs.first_run(winner.point), *numbers[:MAX_LISTED]),
    )
  ]


# --- early stopping ---------------------------------------------------------------------


def no_early_stopping(runs: Runs) -> list[Finding]:
  """Reports that no run was stopped early, because the calibration was too expensive."""
  cost = runs.facts.unaffordable_calibration
  if cost is None:
    return []
  return [
    Finding(
      kind='no_early_stopping',
      level='advice',
      title=(
        'No trial was stopped early: the calibration would take '
        f'{cost.fraction:.0%} of the cost of the search.'
      ),
      evidence=cost.describe(),
      numbers={
        'fraction': cost.fraction,
        'points': cost.n_points,
        'points_needed': cost.n_points_needed,
      },
    )
  ]


def unfair_early_stopping(
  runs: Runs, rung_agreement: Sequence[RungAgreement]
) -> list[Finding]:
  """Reports a rung at which the order of runs hardly agrees with the final order.

  It needs a study whose final objectives differ by more than noise.
  """
  # Pruning narrows the range of scores, which lowers the correlation of the runs that are left.
  # `corrected_high` is the upper end of its interval, corrected for that.
  low = [each for each in rung_agreement if each.corrected_high < MIN_CORRELATION]
  if not low or not _points_differ(runs):
    return []
  # Report the rung that agrees least.
  rung = min(low, key=lambda each: each.high)
  n_pruned = int(np.sum(runs.search_runs().status == 'pruned'))
  evidence = (
    f'Over {counted(rung.n_runs, "complete run")}. The run that is best at the end has rank '
    f'{rung.rank_of_best} at that rung.'
  )
  if n_pruned:
    evidence += (
      f' {counted(n_pruned, "run was", "runs were")} pruned, and any of them could have won. '
      f'Corrected for the pruned runs, the rank correlation is {rung.corrected:.2f}.'
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

  # Points are those of the search. The noise between seeds is also that of the confirmation.
  complete = runs.complete_runs()
  with_confirmation = runs.select(
    (runs.status == 'complete') & np.isfinite(runs.objective)
  )
  # With repeated seeds: F test of the variance between points over that between seeds.
  has_seeds = len(np.unique(with_confirmation.point)) < len(with_confirmation)
  if has_seeds and len(complete) > 2:
    noise = seed_noise(
      with_confirmation.losses, with_confirmation.point, with_confirmation.seed
    )
    firsts = [complete.losses[rows][0] for rows in complete.rows_by_point().values()]
    if noise.noise > 0 and noise.degrees_of_freedom >= 3 and len(firsts) > 2:
      ratio = float(np.var(firsts, ddof=1)) / noise.noise**2
      return bool(fdtrc(len(firsts) - 1, noise.degrees_of_freedom, ratio) < NOISE_LEVEL)
  # Without repeated seeds, a significant effect shows that points differ.
  return any(effect.significant(EFFECT_LEVEL) for effect in effects(complete))
