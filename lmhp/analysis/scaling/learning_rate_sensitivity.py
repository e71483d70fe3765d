"""How much the learning rate may be off, and how sharp a valley an optimizer can stand.

Sensitivity is one number for a sweep over learning rates (Wortsman et al. 2023). The edge of stability is what theory
says of an optimizer: the sharpest valley in which its steps do not grow. Where training does fall apart is measured in
`lmhp.analysis.curves.divergence`.

Dimension key: T runs.
"""

from __future__ import annotations

import math

import numpy as np

from lmhp.errors import ConfigError, suggest

_PLAIN, _SUM, _SUM_NESTEROV, _MEAN, _MEAN_NESTEROV = range(5)
_FAMILIES = {
  'sgd': _PLAIN,
  'rmsprop': _PLAIN,
  'adagrad': _PLAIN,
  'momentum': _SUM,
  'nesterov': _SUM_NESTEROV,
  'adam': _MEAN,
  'adamw': _MEAN,
  'amsgrad': _MEAN,
  'nadam': _MEAN_NESTEROV,
  'nadamw': _MEAN_NESTEROV,
}
"""What each optimizer does with past gradients: nothing, a sum, a sum and Nesterov's look ahead, both with means."""


def learning_rate_sensitivity(
  learning_rates: np.ndarray, losses: np.ndarray, initial_loss: float
) -> float:
  """Mean loss over a range of learning rates, less that of the best: what a rate drawn from the range costs.

  Args:
    learning_rates: (T,) evenly spaced in their logarithm over the range, as on a grid: each weighs the same. The loss
      of a rate that is there more than once (seeds) is averaged.
    losses: (T,) final loss, nats. What is not finite diverged; that, and what is above `initial_loss`, counts as it.
    initial_loss: before training, nats.

  Returns:
    Nats, 0 or more; of two sweeps, comparable if over the same range.

  Raises:
    ConfigError: shapes differ, nothing is there, or a number is out of its range.

  Source: Wortsman et al. 2023, arXiv 2309.14322, section 2.2.

  >>> round(
  ...   learning_rate_sensitivity(
  ...     [1e-3, 1e-2, 1e-1], [4.5, 4.0, 9.0], initial_loss=7.0
  ...   ),
  ...   4,
  ... )
  1.1667
  """
  rates, losses = np.asarray(learning_rates, np.float64), np.asarray(losses, np.float64)
  if rates.ndim != 1 or rates.shape != losses.shape or not rates.size:
    raise ConfigError(
      f'losses: got shape {losses.shape} and learning rates of shape {rates.shape}, expected one loss '
      'for each of some rates'
    )
  if not (np.isfinite(rates).all() and (rates > 0).all()):
    raise ConfigError(
      f'learning_rates: got {rates[~(np.isfinite(rates) & (rates > 0))][0]}, expected numbers above 0'
    )
  if not math.isfinite(initial_loss):
    raise ConfigError(f'initial_loss: got {initial_loss}, expected a number')
  capped = np.minimum(np.where(np.isfinite(losses), losses, initial_loss), initial_loss)
  _, place, count = np.unique(rates, return_inverse=True, return_counts=True)
  means = np.bincount(place, weights=capped) / count
  return float(np.mean(means) - np.min(means))


def edge_of_stability(
  optimizer: str, learning_rate: float | np.ndarray, momentum: float = 0.9
) -> float | np.ndarray:
  """The largest sharpness at which an optimizer's steps do not grow on a quadratic.

  The sharpness is the largest eigenvalue of the loss's Hessian; of Adam and its like, of the Hessian preconditioned by
  the root of the second moment. Training without noise rises to the edge and stays near it.

  Args:
    optimizer: of 'sgd', 'momentum', 'nesterov', 'rmsprop', 'adagrad', 'adam', 'adamw', 'amsgrad', 'nadam', 'nadamw'. A
      sign, a trust ratio or an orthogonal matrix has no such bound.
    learning_rate: as of the step; the schedule's at that time.
    momentum: decay of past gradients, of Adam beta1; of no meaning for 'sgd', 'rmsprop' and 'adagrad'.

  Returns:
    With rate r and momentum b: 2 / r without momentum, (2 + 2b) / r of the heavy ball, (2 + 2b) / ((1 + 2b) r) of
    Nesterov's, and the same over (1 - b) where gradients are averaged and not summed, as in Adam and NAdam.

  Raises:
    ConfigError: for another optimizer, or a number out of its range.

  Source: Cohen et al. 2021, arXiv 2103.00065 (heavy ball, Nesterov); Cohen et al. 2022, arXiv 2207.14484
  (Adam: 38 / r at beta1 = 0.9); NAdam's follows in the same way. Weight decay is left out.

  >>> (
  ...   edge_of_stability('sgd', 0.1),
  ...   edge_of_stability('momentum', 0.1, 0.5),
  ...   round(edge_of_stability('adamw', 0.01)),
  ... )
  (20.0, 30.0, 3800)
  """
  if optimizer not in _FAMILIES:
    raise ConfigError(
      f'optimizer: got {optimizer!r}, expected one of {", ".join(_FAMILIES)}'
      f'{suggest(optimizer, _FAMILIES)}'
    )
  rate, family = np.asarray(learning_rate, np.float64), _FAMILIES[optimizer]
  if not (rate > 0).all():
    raise ConfigError(f'learning_rate: got {learning_rate}, expected numbers above 0')
  if not 0 <= momentum < 1:
    raise ConfigError(f'momentum: got {momentum}, expected 0 or more and less than 1')
  b = 0.0 if family == _PLAIN else momentum
  bound = (2 + 2 * b) / rate
  if family in (_SUM_NESTEROV, _MEAN_NESTEROV):
    bound = bound / (1 + 2 * b)
  if family in (_MEAN, _MEAN_NESTEROV):
    bound = bound / (1 - b)
  return bound if bound.ndim else float(bound)
