"""The finding that answers a study: its best trial, and if it beats the base config."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.findings import Finding
from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.phrases import (
  amount,
  counted,
  interval_text,
  listed,
  p_text,
  quantity,
)
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.winner import Winner
from lmhp.statistics.confirmation import BETTER, WORSE, Confirmation


def answer(
  runs: Runs,
  winner: Winner | None,
  confirmation: Confirmation | None,
  effects: Sequence[Effect],
) -> list[Finding]:
  """Returns the answer of a study.

  Its kind is `no_complete_trial`, `better_than_base`, `worse_than_base`, `best_trial` (some
  hyperparameter has a significant effect) or `no_significant_difference`.
  """
  if winner is None:
    return [_no_complete_trial(runs)]
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
  # First choice: a comparison with the base config on fresh seeds that is decided.
  if confirmation is not None and confirmation.verdict in (BETTER, WORSE):
    return [_compared_with_base(runs, number, confirmation, blank)]
  # Second choice: a significant effect, which shows that trials differ by more than
  # chance.
  significant = [effect for effect in effects if effect.significant()]
  if significant:
    return [_best_trial(runs, number, confirmation, significant, blank)]

  # Otherwise the best trial may be the best by chance.
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
  return [
    dataclasses.replace(
      blank,
      title=f'No significant difference: trial {number} may be the best by chance.',
      evidence=' '.join(evidence),
    )
  ]


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
  runs: Runs, number: int, confirmation: Confirmation, blank: Finding
) -> Finding:
  """Returns the answer of a winner that is better or worse than the base config."""
  kind = 'better_than_base' if confirmation.verdict == BETTER else 'worse_than_base'
  if not math.isfinite(confirmation.difference):
    seeds = counted(len(confirmation.seeds), 'seed')
    return dataclasses.replace(
      blank,
      kind=kind,
      title=f'Trial {number} trains, and the base config diverged on all {seeds}.',
    )
  difference = abs(confirmation.difference)
  return dataclasses.replace(
    blank,
    kind=kind,
    title=(
      f'Trial {number} is {confirmation.verdict} than the base config by '
      f'{quantity(difference, runs.unit)}.'
    ),
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
  number: int,
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
    title=f'Trial {number} is the best; {names} {words}.',
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
