"""What hyperparameters and parameters do, as findings: what matters, what does not, what acts together."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from lmhp.analysis.findings import Finding
from lmhp.analysis.hyperparameters.effects import LEVEL as EFFECT_LEVEL
from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.hyperparameters.interactions import Interaction
from lmhp.analysis.hyperparameters.parameter_kinds import Kinds
from lmhp.analysis.phrases import amount, at_rung, nats, p_words, setting
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.answer import unit_of

USELESS = 0.5
"""Share of the strongest axis's worth that an axis's own, at most, must be below to be called useless."""


def shown(effects: Sequence[Effect]) -> list[Effect]:
  """Those that are said to matter."""
  return [e for e in effects if e.shown()]


def matters(runs: Runs, effects: Sequence[Effect], rung: int | None) -> list[Finding]:
  """Axes that are shown to matter, with what the right value is worth."""
  found = []
  for e in shown(effects):
    best = setting(e.best_value)
    found.append(
      Finding(
        'matters',
        'note',
        f'{e.axis} matters: {nats(e.range_nats, unit_of(runs))} between its best value ({best}) and a '
        'typical one.',
        f'{e.confidence:.0%} interval {amount(e.range_low)} to {amount(e.range_high)}; '
        f'{p_words(e.p_holm)} over all hyperparameters, {e.points} points.{at_rung(rung)}',
        {
          'worth': e.range_nats,
          'low': e.range_low,
          'high': e.range_high,
          'p_holm': e.p_holm,
          'best': e.best_value,
        },
        (e.axis,),
        worth=float(np.nan_to_num(e.range_nats)),
      )
    )
  return found


def useless(runs: Runs, effects: Sequence[Effect]) -> list[Finding]:
  """Axes whose worth is at most a small part of the strongest one's."""
  known = shown(effects)
  if not known:
    return []
  strongest = max(known, key=lambda e: np.nan_to_num(e.range_nats))
  found = []
  for e in effects:
    if e in known or not e.range_high <= USELESS * strongest.range_nats:
      continue
    found.append(
      Finding(
        'no_effect',
        'note',
        f'{e.axis}: no effect shown; the right value is worth '
        + (
          f'at most {nats(e.range_high, unit_of(runs))}.'
          if e.range_high > 0
          else 'less than the noise.'
        ),
        f'{p_words(e.p_value)}; {strongest.axis} is worth '
        f'{nats(strongest.range_nats, unit_of(runs))}. Leave it at its cheapest value.',
        {'worth_at_most': e.range_high, 'p_value': e.p_value},
        (e.axis,),
      )
    )
  return found


def interacting(runs: Runs, pairs: Sequence[Interaction]) -> list[Finding]:
  """Pairs of which one's best value moves with the other."""
  found = []
  for pair in pairs:
    if pair.shown():
      words = pair.direction or f'{pair.axes[0]} and {pair.axes[1]} act together'
      found.append(
        Finding(
          'interaction',
          'note',
          f'{words[:1].upper() + words[1:]}.',
          f'{p_words(pair.p_holm)} over all pairs; one value '
          f'for all costs {nats(pair.size_nats, unit_of(runs))} on average. Tune them together.',
          {'size': pair.size_nats, 'p_holm': pair.p_holm},
          pair.axes,
          worth=float(np.nan_to_num(pair.size_nats)),
        )
      )
  return found


def kinds_that_bought(runs: Runs, kinds: Kinds | None) -> list[Finding]:
  """Kinds of parameter of which more, at an equal total, changed the loss."""
  if kinds is None or kinds.refused:
    return []
  found = []
  for i, kind in enumerate(kinds.kinds):
    if kinds.p_value[i] * len(kinds.kinds) <= EFFECT_LEVEL:
      move, low, high = (
        float(v[i]) for v in (kinds.nats_per_percent, kinds.low, kinds.high)
      )
      found.append(
        Finding(
          'parameters_by_kind',
          'note',
          f'1% of parameters moved to {kind.replace("_", "-")} '
          f'{"lowers" if move < 0 else "raises"} the objective by {nats(abs(move), unit_of(runs))}.',
          f'{kinds.confidence:.0%} interval {amount(low)} to {amount(high)}, {kinds.points} models at equal totals; '
          f'{p_words(float(kinds.p_value[i]))}.',
          {'per_percent': move, 'low': low, 'high': high},
        )
      )
  return found
