"""How large a batch pays: the steps that a target takes at several batch sizes, and the critical one.

At the critical batch size, twice the fewest steps and twice the fewest examples reach the target. It takes runs at
several batch sizes; `lmhp.analysis.scaling.gradient_noise` guesses it from one run.

Dimension key: T runs, S logged steps. Batch sizes may be in sequences or tokens; what comes out is in the same.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Callable

import numpy as np
import numpy.typing as npt

from lmhp.errors import ConfigError
from lmhp.statistics.smoothing import lowess

FEWEST_BATCHES = 3
SPAN = 14.0
"""e-folds beyond the batch sizes that were tried at which a bound is called 0 or infinity: a factor of a million."""
_PRECISION = 1e-7


@dataclasses.dataclass(frozen=True)
class CriticalBatch:
  """The fit of :func:`critical_batch_size`. Numbers that cannot be said are NaN, and `reason` says why.

  Attributes:
    batch_size: critical batch size, in the unit of the batch sizes given.
    batch_size_low: of its interval, 0 where all batches tried may be above it.
    batch_size_high: infinity where all batches tried may be below it.
    steps_min: fewest steps to the target, at an infinite batch.
    steps_min_low: of its interval; 0 where steps still fall as 1/batch.
    steps_min_high: its other end.
    examples_min: fewest examples (in the unit of the batch sizes), at a batch of almost nothing.
    examples_min_low: of its interval; 0 where steps do not depend on the batch.
    examples_min_high: its other end.
    noise: standard deviation of log steps around the fit.
    used: how many runs, of those that reached the target.
    confidence: of the intervals.
    reason: why there is no fit, or ''.
  """

  batch_size: float = math.nan
  batch_size_low: float = math.nan
  batch_size_high: float = math.nan
  steps_min: float = math.nan
  steps_min_low: float = math.nan
  steps_min_high: float = math.nan
  examples_min: float = math.nan
  examples_min_low: float = math.nan
  examples_min_high: float = math.nan
  noise: float = math.nan
  used: int = 0
  confidence: float = 0.9
  reason: str = ''

  def steps(self, batch_size: float | np.ndarray) -> float | np.ndarray:
    """Steps to the target at a batch size: S = S_min (1 + B_crit / B)."""
    return self.steps_min + self.examples_min / batch_size

  def examples(self, batch_size: float | np.ndarray) -> float | np.ndarray:
    """Examples to the target at a batch size: E = E_min (1 + B / B_crit)."""
    return self.examples_min + self.steps_min * batch_size

  def examples_at_steps(self, steps: float | np.ndarray) -> float | np.ndarray:
    """The trade-off: examples that reach the target in so many steps, infinity where no batch does."""
    spare = np.asarray(steps, np.float64) - self.steps_min
    with np.errstate(divide='ignore', invalid='ignore'):
      found = np.where(
        spare <= 0, math.inf, self.examples_min * (1 + self.steps_min / spare)
      )
    return found if found.ndim else float(found)


def critical_batch_size(
  batch_sizes: np.ndarray, steps_to_target: np.ndarray, confidence: float = 0.9
) -> CriticalBatch:
  """The batch size above which more examples buy few steps, from the steps that a target took.

  Fits log S = log S_min + log(1 + B_crit / B) by least squares: errors in steps are relative. Intervals are what F's
  quantile allows the sum of squares to grow (profiled over the other parameter), so that they may be open.

  Args:
    batch_sizes: (T,) in sequences or tokens, above 0; with the best learning rate at each, or the fit is of the rate.
    steps_to_target: (T,) steps until a loss was reached, above 0; what is not finite did not reach it, and is left out.
    confidence: of the intervals, for normal relative errors, alike at all batch sizes.

  Returns:
    A `CriticalBatch`; with a `reason` and NaN below `FEWEST_BATCHES` different batch sizes.

  Raises:
    ConfigError: shapes differ, or a number is out of its range.

  Source: McCandlish et al. 2018, arXiv 1812.06162: (S / S_min - 1) (E / E_min - 1) = 1, E = B S.

  >>> batches = np.array([8, 32, 128, 512])
  >>> found = critical_batch_size(
  ...   batches, 1000 * (1 + 64 / batches) * [1.01, 0.99, 1.0, 1.0]
  ... )
  >>> (
  ...   round(found.batch_size),
  ...   round(found.steps_min),
  ...   found.batch_size_low < 64 < found.batch_size_high,
  ... )
  (64, 997, True)
  >>> round(found.steps(found.batch_size) / found.steps_min, 6)
  2.0
  """
  batches, steps = _checked_batches(batch_sizes, steps_to_target, confidence)
  n, different = len(batches), len(np.unique(batches))
  if different < FEWEST_BATCHES or n < 3:
    return CriticalBatch(
      used=n,
      confidence=confidence,
      reason=f'{different} batch sizes reached the target; needs {FEWEST_BATCHES}',
    )
  return _fitted(np.log(batches), np.log(steps), confidence)


def _fitted(x: np.ndarray, y: np.ndarray, confidence: float) -> CriticalBatch:
  """The fit of log steps y to log batch sizes x."""
  n, low, high = len(x), x.min() - SPAN, x.max() + SPAN
  squares = lambda b: _squares(x, y, b)
  b = _least(squares, low, high)
  least = float(squares(b))
  from scipy.special import fdtri  # slow to import, and only here

  limit = max(least, _rounding(y)) * (1 + float(fdtri(1, n - 2, confidence)) / (n - 2))
  a = float(np.mean(y - np.logaddexp(0, b - x)))
  of_batch = _ends(squares, b, limit, low, high)
  of_steps = _ends(_of_steps(x, y), a, limit, y.min() - SPAN, y.max() + SPAN)
  of_examples = _ends(
    _of_steps(-x, x + y), a + b, limit, (x + y).min() - SPAN, (x + y).max() + SPAN
  )
  flat, falling = b < low + 0.01, b > high - 0.01
  reason = (
    'steps do not depend on the batch size: all tried are above the critical one'
    if flat
    else (
      'steps fall as 1 / batch: the critical batch size is beyond all tried'
      if falling
      else ''
    )
  )
  said = lambda value, wrong: math.nan if wrong else math.exp(value)
  return CriticalBatch(
    said(b, flat or falling),
    *of_batch,
    said(a, falling),
    *of_steps,
    said(a + b, flat),
    *of_examples,
    noise=math.sqrt(least / (n - 2)),
    used=n,
    confidence=confidence,
    reason=reason,
  )


def _checked_batches(
  batch_sizes: np.ndarray, steps: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
  batches, steps = np.asarray(batch_sizes, np.float64), np.asarray(steps, np.float64)
  if batches.ndim != 1 or batches.shape != steps.shape:
    raise ConfigError(
      f'steps_to_target: got shape {steps.shape} and batch sizes of shape {batches.shape}, expected '
      'one number for each batch size'
    )
  if not 0 < confidence < 1:
    raise ConfigError(
      f'confidence: got {confidence}, expected more than 0 and less than 1'
    )
  for name, numbers in (
    ('batch_sizes', batches),
    ('steps_to_target', steps[np.isfinite(steps)]),
  ):
    wrong = numbers[~(np.isfinite(numbers) & (numbers > 0))]
    if wrong.size:
      raise ConfigError(f'{name}: got {wrong[0]:g}, expected numbers above 0')
  return batches[np.isfinite(steps)], steps[np.isfinite(steps)]


def _rounding(y: np.ndarray) -> float:
  """Sum of squares that rounding alone makes."""
  return len(y) * (1e-12 * max(1.0, float(np.abs(y).max()))) ** 2


def _squares(x: np.ndarray, y: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Sum of squares at log critical batch sizes (...), log S_min at its best."""
  left = y - np.logaddexp(0, np.asarray(b)[..., None] - x)
  return np.sum((left - left.mean(axis=-1, keepdims=True)) ** 2, axis=-1)


def _of_steps(x: np.ndarray, y: np.ndarray) -> Callable[[float], float]:
  """Sum of squares as a function of log S_min, the critical batch size at its best.

  With (-x, x + y) for (x, y) it is one of log E_min: examples depend on 1/B as steps depend on B.
  """
  low, high = x.min() - 2 * SPAN, x.max() + 2 * SPAN

  def squares(log_steps: float) -> float:
    at = lambda b: np.sum(
      (y - log_steps - np.logaddexp(0, np.asarray(b)[..., None] - x)) ** 2, axis=-1
    )
    return float(at(_least(at, low, high)))

  return squares


def _least(
  function: Callable[[np.ndarray], np.ndarray], low: float, high: float
) -> float:
  """Returns the position of the minimum of a function of arrays, by ever finer grids."""
  while high - low > _PRECISION:
    grid = np.linspace(low, high, 65)
    i = int(np.argmin(function(grid)))
    low, high = grid[max(i - 1, 0)], grid[min(i + 1, 64)]
  return (low + high) / 2


def _ends(
  function: Callable[[float], float], best: float, limit: float, low: float, high: float
) -> tuple[float, float]:
  """Returns exp of the positions at which a function passes a limit.

  They are on both sides of its minimum. An end is 0 or infinity if the function does not
  pass the limit on that side.
  """
  from scipy.optimize import root_scalar  # slow to import, and only here

  def excess(x: float) -> float:
    return function(x) - limit

  ends = []
  for bound, open_end in ((low, 0.0), (high, math.inf)):
    if function(bound) <= limit:
      ends.append(open_end)
      continue
    if function(best) >= limit:
      ends.append(math.exp(best))
      continue
    bracket = (best, bound)
    solution = root_scalar(excess, bracket=bracket, method='brentq', xtol=_PRECISION)
    ends.append(math.exp(solution.root))
  return ends[0], ends[1]


# --- steps to a target ------------------------------------------------------------------------------------------------


def steps_to_target(
  steps: npt.ArrayLike,
  losses: npt.ArrayLike,
  target: float,
  window: int | None = None,
) -> float:
  """Returns the step at which a loss curve first reaches a target.

  Between two logged steps, the step is interpolated.

  Args:
    steps: (S,) increasing steps.
    losses: (S,) losses in nats. NaN for a step without a loss. An infinite loss ends the
      run.
    target: Loss to reach, in nats.
    window: Number of logged losses to which a local line is fitted, so that the curve is
      smoothed without a lag. None stands for a tenth of them. Below 3, the curve is not
      smoothed.

  Returns:
    NaN if the target is never reached. The first step if the curve starts at or below it.

  Raises:
    ConfigError: If the shapes differ.

  >>> steps_to_target([0, 100, 200], [4.0, 3.0, 2.5], target=3.25)
  75.0
  """
  steps = np.asarray(steps, np.float64)
  losses = np.asarray(losses, np.float64)
  if steps.ndim != 1 or steps.shape != losses.shape:
    raise ConfigError(
      f'losses: got shape {losses.shape} and steps of shape {steps.shape}, expected one '
      'for each step'
    )

  # Keep the losses before the first infinite one.
  infinite = np.flatnonzero(np.isinf(losses))
  end = int(infinite[0]) if infinite.size else len(losses)
  known = ~np.isnan(losses[:end])
  steps = steps[:end][known]
  losses = losses[:end][known]

  window = len(losses) // 10 if window is None else window
  if window >= 3:
    losses = lowess(losses, window, rounds=0)
  reached = np.flatnonzero(losses <= target)
  if not reached.size:
    return math.nan
  i = int(reached[0])
  if i == 0:
    return float(steps[0])
  fraction = (losses[i - 1] - target) / (losses[i - 1] - losses[i])
  return float(steps[i - 1] + fraction * (steps[i] - steps[i - 1]))
