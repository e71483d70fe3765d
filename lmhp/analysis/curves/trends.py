"""Trends at the end of training: still improving or saturated, and variance of the loss."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.curves.noise import step_variance
from lmhp.analysis.curves.overfitting import evaluations_of
from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import amount, counted, quantity
from lmhp.analysis.runs.columns import finite_rows, to_float
from lmhp.analysis.runs.table import Curve, Runs

MORE_STEPS = 1.1
"""A gain is that of training for this many times the steps."""
IMPROVING_NATS = 0.005
"""Gain above which a study is still improving. Below it, it is saturated if that is certain."""
LATE_FRACTION = 0.25
"""Fraction of the steps, at the end, that a trend is fitted to."""
MIN_ROWS = 10
BATCH_SIZE_NAMES = ('train.batch_size', 'batch_size')


@dataclasses.dataclass(frozen=True)
class Trend:
  """Trend of one run's loss at the end of training.

  Attributes:
    number: Run number.
    gain: Gain in nats from 10% more steps, if the loss stays linear in the log of the steps.
    error: Standard error of the gain.
    learning_rate: Learning rate at the end as a fraction of its peak. NaN if unknown.
    loss_name: 'validation' or 'training'.
  """

  number: int
  gain: float
  error: float
  learning_rate: float
  loss_name: str

  @property
  def is_improving(self) -> bool:
    """True if the gain is certain and large enough to matter."""
    return self.gain > 3 * self.error and self.gain > IMPROVING_NATS


def late_trend(number: int, curve: Curve) -> Trend | None:
  """Fits a line in the log of the steps to the last quarter of a curve.

  Evaluations are used if there are ten, else the training loss. The standard error is that of
  least squares with the effective number of rows n (1 - r) / (1 + r), for a correlation r
  between neighbours.

  Args:
    number: Run number.
    curve: Curve of the run.

  Returns:
    The trend. None if there are too few rows.

  Source: Bayley and Hammersley 1946, JRSS Supplement 8(2).

  >>> steps = np.arange(1.0, 401)
  >>> trend = late_trend(0, {'step': steps, 'loss_nats': 3 - 0.1 * np.log(steps)})
  >>> round(trend.gain, 5), round(0.1 * math.log(1.1), 5)
  (0.00953, 0.00953)
  """
  # Take the evaluations of the last quarter, or the training losses if they are too
  # few.
  loss_name = 'validation'
  steps, losses = _late_rows(*evaluations_of(curve))
  if len(steps) < MIN_ROWS and 'loss_nats' in curve:
    loss_name = 'training'
    steps, losses = _late_rows(*finite_rows(curve, 'loss_nats'))
  if len(steps) < MIN_ROWS or not np.isfinite(losses).all():
    return None

  # Gain of more steps, from a line in log steps.
  slope, error = _fit_line(np.log(steps), losses)
  # Last learning rate as a fraction of the peak.
  _, rates = finite_rows(curve, 'learning_rate')
  has_rate = rates.max(initial=0) > 0
  return Trend(
    number=number,
    # For a loss of a + b log(t), training k times as long changes it by b log(k).
    gain=-slope * math.log(MORE_STEPS),
    error=error * math.log(MORE_STEPS),
    learning_rate=float(rates[-1] / rates.max()) if has_rate else math.nan,
    loss_name=loss_name,
  )


def _late_rows(steps: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the steps and losses of the last quarter of the steps."""
  late = (steps >= (1 - LATE_FRACTION) * steps[-1:]) & (steps > 0)
  return steps[late], losses[late]


def _fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
  """Returns the slope of a line and its standard error."""
  x = x - x.mean()
  # Least squares of a centred line.
  slope = float(x @ (y - y.mean()) / (x @ x))
  residuals = y - y.mean() - slope * x
  n = len(x)
  squares = float(residuals @ residuals)

  # Correlation of neighbours, with Kendall's correction of its bias.
  r = float(residuals[1:] @ residuals[:-1]) / squares if squares > 0 else 0.0
  r = float(np.clip(r + (1 + 4 * max(r, 0.0)) / n, 0.0, 0.9))
  # Correlated errors reduce the number of rows to n (1 - r) / (1 + r).
  error = math.sqrt(squares / max(n - 2, 1) / (x @ x) * (1 + r) / (1 - r))
  return slope, error


# --- findings ---------------------------------------------------------------------------


def trend_at_end(curve_runs: Runs) -> list[Finding]:
  """Reports if complete runs were still improving or saturated, by the median run."""
  complete = curve_runs.number[curve_runs.status == 'complete']
  curves = curve_runs.curves.items()
  fitted = [late_trend(number, curve) for number, curve in curves if number in complete]
  trends = [trend for trend in fitted if trend is not None]
  if not trends:
    return []
  # The study is judged by the median gain and the median standard error.
  gain = float(np.median([trend.gain for trend in trends]))
  error = float(np.median([trend.error for trend in trends]))
  is_improving = gain > IMPROVING_NATS and gain > 3 * error
  is_saturated = abs(gain) + 2 * error < IMPROVING_NATS
  if not is_improving and not is_saturated:
    # The trend is uncertain, or the loss rises, which `overfitting` reports.
    return []

  n_improving = sum(trend.is_improving for trend in trends)
  numbers = {
    'gain_nats': gain,
    'gain_standard_error_nats': error,
    'more_steps_fraction': MORE_STEPS - 1,
    'runs_improving': n_improving,
    'runs': len(trends),
  }
  if is_improving:
    kind = 'still_improving'
    title = (
      f'Runs were still improving at their end: 10% more steps would bring '
      f'{quantity(gain)} ({n_improving} of {len(trends)} runs improve clearly).'
    )
    result = f'; its standard error is {quantity(error)}'
  else:
    kind = 'saturated'
    title = (
      f'Runs were saturated at their end: 10% more steps would bring less than '
      f'{quantity(IMPROVING_NATS)}.'
    )
    result = f': {quantity(gain)}, standard error {quantity(error)}'
  return [
    Finding(
      kind=kind,
      level='note',
      title=title,
      evidence=(
        f'From a line in the log of the steps through the last quarter of the '
        f'{trends[0].loss_name} loss, for the median run{result}.{_decay_note(trends)}'
      ),
      numbers=numbers,
      runs=[t.number for t in trends if is_saturated or t.gain > 3 * t.error],
      effect_nats=abs(gain),
    )
  ]


def _decay_note(trends: Sequence[Trend]) -> str:
  """Returns a sentence if the learning rate had decayed."""
  rates = [t.learning_rate for t in trends if math.isfinite(t.learning_rate)]
  if not rates or np.median(rates) > 0.9:
    return ''
  return (
    f' The learning rate had decayed to {np.median(rates):.0%} of its peak, which explains a '
    'part of the slope. A longer run would decay later, so its gain may differ.'
  )


def step_variance_of_runs(curve_runs: Runs) -> list[Finding]:
  """Reports how much the training loss varies between logged steps."""
  runs = curve_runs
  numbers_of_runs: list[int] = []
  deviations: list[float] = []
  for number, curve in runs.curves.items():
    # The first half is left out, because the loss falls fast there.
    _, losses = finite_rows(curve, 'loss_nats')
    variance = step_variance(losses[len(losses) // 2 :])
    if np.isfinite(variance):
      numbers_of_runs.append(number)
      deviations.append(math.sqrt(variance))
  if not deviations:
    return []
  sd = float(np.median(deviations))
  numbers = {
    'standard_deviation_nats': sd,
    'variance_nats2': sd**2,
    'runs': len(deviations),
  }
  batch_sizes = np.array([_batch_size(runs, number) for number in numbers_of_runs])
  # With several batch sizes, report how the variance depends on them.
  different = np.unique(batch_sizes[np.isfinite(batch_sizes)])
  words = ''
  if len(different) == 1:
    numbers['batch_size'] = float(different[0])
    words = f' at a batch size of {amount(float(different[0]))}'
  elif len(different) > 1:
    # The exponent with which the variance scales with the batch size.
    sds = np.array(deviations)
    usable = np.isfinite(batch_sizes) & (sds > 0)
    slope = float(
      np.polyfit(np.log(batch_sizes[usable]), 2 * np.log(sds[usable]), 1)[0]
    )
    numbers['variance_exponent_of_batch_size'] = slope
    words = f'. Its variance scales as the batch size to the power {slope:.2f}'
  return [
    Finding(
      kind='step_variance',
      level='note',
      title=(
        f'The training loss has a standard deviation of {quantity(sd)} between logged '
        f'steps{words}.'
      ),
      evidence=(
        f'Median of {counted(len(deviations), "run")}, from successive differences over '
        'the second half of each curve, so that the trend does not count. If the sampling '
        'of batches were the only cause, the variance would fall as one over the batch size.'
      ),
      numbers=numbers,
      axes=[name for name in BATCH_SIZE_NAMES if name in runs.varied_axes()],
      runs=numbers_of_runs,
    )
  ]


def _batch_size(runs: Runs, number: int) -> float:
  """Returns the batch size of a run. NaN if unknown."""
  sizes = [to_float(runs.setting(number, name)) for name in BATCH_SIZE_NAMES]
  return next((size for size in sizes if size > 0), math.nan)
