"""Gain to expect from twice as many random trials.

The trials are taken as independent draws from one distribution, as in `best_of_n_curve`.

Dimension key: T trials, M places of the minimum.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from lmhp.analysis.winner.best_of_n_curve import ordered_losses
from lmhp.statistics.intervals import check_confidence

MIN_TRIALS = 8
TAIL = 0.25
"""Fraction of the trials, the lowest, that the law is fitted to."""
EXPONENTS = np.geomspace(0.25, 8, 31)
"""Exponents of the law: half the number of hyperparameters that matter, with room below one.
Noise looks like a larger exponent."""
ENOUGH = 'enough'
MORE = 'more trials would pay'
UNCERTAIN = 'uncertain'
UNKNOWN = 'unknown'


@dataclasses.dataclass(frozen=True)
class DoublingGain:
  """Gain to expect from twice as many trials.

  Attributes:
    reason: The result as a sentence without a period, or why there is none.
    verdict: 'enough', 'more trials would pay', 'uncertain' or 'unknown'.
    gain: Expected best loss of T trials minus that of 2 T trials. NaN if unknown.
    low: Lower end of its interval.
    high: Upper end of the interval.
  """

  reason: str
  verdict: str = UNKNOWN
  gain: float = math.nan
  low: float = math.nan
  high: float = math.nan


def gain_of_doubling(
  losses: npt.ArrayLike,
  min_gain: float | None = None,
  confidence: float = 0.9,
  seed: int = 0,
  draws: int = 4000,
) -> DoublingGain:
  """Estimates the gain from twice as many random trials, and if it would pay.

  No data bound a distribution below its lowest draw, so this rests on a law. Near the optimum
  the loss is quadratic, so the fraction of trials below x grows as (x - m)^a, with a equal to
  half the number of hyperparameters that matter. The minimum m, a and the scale are
  integrated over, with a prior that is flat in m, log scale and log a, and the likelihood of
  the lowest trials.

  Args:
    losses: (T,) final losses of independent random trials. inf or NaN for a diverged trial.
    min_gain: Smallest gain that would pay. None takes 1% of the best loss.
    confidence: Confidence of the interval.
    seed: Seed of the draws from the posterior.
    draws: Number of these draws.

  Returns:
    The gain. The verdict is 'enough' if the whole interval is below `min_gain`, and 'more
    trials would pay' if it is above. The probability that doubling finds anything better is
    exactly one half, for every distribution.

  Raises:
    ConfigError: If there is no loss, or the confidence is not between 0 and 1.

  Source: Type-II censored likelihood. The law is that of Lourie, He, Cho, Hyperparameter Loss
  Surfaces Are Simple Near their Optima (2025).

  >>> losses = 3 + (np.random.default_rng(0).random((64, 2)) ** 2).sum(axis=1)
  >>> result = gain_of_doubling(losses, min_gain=0.2)
  >>> result.verdict, result.low < 0.02 < result.high
  ('enough', True)
  """
  check_confidence(confidence)
  ordered = ordered_losses(losses)
  n = len(ordered)
  smallest = abs(0.01 * float(ordered[0])) if min_gain is None else float(min_gain)
  # Only the lowest losses are fitted. They must be finite and different.
  n_lowest = max(6, math.ceil(TAIL * n))
  if n < MIN_TRIALS or not np.isfinite(ordered[n_lowest - 1]):
    return DoublingGain(
      f'the gain from more trials is unknown: {np.isfinite(ordered).sum()} of {n} trials '
      f'are finite, and {MIN_TRIALS} are needed'
    )
  if len(np.unique(ordered[:n_lowest])) < n_lowest:
    return DoublingGain(
      'the gain from more trials is unknown: some of the best trials are equal'
    )

  # More trials pay if the whole interval is above the smallest useful gain.
  gains = _posterior_gains(ordered[:n_lowest], n, np.random.default_rng(seed), draws)
  levels = [(1 - confidence) / 2, 0.5, (1 + confidence) / 2]
  low, gain, high = np.quantile(gains, levels).tolist()
  verdict = UNCERTAIN
  if high < smallest:
    verdict = ENOUGH
  elif low > smallest:
    verdict = MORE
  reason = (
    f'{n} more trials are expected to improve the best result by {gain:.3g} '
    f'({confidence:.0%} interval {low:.3g} to {high:.3g}); a gain of {smallest:.3g} '
    'would pay'
  )
  return DoublingGain(reason, verdict, gain, low, high)


def _posterior_gains(
  lowest: np.ndarray, n: int, rng: np.random.Generator, draws: int
) -> np.ndarray:
  """Draws E[best of n] - E[best of 2 n] from the posterior, (draws,).

  The distribution function is F(x) = c (x - m)^a. With u = F(x_r) and a prior flat in m, log
  scale and log a, u ~ Beta(r, n - r + 1). The posterior of (m, a) is proper, in proportion to
  a^(r-1) prod (x_i - m)^(a-1) (x_r - m)^(-a r).

  Args:
    lowest: (r,) lowest losses in rising order.
    n: Number of trials.
    rng: Generator of the draws.
    draws: Number of draws.
  """
  from scipy.special import gammaln

  # Posterior on a grid of x_1 - m, in logarithms, and a.
  r = len(lowest)
  spread = lowest[-1] - lowest[0]
  below = spread * np.geomspace(1e-4, 100, 160)
  logs = np.log((lowest - lowest[0])[:, None] + below)
  a = EXPONENTS[:, None]
  log_posterior = (
    (r - 1) * np.log(a) + (a - 1) * logs.sum(axis=0) - a * r * logs[-1] + np.log(below)
  )
  weights = np.exp(log_posterior - log_posterior.max()).ravel()
  picked = rng.choice(weights.size, draws, p=weights / weights.sum())
  exponent = EXPONENTS[picked // len(below)]
  distance = below[picked % len(below)]
  # F(x) = ((x - m) / scale)^a, and F of the r-th lowest of n losses is distributed as
  # Beta(r, n - r + 1).
  scale = (spread + distance) * rng.beta(r, n - r + 1, draws) ** (-1 / exponent)

  def mean_best(k: int) -> np.ndarray:
    """Returns E[best of k] - m, in units of the scale."""
    # Gamma(1 + 1/a) Gamma(k + 1) / Gamma(k + 1 + 1/a).
    log_mean = (
      gammaln(1 + 1 / exponent) + gammaln(k + 1) - gammaln(k + 1 + 1 / exponent)
    )
    return np.exp(log_mean)

  return scale * (mean_best(n) - mean_best(2 * n))
