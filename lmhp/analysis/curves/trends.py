"""How curves end: still improving or saturated, and how much a loss varies from step to step. Notes, of the study."""

from __future__ import annotations

import dataclasses
import math
from typing import Sequence

import numpy as np

from lmhp.analysis.curves.comparison import Curve, step_variance
from lmhp.analysis.curves.overfitting import evaluations_of
from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import amount, nats
from lmhp.analysis.runs.table import Runs

MORE = 1.1
"""A gain is of so many times the steps."""
IMPROVING_NATS = 0.005
"""Gain from which a study is still improving, and below which it is saturated, if that is sure."""
LAST = 0.25
"""Share of the steps, at the end, that a trend is read from."""
FEWEST_ROWS = 10
BATCHES = ('train.batch_size', 'batch_size')


@dataclasses.dataclass(frozen=True)
class Trend:
  """Of one run's last quarter.

  Attributes:
    number: of the run.
    gain: nats that 10% more steps would bring if the loss went on along the log of the steps.
    error: standard error of `gain`.
    rate: learning rate at the end as a share of its peak; NaN where not known.
    of: 'validation' or 'training'.
  """

  number: int
  gain: float
  error: float
  rate: float
  of: str


def trend(number: int, curve: Curve) -> Trend | None:
  """The line through a curve's last quarter against the log of its steps; of evaluations where there are ten.

  The error is that of least squares, with as many values as noise that lasts from row to row leaves: n (1 - r) / (1 + r)
  for a correlation r of neighbours. Source: Bayley and Hammersley 1946, JRSS Supplement 8(2).

  >>> steps = np.arange(1.0, 401)
  >>> found = trend(0, {'step': steps, 'loss_nats': 3 - 0.1 * np.log(steps)})
  >>> round(found.gain, 5), round(0.1 * math.log(1.1), 5)
  (0.00953, 0.00953)
  """
  steps, losses = evaluations_of(curve)
  late = _late(steps)
  of = 'validation'
  if late.sum() < FEWEST_ROWS and 'loss_nats' in curve:
    losses, of = np.asarray(curve['loss_nats'], np.float64), 'training'
    there = np.isfinite(losses)
    steps, losses = np.asarray(curve['step'], np.float64)[there], losses[there]
    late = _late(steps)
  if late.sum() < FEWEST_ROWS or not np.isfinite(losses[late]).all():
    return None
  slope, error = _line(np.log(steps[late]), losses[late])
  rates = np.asarray(curve.get('learning_rate', np.array([math.nan])), np.float64)
  rates = rates[np.isfinite(rates)]
  rate = float(rates[-1] / rates.max()) if len(rates) and rates.max() > 0 else math.nan
  return Trend(number, -slope * math.log(MORE), error * math.log(MORE), rate, of)


def _late(steps: np.ndarray) -> np.ndarray:
  return (
    (steps >= (1 - LAST) * steps[-1]) & (steps > 0) if len(steps) else np.zeros(0, bool)
  )


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
  """Slope and its standard error."""
  x = x - x.mean()
  slope = float(x @ (y - y.mean()) / (x @ x))
  left = y - y.mean() - slope * x
  n, squares = len(x), float(left @ left)
  r = float(left[1:] @ left[:-1]) / squares if squares > 0 else 0.0
  r = float(np.clip(r + (1 + 4 * max(r, 0.0)) / n, 0.0, 0.9))
  return slope, math.sqrt(squares / max(n - 2, 1) / (x @ x) * (1 + r) / (1 - r))


# --- as findings ----------------------------------------------------------------------------------------------------


def ends(runs: Runs) -> list[Finding]:
  """Whether the runs that came to their end were still improving, or saturated: of the study, by the median run."""
  complete = set(runs.number[runs.status == 'complete'].tolist())
  found = [
    t
    for number, curve in runs.curves.items()
    if number in complete and (t := trend(number, curve))
  ]
  if not found:
    return []
  gain, error = (
    float(np.median([getattr(t, name) for t in found])) for name in ('gain', 'error')
  )
  shown = sum(t.gain > 3 * t.error and t.gain > IMPROVING_NATS for t in found)
  improving = gain > IMPROVING_NATS and gain > 3 * error
  if not improving and not abs(gain) + 2 * error < IMPROVING_NATS:
    return []  # too noisy to tell, or rising, which is told apart
  numbers = {
    'gain_nats': gain,
    'gain_standard_error_nats': error,
    'more_steps_share': MORE - 1,
    'runs': shown,
    'runs_read': len(found),
  }
  rest = _of_the_rate(found)
  if improving:
    return [
      Finding(
        'still_improving',
        'note',
        f'Runs were still improving at their end: {nats(gain)} for 10% more steps ({shown} of {len(found)} runs clearly '
        'so).',
        f'The {found[0].of} loss of the last quarter against the log of the step, the median run; standard error '
        f'{nats(error)}.{rest}',
        numbers,
        runs=[t.number for t in found if t.gain > 3 * t.error],
        worth=gain,
      )
    ]
  return [
    Finding(
      'saturated',
      'note',
      f'Runs were saturated at their end: 10% more steps bring less than {nats(IMPROVING_NATS)}.',
      f'The {found[0].of} loss of the last quarter against the log of the step, the median run: {nats(gain)}, standard '
      f'error {nats(error)}.{rest}',
      numbers,
      runs=[t.number for t in found],
      worth=abs(gain),
    )
  ]


def _of_the_rate(found: Sequence[Trend]) -> str:
  rates = [t.rate for t in found if math.isfinite(t.rate)]
  if not rates or np.median(rates) > 0.9:
    return ''
  return (
    f" The learning rate had decayed to {np.median(rates):.0%} of its peak, and the slope is partly the decay's: "
    'longer runs would decay later, and their gain is another.'
  )


def variance(runs: Runs) -> list[Finding]:
  """How much the training loss varies from one logged step to the next; against the batch size where it varies."""
  of_run = {
    number: math.sqrt(v)
    for number, curve in runs.curves.items()
    if 'loss_nats' in curve
    and np.isfinite(v := step_variance(_second_half(curve['loss_nats'])))
  }
  if not of_run:
    return []
  sd, batches = float(np.median(list(of_run.values()))), _batches(runs, list(of_run))
  words, numbers = (
    '',
    {'standard_deviation_nats': sd, 'variance_nats2': sd**2, 'runs': len(of_run)},
  )
  sizes = np.unique(batches[np.isfinite(batches)])
  if len(sizes) == 1:
    words, numbers['batch_size'] = (
      f' at a batch size of {amount(sizes[0])}',
      float(sizes[0]),
    )
  elif len(sizes) > 1:
    there = np.isfinite(batches) & (np.array(list(of_run.values())) > 0)
    slope = float(
      np.polyfit(
        np.log(batches[there]), 2 * np.log(np.array(list(of_run.values()))[there]), 1
      )[0]
    )
    words, numbers['variance_exponent_of_batch_size'] = (
      f'; its square goes with batch size to the power {slope:.2f}',
      slope,
    )
  return [
    Finding(
      'step_variance',
      'note',
      f'From one logged step to the next the training loss varies by {nats(sd)}{words}.',
      'Standard deviation by successive differences over the second half of each curve, so that the trend does not count; '
      'the median run. Sampling of batches alone makes its square fall as one over the batch size.',
      numbers,
      axes=[n for n in BATCHES if n in runs.varied()],
      runs=list(of_run),
    )
  ]


def _second_half(losses: np.ndarray) -> np.ndarray:
  losses = np.asarray(losses, np.float64)
  losses = losses[np.isfinite(losses)]
  return losses[len(losses) // 2 :]


def _batches(runs: Runs, numbers: Sequence[int]) -> np.ndarray:
  """Batch size of each run; NaN where not known."""
  row_of = {number: row for row, number in enumerate(runs.number.tolist())}
  out = np.full(len(numbers), math.nan)
  for i, number in enumerate(numbers):
    for name in BATCHES:
      value = (
        runs.values[name][row_of[number]]
        if name in runs.values and number in row_of
        else None
      )
      value = runs.configs.get(number, {}).get(name) if value is None else value
      if isinstance(value, (int, float)) and value > 0:
        out[i] = float(value)
        break
  return out
