"""Findings about the learning rate: sensitivity of the loss, and the largest stable rate."""

from __future__ import annotations

import math

import numpy as np

from lmhp.analysis.curves.divergence import Divergence
from lmhp.analysis.findings import Finding
from lmhp.analysis.hyperparameters.isolations import Isolation
from lmhp.analysis.phrases import amount, counted, quantity
from lmhp.analysis.runs.columns import to_float
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.learning_rate_sensitivity import (
  MOMENTUM,
  edge_of_stability,
  learning_rate_sensitivity,
)

MIN_RATES = 3


def sensitivity(runs: Runs, learning_rate_isolation: Isolation | None) -> list[Finding]:
  """Reports the sensitivity of the loss to the learning rate."""
  isolation = learning_rate_isolation
  initial = initial_loss(runs)
  if isolation is None or not math.isfinite(initial) or runs.maximize:
    return []
  # Best loss at each learning rate, over all other hyperparameters.
  rates = np.asarray(isolation.values, np.float64)
  if len(rates) < MIN_RATES or not np.isfinite(isolation.best).any():
    return []
  value = learning_rate_sensitivity(rates, isolation.best, initial)
  lowest = float(rates.min())
  highest = float(rates.max())
  return [
    Finding(
      kind='learning_rate_sensitivity',
      level='note',
      title=(
        f'The learning-rate sensitivity is {quantity(value)} from {amount(lowest)} to '
        f'{amount(highest)}.'
      ),
      evidence=(
        f'It is the mean of the loss minus the best loss over '
        f'{counted(len(rates), "learning rate")}, with all other hyperparameters at their best '
        f'for each rate. A loss above the initial loss, {amount(initial)}, counts as the '
        'initial loss (Wortsman et al. 2023).'
      ),
      numbers={'nats': value, 'lowest_rate': lowest, 'highest_rate': highest},
      axes=(isolation.axis,),
    )
  ]


def largest_stable(runs: Runs, divergence: Divergence) -> list[Finding]:
  """Reports the largest stable learning rate."""
  if not divergence.n_diverged or not math.isfinite(divergence.largest_stable):
    return []
  return [
    Finding(
      kind='largest_stable_learning_rate',
      level='note',
      title=(
        f'Less than a tenth of the runs diverge up to {divergence.learning_rate} = '
        f'{amount(divergence.largest_stable)}.'
      ),
      evidence=(
        'The smallest value at which a run diverged is '
        f'{amount(divergence.smallest_diverged)}.'
        f'{_edge_note(runs, divergence.largest_stable)}'
      ),
      numbers={
        'largest_stable': divergence.largest_stable,
        'smallest_diverged': divergence.smallest_diverged,
      },
      axes=(divergence.learning_rate,),
    )
  ]


def initial_loss(runs: Runs) -> float:
  """Returns the median training loss of the first step, in nats. NaN without curves."""
  first_losses = [
    float(curve['loss_nats'][0])
    for curve in runs.curves.values()
    if len(curve.get('loss_nats', ()))
    and curve['step'][0] <= 1
    and math.isfinite(curve['loss_nats'][0])
  ]
  return float(np.median(first_losses)) if first_losses else math.nan


def _edge_note(runs: Runs, learning_rate: float) -> str:
  """Returns a sentence about the edge of stability, if the optimizer has one."""
  base = runs.facts.base_config
  name = base.get('optimizer.name')
  if not isinstance(name, str) or name not in MOMENTUM:
    return ''
  # The key of the momentum differs between optimizers.
  key = 'momentum' if name in ('momentum', 'nesterov') else 'b1'
  momentum = to_float(base.get(f'optimizer.{key}'))
  if not 0 <= momentum < 1:
    return ''
  edge = amount(edge_of_stability(name, learning_rate, momentum))
  return (
    f' At a learning rate of {amount(learning_rate)}, the steps of {name} are stable up to a '
    f'sharpness of {edge} (edge of stability, Cohen et al.).'
  )
