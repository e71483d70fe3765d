"""What a study says of its learning rate beyond the best one: how sensitive the loss is to it, and where training breaks."""

from __future__ import annotations

import math

import numpy as np

from lmhp.analysis.curves.divergence import Divergence
from lmhp.analysis.findings import Finding
from lmhp.analysis.hyperparameters.isolations import Isolation
from lmhp.analysis.phrases import amount, nats
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.learning_rate_sensitivity import (
  edge_of_stability,
  learning_rate_sensitivity,
)
from lmhp.errors import ConfigError


def rate_findings(
  runs: Runs, best_of_rates: Isolation | None, stable: Divergence
) -> list[Finding]:
  """Sensitivity to the learning rate, and the largest stable one.

  Args:
    runs: a study.
    best_of_rates: the best over all else at each learning rate; None where it was not varied.
    stable: what diverged.
  """
  found, initial = [], initial_loss(runs)
  if best_of_rates is not None and math.isfinite(initial) and not runs.maximize:
    rates, losses = np.asarray(best_of_rates.values, np.float64), best_of_rates.best
    if len(rates) >= 3 and np.isfinite(losses).any():
      value = learning_rate_sensitivity(rates, losses, initial)
      found.append(
        Finding(
          'learning_rate_sensitivity',
          'note',
          f'The learning-rate sensitivity is {nats(value)} from '
          f'{amount(float(rates.min()))} to {amount(float(rates.max()))}.',
          f'How much worse the loss is than the best, on average over {len(rates)} rates, all else at its best at each; at '
          f'most the initial loss, {amount(initial)} (Wortsman et al. 2023).',
          {
            'nats': value,
            'lowest_rate': float(rates.min()),
            'highest_rate': float(rates.max()),
          },
          (best_of_rates.axis,),
        )
      )
  if stable.diverged and math.isfinite(stable.largest_stable):
    found.append(
      Finding(
        'largest_stable_rate',
        'note',
        f'The largest {stable.rate} at which less than a tenth diverges is '
        f'{amount(stable.largest_stable)}.',
        f'The smallest at which a run diverged is '
        f'{amount(stable.smallest_diverged)}.{_edge(runs, stable.largest_stable)}',
        {
          'largest_stable': stable.largest_stable,
          'smallest_diverged': stable.smallest_diverged,
        },
        (stable.rate,),
      )
    )
  return found


def initial_loss(runs: Runs) -> float:
  """The median first training loss over runs, nats; NaN where no curve has one."""
  firsts = [
    curve['loss_nats'][0]
    for curve in runs.curves.values()
    if len(curve.get('loss_nats', ())) and curve['step'][0] <= 1
  ]
  firsts = [v for v in firsts if math.isfinite(v)]
  return float(np.median(firsts)) if firsts else math.nan


def _edge(runs: Runs, rate: float) -> str:
  base = runs.about.get('base', {})
  try:
    name = base['optimizer.name']
    bound = edge_of_stability(
      name,
      rate,
      base[
        'optimizer.momentum' if name in ('momentum', 'nesterov') else 'optimizer.b1'
      ],
    )
  except (KeyError, ConfigError):
    return ''
  return (
    f" At that rate {name}'s steps are stable up to a sharpness of {amount(bound)} (edge of "
    'stability, Cohen et al.).'
  )
