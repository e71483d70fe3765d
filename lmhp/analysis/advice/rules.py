"""The rules of lmhp that make findings, in the order in which equal ones are listed.

A new finding is one file with a function, and one line here.
"""

from __future__ import annotations

from lmhp.analysis.advice import (
  answer,
  batch_size,
  effects,
  learning_rate,
  research_log,
  search_space,
  study_design,
  transfer,
)
from lmhp.analysis.curves import instability, overfitting, trends, untrained
from lmhp.analysis.findings import register_finding

register_finding(
  'answer',
  needs=(
    'runs',
    'winner',
    'confirmation',
    'effects',
    'differences',
    'scaling_law',
  ),
  rule=answer.answer,
)
register_finding('repeat_baseline', needs=('runs',), rule=research_log.repeat_baseline)
register_finding(
  'no_common_budget',
  needs=('runs', 'budgets', 'budget_sentence'),
  rule=study_design.no_common_budget,
)
register_finding(
  'not_confirmed', needs=('runs', 'winner'), rule=study_design.not_confirmed
)
register_finding(
  'learning_rate_fixed', needs=('runs',), rule=study_design.learning_rate_fixed
)
register_finding(
  'many_diverged', needs=('runs', 'divergence'), rule=search_space.many_diverged
)
register_finding(
  'learning_rate_sensitivity',
  needs=('runs', 'learning_rate_isolation'),
  rule=learning_rate.sensitivity,
)
register_finding(
  'largest_stable_learning_rate',
  needs=('runs', 'divergence'),
  rule=learning_rate.largest_stable,
)
register_finding(
  'optimum_at_bound',
  needs=('runs', 'effects', 'optima', 'rung'),
  rule=search_space.optimum_at_bound,
)
register_finding(
  'space_too_wide',
  needs=('runs', 'effects', 'optima', 'rung', 'winner', 'interactions'),
  rule=search_space.space_too_wide,
)
register_finding(
  'too_few_trials', needs=('runs', 'doubling_gain'), rule=study_design.too_few_trials
)
register_finding(
  'no_early_stopping', needs=('runs',), rule=study_design.no_early_stopping
)
register_finding(
  'winner_within_noise',
  needs=('runs', 'winner'),
  rule=study_design.winner_within_noise,
)
register_finding(
  'significant_effect',
  needs=('runs', 'effects', 'optima', 'rung'),
  rule=effects.effect_of_each,
)
register_finding('no_effect', needs=('runs', 'effects'), rule=effects.no_effect)
register_finding(
  'interaction', needs=('runs', 'interactions'), rule=effects.interacting_pairs
)
register_finding(
  'parameters_by_kind',
  needs=('runs', 'kind_effects'),
  rule=effects.effect_of_each_kind,
)
register_finding('power_law', needs=('sized_optima',), rule=transfer.laws_over_sizes)
register_finding('noise_scale', needs=('batch_size',), rule=batch_size.noise_scale)
register_finding(
  'critical_batch_size', needs=('batch_size',), rule=batch_size.critical_batch
)

# --- training curves --------------------------------------------------------------------
# A claim that something is wrong is many standard deviations of the curve's own noise away
# from a healthy curve, or has a test. Over studies of healthy curves, all of these warnings
# together appear in at most 2% (`bench/calibration_curves.py`).

register_finding(
  'overfitting',
  needs=('curve_runs', 'evaluations'),
  rule=overfitting.overfitting_runs,
  for_single_run=True,
)
register_finding(
  'best_before_last',
  needs=('evaluations',),
  rule=overfitting.best_before_last,
  for_single_run=True,
)
register_finding(
  'untrained',
  needs=('curve_runs',),
  rule=untrained.untrained_runs,
  for_single_run=True,
)
register_finding(
  'spiking',
  needs=('curve_runs',),
  rule=instability.spiking_runs,
  for_single_run=True,
)
register_finding(
  'warmup_indicated',
  needs=('curve_runs',),
  rule=instability.warmup_indicated,
  for_single_run=True,
)
register_finding(
  'clipping_indicated',
  needs=('curve_runs',),
  rule=instability.clipping_indicated,
  for_single_run=True,
)
register_finding(
  'unfair_early_stopping',
  needs=('runs', 'rung_agreement'),
  rule=study_design.unfair_early_stopping,
  for_single_run=True,
)
register_finding(
  'trend_at_end',
  needs=('curve_runs',),
  rule=trends.trend_at_end,
  for_single_run=True,
)
register_finding(
  'step_variance',
  needs=('curve_runs',),
  rule=trends.step_variance_of_runs,
  for_single_run=True,
)
