"""Best of n trials as a curve, with confidence bands.

The trials are taken as independent draws from one distribution, as in random search. This is
nearly true for quasi-random search. It covers the space more evenly, so its bands may be too
wide. It is false for a grid, Bayesian search and halving, and their curves mean nothing. A
trial is one number: the final loss of a run, or the mean over a fixed number of seeds. The
curve describes the best loss that a study measures. It is too low by the luck of the best trial
(the winner's curse), which `winner` corrects.

Dimension key: T trials of the study, K numbers of trials.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import numpy.typing as npt

from lmhp.errors import ConfigError
from lmhp.statistics.intervals import check_confidence
from lmhp.statistics.ranks import as_numbers

METHODS = ('order_statistics', 'dkw')
MAX_SIMULATED = 1_000_000
"""Largest number of losses that are simulated to widen a band of up to 1,000 trials."""


@dataclasses.dataclass(frozen=True)
class BestOfN:
  """Best of k trials, for each k. Less is better.

  Attributes:
    trials: (K,) int, the numbers k.
    median: (K,) median over studies of the best of k.
    median_low: (K,) lower end of its band. Infinite if neither the trials nor `support` bound
      it.
    median_high: (K,) upper end of the band.
    expected: (K,) mean over studies of the best of k, unbiased. NaN for k above T.
    expected_low: (K,) lower end of its band. Finite only if `support` is.
    expected_high: (K,) upper end of the band.
    confidence: Probability that a band contains the true curve everywhere.
    method: One of `METHODS`.
  """

  trials: np.ndarray
  median: np.ndarray
  median_low: np.ndarray
  median_high: np.ndarray
  expected: np.ndarray
  expected_low: np.ndarray
  expected_high: np.ndarray
  confidence: float
  method: str


def best_of_n(
  losses: npt.ArrayLike,
  trials: npt.ArrayLike | None = None,
  confidence: float = 0.9,
  method: str = 'order_statistics',
  support: tuple[float, float] = (-math.inf, math.inf),
  seed: int = 0,
) -> BestOfN:
  """Computes the best-of-n curve with simultaneous confidence bands.

  Args:
    losses: (T,) final losses of independent random trials. inf or NaN for a diverged trial.
    trials: (K,) numbers of trials. None takes 1 to T.
    confidence: Probability that the band contains the true curve everywhere.
    method: 'order_statistics' uses equal-tailed Beta intervals of the order statistics. They
      are widened until they hold together: those of the median at the given `trials`, those
      of the mean everywhere. 'dkw' is the Dvoretzky-Kiefer-Wolfowitz band, which is wider.
    support: Lower and upper bound of the loss. A cross entropy is at least 0.
    seed: Seed of the simulation that widens the bands.

  Returns:
    The curve. Its bands hold for any distribution, continuous or not.

  Raises:
    ConfigError: If there is no trial, or an argument is out of its range.

  Source: Lourie, Cho, He, Show Your Work with Confidence (arXiv 2311.09480). Learned-Miller
  and DeStefano 2008 for the order statistics.

  >>> curve = best_of_n([3.3, 3.1, 3.6, 3.2, 3.4], trials=[1, 3])
  >>> curve.median.tolist(), curve.expected.round(2).tolist()
  ([3.3, 3.2], [3.32, 3.15])
  >>> curve.median_high.tolist()
  [3.6, 3.4]
  """
  ordered = ordered_losses(losses)
  counts = _checked_counts(trials, len(ordered))
  check_confidence(confidence)
  if method not in METHODS:
    raise ConfigError(f'method: got {method!r}, expected one of {", ".join(METHODS)}')
  largest = ordered[np.isfinite(ordered)].max(initial=-math.inf)
  if not support[0] <= ordered[0] or not largest <= support[1]:
    raise ConfigError(
      f'support: got {support} and losses outside, expected bounds of all losses'
    )
  n = len(ordered)
  # Fraction of trials that are better than the median of the best of k.
  levels = 1 - 0.5 ** (1 / counts)
  padded = np.concatenate([[support[0]], ordered, [support[1]]])
  band_low, band_high = cdf_band(n, confidence, method, seed)
  cdf_low = band_low
  cdf_high = band_high
  if method != 'dkw':
    # The median's curve needs the band at its own levels only.
    falling = tuple(np.unique(levels)[::-1].tolist())
    cdf_low, cdf_high = _beta_interval(n, _tail_at_levels(n, falling, confidence, seed))

  # If the probability below an order statistic is at most the level, the quantile at the
  # level is at least that order statistic. This holds for any distribution.
  median_low = padded[np.searchsorted(cdf_high, levels, side='left')]
  median_high = padded[1 + np.searchsorted(cdf_low, levels, side='left')]
  # Sample quantile: the smallest loss whose rank is at least n times the level.
  median = ordered[np.maximum(np.ceil(n * levels - 1e-9).astype(int), 1) - 1]
  return BestOfN(
    trials=counts,
    median=median,
    median_low=median_low,
    median_high=median_high,
    expected=expected_best(ordered, counts),
    # A higher distribution function means lower losses, so the upper band gives the low
    # end.
    expected_low=_mean_best(padded, np.append(band_high, 1.0), counts),
    expected_high=_mean_best(padded, np.append(0.0, band_low), counts),
    confidence=confidence,
    method=method,
  )


def expected_best(
  losses: npt.ArrayLike, trials: npt.ArrayLike | None = None
) -> np.ndarray:
  """Returns expected validation performance: (K,) the mean best of k trials.

  The mean is over all ways to take k of the study's trials. It is the U-statistic, which is
  unbiased. `best_of_n` adds a confidence band.

  Args:
    losses: (T,) final losses of independent random trials, less is better. inf or NaN for a
      diverged trial.
    trials: (K,) numbers k of trials. None takes 1 to T. The result of a number above T is NaN.

  Raises:
    ConfigError: If there is no trial, or a number is below 1.

  Source: Tang et al., Showing Your Work Doesn't Always Work, ACL 2020.

  >>> expected_best([3.0, 1.0, 2.0]).round(3).tolist()
  [2.0, 1.333, 1.0]
  """
  from scipy.special import gammaln

  ordered = ordered_losses(losses)
  counts = _checked_counts(trials, len(ordered))
  n = len(ordered)
  # Probability that none of k draws is among the best `rank` losses: a ratio of binomial
  # coefficients, in logarithms. Its decrease from one rank to the next is the probability
  # that the best draw has that rank.
  rank = np.arange(n + 1)
  left = n - rank - counts[:, None]
  log_ways = gammaln(n - rank + 1) - gammaln(np.maximum(left, 0) + 1)
  log_all = gammaln(n + 1) - gammaln(np.maximum(n - counts, 0) + 1)
  none_better = np.where(left >= 0, np.exp(log_ways - log_all[:, None]), 0.0)
  weights = none_better[:, :-1] - none_better[:, 1:]
  # An infinite loss of weight 0 would give NaN.
  finite = np.where(weights > 0, ordered, 0.0)
  return np.where(counts <= n, (weights * finite).sum(axis=1), math.nan)


def ordered_losses(losses: npt.ArrayLike) -> np.ndarray:
  """Returns (T,) losses in rising order, with NaN as inf.

  Raises:
    ConfigError: If there is no loss.
  """
  values = as_numbers(losses, 'losses')
  if values.ndim != 1 or not len(values):
    raise ConfigError(f'losses: got shape {values.shape}, expected a list of losses')
  return np.sort(np.where(np.isnan(values), math.inf, values))


def _checked_counts(trials: npt.ArrayLike | None, n: int) -> np.ndarray:
  """Returns (K,) numbers of trials."""
  if trials is None:
    return np.arange(1, n + 1)
  counts = np.atleast_1d(np.asarray(trials, int))
  if not len(counts) or counts.min() < 1:
    raise ConfigError(
      f'trials: got {counts.tolist()}, expected whole numbers from 1 up'
    )
  return counts


# --- bands ------------------------------------------------------------------------------


def cdf_band(
  n: int, confidence: float = 0.9, method: str = 'order_statistics', seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
  """Returns a simultaneous band of the distribution function at n order statistics.

  Args:
    n: Number T of draws.
    confidence: Probability that all bounds hold.
    method: One of `METHODS`.
    seed: Seed of the simulation.

  Returns:
    (T,) lower bound of the probability at or below the i-th lowest draw, and (T,) upper bound
    of the probability strictly below it.

  Source: Massart 1990 for 'dkw'.

  >>> [bound.round(2).tolist() for bound in cdf_band(1, 0.9)]
  [[0.05], [0.95]]
  """
  if method != 'dkw':
    return _beta_interval(n, _tail(n, confidence, seed))
  ranks = np.arange(1, n + 1)
  width = math.sqrt(math.log(2 / (1 - confidence)) / (2 * n))
  return np.clip(ranks / n - width, 0, 1), np.clip((ranks - 1) / n + width, 0, 1)


def _beta_interval(n: int, tail: float) -> tuple[np.ndarray, np.ndarray]:
  """Returns quantiles of the order statistics of n uniform draws, (T,) each.

  The i-th lowest is distributed as Beta(i, n + 1 - i).
  """
  from scipy.special import betaincinv

  ranks = np.arange(1, n + 1)
  return (
    betaincinv(ranks, n + 1 - ranks, tail),
    betaincinv(ranks, n + 1 - ranks, 1 - tail),
  )


@functools.lru_cache(maxsize=64)
def _tail(n: int, confidence: float, seed: int) -> float:
  """Returns the error rate of each single bound at which all hold with the confidence."""
  from scipy.special import betainc

  draws = max(1000, min(40_000, MAX_SIMULATED // n))
  ranks = np.arange(1, n + 1)
  uniform = np.sort(np.random.default_rng(seed).random((draws, n)), axis=1)
  p_values = betainc(ranks, n + 1 - ranks, uniform)
  smallest = np.minimum(p_values, 1 - p_values).min(axis=1)
  return float(np.quantile(smallest, 1 - confidence))


@functools.lru_cache(maxsize=64)
def _tail_at_levels(
  n: int, levels: tuple[float, ...], confidence: float, seed: int
) -> float:
  """Returns the error rate of each bound at which all hold for the quantiles at some levels.

  The levels fall from one to the next.
  """
  from scipy.special import bdtr

  # A quantile is missed if the number of draws below it is in a tail of its binomial
  # distribution. Each number is binomial given the one before.
  n_draws = 40_000
  rng = np.random.default_rng(seed)
  count = np.full(n_draws, n)
  before = 1.0
  smallest = np.ones(n_draws)
  for level in levels:
    count = rng.binomial(count, level / before)
    fewer = np.concatenate([[0.0], bdtr(np.arange(n + 1), n, level)])
    # The smaller of P(at most this number) and P(at least this number).
    both = np.minimum(fewer[count + 1], 1 - fewer[count])
    smallest = np.minimum(smallest, both)
    before = level
  return float(np.sort(smallest)[int((1 - confidence) * n_draws)] * (1 - 1e-9))


def _mean_best(
  padded: np.ndarray, probabilities: np.ndarray, trials: np.ndarray
) -> np.ndarray:
  """Returns (K,) the mean best of k for a stepwise distribution function.

  Args:
    padded: (T + 2,) losses between the ends of the support.
    probabilities: (T + 1,) distribution function between these losses.
    trials: (K,) numbers of trials.
  """
  if padded[0] == -math.inf:
    # The mean is finite only if a value below the lowest loss has no probability.
    if probabilities[0] > 0:
      return np.full(len(trials), -math.inf)
    return _mean_best(padded[1:], probabilities[1:], trials)
  with np.errstate(invalid='ignore'):
    # E[best of k] is the integral of (1 - F(x))^k over the loss x.
    survival = (1 - probabilities) ** trials[:, None]
    widths = np.nan_to_num(np.diff(padded), nan=0.0, posinf=math.inf)
    parts = np.where((survival > 0) & (widths > 0), survival * widths, 0.0)
  return padded[0] + parts.sum(axis=1)
