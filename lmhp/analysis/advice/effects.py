"""Findings about effects of hyperparameters and of parameters by kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math

import numpy as np

from lmhp.analysis.findings import Finding
from lmhp.analysis.hyperparameters.effects import LEVEL, Effect
from lmhp.analysis.hyperparameters.interactions import Interaction
from lmhp.analysis.hyperparameters.optimum import Optimum
from lmhp.analysis.hyperparameters.parameter_kinds import KindEffects
from lmhp.analysis.phrases import (
  counted,
  interval_text,
  p_text,
  quantity,
  rung_note,
  sentence,
  setting,
)
from lmhp.analysis.runs.table import Runs

MAX_GAIN_RATIO = 0.5
"""An axis has no effect if its gain is at most this fraction of the largest gain."""


def significant_effects(effects: Sequence[Effect]) -> list[Effect]:
  """Returns the effects that are significant."""
  return [effect for effect in effects if effect.significant()]


def effect_of_each(
  runs: Runs,
  effects: Sequence[Effect],
  optima: Mapping[str, Optimum],
  rung: int | None,
) -> list[Finding]:
  """Reports axes with a significant effect, and the gain from their best value.

  The best value is the fitted optimum that the figures show. Runs of several sizes have no
  single best value.
  """
  best = {}
  for effect in significant_effects(effects):
    fitted = optima[effect.axis].value if effect.axis in optima else math.nan
    best[effect.axis] = fitted if math.isfinite(fitted) else effect.best_value
  has_sizes = len(np.unique(runs.blocks())) > 1
  return [
    Finding(
      kind='significant_effect',
      level='note',
      title=(
        f'{effect.axis} has a significant effect: its best value '
        + ('at each size' if has_sizes else f'({setting(best[effect.axis])})')
        + f' is {quantity(effect.gain, runs.unit)} better than a typical one.'
      ),
      evidence=(
        f'{interval_text(effect.gain_low, effect.gain_high, effect.confidence)}; '
        f'{p_text(effect.p_holm)} with Holm correction over all hyperparameters, from '
        f'{counted(effect.n_points, "point")}.{rung_note(rung)}'
      ),
      numbers={
        'gain': effect.gain,
        'low': effect.gain_low,
        'high': effect.gain_high,
        'p_holm': effect.p_holm,
        'best': best[effect.axis],
      },
      axes=(effect.axis,),
      effect_nats=float(np.nan_to_num(effect.gain)),
    )
    for effect in significant_effects(effects)
  ]


def no_effect(runs: Runs, effects: Sequence[Effect]) -> list[Finding]:
  """Reports axes whose gain is at most a small part of the largest gain."""
  significant = significant_effects(effects)
  if not significant:
    return []
  # Gains are small or large in comparison with the largest significant one.
  strongest = max(significant, key=lambda effect: np.nan_to_num(effect.gain))
  small = [
    effect
    for effect in effects
    if effect not in significant and effect.gain_high <= MAX_GAIN_RATIO * strongest.gain
  ]
  findings = []
  for effect in small:
    limit = 'less than the noise'
    if effect.gain_high > 0:
      limit = f'at most {quantity(effect.gain_high, runs.unit)}'
    findings.append(
      Finding(
        kind='no_effect',
        level='note',
        title=(
          f'{effect.axis} has no significant effect: its best value is better than a '
          f'typical one by {limit}.'
        ),
        evidence=(
          f'{p_text(effect.p_value)}. The best value of {strongest.axis} is '
          f'{quantity(strongest.gain, runs.unit)} better than a typical one. Use the cheapest '
          f'value of {effect.axis}.'
        ),
        numbers={'gain_at_most': effect.gain_high, 'p_value': effect.p_value},
        axes=(effect.axis,),
      )
    )
  return findings


def interacting_pairs(runs: Runs, interactions: Sequence[Interaction]) -> list[Finding]:
  """Reports pairs of hyperparameters that interact."""
  return [
    Finding(
      kind='interaction',
      level='note',
      title=sentence(pair.description or f'{pair.axes[0]} and {pair.axes[1]} interact'),
      evidence=(
        f'{p_text(pair.p_holm)} with Holm correction over all pairs. To use one value of '
        f'{pair.axes[0]} for all values of {pair.axes[1]} costs '
        f'{quantity(pair.size, runs.unit)} on average. '
        + (
          'Tune it at each size.'
          if pair.axes[1] in runs.sizes
          else 'Tune them together.'
        )
      ),
      numbers={'size': pair.size, 'p_holm': pair.p_holm},
      axes=pair.axes,
      effect_nats=float(np.nan_to_num(pair.size)),
    )
    for pair in interactions
    if pair.significant()
  ]


def effect_of_each_kind(runs: Runs, kind_effects: KindEffects | None) -> list[Finding]:
  """Reports kinds of which more parameters, at an equal total, change the objective."""
  if kind_effects is None or kind_effects.reason:
    return []
  findings = []
  for i, kind in enumerate(kind_effects.kinds):
    p_value = float(kind_effects.p_value[i])
    if not p_value * len(kind_effects.kinds) <= LEVEL:
      continue
    change = float(kind_effects.per_percent[i])
    low = float(kind_effects.low[i])
    high = float(kind_effects.high[i])
    verb = 'improve' if change < 0 else 'worsen'
    findings.append(
      Finding(
        kind='parameters_by_kind',
        level='note',
        title=(
          f'To move 1% of the parameters to {kind.replace("_", "-")} would {verb} the '
          f'objective by {quantity(abs(change), runs.unit)}.'
        ),
        evidence=(
          f'{interval_text(low, high, kind_effects.confidence)}, from '
          f'{counted(kind_effects.n_points, "model")} at equal totals; {p_text(p_value)}.'
        ),
        numbers={'per_percent': change, 'low': low, 'high': high},
      )
    )
  return findings
