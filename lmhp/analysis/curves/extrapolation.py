"""Extrapolation of a training curve: a power law with an offset, with an interval.

  L(s) = E + A ((s + s0) / (s1 + s0))^-c

Here s1 is the last step seen. One curve hardly determines the exponent c and the shift s0,
and the interval must show this. All pairs on a grid are fitted by least squares in E and A,
and weighed by how well they explain the curve (Bayesian model averaging). Noise that lasts
from row to row is modelled as a first-order autoregression and removed first (Cochrane and
Orcutt 1949).

A curve follows such a law at a constant learning rate. While the rate decays the loss falls
below it, and the law says nothing. Only the part at a constant rate is fitted, and the
prediction is the loss at that rate. Source of the law: Hestness et al. 2017, arXiv
1712.00409. Effect of a cooldown: Haegele et al. 2024, arXiv 2405.18392.

Dimension key: S rows, K grid points, R draws.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from lmhp.analysis.curves.noise import MAD_TO_SD, find_spikes
from lmhp.errors import ConfigError
from lmhp.statistics.intervals import check_confidence
from lmhp.statistics.smoothing import lowess

MIN_ROWS = 30
SKIPPED = 0.1
"""Fraction of the steps at the start that the law does not cover."""
MAX_FACTOR = 10.0
"""Largest predicted step over the last step seen."""
CONSTANT = 0.99
"""Fraction of its peak above which a learning rate counts as constant."""
MAX_SPIKES = 3
MIN_DRAWS = 50
EXPONENTS = np.geomspace(0.05, 2.0, 33)
SHIFTS = (0.0, 0.03, 0.1, 0.3, 1.0)
"""Shifts of the grid, as fractions of the last step."""
MAX_CORRELATION = 0.95


@dataclasses.dataclass(frozen=True)
class Extrapolation:
  """Predicted loss at a later step. NaN if there is no result.

  Attributes:
    step: Step of the prediction.
    loss: Posterior median of the loss, without noise from step to step.
    low: Lower end of its interval.
    high: Upper end of the interval.
    confidence: Confidence of the interval.
    offset: E of the best fit, in nats.
    amplitude: A of the best fit, the height of the last row above E.
    exponent: c of the best fit.
    shift: s0 of the best fit, in steps.
    noise: Standard deviation of a row around the fit.
    correlation: Correlation of the noise between neighbouring rows.
    first_step: First step of the part that was fitted.
    last_step: Last step of it.
    n_rows: Number of rows that were fitted.
    reason: Reason why there is no result. Empty if there is one.
  """

  step: float
  loss: float = math.nan
  low: float = math.nan
  high: float = math.nan
  confidence: float = 0.9
  offset: float = math.nan
  amplitude: float = math.nan
  exponent: float = math.nan
  shift: float = math.nan
  noise: float = math.nan
  correlation: float = math.nan
  first_step: float = math.nan
  last_step: float = math.nan
  n_rows: int = 0
  reason: str = ''


def extrapolate(
  steps: npt.ArrayLike,
  losses: npt.ArrayLike,
  to_step: float,
  learning_rate: npt.ArrayLike | None = None,
  confidence: float = 0.9,
  draws: int = 2000,
  seed: int = 0,
) -> Extrapolation:
  """Predicts the loss of a run at a later step, at the same learning rate.

  Args:
    steps: (S,) rising steps.
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
  if x.shape != y.shape or x.ndim != 1:
    raise ConfigError(f'losses: got shape {y.shape}, expected that of steps, {x.shape}')
  check_confidence(confidence)

  # Take the rows at a constant learning rate, if there are enough of them.
  rows, reason = _constant_part(x, learning_rate)
  rows = rows[np.isfinite(y[rows]) & (x[rows] > 0)]
  blank = Extrapolation(float(to_step), confidence=confidence, n_rows=len(rows))
  reason = reason or _reason(x[rows], y[rows], to_step)
  if reason:
    return dataclasses.replace(blank, reason=reason)
  x = x[rows]
  y = y[rows]

  # The law does not hold in the first steps.
  late = x >= x[0] + SKIPPED * (x[-1] - x[0])
  return _average_fits(x[late], y[late], blank, draws, np.random.default_rng(seed))


def _constant_part(
  steps: np.ndarray, learning_rate: npt.ArrayLike | None
) -> tuple[np.ndarray, str]:
  """Returns the rows at the peak of the learning rate, and a reason if they are too few."""
  rates = np.asarray(
    np.full(len(steps), math.nan) if learning_rate is None else learning_rate,
    np.float64,
  )
  if rates.shape != steps.shape:
    raise ConfigError(
      f'learning_rate: got shape {rates.shape}, expected that of steps, {steps.shape}'
    )
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
  # falls from there.
  smoothed = lowess(losses, max(3, len(losses) // 3))
  falls = smoothed[-1] < smoothed[len(smoothed) // 4]
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

  def power_law(at: np.ndarray) -> np.ndarray:
    """Returns (K, S) the law with offset 0 and amplitude 1."""
    ratio = (at + shifts[:, None]) / (steps[-1] + shifts[:, None])
    return ratio ** -exponents[:, None]

  # For a fixed exponent and shift, loss = E + A * column is linear in E and A.
  columns = power_law(steps)
  later = power_law(np.array([blank.step]))[:, 0]
  losses, residuals = _winsorize(columns, losses)

  # Remove the correlation of neighbouring rows.
  correlation = _correlation(residuals)

  def whiten(values: np.ndarray) -> np.ndarray:
    return values[..., 1:] - correlation * values[..., :-1]

  fit = _least_squares(whiten(columns), whiten(losses), 1 - correlation)

  # Posterior weights of the grid, and draws of the noise, A and E.
  n = len(losses) - 1
  log_fit = -(n - 2) / 2 * np.log(fit.squares / fit.squares.min())
  log_weight = log_fit - 0.5 * np.log(fit.spread)
  weight = np.exp(log_weight - log_weight.max())
  cells = rng.choice(len(exponents), size=4 * draws, p=weight / weight.sum())
  sigma = np.sqrt(fit.squares[cells] / rng.chisquare(n - 2, len(cells)))
  a, b = rng.standard_normal((2, len(cells)))
  amplitude = fit.amplitude[cells] + sigma * a / np.sqrt(fit.spread[cells])
  middle = fit.middle + sigma * b / math.sqrt(fit.weight)
  offset = middle - amplitude * fit.centre[cells]
  possible = (amplitude > 0) & (offset > 0)
  if possible.sum() < MIN_DRAWS:
    return dataclasses.replace(
      blank, n_rows=n + 1, reason='no power law with an offset fits the curve'
    )

  predicted = (offset + amplitude * later[cells])[possible]
  low, loss, high = np.quantile(
    predicted, [(1 - blank.confidence) / 2, 0.5, (1 + blank.confidence) / 2]
  )
  best = int(np.argmin(fit.squares))
  return dataclasses.replace(
    blank,
    loss=float(loss),
    low=float(low),
    high=float(high),
    offset=float(fit.offset[best]),
    amplitude=float(fit.amplitude[best]),
    exponent=float(exponents[best]),
    shift=float(shifts[best]),
    noise=float(np.std(residuals)),
    correlation=correlation,
    first_step=float(steps[0]),
    last_step=float(steps[-1]),
    n_rows=n + 1,
  )


@dataclasses.dataclass(frozen=True)
class _Fit:
  """Least squares of losses on a constant and each of K columns.

  Attributes:
    amplitude: (K,) coefficient of the column.
    offset: (K,) coefficient of the constant.
    squares: (K,) sum of squared residuals.
    spread: (K,) sum of squares of the centred column.
    centre: (K,) mean of the column.
    middle: Mean of the losses.
    weight: Sum of squares of the constant.
  """

  amplitude: np.ndarray
  offset: np.ndarray
  squares: np.ndarray
  spread: np.ndarray
  centre: np.ndarray
  middle: float
  weight: float


def _least_squares(columns: np.ndarray, losses: np.ndarray, constant: float) -> _Fit:
  """Fits losses (S,) by a constant column and each of K columns (K, S)."""
  # Least squares of loss = offset + amplitude * column, for all columns at once.
  mean_x = columns.mean(axis=1)
  mean_y = losses.mean()
  centred = columns - mean_x[:, None]
  spread = np.maximum((centred**2).sum(axis=1), 1e-300)
  amplitude = centred @ (losses - mean_y) / spread
  residuals = losses - mean_y - amplitude[:, None] * centred
  middle = mean_y / constant
  centre = mean_x / constant
  return _Fit(
    amplitude=amplitude,
    offset=middle - amplitude * centre,
    squares=np.maximum((residuals**2).sum(axis=1), 1e-300),
    spread=spread,
    centre=centre,
    middle=float(middle),
    weight=len(losses) * constant**2,
  )


def _winsorize(
  columns: np.ndarray, losses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Moves outliers to 3.5 standard deviations from the best fit.

  Returns:
    (S,) losses and (S,) their residuals.
  """
  residuals = np.zeros(len(losses))
  for _ in range(3):
    fit = _least_squares(columns, losses, 1.0)
    best = int(np.argmin(fit.squares))
    fitted = fit.offset[best] + fit.amplitude[best] * columns[best]
    reach = 3.5 * MAD_TO_SD * np.median(np.abs(losses - fitted))
    losses = fitted + np.clip(losses - fitted, -reach, reach)
    residuals = losses - fitted
  return losses, residuals


def _correlation(residuals: np.ndarray) -> float:
  """Returns the correlation of neighbouring rows, at least 0.

  It is corrected for what a fit of four parameters takes away (Kendall's correction).
  """
  squares = max(np.sum(residuals**2), 1e-300)
  r = float(np.sum(residuals[1:] * residuals[:-1]) / squares)
  corrected = r + (1 + 4 * max(r, 0.0)) / len(residuals)
  return float(np.clip(corrected, 0.0, MAX_CORRELATION))
