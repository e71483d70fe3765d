"""Figures of effects and importances, as dots with intervals."""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np

from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.hyperparameters.importances import Importance
from lmhp.analysis.phrases import p_text
from lmhp.analysis.report.document import Block, Figure, Text
from lmhp.analysis.report.figures.interval_rows import IntervalRow, interval_figure
from lmhp.analysis.report.figures.style import plain_text, plot_axis
from lmhp.analysis.report.numbers import interval, number
from lmhp.analysis.runs.table import Runs


def effects_figure(runs: Runs, effects: Sequence[Effect]) -> Figure | None:
  """Draws the gain of each axis with its interval. Hollow if it is not significant.

  >>> known = Effect('lr', 0.001, 0.002, gain=0.3, gain_low=0.2, gain_high=0.4)
  >>> unknown = Effect('wd', reason='it was not varied')
  >>> runs = Runs('s', {}, {}, np.zeros(0), 'eval_loss_nats')
  >>> print(effects_figure(runs, [known, unknown]).caption)
  lr has the largest gain, 0.3 nats (90% interval 0.2 to 0.4). 1 of 2 is significant (filled).
  """
  if not effects:
    return None
  # The largest gain first. Effects that cannot be estimated come last.
  estimated = sorted(
    (effect for effect in effects if math.isfinite(effect.gain)),
    key=lambda effect: -effect.gain,
  )
  unknown = [effect for effect in effects if not math.isfinite(effect.gain)]
  rows = [
    IntervalRow(
      _effect_name(effect),
      effect.gain,
      effect.gain_low,
      effect.gain_high,
      effect.significant(),
    )
    for effect in [*estimated, *unknown]
  ]
  unit = f' ({runs.unit})' if runs.unit else ''
  high = _right_end(estimated)
  x_axis = plot_axis(
    f'gain from the best value{unit}', range=[-0.04 * high, 1.06 * high]
  )
  return interval_figure(
    'effects',
    'Gain from the best value of each hyperparameter',
    _effects_caption(runs, effects, estimated),
    rows,
    x_axis,
  )


def _right_end(estimated: Sequence[Effect]) -> float:
  """Returns the largest gain that is shown. Intervals beyond 4 times the largest are cut."""
  ends = [end for effect in estimated for end in (effect.gain, effect.gain_high)]
  finite = [end for end in ends if math.isfinite(end)]
  cap = math.inf
  if estimated and estimated[0].gain > 0:
    cap = 4 * estimated[0].gain
  return min(max(finite, default=1.0), cap) or 1.0


def _effect_name(effect: Effect) -> str:
  if effect.reason:
    return f'{plain_text(effect.axis, 32)}: {plain_text(effect.reason, 60)}'
  name = plain_text(effect.axis, 40)
  return f'{name}, {p_text(effect.p_holm)}' if math.isfinite(effect.p_holm) else name


def _effects_caption(
  runs: Runs, effects: Sequence[Effect], estimated: Sequence[Effect]
) -> str:
  if not estimated:
    return 'The gain cannot be estimated for any hyperparameter.'
  first = estimated[0]
  n_significant = sum(effect.significant() for effect in estimated)
  gain = f'{number(first.gain, 2)} {runs.unit}'.rstrip()
  verb = 'is' if n_significant == 1 else 'are'
  return (
    f'{first.axis} has the largest gain, {gain} ({first.confidence:.0%} interval '
    f'{interval(first.gain_low, first.gain_high)}). {n_significant} of {len(effects)} {verb} '
    'significant (filled).'
  )


def importance_figures(importances: Sequence[Importance]) -> list[Block]:
  """Draws the importance of each axis by each method, or states why there is none."""
  blocks: list[Block] = [
    _importance_figure(importance)
    for importance in importances
    if not importance.reason
  ]
  reasons = dict.fromkeys(each.reason for each in importances if each.reason)
  return blocks + [Text(f'Importance is not computed: {reason}.') for reason in reasons]


def _importance_figure(importance: Importance) -> Figure:
  rows = []
  for i, name in enumerate(importance.names):
    p_value = float(importance.p_value[i])
    text = plain_text(name, 40)
    if math.isfinite(p_value):
      text += f', {p_text(p_value)}'
    rows.append(
      IntervalRow(
        text,
        float(importance.fraction[i]),
        float(importance.low[i]),
        float(importance.high[i]),
        name in importance.significant,
      )
    )
  caption = 'No hyperparameter was assessed.'
  if rows and np.isfinite(importance.fraction).any():
    i = int(np.nanargmax(importance.fraction))
    n_significant = len(importance.significant)
    verb = 'is' if n_significant == 1 else 'are'
    caption = (
      f'{importance.names[i]} has {importance.fraction[i]:.0%} of the importance '
      f'({importance.confidence:.0%} interval {importance.low[i]:.0%} to '
      f'{importance.high[i]:.0%}) by {importance.method} over {importance.n_points} points. '
      f'{n_significant} of {len(rows)} {verb} significant (filled).'
    )
  x_axis = plot_axis(
    'fraction of the importance', range=[-0.04, 1.04], tickformat='.0%'
  )
  return interval_figure(
    f'importance-{importance.method}',
    f'Importance ({importance.method})',
    caption,
    rows,
    x_axis,
  )
