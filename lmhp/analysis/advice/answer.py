"""The finding that answers a study: the winning setting, and how sure it is.

The first of these cases that applies is the answer:
- A log of edits that were kept or discarded.
- A decided comparison with the base config on fresh seeds.
- A scaling law, if almost every run has a size of its own.
- Settings that differ beyond the noise between their seeds.
- A hyperparameter with a significant effect.
- Sizes alone, if nothing else was free to choose.
- No significant difference.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.advice.research_log import research_log
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
  setting,
  shortened,
)
from lmhp.analysis.runs.table import SIZE_GAP, Runs
from lmhp.analysis.scaling.laws import ScalingLaw
from lmhp.analysis.winner.setting_differences import SettingDifference, worse_settings
from lmhp.analysis.winner.winner import Winner
from lmhp.statistics.confirmation import BETTER, WORSE, Confirmation

MAIN_SIZES = ('parameters', 'tokens', 'flops', 'steps', 'epochs')
MAX_SIZES = 2
MAX_LABEL = 60
MAX_VALUES = 4
"""Number of values that name a setting."""


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
  effect), `scaling_law` or `sizes_alone` (nothing was free to choose), or
  `no_significant_difference`.
  """
  if winner is None:
    return [_no_complete_trial(runs)]
  log = research_log(runs)
  if log:
    return log
  number = runs.first_run(winner.point)
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
  if confirmation is not None and confirmation.verdict in (BETTER, WORSE):
    return [_compared_with_base(runs, winner, confirmation, blank)]
  n_blocks = len(np.unique(runs.blocks()))
  if scaling_law is not None and 2 * n_blocks > len(runs):
    # Almost every run has a size of its own, so the law is the result.
    return [_sizes_alone(runs, winner, effects, scaling_law, blank)]
  if worse_settings(differences):
    return [_best_setting(runs, winner, differences, blank)]
  significant = [effect for effect in effects if effect.significant()]
  if significant:
    return [_best_trial(runs, winner, confirmation, significant, blank)]
  n_free = len(runs.varied_axes()) - len(_axes_of_size(runs, effects))
  if not n_free and n_blocks > 1:
    return [_sizes_alone(runs, winner, effects, scaling_law, blank)]
  return [_no_difference(runs, winner, confirmation, effects, blank)]


def describe_point(runs: Runs, point: int) -> str:
  """Returns the name of a setting: its label, or its values.

  >>> runs = Runs('s', {}, {}, np.array([1.0]), labels=('rope',))
  >>> describe_point(runs, 0)
  'rope'
  """
  rows = np.flatnonzero(runs.point == point)
  # A label that several runs of one point share, and no other, is the name of the setting.
  labels = {runs.labels[row] for row in rows} if runs.labels else set()
  n_pairs = len(set(zip(runs.labels, runs.point.tolist())))
  is_shared = n_pairs == len(set(runs.labels)) < len(runs.labels)
  values = []
  for name in runs.varied_axes():
    value = runs.values[name][rows[0]]
    if value is not None and value == value:
      values.append(f'{name}={setting(value)}')
  if len(labels) == 1 and (is_shared or not values):
    name = shortened(labels.pop(), MAX_LABEL)
  else:
    name = listed(values, MAX_VALUES) or f'trial {runs.first_run(point)}'
  size = describe_size(runs, point)
  return f'{name} at {size}' if size else name


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
    others = listed([describe_point(runs, each.point) for each in ties], MAX_VALUES)
    title += f'; {others} may be as good'
  gap = Estimate(
    nearest.difference, nearest.low, nearest.high, nearest.confidence, runs.unit
  )
  title += f'; {describe_point(runs, nearest.point)} is worse by {gap}.'
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


def describe_size(runs: Runs, point: int) -> str:
  """Returns the sizes of a point, if runs differ in them. Empty if all are equal.

  >>> sizes = {'parameters': np.array([1e6, 1e9])}
  >>> runs = Runs(
  ...   's', {}, {}, np.array([3.0, 2.0]), measured=sizes, sizes=('parameters',)
  ... )
  >>> describe_size(runs, 1)
  '1,000,000,000 parameters'
  """
  row = np.flatnonzero(runs.point == point)[0]
  sizes = []
  # The shape of a model follows from its parameters, and needs no name beside them.
  known = [name for name in MAIN_SIZES if name in runs.sizes] or list(runs.sizes)
  for name in known[:MAX_SIZES]:
    values = runs.measured[name]
    if np.nanmax(values) > SIZE_GAP * np.nanmin(values):
      sizes.append(f'{amount(float(values[row]))} {name}')
  return listed(sizes, MAX_VALUES)


def _sizes_alone(
  runs: Runs,
  winner: Winner,
  effects: Sequence[Effect],
  law: ScalingLaw | None,
  blank: Finding,
) -> Finding:
  """Returns the answer of runs that differ in their sizes, with nothing else to choose."""
  bound = listed(_axes_of_size(runs, effects), MAX_VALUES)
  note = f'{bound} cannot be told apart from the size of the runs' if bound else ''
  best = quantity(runs.to_objective(winner.mean), runs.unit)
  if law is None:
    title = (
      f'The runs differ in size alone: the best {runs.objective_name} is {best}, at '
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
  return dataclasses.replace(
    blank,
    title=f'No significant difference: {name} may be the best by chance.',
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
  return dataclasses.replace(
    blank,
    kind='best_trial',
    title=f'{describe_point(runs, winner.point)} is best; {names} {words}.',
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
