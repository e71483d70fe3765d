"""Sensitivity of the loss to the learning rate, and the edge of stability of optimizers.

The sensitivity is one number for a sweep over learning rates (Wortsman et al. 2023). The edge
of stability is a result of theory: the largest sharpness at which the steps of an optimizer
do not grow. The learning rate at which training diverges in practice is measured in
`lmhp.analysis.curves.divergence`.

Dimension key: T runs.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lmhp.errors import ConfigError, suggest
from lmhp.statistics.ranks import check_paired

Rate = TypeVar('Rate', float, np.ndarray)


MOMENTUM = {
  'sgd': '',
  'rmsprop': '',
  'adagrad': '',
  'momentum': 'sum',
  'nesterov': 'nesterov sum',
  'adam': 'mean',
  'adamw': 'mean',
  'amsgrad': 'mean',
  'nadam': 'nesterov mean',
  'nadamw': 'nesterov mean',
}
"""Use of past gradients by the optimizers with a known edge of stability."""


def learning_rate_sensitivity(
  learning_rates: npt.ArrayLike, losses: npt.ArrayLike, initial_loss: float
) -> float:
  """Returns the mean loss over a range of learning rates, minus the best loss.

  Args:
    learning_rates: (T,) learning rates, evenly spaced in their logarithm. Each different rate
      has the same weight. The losses of equal rates (seeds) are averaged.
    losses: (T,) final losses in nats. A loss that is not finite, or above the initial loss,
      counts as the initial loss.
    initial_loss: Loss before training, in nats.

  Returns:
    Nats, at least 0. Two sweeps are comparable if they have the same range.

  Raises:
    ConfigError: If shapes differ, there is no loss, or a number is out of its range.

  Source: Wortsman et al. 2023, arXiv 2309.14322, section 2.2.

  >>> rates = [1e-3, 1e-2, 1e-1]
  >>> round(learning_rate_sensitivity(rates, [4.5, 4.0, 9.0], initial_loss=7.0), 4)
  1.1667
  """
  rates, final = check_paired(learning_rates, losses, 'learning_rates, losses')
  if not rates.size:
    raise ConfigError(
      f'learning_rates, losses: got shapes {rates.shape} and {final.shape}, expected two '
      'lists of one length'
    )
  is_positive = np.isfinite(rates) & (rates > 0)
  if not is_positive.all():
    raise ConfigError(
      f'learning_rates: got {rates[~is_positive][0]}, expected numbers above 0'
    )
  if not math.isfinite(initial_loss):
    raise ConfigError(f'initial_loss: got {initial_loss}, expected a finite number')
  # A run that diverged, or that ended above its start, counts as the initial loss.
  finite = np.where(np.isfinite(final), final, initial_loss)
  capped = np.minimum(finite, initial_loss)
  # Seeds of one learning rate are averaged first, so each rate has the same weight.
  _, index, count = np.unique(rates, return_inverse=True, return_counts=True)
  means = np.bincount(index, weights=capped) / count
  return float(np.mean(means) - np.min(means))


def edge_of_stability(
  optimizer: str, learning_rate: Rate, momentum: float = 0.9
) -> Rate:
  """Returns the largest sharpness at which an optimizer's steps do not grow.

  The sharpness is the largest eigenvalue of the loss's Hessian. For Adam and its variants, the
  Hessian is preconditioned by the root of the second moment. In training on the full batch, the
  sharpness rises to the edge and stays near it. With learning rate r and momentum b, the edge
  is

    2 / r                        without momentum,
    (2 + 2b) / r                 for heavy-ball momentum,
    (2 + 2b) / ((1 + 2b) r)      for Nesterov momentum,

  divided by 1 - b if gradients are averaged instead of summed, as in Adam and NAdam.

  Args:
    optimizer: One of `MOMENTUM`. Optimizers with a sign, a trust ratio or orthogonal updates
      have no such bound.
    learning_rate: Learning rate of the step, or an array of them.
    momentum: Decay of past gradients, which is beta1 in Adam. It has no effect for 'sgd',
      'rmsprop' and 'adagrad'.

  Raises:
    ConfigError: If the optimizer is another one, or a number is out of its range.

  Source: Cohen et al. 2021, arXiv 2103.00065 (heavy ball, Nesterov). Cohen et al. 2022, arXiv
  2207.14484 (Adam: 38 / r at beta1 = 0.9). NAdam follows in the same way. Weight decay is
  left out.

  >>> edge_of_stability('sgd', 0.1), edge_of_stability('momentum', 0.1, 0.5)
  (20.0, 30.0)
  >>> round(edge_of_stability('adamw', 0.01))
  3800
  """
  if optimizer not in MOMENTUM:
    raise ConfigError(
      f'optimizer: got {optimizer!r}, expected one of {", ".join(MOMENTUM)}'
      f'{suggest(optimizer, MOMENTUM)}'
    )
  if not np.all(np.asarray(learning_rate) > 0):
    raise ConfigError(f'learning_rate: got {learning_rate}, expected numbers above 0')
  if not 0 <= momentum < 1:
    raise ConfigError(
      f'momentum: got {momentum}, expected a number of at least 0 and below 1'
    )
  use = MOMENTUM[optimizer]
  b = momentum if use else 0.0
  # Heavy ball: (2 + 2b) / lr. Nesterov divides by 1 + 2b. A mean of gradients has steps
  # of 1 - b times those of a sum, so its edge is 1 / (1 - b) times higher.
  edge = (2 + 2 * b) / learning_rate
  if 'nesterov' in use:
    edge = edge / (1 + 2 * b)
  if 'mean' in use:
    edge = edge / (1 - b)
  return edge
