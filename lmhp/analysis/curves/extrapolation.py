"""Extrapolation of a training curve: a power law with an offset that may bend, with an interval.

  L(s) = E + A ((s + s0) / (s1 + s0))^-c + g(s)

Here s1 is the last step seen. One curve hardly determines the exponent c and the shift s0,
and the interval must show this. All pairs on a grid are fitted, and weighed by how well they
explain the curve (Bayesian model averaging).

Real curves bend away from any such law by some percent of their fall. The discrepancy g is a
Gaussian process (Kennedy and O'Hagan 2001). It changes the rate r(t) at which the law falls,
with t = log(s / s1), by a fraction that wanders like Brownian motion W:

  g(t) = integral from 0 to t of r(u) w W(1 - exp(-|u|)) du.

So g is 0 at the last step, and grows with the horizon. The clock of W runs from 0 at the last
step to 1 at step 0 and at infinity, so that the standard deviation of the change is at most w.
The curve itself determines the wander w, together with a half-Cauchy prior (Gelman 2006).
Noise that lasts from row to row is a first-order autoregression.

A curve follows such a law at a constant learning rate. While the rate decays the loss falls
below it, and the law says nothing. Only the part at a constant rate is fitted, and the
prediction is the loss at that rate. Without the learning rates, a cooldown cannot be seen.
Later overfitting, divergence, or a change of the data cannot be foreseen.
`bench/real_curves.py` measures the coverage on published curves.

Sources: law, Hestness et al. 2017, arXiv 1712.00409. Effect of a cooldown, Haegele et al.
2024, arXiv 2405.18392. Discrepancy, Kennedy and O'Hagan 2001, JRSS B 63(3). Prior, Gelman
2006, Bayesian Analysis 1(3).

Dimension key: S rows, K grid points.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from lmhp.analysis.curves.noise import find_spikes, noise_sd
from lmhp.errors import ConfigError
from lmhp.statistics.intervals import check_confidence
from lmhp.statistics.smoothing import lowess

MIN_ROWS = 12
MAX_ROWS = 150
"""Largest number of rows that are fitted. Neighbouring rows of a longer curve are averaged."""
SKIPPED = 0.2
"""Fraction of the steps at the start that the law does not cover."""
MAX_FACTOR = 10.0
"""Largest predicted step over the last step seen."""
CONSTANT = 0.99
"""Fraction of its peak above which a learning rate counts as constant."""
MAX_SPIKES = 3
EXPONENTS = np.geomspace(0.15, 2.0, 16)
SHIFTS = (0.0, 0.03, 0.1, 0.3, 1.0)
"""Shifts of the grid, as fractions of the last step."""
CORRELATIONS = (0.0, 0.3, 0.6, 0.85)
WANDERS = np.array([0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8])
WANDER_SCALE = 0.01
"""Scale of the prior of the wander. With a larger scale, more than 93% of the 90% intervals
cover on curves without wander (`bench/calibration_curves.py`)."""


@dataclasses.dataclass(frozen=True)
class Extrapolation:
  """Predicted loss at a later step. NaN if there is no result.

  Attributes:
    step: Step of the prediction.
    loss: Posterior median of the loss, without noise from step to step.
    low: Lower end of its interval.
    high: Upper end of the interval.
    confidence: Confidence of the interval.
    last_step: Last step of the part that is used.
    n_rows: Number of rows of this part.
    reason: Reason why there is no result. Empty if there is one.
  """

  step: float
  loss: float = math.nan
  low: float = math.nan
  high: float = math.nan
  confidence: float = 0.9
  last_step: float = math.nan
  n_rows: int = 0
  reason: str = ''


def extrapolate(
  steps: npt.ArrayLike,
  losses: npt.ArrayLike,
  to_step: float,
  learning_rate: npt.ArrayLike | None = None,
  confidence: float = 0.9,
  draws: int = 8000,
  seed: int = 0,
) -> Extrapolation:
  """Predicts the loss of a run at a later step, at the same learning rate.

  Args:
    steps: (S,) steps in any order. Of rows with the same step, the last is used.
    losses: (S,) losses in nats. Rows that are not finite are left out.
    to_step: Step of the prediction, after the last row that is fitted.
    learning_rate: (S,) learning rate of each row. None stands for a constant rate after the
      start.
    confidence: Confidence of the interval.
    draws: Number of draws from the posterior.
    seed: Seed of the draws.

  Returns:
    The prediction. There is none if the curve is too short, the learning rate decays, the
    loss spikes, or the step is too far away.

  Raises:
    ConfigError: If arrays differ in length, or the confidence is outside (0, 1).

  >>> steps = np.arange(10.0, 1001, 10)
  >>> noise = 0.01 * np.random.default_rng(0).standard_normal(100)
  >>> losses = 2 + 5 * steps**-0.5 + noise
  >>> result = extrapolate(steps, losses, 2000)
  >>> result.low < 2 + 5 * 2000**-0.5 < result.high, result.high - result.low < 0.1
  (True, True)
  >>> extrapolate(steps, losses, 2000, learning_rate=1 - steps / 1000).reason
  'the learning rate is constant for only 1 of 100 rows'
  """
  x = np.asarray(steps, np.float64)
  y = np.asarray(losses, np.float64)
  rates = np.asarray(
    np.full(x.shape, math.nan) if learning_rate is None else learning_rate, np.float64
  )
  for name, values in (('losses', y), ('learning_rate', rates)):
    if values.shape != x.shape or x.ndim != 1:
      raise ConfigError(
        f'{name}: got shape {values.shape}, expected that of steps, {x.shape}'
      )
  check_confidence(confidence)

  # Sort the rows. A resumed run repeats steps, and its last rows replace the earlier ones.
  order = np.flatnonzero(np.isfinite(y) & (x > 0))[::-1]
  x, first = np.unique(x[order], return_index=True)
  y = y[order][first]

  # Take the rows at a constant learning rate, if there are enough of them.
  rows, reason = _constant_part(x, rates[order][first])
  blank = Extrapolation(float(to_step), confidence=confidence, n_rows=len(rows))
  reason = reason or _reason(x[rows], y[rows], to_step)
  if reason:
    return dataclasses.replace(blank, reason=reason)

  # The law does not hold in the first steps. Two thirds of the rows are always fitted.
  skipped = x[rows] < x[rows[0]] + SKIPPED * (x[rows[-1]] - x[rows[0]])
  late = rows[min(skipped.sum(), len(rows) // 3) :]
  blank = dataclasses.replace(blank, last_step=float(x[rows[-1]]))
  return _average_fits(
    *_prepare(x[late], y[late]), blank, draws, np.random.default_rng(seed)
  )


def _constant_part(steps: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, str]:
  """Returns the rows at the peak of the learning rate, and a reason if they are too few."""
  finite = np.flatnonzero(np.isfinite(rates))
  if not len(finite):
    return np.arange(len(steps)), ''

  # Rows from the first at the peak to the last before the rate falls.
  at_peak = rates[finite] >= CONSTANT * rates[finite].max()
  first = int(np.argmax(at_peak))
  rows = finite[first:][np.logical_and.accumulate(at_peak[first:])]
  span = (steps[rows[-1]] - steps[rows[0]]) / max(steps[finite[-1]], 1e-300)
  # The constant part must hold enough rows and a third of the steps.
  is_short = len(rows) < MIN_ROWS or span < 1 / 3
  if is_short and len(rows) < len(finite):
    return rows, (
      f'the learning rate is constant for only {len(rows)} of {len(finite)} rows'
    )
  return rows, ''


def _reason(steps: np.ndarray, losses: np.ndarray, to_step: float) -> str:
  """Returns the reason why a curve cannot be extrapolated, or an empty string."""
  if len(steps) < MIN_ROWS:
    return f'the curve has {len(steps)} rows, and {MIN_ROWS} are needed'
  if not to_step > steps[-1]:
    return f'step {to_step:,.0f} is not after the last fitted step, {steps[-1]:,.0f}'
  if to_step > MAX_FACTOR * steps[-1]:
    return (
      f'step {to_step:,.0f} is more than {MAX_FACTOR:.0f} times the last step, '
      f'{steps[-1]:,.0f}'
    )
  n_spikes = len(find_spikes(losses))
  if n_spikes > MAX_SPIKES:
    return f'the loss has {n_spikes} spikes'
  # The end must be below the first quarter. The start is left out, because any loss
  # falls from there. It must not be above the minimum by more than noise.
  smoothed = lowess(losses, len(losses) // 3)
  highest = smoothed.min() + 2 * noise_sd(losses) / math.sqrt(len(losses) / 3)
  falls = smoothed[-1] < smoothed[len(smoothed) // 4] and smoothed[-1] <= highest
  return '' if falls else 'the loss does not fall'


# --- fit --------------------------------------------------------------------------------


def _average_fits(
  steps: np.ndarray,
  losses: np.ndarray,
  blank: Extrapolation,
  draws: int,
  rng: np.random.Generator,
) -> Extrapolation:
  """Averages the fits of the grid, and draws the loss at the later step."""
  exponents = np.repeat(EXPONENTS, len(SHIFTS))
  shifts = np.tile(np.array(SHIFTS) * steps[-1], len(EXPONENTS))

  # (K, S + 1) law with offset 0 and amplitude 1. The last column is the later step.
  at = np.append(steps, blank.step)
  laws = ((at + shifts[:, None]) / (steps[-1] + shifts[:, None])) ** -exponents[:, None]

  # The best law without wander gives the noise of a row and the rate of the fall.
  n = len(losses)
  distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
  start = _fit(laws, losses, np.eye(n + 1))
  best = int(np.argmax(start.log_evidence))
  jumps = np.diff(losses - start.amplitude[best] * laws[best, :-1])
  noise = max(np.std(jumps) / math.sqrt(2), 1e-3 * np.std(losses))
  rate = start.amplitude[best] * exponents[best] * laws[best] * at / (at + shifts[best])
  discrepancy = _discrepancy(np.log(at / steps[-1]), rate / noise)

  # Fit all laws for each correlation of the noise and each wander. The grid is even in
  # log(w), so that the half-Cauchy prior of w has the weights w / (1 + (w / scale)^2).
  fits = [
    _fit(laws, losses, np.pad(correlation**distance, (0, 1)) + wander**2 * discrepancy)
    for correlation in CORRELATIONS
    for wander in WANDERS
  ]
  log_prior = np.log(WANDERS / (1 + (WANDERS / WANDER_SCALE) ** 2))
  log_priors = np.tile(np.repeat(log_prior, len(exponents)), len(CORRELATIONS))
  log_weight = np.concatenate([fit.log_evidence for fit in fits]) + log_priors
  if not np.isfinite(log_weight.max()):
    return dataclasses.replace(
      blank, reason='no power law with an offset fits the curve'
    )

  # Draw from the average. The scale of each fit has n - 2 degrees of freedom.
  weight = np.exp(log_weight - log_weight.max())
  cells = rng.choice(len(weight), size=draws, p=weight / weight.sum())
  mean = np.concatenate([fit.mean for fit in fits])[cells]
  deviation = np.concatenate([fit.deviation for fit in fits])[cells]
  predicted = mean + deviation * rng.standard_t(n - 2, draws)
  low, loss, high = np.quantile(
    predicted, [(1 - blank.confidence) / 2, 0.5, (1 + blank.confidence) / 2]
  )
  return dataclasses.replace(blank, loss=float(loss), low=float(low), high=float(high))


def _prepare(steps: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Moves outliers to 3.5 standard deviations, and averages the rows of a long curve."""
  smoothed = lowess(losses, window=7)
  reach = 3.5 * noise_sd(losses)
  losses = smoothed + np.clip(losses - smoothed, -reach, reach)

  group = np.arange(len(losses)) * min(MAX_ROWS, len(losses)) // len(losses)
  size = np.bincount(group)
  return np.bincount(group, steps) / size, np.bincount(group, losses) / size


def _discrepancy(log_steps: np.ndarray, rate: np.ndarray) -> np.ndarray:
  """Returns the covariance of the discrepancy for a wander of 1.

  Args:
    log_steps: (S + 1,) log of the step over the last step seen, which is row S - 1.
    rate: (S + 1,) fall of the law per unit of log steps.

  Returns:
    (S + 1, S + 1) covariance. It is 0 at the last step seen.
  """
  # Add points between the last step and the later step, so that the sums are accurate.
  last = len(log_steps) - 2
  fine = np.append(log_steps[:last], np.linspace(0, log_steps[-1], 21))
  middle = (fine[1:] + fine[:-1]) / 2
  area = np.interp(middle, log_steps, rate) * np.diff(fine)

  # Brownian motion is 0 at the last step, and independent before and after it.
  clock = 1 - np.exp(-np.abs(middle))
  brownian = np.minimum.outer(clock, clock) * np.equal.outer(middle > 0, middle > 0)

  # The discrepancy of a row is a sum of areas times Brownian motion from the last step.
  sums = np.tri(len(fine), len(middle), -1) * area
  sums = sums[np.r_[: last + 1, -1]] - sums[last]
  return sums @ brownian @ sums.T


@dataclasses.dataclass(frozen=True)
class _Fit:
  """Generalized least squares of losses on a constant and each of K laws.

  Attributes:
    log_evidence: (K,) log of the marginal likelihood. -inf if the offset or the amplitude is
      not positive.
    amplitude: (K,) coefficient of the law.
    mean: (K,) predicted loss at the later step.
    deviation: (K,) its standard deviation.
  """

  log_evidence: np.ndarray
  amplitude: np.ndarray
  mean: np.ndarray
  deviation: np.ndarray


def _fit(laws: np.ndarray, losses: np.ndarray, covariance: np.ndarray) -> _Fit:
  """Fits the laws, and predicts the loss at the later step (universal kriging).

  Args:
    laws: (K, S + 1) laws at the rows and at the later step.
    losses: (S,) losses.
    covariance: (S + 1, S + 1) covariance, up to a factor that is estimated.

  Source: Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, section 2.7.
  """
  n = len(losses)
  # Whiten all columns by the Cholesky factor.
  root = np.linalg.cholesky(covariance[:n, :n] + 1e-9 * np.eye(n))
  white = np.linalg.solve(
    root, np.column_stack([losses, np.ones(n), covariance[:n, n], laws[:, :n].T])
  )
  y, one, link, x = white[:, 0], white[:, 1], white[:, 2], white[:, 3:]

  # Least squares in the offset and the amplitude, for all laws at once.
  centre = (one @ x) / (one @ one)
  centred = x - np.outer(one, centre)
  spread = np.maximum((centred**2).sum(axis=0), 1e-300)
  amplitude = y @ centred / spread
  offset = (one @ y) / (one @ one) - amplitude * centre
  residuals = y[:, None] - np.outer(one, offset) - amplitude * x
  squares = np.maximum(np.square(residuals).sum(axis=0), 1e-300)

  # Evidence with flat priors of offset, amplitude and log of the scale.
  log_evidence = (
    -np.log(np.diag(root)).sum()
    - np.log((one @ one) * spread) / 2
    - (n - 2) / 2 * np.log(squares)
  )

  # Mean and variance of the loss at the later step.
  from_one = 1 - link @ one
  from_law = laws[:, n] - link @ x
  variance = (
    covariance[n, n]
    - link @ link
    + from_one**2 / (one @ one)
    + (from_law - from_one * centre) ** 2 / spread
  )
  return _Fit(
    log_evidence=np.where((amplitude > 0) & (offset > 0), log_evidence, -math.inf),
    amplitude=amplitude,
    mean=offset * from_one + amplitude * from_law + link @ y,
    deviation=np.sqrt(np.maximum(variance, 0) * squares / (n - 2)),
  )
