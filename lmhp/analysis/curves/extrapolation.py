"""Where a training curve goes: a power law with an offset, with an interval for the loss at a later step.

  L(s) = E + A ((s + s0) / (s1 + s0))^-c,  s1 the last step seen

Exponent and shift can hardly be told from one curve, and the interval must say so: all pairs of a grid are fitted, each
by least squares in E and A, and weighed by how well they explain the curve (Bayesian model averaging). Noise that lasts
from row to row is taken for a first-order autoregression and removed before (Cochrane and Orcutt 1949).

A curve follows such a law at a constant learning rate. While the rate decays the loss falls below it and the law says
nothing, so that only a part at constant rate is fitted, and what is predicted is the loss if the rate had stayed.
Source of the law: Hestness et al. 2017, arXiv 1712.00409; of what a cooldown does: Haegele et al. 2024, arXiv 2405.18392.

Dimension key: S rows, K grid points.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.curves.spikes import spikes
from lmhp.errors import ConfigError
from lmhp.statistics.smoothing import lowess

FEWEST_ROWS = 30
SKIPPED = 0.1
"""Share of the steps at the start that is left out: the law is of later."""
FARTHEST = 10.0
"""Times the last step, beyond which nothing is said."""
CONSTANT = 0.99
"""Share of its peak above which a learning rate counts as at its peak."""
MOST_SPIKES = 3
_EXPONENTS = np.geomspace(0.05, 2.0, 33)
_SHIFTS = (0.0, 0.03, 0.1, 0.3, 1.0)
_MOST_CORRELATED = 0.95


@dataclasses.dataclass(frozen=True)
class Extrapolation:
  """What :func:`extrapolate` says.

  Attributes:
    step: at which.
    loss: predicted, the median; of the curve without its noise from step to step.
    low: of its interval.
    high: its other end.
    confidence: of the interval.
    offset: E of the best fit, nats.
    amplitude: A of the best fit: how far above E the last row seen is.
    exponent: c of the best fit.
    shift: s0 of the best fit, steps.
    noise: standard deviation of a row around the fit.
    correlation: of the noise of one row with that of the next.
    first_step: of the part that was fitted.
    last_step: of it.
    rows: how many.
    refused: why nothing is said, or ''.
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
  rows: int = 0
  refused: str = ''


def extrapolate(
  steps: np.ndarray,
  losses: np.ndarray,
  to_step: float,
  learning_rate: np.ndarray | None = None,
  confidence: float = 0.9,
  draws: int = 2000,
  seed: int = 0,
) -> Extrapolation:
  """The loss of a run at a later step, had it gone on at its learning rate.

  Args:
    steps: (S,) increasing.
    losses: (S,) nats; rows that are not finite are left out.
    to_step: later than the last row of the part that is fitted.
    learning_rate: (S,) of each row; where it is None, it is taken to have been constant after the start.
    confidence: of the interval.
    draws: from the posterior.
    seed: of the draws.

  Returns:
    The prediction, or why there is none: the curve is too short, the learning rate decays, the loss spikes, or the step
    is too far away.

  Raises:
    ConfigError: for arrays of different lengths, or a confidence outside (0, 1).

  >>> steps = np.arange(10.0, 1001, 10)
  >>> losses = (
  ...   2 + 5 * steps**-0.5 + 0.01 * np.random.default_rng(0).standard_normal(100)
  ... )
  >>> found = extrapolate(steps, losses, 2000)
  >>> found.low < 2 + 5 * 2000**-0.5 < found.high, found.high - found.low < 0.1
  (True, True)
  >>> extrapolate(steps, losses, 2000, learning_rate=1 - steps / 1000).refused
  'the learning rate is constant for 1 of 100 rows: too few'
  """
  steps, losses = np.asarray(steps, np.float64), np.asarray(losses, np.float64)
  if steps.shape != losses.shape or steps.ndim != 1:
    raise ConfigError(
      f'losses: got shape {losses.shape}, expected as many as steps, {steps.shape}'
    )
  if not 0 < confidence < 1:
    raise ConfigError(
      f'confidence: got {confidence}, expected a number between 0 and 1'
    )
  kept, refused = _constant_part(steps, learning_rate)
  kept = kept[np.isfinite(losses[kept]) & (steps[kept] > 0)]
  refused = refused or _why(steps[kept], losses[kept], to_step)
  if refused:
    return Extrapolation(
      float(to_step), confidence=confidence, rows=len(kept), refused=refused
    )
  steps, losses = steps[kept], losses[kept]
  late = steps >= steps[0] + SKIPPED * (steps[-1] - steps[0])
  return _posterior(
    steps[late],
    losses[late],
    float(to_step),
    confidence,
    draws,
    np.random.default_rng(seed),
  )


def _constant_part(
  steps: np.ndarray, rates: np.ndarray | None
) -> tuple[np.ndarray, str]:
  """Rows from the first at the peak of the learning rate to the last before it falls."""
  if rates is None:
    return np.arange(len(steps)), ''
  rates = np.asarray(rates, np.float64)
  if rates.shape != steps.shape:
    raise ConfigError(
      f'learning_rate: got shape {rates.shape}, expected as many as steps, {steps.shape}'
    )
  known = np.flatnonzero(np.isfinite(rates))
  if not len(known):
    return np.arange(len(steps)), ''
  at_peak = rates[known] >= CONSTANT * rates[known].max()
  first = int(np.argmax(at_peak))
  after = np.flatnonzero(~at_peak[first:])
  rows = known[first : first + int(after[0])] if len(after) else known[first:]
  span = (steps[rows[-1]] - steps[rows[0]]) / max(steps[known[-1]], 1e-300)
  if len(rows) < FEWEST_ROWS or span < 1 / 3:
    short = (
      f'the learning rate is constant for {len(rows)} of {len(known)} rows: too few'
    )
    return rows, short if len(rows) < len(known) else ''
  return rows, ''


def _why(steps: np.ndarray, losses: np.ndarray, to_step: float) -> str:
  if len(steps) < FEWEST_ROWS:
    return f'the curve has {len(steps)} rows, expected {FEWEST_ROWS} or more'
  if not to_step > steps[-1]:
    return f'step {to_step:,.0f} is not later than the last that was fitted, {steps[-1]:,.0f}'
  if to_step > FARTHEST * steps[-1]:
    return f'step {to_step:,.0f} is more than {FARTHEST:.0f} times the last, {steps[-1]:,.0f}'
  count = len(spikes(losses))
  if count > MOST_SPIKES:
    return f'the loss spikes {count} times'
  half = lowess(losses, max(3, len(losses) // 3))
  return '' if half[-1] < half[len(half) // 4] else 'the loss does not fall'


# --- the fit --------------------------------------------------------------------------------------------------------


def _posterior(
  steps: np.ndarray,
  losses: np.ndarray,
  to_step: float,
  confidence: float,
  draws: int,
  rng: np.random.Generator,
) -> Extrapolation:
  """Of E, A, c and s0, and with it of the loss at a later step."""
  exponents, shifts = (
    g.ravel()
    for g in np.meshgrid(_EXPONENTS, np.array(_SHIFTS) * steps[-1], indexing='ij')
  )
  shape = lambda s: (
    ((s + shifts[:, None]) / (steps[-1] + shifts[:, None])) ** -exponents[:, None]
  )
  columns, later = shape(steps), shape(np.array([to_step]))[:, 0]
  losses, residuals = _without_outliers(columns, losses)
  correlation = _correlation(residuals)
  whiten = lambda v: v[..., 1:] - correlation * v[..., :-1]
  fit = _least_squares(
    whiten(columns), whiten(losses), np.full(len(losses) - 1, 1 - correlation)
  )
  n = len(losses) - 1
  log_weight = -(n - 2) / 2 * np.log(
    fit['squares'] / fit['squares'].min()
  ) - 0.5 * np.log(fit['determinant'])
  cells = rng.choice(
    len(exponents), size=4 * draws, p=_share(log_weight + _log_prior(exponents))
  )
  sigma = np.sqrt(fit['squares'][cells] / rng.chisquare(n - 2, len(cells)))
  a, b = rng.standard_normal((2, len(cells)))
  amplitude = fit['amplitude'][cells] + sigma * a / np.sqrt(fit['spread'][cells])
  middle = fit['middle'][cells] + sigma * b / math.sqrt(fit['weight'])
  offset = middle - amplitude * fit['centre'][cells]
  possible = (amplitude > 0) & (offset > 0)
  if possible.sum() < 50:
    return Extrapolation(
      to_step,
      confidence=confidence,
      rows=n + 1,
      refused='no power law with an offset fits',
    )
  predicted = (offset + amplitude * later[cells])[possible]
  low, loss, high = np.quantile(
    predicted, [(1 - confidence) / 2, 0.5, (1 + confidence) / 2]
  )
  best = int(np.argmin(fit['squares']))
  return Extrapolation(
    to_step,
    float(loss),
    float(low),
    float(high),
    confidence,
    float(fit['offset'][best]),
    float(fit['amplitude'][best]),
    float(exponents[best]),
    float(shifts[best]),
    float(np.std(residuals)),
    correlation,
    float(steps[0]),
    float(steps[-1]),
    n + 1,
  )


def _least_squares(
  columns: np.ndarray, losses: np.ndarray, ones: np.ndarray
) -> dict[str, np.ndarray]:
  """Of losses on a constant (as `ones`, all alike) and each of K columns (K, S); with what errors come from."""
  unit, n = ones[0], len(losses)
  mean_x, mean_y = columns.mean(axis=1), losses.mean()
  centred = columns - mean_x[:, None]
  spread = np.maximum((centred**2).sum(axis=1), 1e-300)
  amplitude = centred @ (losses - mean_y) / spread
  squares = ((losses - mean_y - amplitude[:, None] * centred) ** 2).sum(axis=1)
  middle, centre = np.full(len(columns), mean_y / unit), mean_x / unit
  return {
    'amplitude': amplitude,
    'offset': middle - amplitude * centre,
    'spread': spread,
    'middle': middle,
    'centre': centre,
    'squares': np.maximum(squares, 1e-300),
    'weight': n * unit**2,
    'determinant': spread,
  }


def _without_outliers(
  columns: np.ndarray, losses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Rows far from the law that fits best brought to 3.5 standard deviations from it (winsorized), and residuals (S,)."""
  for _ in range(3):
    fit = _least_squares(columns, losses, np.ones(len(losses)))
    best = int(np.argmin(fit['squares']))
    fitted = fit['offset'][best] + fit['amplitude'][best] * columns[best]
    reach = 3.5 * 1.4826 * np.median(np.abs(losses - fitted))
    losses = fitted + np.clip(losses - fitted, -reach, reach)
  return losses, losses - fitted


def _correlation(residuals: np.ndarray) -> float:
  """Of neighbours, not below 0; with the part that a fit of four parameters takes away (Kendall's correction)."""
  r = float(np.sum(residuals[1:] * residuals[:-1]) / max(np.sum(residuals**2), 1e-300))
  return float(
    np.clip(r + (1 + 4 * max(r, 0.0)) / len(residuals), 0.0, _MOST_CORRELATED)
  )


def _log_prior(exponents: np.ndarray) -> np.ndarray:
  """All ratios of exponents alike between the ends of the grid."""
  return np.zeros_like(exponents)


def _share(log_weight: np.ndarray) -> np.ndarray:
  weight = np.exp(log_weight - log_weight.max())
  return weight / weight.sum()
