"""What a study or a run says of its batch size: the gradient noise scale where it was logged, and the critical batch size
where batches were varied.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import amount
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.critical_batch_size import (
  CriticalBatch,
  critical_batch_size,
  steps_to_target,
)
from lmhp.analysis.scaling.gradient_noise import NoiseScale, noise_scale_of_run
from lmhp.errors import ConfigError
from lmhp.statistics.smoothing import exponential_moving_average

AXES = ('train.batch_size', 'batch_size')
STRETCHES = 4
"""Parts of a run of which the noise scale is said apart: it grows while the loss falls."""


@dataclasses.dataclass(frozen=True)
class Batches:
  """What is known of a batch size.

  Attributes:
    run: number of the run whose noise scale it is, or -1.
    batch_tokens: tokens of its batches; NaN without one.
    scales: of each stretch of that run, in tokens.
    middles: (K,) steps in the middle of the stretches.
    critical: the fit over batch sizes; None where they were not varied.
    sizes: (T,) batch sizes of the runs behind it.
    steps: (T,) steps of each to the target.
    numbers: (T,) of these runs.
    target: the loss that all batch sizes reached; NaN without a fit.
  """

  run: int = -1
  batch_tokens: float = math.nan
  scales: tuple[NoiseScale, ...] = ()
  middles: tuple[float, ...] = ()
  critical: CriticalBatch | None = None
  sizes: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
  steps: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
  numbers: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, int))
  target: float = math.nan


def batches(runs: Runs) -> Batches:
  """The noise scale of the best run that logged it, and the critical batch size of the best run of each batch size.

  The target of the latter is the worst of these runs' final losses, which all of them reach: at equal tokens mostly the
  largest batch's. Where other hyperparameters were not tuned at each batch size, the fit is of those, too.
  """
  return dataclasses.replace(_scales(runs), **_critical(runs))


def _scales(runs: Runs) -> Batches:
  order = np.argsort(
    np.where(np.isfinite(runs.losses), runs.losses, math.inf), kind='stable'
  )
  for row in order:
    number = int(runs.number[row])
    curve, config = runs.curves.get(number, {}), runs.configs.get(number, {})
    if not np.isfinite(curve.get('microbatch_grad_norm', np.array([]))).any():
      continue
    accumulation, batch, length = (
      config.get(f'train.{key}')
      for key in ('grad_accumulation_steps', 'batch_size', 'seq_len')
    )
    if not (batch and length):
      continue
    tokens, parts = float(batch * length), max(accumulation or 1, 2)
    rows = np.flatnonzero(
      np.isfinite(curve['microbatch_grad_norm']) & np.isfinite(curve['grad_norm'])
    )
    stretches = [part for part in np.array_split(rows, STRETCHES) if len(part)]
    one = lambda part: noise_scale_of_run(
      {k: v[part] for k, v in curve.items()}, parts, tokens, last_fraction=1.0
    )
    try:
      scales = tuple(one(part) for part in stretches)
    except ConfigError:
      continue
    return Batches(
      number,
      tokens,
      scales,
      tuple(float(np.mean(curve['step'][part])) for part in stretches),
    )
  return Batches()


def _critical(runs: Runs) -> dict:
  name = next((name for name in AXES if name in runs.varied()), None)
  done = runs.complete()
  if (
    name is None
    or runs.axes[name].kind != 'number'
    or 'loss' not in runs.objective_name
    or runs.maximize
  ):
    return {}
  best = {}
  for row in np.argsort(-done.losses, kind='stable'):
    if int(done.number[row]) in done.curves and math.isfinite(done.values[name][row]):
      best[float(done.values[name][row])] = int(row)
  curves = {size: _curve(done, row) for size, row in sorted(best.items())}
  curves = {size: curve for size, curve in curves.items() if curve is not None}
  if len(curves) < 3:
    return {}
  target = max(float(np.min(losses)) for _, losses in curves.values())
  sizes = np.array(list(curves))
  steps = np.array(
    [steps_to_target(*curve, target, window=0) for curve in curves.values()]
  )
  return {
    'critical': critical_batch_size(sizes, steps),
    'sizes': sizes,
    'steps': steps,
    'target': target,
    'numbers': np.array([done.number[best[size]] for size in curves]),
  }


def _curve(runs: Runs, row: int) -> tuple[np.ndarray, np.ndarray] | None:
  """Steps and losses of a run: of its evaluations where there are five, else of training, smoothed."""
  curve = runs.curves[int(runs.number[row])]
  for column, fewest in ((runs.objective_name, 5), ('loss_nats', 20)):
    losses = curve.get(column, np.array([]))
    known = np.isfinite(losses)
    if known.sum() >= fewest:
      losses = losses[known]
      if fewest == 20:
        losses = exponential_moving_average(losses, max(2.0, known.sum() / 50))
      return curve['step'][known], losses
  return None


def batch_findings(found: Batches) -> list[Finding]:
  """The noise scale and the critical batch size as notes."""
  out, last = [], found.scales[-1] if found.scales else None
  if last is not None and math.isfinite(last.batch_size):
    side = (
      'below: a larger batch would save steps'
      if found.batch_tokens < last.batch_size
      else 'above: a smaller batch would save tokens'
    )
    out.append(
      Finding(
        'noise_scale',
        'note',
        f'The gradient noise scale at the end is {amount(last.batch_size)} tokens; the batch of '
        f'{amount(found.batch_tokens)} is {side}.',
        f'{last.confidence:.0%} interval {amount(last.low)} to {amount(last.high)}, over {last.steps} logged steps of run '
        f'{found.run}.',
        {
          'tokens': last.batch_size,
          'low': last.low,
          'high': last.high,
          'batch': found.batch_tokens,
        },
        runs=(found.run,),
      )
    )
  if found.critical is not None and math.isfinite(found.critical.batch_size):
    c = found.critical
    out.append(
      Finding(
        'critical_batch_size',
        'note',
        f'The critical batch size is {amount(c.batch_size)} sequences, for a loss of '
        f'{amount(found.target)}.',
        f'{c.confidence:.0%} interval {amount(c.batch_size_low)} to '
        f'{amount(c.batch_size_high)}; of the best run of each of {len(found.sizes)} batch sizes. Above it, more '
        'examples buy few steps.',
        {'sequences': c.batch_size, 'low': c.batch_size_low, 'high': c.batch_size_high},
        runs=tuple(int(n) for n in found.numbers),
      )
    )
  return out
