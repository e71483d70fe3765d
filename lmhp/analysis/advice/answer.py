"""The finding that answers a study: the winning setting, and how sure it is.

The first of these cases that applies is the answer:
- A log of edits that were kept or discarded.
- A comparison with the base config on fresh seeds, if one of the two is better.
- A scaling law, if almost every run has a size of its own.
- Settings that differ beyond the noise between their seeds.
- A hyperparameter with a significant effect.
- Sizes alone, if nothing else was free to choose.
- One setting, if the runs differ in nothing that was set.
- No significant difference.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.advice.research_log import research_log
from lmhp.analysis.advice.setting_names import MAX_VALUES, describe_point, describe_size
from lmhp.analysis.advice.steps_to_target import critical_batch_sizes
from lmhp.analysis.findings import Finding
from lmhp.analysis.hyperparameters.effects import SAME_AS_SIZE, Effect
from lmhp.analysis.phrases import (
  Estimate,
  amount,
  counted,
  interval_text,
  listed,
  p_text,
  quantity,
)
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.laws import ScalingLaw
from lmhp.analysis.winner.setting_differences import SettingDifference, worse_settings
from lmhp.analysis.winner.winner import Winner
from lmhp.statistics.confirmation import BETTER, WORSE, Confirmation

MAX_TIES = 2
"""Number of settings that are named beside the winner."""


def answer(
  runs: Runs,
  winner: Winner | None,
  confirmation: Confirmation | None,
  effects: Sequence[Effect],
  differences: Sequence[SettingDifference],
  scaling_law: ScalingLaw | None,
) -> list[Finding]:
  """Returns the answer of a study.

  Its kind is `no_complete_trial`, `better_than_base`, `worse_than_base`, `best_setting`
  (settings differ beyond their noise), `best_trial` (some hyperparameter has a significant
  effect), `scaling_law` or `sizes_alone` (nothing was free to choose), `one_setting`, or
  `no_significant_difference`.
  """
  if winner is None:
    return [_no_complete_trial(runs)]
  log = research_log(runs)
  if log:
    return log
  number = runs.first_run(winner.point)
  # `mean` is the mean of the search, and too low by the luck of the winner. `expected` is
  # the loss to expect on a fresh seed, with the interval from `low` to `high`.
  blank = Finding(
    kind='no_significant_difference',
    level='answer',
    title='',
    numbers={
      'trial': number,
      'mean': runs.to_objective(winner.mean),
      'expected': runs.to_objective(winner.expected),
      'low': runs.to_objective(winner.low),
      'high': runs.to_objective(winner.high),
      'confidence': winner.confidence,
    },
    runs=(number,),
    axes=tuple(runs.varied_axes()),
  )
  if runs.n_points == 1 and len(runs) > 1 and confirmation is None:
    return [_one_setting(runs, winner, blank)]
  if confirmation is not None and confirmation.verdict in (BETTER, WORSE):
    return [_compared_with_base(runs, winner, confirmation, blank)]
  n_blocks = len(np.unique(runs.blocks()))
  if scaling_law is not None and not _has_exponents(scaling_law):
    scaling_law = None
  if scaling_law is not None and 2 * n_blocks > len(runs):
    # Almost every run has a size of its own, so the law is the result.
    return [_sizes_alone(runs, winner, effects, scaling_law, blank)]
  if worse_settings(differences):
    return [_best_setting(runs, winner, differences, blank)]
  significant = [effect for effect in effects if effect.significant()]
  if significant:
    lead = _lead(runs, winner, differences)
    return [_best_trial(runs, winner, lead, confirmation, significant, blank)]
  n_free = len(runs.varied_axes()) - len(_axes_of_size(runs, effects))
  if not n_free and n_blocks > 1:
    return [_sizes_alone(runs, winner, effects, scaling_law, blank)]
  lead = _lead(runs, winner, differences)
  return [_no_difference(runs, winner, lead, confirmation, effects, blank)]


def _has_exponents(law: ScalingLaw) -> bool:
  """Returns True if the runs bound both exponents. They do not if N and D rise together."""
  ends = [*law.intervals.get('alpha', ()), *law.intervals.get('beta', ())]
  return bool(np.isfinite(ends).all())


def _lead(runs: Runs, winner: Winner, differences: Sequence[SettingDifference]) -> str:
  """Returns the lead of the winner over the next setting, with its interval if there is one."""
  if differences:
    following = differences[0]
    name = describe_point(runs, following.point, winner.point)
    return f'{_gap(runs, following)} ahead of {name}'
  lead = winner.runner_up - winner.mean
  if not math.isfinite(lead):
    return ''
  if not lead:
    return 'equal to the next setting'
  return f'{quantity(lead, runs.unit)} ahead of the next setting'


def _gap(runs: Runs, each: SettingDifference) -> Estimate:
  return Estimate(each.difference, each.low, each.high, each.confidence, runs.unit)


def _one_setting(runs: Runs, winner: Winner, blank: Finding) -> Finding:
  """Returns the answer of runs that differ in nothing that was set."""
  has_settings = bool(runs.axes) or bool(runs.compared_within) or bool(runs.sizes)
  reason = 'have one setting' if has_settings else 'differ in no column of settings'
  mean = quantity(runs.to_objective(winner.mean), runs.unit)
  return dataclasses.replace(
    blank,
    kind='one_setting',
    title=(
      f'The {len(runs)} runs {reason}, so there is nothing to choose: their mean '
      f'{runs.objective_name} is {mean}.'
    ),
  )


def _best_setting(
  runs: Runs, winner: Winner, differences: Sequence[SettingDifference], blank: Finding
) -> Finding:
  """Returns the answer of settings that differ beyond the noise between their seeds."""
  n_worse = worse_settings(differences)
  n_equal = len(differences) - n_worse
  name = describe_point(runs, winner.point)
  nearest = next(each for each in differences if each.is_significant)
  ties = [each for each in differences if not each.is_significant]
  title = f'{name} is best'
  if ties:
    others = [describe_point(runs, each.point, winner.point) for each in ties]
    title += f'; {listed(others, MAX_TIES)} may be as good'
  worse = describe_point(runs, nearest.point, winner.point)
  title += f'; the next, {worse}, is worse by {_gap(runs, nearest)}.'
  return dataclasses.replace(
    blank,
    kind='best_setting',
    title=title,
    evidence=(
      f'{n_worse} of {counted(len(differences), "other setting")} are worse beyond the noise '
      f'between seeds, and {n_equal} may be as good (Holm correction over all pairs).'
    ),
    numbers={
      **blank.numbers,
      'worse': n_worse,
      'difference': nearest.difference,
      'difference_low': nearest.low,
      'difference_high': nearest.high,
      'p_holm': nearest.p_holm,
    },
    effect_nats=nearest.difference,
  )


def _axes_of_size(runs: Runs, effects: Sequence[Effect]) -> list[str]:
  """Returns the axes that were not free to choose, because the size determines them."""
  bound = {effect.axis for effect in effects if effect.reason == SAME_AS_SIZE}
  return [name for name in runs.varied_axes() if name in bound]


def _sizes_alone(
  runs: Runs,
  winner: Winner,
  effects: Sequence[Effect],
  law: ScalingLaw | None,
  blank: Finding,
) -> Finding:
  """Returns the answer of runs that differ in their sizes, with nothing else to choose."""
  critical = critical_batch_sizes(runs, blank)
  if critical is not None:
    return critical
  bound = listed(_axes_of_size(runs, effects), MAX_VALUES)
  note = f'{bound} cannot be told apart from the size of the runs' if bound else ''
  best = quantity(runs.to_objective(winner.mean), runs.unit)
  if law is None:
    start = 'The runs differ in size alone'
    if runs.compared_within and not runs.sizes:
      start = f'Each run has another {listed(list(runs.compared_within))}, so none are compared'
    elif bound:
      start = 'All that was set changes together with the size of the runs'
    title = (
      f'{start}: the best {runs.objective_name} is {best}, at '
      f'{describe_size(runs, winner.point)}'
    )
    return dataclasses.replace(
      blank, kind='sizes_alone', title=f'{title}; {note}.' if note else f'{title}.'
    )
  exponents = [
    f'{symbol} {amount(getattr(law, symbol))} '
    f'({interval_text(*law.intervals[symbol], law.confidence)})'
    for symbol in ('alpha', 'beta')
    if symbol in law.intervals
  ]
  title = (
    f'The loss follows {amount(law.E)} + {amount(law.A)} / N^{law.alpha:.3g} + '
    f'{amount(law.B)} / D^{law.beta:.3g} in parameters N and tokens D'
  )
  return dataclasses.replace(
    blank,
    kind='scaling_law',
    title=f'{title}; {note}.' if note else f'{title}.',
    evidence=f'From {counted(law.n_runs, "run")}: {listed(exponents)}. {law.reason}'.strip(),
    numbers={
      'E': law.E,
      'A': law.A,
      'B': law.B,
      'alpha': law.alpha,
      'beta': law.beta,
    },
  )


def _no_difference(
  runs: Runs,
  winner: Winner,
  lead: str,
  confirmation: Confirmation | None,
  effects: Sequence[Effect],
  blank: Finding,
) -> Finding:
  """Returns the answer of a study whose best trial may be the best by chance."""
  evidence = []
  if confirmation is not None:
    evidence.append(describe_pairs(confirmation, runs.unit))
  tested = [effect for effect in effects if math.isfinite(effect.p_value)]
  if tested:
    smallest = min(effect.p_holm for effect in tested)
    evidence.append(
      f'No hyperparameter has a significant effect (smallest p-value with Holm correction: '
      f'{p_text(smallest)}).'
    )
  elif effects:
    evidence.append(
      f'The effects of hyperparameters cannot be tested. {effects[0].axis}: '
      f'{effects[0].reason}.'
    )
  name = describe_point(runs, winner.point)
  distance = f', {lead},' if lead else ','
  return dataclasses.replace(
    blank,
    title=f'{name} is best{distance} but no difference is significant: it may be luck.',
    evidence=' '.join(evidence),
  )


def _no_complete_trial(runs: Runs) -> Finding:
  words, counts = np.unique(runs.status, return_counts=True)
  statuses = {str(word): int(count) for word, count in zip(words, counts)}
  return Finding(
    kind='no_complete_trial',
    level='answer',
    title='No trial is complete yet.',
    evidence=listed([f'{count} {word}' for word, count in statuses.items()]) + '.',
    numbers={'statuses': statuses},
  )


def _compared_with_base(
  runs: Runs, winner: Winner, confirmation: Confirmation, blank: Finding
) -> Finding:
  """Returns the answer of a winner that is better or worse than the base config."""
  name = describe_point(runs, winner.point)
  kind = 'better_than_base' if confirmation.verdict == BETTER else 'worse_than_base'
  if not math.isfinite(confirmation.difference):
    seeds = counted(len(confirmation.seeds), 'seed')
    return dataclasses.replace(
      blank,
      kind=kind,
      title=f'{name} trains, and the base config diverged on all {seeds}.',
    )
  difference = abs(confirmation.difference)
  low, high = sorted((abs(confirmation.low), abs(confirmation.high)))
  gain = Estimate(difference, low, high, confirmation.confidence, runs.unit)
  return dataclasses.replace(
    blank,
    kind=kind,
    title=f'{name} is {confirmation.verdict} than the base config by {gain}.',
    evidence=describe_pairs(confirmation, runs.unit),
    numbers={
      **blank.numbers,
      'difference': confirmation.difference,
      'difference_low': confirmation.low,
      'difference_high': confirmation.high,
    },
    effect_nats=difference,
  )


def _best_trial(
  runs: Runs,
  winner: Winner,
  lead: str,
  confirmation: Confirmation | None,
  significant: Sequence[Effect],
  blank: Finding,
) -> Finding:
  """Returns the answer of a study in which some hyperparameter has a significant effect."""
  evidence = 'The base config was not run beside the best trial.'
  if confirmation is not None:
    evidence = describe_pairs(confirmation, runs.unit)
  words = 'has a significant effect'
  if len(significant) > 1:
    words = 'have significant effects'
  names = listed([effect.axis for effect in significant])
  name = describe_point(runs, winner.point)
  distance = f', {lead}' if lead else ''
  return dataclasses.replace(
    blank,
    kind='best_trial',
    title=f'{name} is best{distance}; {names} {words}.',
    evidence=evidence,
    effect_nats=max(float(np.nan_to_num(effect.gain)) for effect in significant),
  )


def describe_pairs(confirmation: Confirmation, unit: str) -> str:
  """Returns a sentence about the winner and the base config on fresh seeds."""
  seeds = counted(len(confirmation.seeds), 'fresh seed')
  if confirmation.winner_diverged or confirmation.base_diverged:
    return (
      f'On {seeds}, the winner diverged {confirmation.winner_diverged} times and the base '
      f'config {confirmation.base_diverged} times.'
    )
  if not math.isfinite(confirmation.low):
    return f'Both ran on {seeds}, which is too few for an interval.'
  return (
    f'On the same {seeds}, the mean is '
    f'{amount(float(np.mean(confirmation.winner)))} for the winner and '
    f'{amount(float(np.mean(confirmation.base)))} for the base config. The difference is '
    f'{quantity(confirmation.difference, unit)} '
    f'({interval_text(confirmation.low, confirmation.high, confirmation.confidence)}).'
  )
