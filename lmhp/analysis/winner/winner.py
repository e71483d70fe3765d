"""How good the chosen config really is: its expected loss on a fresh seed, without the luck that made it the winner.

The lowest of many noisy means is low partly by luck (the winner's curse), and Student's interval around it misses the
truth: of 64 points with noise twice their spread it holds it in 54% of studies, and not in 90%. Three cases:

- Fresh seeds of the winner were run to confirm it. They know nothing of the choice, and Student's interval of them
  holds. That is the one to want: it is short and assumes least.
- Else the noise from seed to seed is known, given or seen between the seeds of a point. Then the interval is
  conditional on having won: of all values that the winner's mean could have taken, only those below the runner-up's
  would have made it win. It is the hybrid of Andrews, Kitagawa and McCloskey (2024), and for an estimated noise the
  pivot is Student's, made exact by conditioning on the sum of squares too (Fithian, Sun and Taylor 2014).
- Else there is one seed for each point and nobody knows the noise: no interval.

Points that ran on the same seeds share a part of their noise (`seed_noise.py`). That part did not help the winner to
win: with correlation r its lead counts 1 / (1 - r) times, and the noise has fewer degrees of freedom. Where r is 0.95,
as of learning rates near each other, an interval that is not told of it holds the truth in 69 to 85% of studies.

The hybrid holds the truth in `confidence` to about 1% more of studies, whatever the true losses are. It is exact only
for normal noise, equal at all points and equally correlated, and points that were not chosen by the results of others:
grid, random and quasi-random search. What a Bayesian search or halving leaves is not that, and wants fresh seeds;
`bench/calibration_best.py` prints what happens. Shrinking with a prior for true losses (empirical Bayes) was tried and
left: half to nine tenths as long where the prior fits, but it held the truth in 18% of studies with one good point
among 32.

Dimension key: T runs, P points.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from lmhp.errors import ConfigError
from lmhp.statistics.seed_noise import rows_by_point, seed_noise

_PROJECTION_SHARE = 0.1
"""Of the error rate, what the hybrid spends on its outer bound. Source: Andrews et al. 2024, who advise a tenth."""

_BISECTIONS = 40
_ROUNDING = 1e-12

NEAR_TIE = 0.1
"""Standard errors between winner and runner-up below which the hybrid's interval is not to be read alone."""


@dataclasses.dataclass(frozen=True)
class Winner:
  """The config that a study chose, and what to expect of it.

  Attributes:
    point: which one.
    n_points: of how many that could have won.
    n_seeds: how many seeds of the search it was chosen by.
    mean: of these: what the study shows, too good on average.
    runner_up: mean of the next best; infinity where there is none.
    expected: estimate of the loss on a fresh seed: the mean of the fresh seeds, or the median-unbiased one.
    low: of the interval for the expected loss; NaN where none can be said.
    high: its other end.
    confidence: how often such intervals hold the truth.
    method: 'fresh seeds', 'given that it won', or 'none'.
    noise: standard deviation from seed to seed that was used, NaN where not known.
    freedom: its degrees of freedom; infinity of a noise that is known.
    n_fresh: how many fresh seeds there were.
    reason: a sentence: how the interval was found, or why there is none.
    correlation: between the noise of two points on one seed, as it was seen.
  """

  point: Any
  n_points: int
  n_seeds: int
  mean: float
  runner_up: float
  expected: float
  low: float
  high: float
  confidence: float
  method: str
  noise: float
  freedom: float
  n_fresh: int
  reason: str
  correlation: float = 0.0

  @property
  def curse(self) -> float:
    """How much worse it is expected to be than the study shows."""
    return self.expected - self.mean


def expected_loss_of_best(
  losses: np.ndarray,
  points: np.ndarray | None = None,
  noise: float | None = None,
  confirm: np.ndarray | None = None,
  confidence: float = 0.9,
  noise_freedom: float = math.inf,
  seeds: np.ndarray | None = None,
) -> Winner:
  """The point of lowest mean, with an interval for its expected loss on a fresh seed.

  Args:
    losses: (T,) of the search, less is better. A run that is not finite diverged; its point cannot win, and says
      nothing of the noise. (Make diverged runs NaN here: a finite bad value would be taken for noise.)
    points: (T,) which runs are one point, differing in their seed alone; each its own by default.
    noise: standard deviation from seed to seed, where it is known from elsewhere; else it is pooled over the points
      with several seeds.
    confirm: losses of the winner on fresh seeds, run because it had won.
    confidence: how often such intervals hold the true expected loss.
    noise_freedom: degrees of freedom of `noise`.
    seeds: (T,) seed of each run, where points ran on the same ones; None where no two points share a seed.

  Returns:
    The winner. Three fresh seeds or more stand alone; one or two take the noise from the search. Of points that are
    tied, the one that came first wins.

  Raises:
    ConfigError: shapes differ, nothing is finite, or a number is out of its range.

  >>> winner = expected_loss_of_best(
  ...   [3.1, 3.0, 3.4, 3.3], points=[0, 0, 1, 1], confirm=[3.12, 3.05, 3.10]
  ... )
  >>> (
  ...   winner.point,
  ...   round(winner.mean, 3),
  ...   round(winner.expected, 3),
  ...   round(winner.low, 3),
  ...   round(winner.high, 3),
  ... )
  (0, 3.05, 3.09, 3.029, 3.151)
  >>> winner = expected_loss_of_best([3.02, 3.01, 3.03], noise=0.02)
  >>> winner.point, winner.method, winner.low < 3.01 < winner.expected < winner.high
  (1, 'given that it won', True)
  >>> expected_loss_of_best([3.02, 3.01, 3.03]).method
  'none'
  """
  losses, points, confirm, seeds = _checked(
    losses, points, noise, confirm, confidence, noise_freedom, seeds
  )
  rows = rows_by_point(points)
  means = {point: float(np.mean(losses[own])) for point, own in rows.items()}
  point, seen = min(means, key=means.get), seed_noise(losses, points, seeds)
  noise, freedom = (
    (seen.noise, seen.degrees_of_freedom)
    if noise is None
    else (float(noise), float(noise_freedom))
  )
  if noise <= _ROUNDING * abs(
    means[point]
  ):  # copies of one run: no noise was seen, and there is some
    noise = math.nan
  won = {
    'point': point,
    'n_points': len(rows),
    'n_seeds': len(rows[point]),
    'mean': means[point],
    'runner_up': min(
      (mean for other, mean in means.items() if other != point), default=math.inf
    ),
    'confidence': float(confidence),
    'n_fresh': len(confirm),
    'correlation': seen.correlation,
  }
  if len(confirm):
    return _of_fresh_seeds(won, confirm, noise, freedom)
  if math.isnan(noise):
    why = (
      'the seeds of a point do not differ, as copies would not'
      if freedom
      else 'there is one seed for each point'
    )
    return _without_interval(
      won, f'{why}: the noise is not known, and so not how lucky the winner was'
    )
  return _given_that_it_won(
    won, _lead(means, rows, seeds, point, seen.correlation), noise, freedom
  )


def _checked(losses, points, noise, confirm, confidence, noise_freedom, seeds):
  """The arrays, without the runs of points that cannot win."""
  losses = np.asarray(losses, np.float64)
  seeds = None if seeds is None else np.asarray(seeds)
  points = np.arange(len(losses)) if points is None else np.asarray(points)
  confirm = np.asarray([] if confirm is None else confirm, np.float64)
  if losses.ndim != 1 or losses.shape != points.shape or confirm.ndim != 1:
    raise ConfigError(
      f'losses, points, confirm: got shapes {losses.shape}, {points.shape} and {confirm.shape}; '
      'accepted are lists, the first two of one length'
    )
  if seeds is not None and seeds.shape != losses.shape:
    raise ConfigError(
      f'seeds: got shape {seeds.shape}; accepted is one for each of {len(losses)} losses'
    )
  if not 0 < confidence < 1:
    raise ConfigError(f'confidence: got {confidence}; accepted is above 0 and below 1')
  if noise is not None and not 0 < noise < math.inf:
    raise ConfigError(
      f'noise: got {noise}; accepted is above 0 and finite, or None where it is not known'
    )
  if not noise_freedom > 0:
    raise ConfigError(f'noise_freedom: got {noise_freedom}; accepted is above 0')
  whole = ~np.isin(points, points[~np.isfinite(losses)])
  if not whole.any():
    raise ConfigError(
      f'losses: got {len(losses)} runs and no point whose runs are all finite; accepted is one or more'
    )
  return losses[whole], points[whole], confirm, None if seeds is None else seeds[whole]


def _lead(
  means: dict, rows: dict, seeds: np.ndarray | None, point: Any, correlation: float
) -> float:
  """By how much better the winner's mean would have to be than it is true for others to be beaten: the least over them.

  A mean of n seeds moves with the winner's by the correlation times the share of its seeds that the winner ran, too.
  """
  others = [other for other in means if other != point]
  if not correlation:
    return min((means[other] - means[point] for other in others), default=math.inf)
  shared = [
    np.mean(np.isin(seeds[rows[other]], seeds[rows[point]])) for other in others
  ]
  return min(
    (means[other] - means[point]) / (1 - correlation * share)
    for other, share in zip(others, shared)
  )


def _without_interval(won: dict, reason: str, expected: float = math.nan) -> Winner:
  return Winner(
    **won,
    expected=expected,
    low=math.nan,
    high=math.nan,
    method='none',
    noise=math.nan,
    freedom=0.0,
    reason=reason,
  )


def _of_fresh_seeds(
  won: dict, confirm: np.ndarray, noise: float, freedom: float
) -> Winner:
  """Student's interval; one or two fresh seeds are too few to show their own noise, and take that of the search too."""
  n, mean = len(confirm), float(np.mean(confirm))
  if not np.isfinite(confirm).all():
    bad = int(np.sum(~np.isfinite(confirm)))
    return _without_interval(
      won, f'{bad} of {n} fresh seeds diverged: the expected loss is not finite'
    )
  own, own_freedom = float(np.sum((confirm - mean) ** 2)), n - 1.0
  borrowed = n < 3 and not math.isnan(noise)
  if borrowed and math.isfinite(freedom):
    own, own_freedom = own + freedom * noise**2, own_freedom + freedom
  elif borrowed:
    own, own_freedom = noise**2, math.inf
  if own_freedom == 0 or math.sqrt(own) <= _ROUNDING * abs(mean):
    why = (
      'there is one fresh seed'
      if n == 1
      else f'the {n} fresh seeds do not differ, as copies would not'
    )
    return _without_interval(
      won, f'{why}, and the noise from seed to seed is not known', mean
    )
  sd = math.sqrt(own if math.isinf(own_freedom) else own / own_freedom)
  half = float(_quantile((1 + won['confidence']) / 2, own_freedom)) * sd / math.sqrt(n)
  reason = f"Student's interval of {n} fresh seed{'s' if n > 1 else ''}"
  reason += ', with the noise of the search' if borrowed else ''
  return Winner(
    **won,
    expected=mean,
    low=mean - half,
    high=mean + half,
    method='fresh seeds',
    noise=sd,
    freedom=own_freedom,
    reason=reason,
  )


def _given_that_it_won(won: dict, lead: float, noise: float, freedom: float) -> Winner:
  error = noise / math.sqrt(won['n_seeds'])
  gap = lead / error
  low, expected, high = won['mean'] - error * hybrid_quantiles(
    gap, freedom, won['n_points'], won['confidence']
  )
  reason = f'conditional on winning among {won["n_points"]}, noise {noise:.3g} from seed to seed'
  reason += (
    f', {won["correlation"]:.0%} of its square common to all points'
    if won['correlation'] >= 0.005
    else ''
  )
  if (
    gap < NEAR_TIE
  ):  # exact over studies, and odd in this one: it takes the tie for a sign of bad luck alone
    reason += '; winner and runner-up are nearly tied, where it is least to be trusted: run fresh seeds'
  return Winner(
    **won,
    expected=float(expected),
    low=float(low),
    high=float(high),
    method='given that it won',
    noise=noise,
    freedom=freedom,
    reason=reason,
  )


# --- the pivot ------------------------------------------------------------------------------------------------------


def hybrid_quantiles(
  gap: np.ndarray, freedom: float | np.ndarray, n_points: int, confidence: float = 0.9
) -> np.ndarray:
  """The winner's studentized error, (mean - true) / standard error, given that it won: upper end, median, lower end.

  Args:
    gap: (...) runner-up's mean minus the winner's, in standard errors of the winner's, over 1 minus the correlation of
      the two; infinity where there is none.
    freedom: degrees of freedom of the noise, one number or (...); infinity where it is known, in all studies or none.
    n_points: P, how many could have won.
    confidence: of the interval between the first and the last.

  Returns:
    (3, ...). The low end of the true loss is mean - first * error, its median-unbiased estimate mean - second * error.
    Source: Andrews, Kitagawa, McCloskey, Inference on Winners (QJE 2024), the hybrid; its outer bound is Sidak's.

  >>> hybrid_quantiles(float('inf'), float('inf'), 1)[[0, 2]].round(3).tolist()
  [1.645, -1.645]
  """
  gap, freedom = np.broadcast_arrays(
    np.asarray(gap, np.float64), np.asarray(freedom, np.float64)
  )
  error_rate = 1 - confidence
  spent = (
    _PROJECTION_SHARE * error_rate if n_points > 1 else 0.0
  )  # one point was not chosen: Student's interval
  tail = (error_rate - spent) / (1 - spent) / 2
  shares = np.array([1 - tail, 0.5, tail]).reshape((3,) + (1,) * gap.ndim)
  if not spent:
    return _quantile(shares, freedom) + np.zeros_like(gap)
  bound = _quantile(1 - (1 - (1 - spent) ** (1 / n_points)) / 2, freedom)
  low, high = (
    np.broadcast_to(-bound, (3, *gap.shape)),
    np.broadcast_to(bound, (3, *gap.shape)),
  )
  for _ in range(_BISECTIONS):
    middle = (low + high) / 2
    below = hybrid_pivot(middle, gap, freedom, bound) < shares
    low, high = np.where(below, middle, low), np.where(below, high, middle)
  return (low + high) / 2


def hybrid_pivot(
  error: np.ndarray,
  gap: np.ndarray,
  freedom: float | np.ndarray,
  bound: float | np.ndarray,
) -> np.ndarray:
  """How often the winner's studentized error is at most this, given that it won and lies within +-bound.

  The noise is estimated, so the runner-up's place is fixed only in units of the unknown noise. Given the winner's
  squared distance from its true value plus the residual squares (which, for a true value that is supposed, says all
  about the noise) the direction is uniform on a sphere, and the error is Student's below a place that is known.
  It rises with the error; of 1 degree of freedom alone it falls for a stretch, by 0.06 at most, and the interval that
  bisection finds there still holds the truth in 90 to 91% of studies.

  Source: Fithian, Sun, Taylor, Optimal Inference After Model Selection (2014), the selected t-test.
  """
  cut = error + gap
  if np.isfinite(freedom).all():
    rest = error**2 + freedom - cut**2
    with np.errstate(invalid='ignore'):
      cut = np.where(
        rest > 0, cut * np.sqrt(freedom) / np.sqrt(np.maximum(rest, 1e-300)), math.inf
      )
  floor = _share_below(-bound, freedom)
  return (_share_below(error, freedom) - floor) / (
    _share_below(np.minimum(cut, bound), freedom) - floor
  )


def _share_below(value: np.ndarray, freedom: float | np.ndarray) -> np.ndarray:
  from scipy.special import ndtr, stdtr  # slow to import

  return stdtr(freedom, value) if np.isfinite(freedom).all() else ndtr(value)


def _quantile(share: np.ndarray, freedom: float | np.ndarray) -> np.ndarray:
  from scipy.special import ndtri, stdtrit

  return stdtrit(freedom, share) if np.isfinite(freedom).all() else ndtri(share)
