"""Critical batch size, from the steps that several batch sizes need to reach a target loss.

At the critical batch size, a target takes twice the fewest steps and twice the fewest
examples. It needs runs at several batch sizes. `lmhp.analysis.scaling.gradient_noise`
estimates it from one run.

Dimension key: T runs, S logged steps. Batch sizes are in sequences or tokens, and so are the
results.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from lmhp.analysis.scaling.estimates import UNKNOWN, Estimate, Fit, Interval
from lmhp.errors import ConfigError
from lmhp.statistics.intervals import check_confidence
from lmhp.statistics.ranks import check_paired
from lmhp.statistics.smoothing import lowess

MIN_BATCH_SIZES = 3
SPAN = 14.0
"""e-folds beyond the batch sizes that were tried, at which a bound counts as 0 or infinity."""
PRECISION = 1e-7


@dataclasses.dataclass(frozen=True, kw_only=True)
class CriticalBatch(Fit):
  """Critical batch size, and the fit behind it. NaN if a number cannot be computed.

  Its `estimates` are batch_size, steps_min and examples_min. An end of an interval is 0 or inf if
  the runs do not bound it. Standard errors are for small noise, unlike the intervals.

  Attributes:
    batch_size: Critical batch size, in the unit of the given batch sizes.
    steps_min: Fewest steps to the target, at an infinite batch size.
    examples_min: Fewest examples to the target, at a batch size near 0, in the unit of the
      batch sizes.
    noise: Standard deviation of log steps around the fit.
  """

  FORMULA: ClassVar[str] = 'steps = steps_min (1 + batch_size / B)'
  ESTIMATES: ClassVar[tuple[str, ...]] = ('batch_size', 'steps_min', 'examples_min')

  batch_size: float = math.nan
  steps_min: float = math.nan
  examples_min: float = math.nan
  noise: float = math.nan

  @property
  def batch_size_low(self) -> float:
    """Lower end of the interval of the critical batch size."""
    return self.intervals.get('batch_size', UNKNOWN)[0]

  @property
  def batch_size_high(self) -> float:
    """Upper end of the interval of the critical batch size."""
    return self.intervals.get('batch_size', UNKNOWN)[1]

  def steps(self, batch_size: npt.ArrayLike) -> np.ndarray:
    """Returns the steps to the target at a batch size: S = S_min (1 + B_crit / B)."""
    return self.steps_min + self.examples_min / np.asarray(batch_size, np.float64)

  def examples(self, batch_size: npt.ArrayLike) -> np.ndarray:
    """Returns the examples to the target at a batch size: E = E_min (1 + B / B_crit)."""
    return self.examples_min + self.steps_min * np.asarray(batch_size, np.float64)

  def batch_at_overhead(self, overhead: float, reference: float = 0.0) -> Estimate:
    """Returns the batch size, with its interval, at a fraction of additional examples.

    With E(B) = E_min (1 + B / B_crit), the equation E(B) = (1 + overhead) E(reference) gives

      B = overhead B_crit + (1 + overhead) reference.

    Args:
      overhead: Fraction of additional examples (or tokens), above 0. With 1 and no reference,
        the result is the critical batch size itself.
      reference: Batch size with which the examples are compared. 0 stands for the fewest
        examples of all.

    Raises:
      ConfigError: If a number is out of its range.

    Source: McCandlish et al. 2018, arXiv 1812.06162, equation 2.11. Zhang et al. 2024 (arXiv
    2410.21676) report the batch size at an overhead of 0.2 over a reference of 256.
    """
    if not overhead > 0 or not reference >= 0:
      raise ConfigError(
        f'overhead, reference: got {overhead} and {reference}, expected a number above 0, and '
        'at least 0'
      )
    least = (1 + overhead) * reference
    low, high = self.intervals.get('batch_size', UNKNOWN)
    return Estimate(*(least + overhead * b for b in (self.batch_size, low, high)))


def critical_batch_size(
  batch_sizes: npt.ArrayLike,
  steps_to_target: npt.ArrayLike,
  confidence: float = 0.9,
) -> CriticalBatch:
  """Estimates the batch size above which more examples save few steps.

  It fits log S = log S_min + log(1 + B_crit / B) by least squares, since errors of steps are
  relative. The intervals contain the values at which the sum of squares, profiled over the
  other parameter, grows by at most a quantile of F. They may be open.

  Args:
    batch_sizes: (T,) batch sizes above 0, in sequences or tokens. Each needs its own best
      learning rate, or the result depends on the learning rate too.
    steps_to_target: (T,) steps until a loss was reached, above 0. A run that is not finite
      did not reach it, and is left out.
    confidence: Confidence of the intervals, for normal relative errors of equal variance.

  Returns:
    The critical batch size. It has a `reason` and NaN below `MIN_BATCH_SIZES` batch sizes.

  Raises:
    ConfigError: If shapes differ, or a number is out of its range.

  Source: McCandlish et al. 2018, arXiv 1812.06162: (S / S_min - 1) (E / E_min - 1) = 1, with
  E = B S.

  >>> batch_sizes = np.array([8, 32, 128, 512])
  >>> steps = 1000 * (1 + 64 / batch_sizes) * [1.01, 0.99, 1.0, 1.0]
  >>> result = critical_batch_size(batch_sizes, steps)
  >>> round(result.batch_size), round(result.steps_min)
  (64, 997)
  >>> result.batch_size_low < 64 < result.batch_size_high
  True
  >>> round(float(result.steps(result.batch_size)) / result.steps_min, 6)
  2.0
  >>> round(result.batch_at_overhead(0.2).value)
  13
  """
  batches, steps = check_paired(
    batch_sizes, steps_to_target, 'batch_sizes, steps_to_target'
  )
  has_reached = np.isfinite(steps)
  for name, numbers in (
    ('batch_sizes', batches),
    ('steps_to_target', steps[has_reached]),
  ):
    wrong = numbers[~(np.isfinite(numbers) & (numbers > 0))]
    if wrong.size:
      raise ConfigError(f'{name}: got {wrong[0]:g}, expected numbers above 0')
  check_confidence(confidence)
  n_left_out = int(np.sum(~has_reached))
  batches = batches[has_reached]
  # Two parameters and the noise are estimated, so several batch sizes are needed.
  n_different = len(np.unique(batches))
  if n_different < MIN_BATCH_SIZES:
    return CriticalBatch(
      n_runs=len(batches),
      n_left_out=n_left_out,
      confidence=confidence,
      reason=(
        f'{n_different} batch sizes reached the target, and {MIN_BATCH_SIZES} are needed'
      ),
    )
  fitted = _fit(np.log(batches), np.log(steps[has_reached]), confidence)
  return dataclasses.replace(fitted, n_left_out=n_left_out)


# --- fit --------------------------------------------------------------------------------


def _fit(x: np.ndarray, y: np.ndarray, confidence: float) -> CriticalBatch:
  """Fits log steps y (T,) to log batch sizes x (T,)."""
  from scipy.special import fdtri

  def squares_of(log_batch: np.ndarray) -> np.ndarray:
    # log S = a + log(1 + exp(b - x)), so the best a for a given b is a mean.
    residuals = y - np.logaddexp(0, np.asarray(log_batch)[..., None] - x)
    return np.sum((residuals - residuals.mean(axis=-1, keepdims=True)) ** 2, axis=-1)

  # Best fit: b is the log critical batch size, a is the log of the fewest steps.
  n = len(x)
  low = x.min() - SPAN
  high = x.max() + SPAN
  b = _minimize(squares_of, low, high)
  least = float(squares_of(np.asarray(b)))
  a = float(np.mean(y - np.logaddexp(0, b - x)))

  # Intervals. Examples depend on 1 / B as steps depend on B.
  # F test: a value is inside if its squares are at most least (1 + F / (n - 2)).
  growth = 1 + float(fdtri(1, n - 2, confidence)) / (n - 2)
  # The sum of squares that rounding errors alone make.
  rounding = n * (1e-12 * max(1.0, float(np.abs(y).max()))) ** 2
  limit = max(least, rounding) * growth
  # E = S B = E_min (1 + B / B_crit) is the law of S with 1 / B in place of B.
  examples = x + y
  intervals = {
    'batch_size': _interval(squares_of, b, limit, x),
    'steps_min': _interval(_profile_over_batch(x, y), a, limit, y),
    'examples_min': _interval(
      _profile_over_batch(-x, examples), a + b, limit, examples
    ),
  }

  reason = ''
  # A minimum at an end of the searched range means that the runs do not bound it.
  is_flat = b < low + 0.01
  is_falling = b > high - 0.01
  if is_flat:
    reason = 'steps do not depend on the batch size, so all are above the critical one'
  elif is_falling:
    reason = 'steps fall as 1 / batch size, so the critical one is above all of them'
  noise = math.sqrt(least / (n - 2))
  critical = CriticalBatch(
    batch_size=math.nan if is_flat or is_falling else math.exp(b),
    steps_min=math.nan if is_falling else math.exp(a),
    examples_min=math.nan if is_flat else math.exp(a + b),
    noise=noise,
    intervals=intervals,
    n_runs=n,
    confidence=confidence,
    reason=reason,
  )
  if reason:
    return critical
  # Slopes of log S by b and a, and those of b, a and a + b. An error of a logarithm times
  # the value is the error of the value.
  slopes = np.stack([1 / (1 + np.exp(x - b)), np.ones(n)])
  forms = np.array([[1, 0], [0, 1], [1, 1]])
  cov = noise**2 * forms @ np.linalg.inv(slopes @ slopes.T) @ forms.T
  values = np.array(list(critical.estimates.values()))
  return dataclasses.replace(critical, _cov=cov * np.outer(values, values))


def _profile_over_batch(
  x: np.ndarray, y: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
  """Returns the sum of squares as a function of log S_min, with the best batch size.

  With (-x, x + y) in place of (x, y) it is a function of log E_min.
  """

  # For each number of steps, minimize the squares over the batch size.
  def squares(log_steps: np.ndarray) -> np.ndarray:
    def at(b: np.ndarray) -> np.ndarray:
      # log S = log S_min + log(1 + B_crit / B).
      residuals = y - log_steps - np.logaddexp(0, np.asarray(b)[..., None] - x)
      return np.sum(residuals**2, axis=-1)

    best = _minimize(at, x.min() - 2 * SPAN, x.max() + 2 * SPAN)
    return at(np.asarray(best))

  return squares


def _minimize(
  function: Callable[[np.ndarray], np.ndarray], low: float, high: float
) -> float:
  """Returns the minimum of a function of arrays, on grids that get finer around the best."""
  while high - low > PRECISION:
    grid = np.linspace(low, high, 65)
    i = int(np.argmin(function(grid)))
    low = grid[max(i - 1, 0)]
    high = grid[min(i + 1, 64)]
  return float((low + high) / 2)


def _interval(
  function: Callable[[np.ndarray], np.ndarray],
  best: float,
  limit: float,
  observed: np.ndarray,
) -> Interval:
  """Returns exp of the positions at which a function passes a limit, around its minimum.

  An end is 0 or infinity if the function does not pass the limit before the bound.

  Args:
    function: Function of a logarithm.
    best: Position of its minimum.
    limit: Limit of the function.
    observed: Observed logarithms. The search ends `SPAN` beyond them.
  """
  from scipy.optimize import root_scalar

  def excess(position: float) -> float:
    return float(function(np.asarray(position))) - limit

  def end(bound: float, open_end: float) -> float:
    # The end is open if the limit is not passed up to the bound. Rounding can put the
    # best position itself above the limit, and then the interval is one point.
    if excess(bound) <= 0:
      return open_end
    if excess(best) >= 0:
      return math.exp(best)
    bracket = (best, bound)
    root = root_scalar(excess, bracket=bracket, method='brentq', xtol=PRECISION).root
    return math.exp(root)

  return end(observed.min() - SPAN, 0.0), end(observed.max() + SPAN, math.inf)


# --- steps to a target ------------------------------------------------------------------


def steps_to_target(
  steps: npt.ArrayLike,
  losses: npt.ArrayLike,
  target: float,
  window: int | None = None,
) -> float:
  """Returns the step at which a curve first reaches a loss, interpolated between rows.

  Args:
    steps: (S,) rising steps.
    losses: (S,) losses in nats. NaN for a row without one. A curve ends at its first infinite
      loss.
    target: Target loss in nats.
    window: Number of losses to which a local line is fitted, so that the curve is smoothed
      without a lag. None stands for a tenth of them. Below 3, the curve is not smoothed.

  Returns:
    The step. NaN if the target is never reached. The first step if the curve starts at or
    below it.

  Raises:
    ConfigError: If shapes differ.

  >>> steps_to_target([0, 100, 200], [4.0, 3.0, 2.5], target=3.25)
  75.0
  """
  x, y = check_paired(steps, losses, 'steps, losses')
  # Keep the losses before the first infinite one.
  has_loss = ~np.isnan(y) & ~np.logical_or.accumulate(np.isinf(y))
  x = x[has_loss]
  y = y[has_loss]
  window = len(y) // 10 if window is None else window

  # Interpolate between the rows around the first crossing.
  if window >= 3:
    y = lowess(y, window, rounds=0)
  reached = np.flatnonzero(y <= target)
  if not reached.size:
    return math.nan
  i = reached[0]
  # The first loss is already at the target.
  if i == 0:
    return float(x[0])
  fraction = (y[i - 1] - target) / (y[i - 1] - y[i])
  return float(x[i - 1] + fraction * (x[i] - x[i - 1]))
