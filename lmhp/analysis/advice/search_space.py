"""Findings about the search space, with a proposal for the next one.

A claim about an effect needs a test that holds its level: effects at `effects.LEVEL` for all
axes together, interactions at `interactions.LEVEL` for all pairs. A study without any effect
therefore has hardly any finding. `bench/calibration_findings.py` counts them.

Source of the advice: Godbole, Dahl, Gilmer, Shallue, Nado, Deep Learning Tuning Playbook
(2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math

import numpy as np

from lmhp.analysis.advice.effects import significant_effects
from lmhp.analysis.advice.key_bounds import round_to_digits, rounded_range
from lmhp.analysis.curves.divergence import Cut, Divergence
from lmhp.analysis.findings import Finding, Proposal, ProposedRange
from lmhp.analysis.hyperparameters.design import bounded_axis
from lmhp.analysis.hyperparameters.effects import LEVEL, Effect
from lmhp.analysis.hyperparameters.interactions import Interaction
from lmhp.analysis.hyperparameters.optimum import Optimum
from lmhp.analysis.phrases import (
  amount,
  counted,
  listed,
  p_text,
  rung_note,
  setting,
)
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.winner import Winner

MAX_DIVERGED = 0.10
"""Fraction of diverged trials above which a space wastes trials."""
BEST_FRACTION = 0.1
"""Fraction of runs that count as the best."""
END_FRACTION = 0.25
"""Fraction of a range that counts as its end."""
MAX_USEFUL = 0.4
"""A space is too wide if the useful part of a range is at most this fraction of it."""


def optimum_at_bound(
  runs: Runs,
  effects: Sequence[Effect],
  optima: Mapping[str, Optimum],
  rung: int | None,
) -> list[Finding]:
  """Reports axes whose best value is more likely beyond a bound than inside."""
  findings = []
  for effect in significant_effects(effects):
    axis = bounded_axis(runs, effect.axis)
    optimum = optima.get(effect.axis)
    if optimum is None or not optimum.at_bound:
      continue
    # A range around the old bound. None if the hyperparameter cannot go beyond it.
    proposal = shifted_range(axis, optimum.at_bound)
    if proposal is None or not _best_runs_are_near(runs, axis, optimum.at_bound):
      continue
    is_low = optimum.at_bound == 'low'
    bound = axis.low if is_low else axis.high
    interval_end = optimum.high if is_low else optimum.low
    findings.append(
      Finding(
        kind='optimum_at_bound',
        level='advice',
        title=(
          f'{effect.axis}: the best value is at or beyond the '
          f'{"lower" if is_low else "upper"} bound, {amount(bound)}.'
        ),
        evidence=(
          f'The fitted optimum of {counted(optimum.n_runs, "run")} is more likely outside '
          f'the range than inside. Inside, its {optimum.confidence:.0%} interval ends at '
          f'{amount(interval_end)}.{rung_note(rung)}'
        ),
        numbers={
          'bound': bound,
          'interval_end': interval_end,
          'runs': optimum.n_runs,
        },
        axes=(effect.axis,),
        proposal={effect.axis: proposal},
        effect_nats=float(np.nan_to_num(effect.gain)),
      )
    )
  return findings


def _best_runs_are_near(runs: Runs, axis: Axis, side: str) -> bool:
  """Returns True if the best runs are near a bound.

  A fit may be pulled beyond a bound by runs that are far from it.
  """
  comparable, _ = runs.comparable_runs()
  units = axis.to_unit(comparable.values[axis.name])
  order = np.argsort(comparable.losses, kind='stable')
  ordered = units[order[np.isfinite(units[order])]]
  best = ordered[: max(3, math.ceil(BEST_FRACTION * len(comparable)))]
  middle = float(np.median(best)) if len(best) else 0.5
  return middle <= END_FRACTION if side == 'low' else middle >= 1 - END_FRACTION


def shifted_range(axis: Axis, side: str) -> ProposedRange | None:
  """Returns a range as wide as the axis's, with the old bound in the middle.

  It is cut to the bounds of the hyperparameter. None if it would not extend the range.

  Args:
    axis: Axis with its range.
    side: 'low' or 'high', the bound that is moved.
  """
  shift = -0.5 if side == 'low' else 0.5
  low, high = (float(value) for value in axis.from_unit([shift, 1 + shift]))
  low, high = rounded_range(axis, low, high)
  extends = low < axis.low if side == 'low' else high > axis.high
  return ProposedRange(low, high, axis.log) if extends else None


def space_too_wide(
  runs: Runs,
  effects: Sequence[Effect],
  optima: Mapping[str, Optimum],
  rung: int | None,
  winner: Winner | None,
  interactions: Sequence[Interaction],
) -> list[Finding]:
  """Reports axes whose optimum, basin and winner are in a small part of their range.

  It has no finding if runs are compared at a rung, because the best learning rate of a short
  run is not that of a long one. An axis whose best value moves with another one needs its
  range.
  """
  if rung is not None or winner is None:
    return []
  useful: dict[str, ProposedRange] = {}
  fractions: dict[str, float] = {}
  winner_row = np.flatnonzero(runs.point == winner.point)[0]
  moving = {pair.axes[0] for pair in interactions if pair.significant()}
  for effect in significant_effects(effects):
    axis = bounded_axis(runs, effect.axis)
    optimum = optima.get(effect.axis)
    if (
      axis.is_choice
      or effect.axis in moving
      or optimum is None
      or optimum.at_bound
      or not math.isfinite(optimum.value + optimum.low + optimum.high)
      or optimum.low <= 0
    ):
      continue
    # The useful range holds the optimum's interval, its basin and the winner's value.
    low, high = _useful_range(axis, optimum, float(runs.values[axis.name][winner_row]))
    fraction = float(np.diff(axis.to_unit([low, high]))[0])
    if 0 < fraction <= MAX_USEFUL:
      useful[effect.axis] = _rounded_range(axis, low, high)
      fractions[effect.axis] = fraction
  if not useful:
    return []

  # The useful part of the space is a box, so its volume is a product.
  volume = float(np.prod(list(fractions.values())))
  ranges = listed(
    [
      f'{name} {amount(good_range.low)} to {amount(good_range.high)} '
      f'({fractions[name]:.0%} of its range)'
      for name, good_range in useful.items()
    ]
  )
  rise = next(iter(optima.values())).rise_fraction
  return [
    Finding(
      kind='space_too_wide',
      level='advice',
      title=f'The space is wider than needed. The useful part is {ranges}.',
      evidence=(
        f'The optimum, and the region in which the loss rises by less than {rise:.0%}, cover '
        f'{volume:.0%} of the searched space. {1 - volume:.0%} of the trials are outside.'
      ),
      numbers={'volume': volume, 'fractions': fractions},
      axes=tuple(useful),
      proposal=useful,
      effect_nats=max(
        float(np.nan_to_num(e.gain)) for e in effects if e.axis in useful
      ),
    )
  ]


def _useful_range(axis: Axis, optimum: Optimum, best: float) -> tuple[float, float]:
  """Returns the range of an optimum's interval, its basin and the winner's value."""
  low = max(min(optimum.basin[0], optimum.low), axis.low)
  high = min(max(optimum.basin[1], optimum.high), axis.high)
  if math.isfinite(best):
    low = min(low, best)
    high = max(high, best)
  return low, high


def _rounded_range(axis: Axis, low: float, high: float) -> ProposedRange:
  if axis.is_integer:
    return ProposedRange(math.floor(low), math.ceil(high), axis.log)
  return ProposedRange(round_to_digits(low), round_to_digits(high), axis.log)


def many_diverged(runs: Runs, divergence: Divergence) -> list[Finding]:
  """Reports a space in which too many trials diverge, and the cut that explains it."""
  if not divergence.low > MAX_DIVERGED:
    return []
  # Explain the divergence by the best significant cut, and propose its stable side.
  cut = next((each for each in divergence.cuts if each.p_value <= LEVEL), None)
  evidence = 'A space in which more than a tenth of the trials diverge wastes trials.'
  proposal: dict[str, Proposal] = {}
  if cut is not None:
    evidence += f' {_describe_cut(cut)}'
    proposal = _stable_range(runs, cut)
  return [
    Finding(
      kind='many_diverged',
      level='warning',
      title=(
        f'{divergence.n_diverged} of {counted(divergence.n_runs, "trial")} diverged '
        f'({divergence.fraction:.0%}, {divergence.confidence:.0%} interval '
        f'{divergence.low:.0%} to {divergence.high:.0%}).'
      ),
      evidence=evidence,
      numbers={
        'diverged': divergence.n_diverged,
        'trials': divergence.n_runs,
        'low': divergence.low,
        'high': divergence.high,
      },
      axes=() if cut is None else (cut.axis,),
      proposal=proposal,
    )
  ]


def _describe_cut(cut: Cut) -> str:
  relation = {'above': 'at or above', 'below': 'at or below', 'at': 'equal to'}[
    cut.side
  ]
  return (
    f'With {cut.axis} {relation} {setting(cut.threshold)}, {cut.n_diverged} of '
    f'{counted(cut.n_runs, "trial")} diverged, and {cut.other_diverged} of '
    f'{cut.other_runs} otherwise ({p_text(cut.p_value)}).'
  )


def _stable_range(runs: Runs, cut: Cut) -> dict[str, Proposal]:
  """Proposes the range on the side of a cut on which fewer trials diverge."""
  axis = bounded_axis(runs, cut.axis)
  if axis.is_choice or not isinstance(cut.threshold, float):
    return {}
  threshold = round_to_digits(cut.threshold)
  low = axis.low if cut.side == 'above' else threshold
  high = threshold if cut.side == 'above' else axis.high
  return {axis.name: ProposedRange(low, high, axis.log)}
