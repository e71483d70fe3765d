"""Were there enough trials? The best of n trials as a curve, with bands, and what twice as many would bring.

Everything here takes the trials for independent draws of one distribution: random search. For quasi-random search that
is nearly so (it covers the space more evenly, so the bands are, if anything, too wide). A grid, a Bayesian search or
halving is not that at all, and their curves mean nothing. A trial is one number: a run's final loss, or a point's mean
over its seeds, always of as many. The curve is of the best loss that a study shows, and so has the winner's luck in
it: `best.py` takes that out.

Dimension key: T trials of the study, K numbers of trials asked about.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from lmhp.errors import ConfigError

METHODS = ('order statistics', 'dkw')
MIN_TRIALS = 8  # below this no gain of further trials is said
TAIL = 0.25  # of the trials, the lowest that its law is fitted to
_SIMULATED_VALUES = 4_000_000
_SHAPES = np.geomspace(
  0.25, 8, 31
)  # half the dimensions that matter, and room below one; noise looks like more


@dataclasses.dataclass(frozen=True)
class BestOfN:
  """The best of k trials, for each k; less is better.

  Attributes:
    trials: (K,) int, the k.
    median: (K,) the best of k in the median study.
    median_low, median_high: (K,) its band; infinite where the trials cannot bound it and `support` does not.
    expected: (K,) the best of k in the mean over studies, unbiased; NaN for k above T.
    expected_low, expected_high: (K,) its band; finite only where `support` is.
    confidence: how often a whole band holds the whole true curve.
    method: of `METHODS`.
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
  losses: np.ndarray,
  trials: np.ndarray | None = None,
  confidence: float = 0.9,
  method: str = 'order statistics',
  support: tuple[float, float] = (-math.inf, math.inf),
  seed: int = 0,
) -> BestOfN:
  """The best-of-n curve with simultaneous confidence bands.

  Args:
    losses: (T,) final losses of independent random trials; of a diverged one, infinity or NaN.
    trials: (K,) numbers of trials, 1 to T by default.
    confidence: how often the whole band holds the whole true curve.
    method: 'order statistics': equal-tailed Beta intervals of the order statistics, widened together until they hold
      at once: for the median at the `trials` asked about, for the mean everywhere. Or 'dkw', which is wider.
    support: what the loss cannot be below and above, where that is known; a cross entropy is not below 0.
    seed: of the simulation that widens the bands.

  Returns:
    The curve. Bands hold for any distribution, continuous or not. Source: Lourie, Cho, He, Show Your Work with
    Confidence (arXiv 2311.09480); Learned-Miller and DeStefano 2008 for the order statistics.

  Raises:
    ConfigError: no trial, or an argument out of its range.

  >>> curve = best_of_n([3.3, 3.1, 3.6, 3.2, 3.4], trials=[1, 3])
  >>> (
  ...   curve.median.tolist(),
  ...   curve.expected.round(2).tolist(),
  ...   curve.median_high.tolist(),
  ... )
  ([3.3, 3.2], [3.32, 3.15], [3.6, 3.4])
  """
  ordered, trials = _checked(losses, trials, confidence)
  if method not in METHODS:
    raise ConfigError(f'method: got {method!r}; accepted are {", ".join(METHODS)}')
  if (
    not support[0] <= ordered[0]
    or not ordered[np.isfinite(ordered)].max(initial=-math.inf) <= support[1]
  ):
    raise ConfigError(
      f'support: got {support}, and losses outside of it; accepted are bounds around all losses'
    )
  n = len(ordered)
  shares = 1 - 0.5 ** (
    1 / trials
  )  # what share of trials is better than the median of the best of k
  padded = np.concatenate([[support[0]], ordered, [support[1]]])
  least, most = whole = cdf_band(n, confidence, method, seed)
  if (
    method != 'dkw'
  ):  # the median's curve needs the band at the shares it asks about, and nowhere else
    least, most = _at_tail(
      n, _tail_of_curve(n, tuple(np.unique(shares)[::-1].tolist()), confidence, seed)
    )
  # A bound at or below the share puts the quantile at or above that order statistic, for any distribution.
  median_low = padded[np.searchsorted(most, shares, side='left')]
  median_high = padded[1 + np.searchsorted(least, shares, side='left')]
  median = ordered[np.maximum(np.ceil(n * shares - 1e-9).astype(int), 1) - 1]
  expected = np.full(len(trials), math.nan)
  if (trials <= n).any():
    expected[trials <= n] = expected_best(ordered, trials[trials <= n])
  expected_low = _mean_best(padded, np.append(whole[1], 1.0), trials)
  expected_high = _mean_best(padded, np.append(0.0, whole[0]), trials)
  return BestOfN(
    trials,
    median,
    median_low,
    median_high,
    expected,
    expected_low,
    expected_high,
    confidence,
    method,
  )


def cdf_band(
  n: int, confidence: float = 0.9, method: str = 'order statistics', seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
  """Between what shares the distribution function lies at each order statistic of n draws, all at once.

  Returns:
    (T,) least share at or below the i-th lowest, (T,) most share strictly below it. Source: for 'dkw', Massart 1990.

  >>> [bound.round(2).tolist() for bound in cdf_band(1, 0.9)]
  [[0.05], [0.95]]
  """
  places = np.arange(1, n + 1)
  if method == 'dkw':
    width = math.sqrt(math.log(2 / (1 - confidence)) / (2 * n))
    return np.clip(places / n - width, 0, 1), np.clip((places - 1) / n + width, 0, 1)
  return _at_tail(n, _tail(n, confidence, seed))


def _at_tail(n: int, tail: float) -> tuple[np.ndarray, np.ndarray]:
  """The i-th lowest of n uniform draws is Beta(i, n + 1 - i): its quantiles, (T,) each."""
  from scipy.special import betaincinv  # slow to import

  places = np.arange(1, n + 1)
  return betaincinv(places, n + 1 - places, tail), betaincinv(
    places, n + 1 - places, 1 - tail
  )


@functools.lru_cache(maxsize=64)
def _tail(n: int, confidence: float, seed: int) -> float:
  """The error rate at each side of each order statistic at which all n of them hold at once."""
  from scipy.special import betainc

  draws, places = max(1000, min(40_000, _SIMULATED_VALUES // n)), np.arange(1, n + 1)
  uniform = np.sort(np.random.default_rng(seed).random((draws, n)), axis=1)
  ranks = betainc(places, n + 1 - places, uniform)
  return float(np.quantile(np.minimum(ranks, 1 - ranks).min(axis=1), 1 - confidence))


@functools.lru_cache(maxsize=64)
def _tail_of_curve(
  n: int, shares: tuple[float, ...], confidence: float, seed: int
) -> float:
  """The same, where the band need only hold the quantiles at `shares`, which fall.

  It misses a quantile where the number of draws below is in a tail of its binomial; each is a share of the one before.
  """
  from scipy.special import bdtr

  rng, draws = np.random.default_rng(seed), 40_000
  count, before, least = np.full(draws, n), 1.0, np.ones(draws)
  for share in shares:
    count = rng.binomial(count, share / before)
    below = np.concatenate([[0.0], bdtr(np.arange(n + 1), n, share)])  # P(fewer than i)
    least = np.minimum(least, np.minimum(below[count + 1], 1 - below[count]))
    before = share
  return float(np.sort(least)[int((1 - confidence) * draws)] * (1 - 1e-9))


def _mean_best(
  padded: np.ndarray, shares: np.ndarray, trials: np.ndarray
) -> np.ndarray:
  """(K,) mean of the best of k, if the distribution function were `shares` (T+1,) between the places (T+2,)."""
  if padded[0] == -math.inf:  # whether a better one is possible at all is what counts
    return (
      np.full(len(trials), -math.inf)
      if shares[0] > 0
      else _mean_best(padded[1:], shares[1:], trials)
    )
  with np.errstate(invalid='ignore'):
    survive, stretch = (
      (1 - shares) ** trials[:, None],
      np.nan_to_num(np.diff(padded), nan=0.0, posinf=math.inf),
    )
    parts = np.where((survive > 0) & (stretch > 0), survive * stretch, 0.0)
  return padded[0] + parts.sum(axis=1)


def expected_best(
  losses: np.ndarray, trials: np.ndarray | None = None, with_replacement: bool = False
) -> np.ndarray:
  """Expected validation performance: the mean best of k trials, over all ways to take k of the study's.

  Without replacement it is the U-statistic, which is unbiased (Tang et al., Showing Your Work Doesn't Always Work,
  ACL 2020). With replacement it is the V-statistic of Dodge et al. (Show Your Work, arXiv 1909.03004), which is
  biased towards worse.

  Args:
    losses: (T,) less is better; NaN counts as infinity.
    trials: (K,) each from 1 to T; all of them by default.
    with_replacement: the V-statistic, to compare with what others report.

  Raises:
    ConfigError: k above T without replacement: the study cannot say it.

  >>> (
  ...   expected_best([1.0, 2.0, 3.0]).round(3).tolist(),
  ...   expected_best([1.0, 2.0, 3.0], [2], True).round(3).tolist(),
  ... )
  ([2.0, 1.333, 1.0], [1.556])
  """
  ordered, trials = _checked(losses, trials)
  n = len(ordered)
  if not with_replacement and trials.max() > n:
    raise ConfigError(
      f'trials: got {trials.max()} of {n} losses; accepted is up to their number'
    )
  better = np.arange(n + 1)
  if with_replacement:
    none_better = ((n - better) / n) ** trials[:, None]
  else:
    from scipy.special import gammaln

    left = n - better - trials[:, None]
    log_ways = gammaln(n - better + 1) - gammaln(np.maximum(left, 0) + 1)
    log_all = gammaln(n + 1) - gammaln(n - trials + 1)
    none_better = np.where(left >= 0, np.exp(log_ways - log_all[:, None]), 0.0)
  weights = none_better[:, :-1] - none_better[:, 1:]
  ordered = np.where(
    weights > 0, ordered, 0.0
  )  # infinity that has no weight does not count
  return (weights * ordered).sum(axis=1)


def _checked(losses, trials, confidence: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
  losses = np.asarray(losses, np.float64)
  ordered = np.sort(np.where(np.isnan(losses), math.inf, losses), axis=-1)
  if losses.ndim != 1 or not len(losses):
    raise ConfigError(
      f'losses: got shape {losses.shape}; accepted is a list of one or more'
    )
  trials = (
    np.arange(1, len(losses) + 1)
    if trials is None
    else np.atleast_1d(np.asarray(trials, int))
  )
  if not len(trials) or trials.min() < 1:
    raise ConfigError(
      f'trials: got {trials.tolist()}; accepted are whole numbers from 1'
    )
  if not 0 < confidence < 1:
    raise ConfigError(f'confidence: got {confidence}; accepted is above 0 and below 1')
  return ordered, trials


# --- enough? --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class EnoughTrials:
  """What twice as many trials would bring.

  Attributes:
    verdict: 'enough', 'more would pay', 'not sure', or 'too few to say'.
    gain, low, high: by how much the best of 2T is expected to be below that of T, and its interval; NaN if not known.
    worth: the gain that would pay.
    confidence, n, reason: of the interval, T, and a sentence.
  """

  verdict: str
  gain: float
  low: float
  high: float
  worth: float
  confidence: float
  n: int
  reason: str


def enough_trials(
  losses: np.ndarray,
  worth: float | None = None,
  confidence: float = 0.9,
  seed: int = 0,
  draws: int = 4000,
) -> EnoughTrials:
  """The gain to expect of doubling the number of random trials, and whether that would pay.

  No data bound a distribution below its lowest draw, so this rests on a law: near the optimum a loss is quadratic, so
  the share of trials below x grows as (x - m)^a, a half the number of hyperparameters that matter. m, a and the scale
  are integrated over (flat in m and the logs of the scale and of a), by the likelihood of the lowest trials.

  Args:
    losses: (T,) as in :func:`best_of_n`.
    worth: the least gain that would pay; 1% of the best loss by default.
    confidence: of the interval.
    seed, draws: of the posterior.

  Returns:
    The verdict: 'enough' where the whole interval is below `worth`, 'more would pay' where it is above. That doubling
    finds anything better at all has a chance of exactly one half, for every distribution. Source: type-II censored
    likelihood; the law as in Lourie, He, Cho, Hyperparameter Loss Surfaces Are Simple Near their Optima (2025).

  Raises:
    ConfigError: as of :func:`best_of_n`.

  >>> study = 3 + np.random.default_rng(0).random((64, 2)) ** 2 @ [
  ...   1,
  ...   1,
  ... ]  # quadratic in two
  >>> found = enough_trials(study, worth=0.2)
  >>> found.verdict, found.low < 0.02 < found.high
  ('enough', True)
  """
  ordered, _ = _checked(losses, None, confidence)
  n, worth = (
    len(ordered),
    abs(0.01 * float(ordered[0])) if worth is None else float(worth),
  )
  r, said = (
    max(6, math.ceil(TAIL * n)),
    functools.partial(EnoughTrials, worth=worth, confidence=confidence, n=n),
  )
  unsaid = functools.partial(said, 'too few to say', math.nan, math.nan, math.nan)
  if n < MIN_TRIALS or not np.isfinite(ordered[r - 1]):
    return unsaid(
      reason=f'{np.isfinite(ordered).sum()} of {n} trials are finite; {MIN_TRIALS} trials are needed'
    )
  if len(np.unique(ordered[:r])) < r:
    return unsaid(reason='of the best trials some are equal')
  gains = _doubling_gains(ordered[:r], n, np.random.default_rng(seed), draws)
  low, gain, high = np.quantile(
    gains, [(1 - confidence) / 2, 0.5, (1 + confidence) / 2]
  ).tolist()
  verdict = (
    'enough' if high < worth else 'more would pay' if low > worth else 'not sure'
  )
  return said(
    verdict,
    gain,
    low,
    high,
    reason=f'{n} more trials would lower the best by {gain:.3g} '
    f'({low:.3g} to {high:.3g}), where {worth:.3g} would pay',
  )


def _doubling_gains(
  lowest: np.ndarray, n: int, rng: np.random.Generator, draws: int
) -> np.ndarray:
  """(draws,) of the posterior of E[best of n] - E[best of 2n], from the lowest r of n under F = c (x - m)^a.

  With u = F(x_r) and a prior flat in m, log scale and log a, u ~ Beta(r, n - r + 1), and of (m, a) the posterior is
  a^(r-1) prod (x_i - m)^(a-1) (x_r - m)^(-a r), which is proper.
  """
  from scipy.special import gammaln

  r, spread = len(lowest), lowest[-1] - lowest[0]
  below = spread * np.geomspace(1e-4, 100, 160)  # x_1 - m
  logs = np.log((lowest - lowest[0])[:, None] + below)  # (r, m)
  a = _SHAPES[:, None]
  log_post = (
    (r - 1) * np.log(a) + (a - 1) * logs.sum(axis=0) - a * r * logs[-1] + np.log(below)
  )  # its grid is in logs
  weights = np.exp(log_post - log_post.max()).ravel()
  picked = rng.choice(weights.size, draws, p=weights / weights.sum())
  shape, below = _SHAPES[picked // len(below)], below[picked % len(below)]
  scale = (spread + below) * rng.beta(r, n - r + 1, draws) ** (-1 / shape)
  mean_best = lambda k: np.exp(
    gammaln(1 + 1 / shape) + gammaln(k + 1) - gammaln(k + 1 + 1 / shape)
  )
  return scale * (mean_best(n) - mean_best(2 * n))
