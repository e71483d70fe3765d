"""Batch size of a study or run: gradient noise scale and critical batch size.

Dimension key: T runs, K stretches of a run.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import amount, counted, interval_text
from lmhp.analysis.runs.columns import finite_rows, to_float
from lmhp.analysis.runs.table import Curve, Runs
from lmhp.analysis.scaling.critical_batch_size import (
  CriticalBatch,
  critical_batch_size,
  steps_to_target,
)
from lmhp.analysis.scaling.gradient_noise import NoiseScale, noise_scale_of_run
from lmhp.errors import ConfigError
from lmhp.statistics.smoothing import exponential_moving_average

BATCH_SIZE_NAMES = ('train.batch_size', 'batch_size')
N_STRETCHES = 4
"""Stretches of a run with a noise scale each, since it grows while the loss falls."""
MIN_BATCH_SIZES = 3
MIN_EVALUATIONS = 5
MIN_TRAIN_ROWS = 20


@dataclasses.dataclass(frozen=True)
class NoiseScaleOfRun:
  """Gradient noise scale over the stretches of one run.

  Attributes:
    number: Run number.
    batch_tokens: Tokens of its batches.
    scales: Noise scale of each stretch, in tokens.
    steps: (K,) steps in the middle of the stretches.
  """

  number: int
  batch_tokens: float
  scales: tuple[NoiseScale, ...]
  steps: np.ndarray


@dataclasses.dataclass(frozen=True)
class CriticalBatchOfRuns:
  """Critical batch size from the best run of each batch size.

  Attributes:
    fit: Critical batch size.
    target: Loss that all of these runs reached.
    batch_sizes: (T,) batch sizes.
    steps: (T,) steps to the target.
    numbers: (T,) run numbers.
  """

  fit: CriticalBatch
  target: float
  batch_sizes: np.ndarray
  steps: np.ndarray
  numbers: np.ndarray


@dataclasses.dataclass(frozen=True)
class BatchSizeAnalysis:
  """Batch size of a study or run.

  Attributes:
    noise_scale: Noise scale of the best run that logged it. None if none did.
    critical: Critical batch size. None if batch sizes were not varied.
  """

  noise_scale: NoiseScaleOfRun | None = None
  critical: CriticalBatchOfRuns | None = None


def analyze_batch_size(runs: Runs) -> BatchSizeAnalysis:
  """Computes the noise scale and the critical batch size of a study.

  The critical batch size uses the best run of each batch size. Its target is the worst of
  their final losses, which all of them reach. At equal tokens it is mostly that of the largest
  batch size. If other hyperparameters were not tuned at each batch size, the result depends on
  them too.
  """
  return BatchSizeAnalysis(_noise_scale(runs), _critical_batch(runs))


def _noise_scale(runs: Runs) -> NoiseScaleOfRun | None:
  """Returns the noise scale of the best run that logged it."""
  losses = np.where(np.isfinite(runs.losses), runs.losses, math.inf)
  # Go through the runs from the best to the worst.
  for row in np.argsort(losses, kind='stable'):
    number = int(runs.number[row])
    curve = runs.curves.get(number, {})
    config = runs.configs.get(number, {})
    if not np.isfinite(curve.get('microbatch_grad_norm', np.array([]))).any():
      continue
    accumulation = to_float(config.get('train.grad_accumulation_steps'))
    batch_tokens = to_float(config.get('train.batch_size')) * to_float(
      config.get('train.seq_len')
    )
    if not batch_tokens > 0:
      continue
    # Without accumulation, the noise scale was measured on two halves of the batch.
    n_microbatches = 2 if math.isnan(accumulation) else max(int(accumulation), 2)
    stretches = _stretches(curve)
    try:
      scales = [
        noise_scale_of_run(stretch, n_microbatches, batch_tokens)
        for stretch in stretches
      ]
    except ConfigError:
      continue
    steps = np.array([float(np.mean(stretch['step'])) for stretch in stretches])
    return NoiseScaleOfRun(number, batch_tokens, tuple(scales), steps)
  return None


def _stretches(curve: Curve) -> list[Curve]:
  """Splits the rows with both gradient norms into stretches."""
  finite = np.isfinite(curve['microbatch_grad_norm']) & np.isfinite(curve['grad_norm'])
  parts = np.array_split(np.flatnonzero(finite), N_STRETCHES)
  stretches = []
  for part in parts:
    if len(part):
      stretches.append({name: column[part] for name, column in curve.items()})
  return stretches


def _critical_batch(runs: Runs) -> CriticalBatchOfRuns | None:
  name = next((name for name in BATCH_SIZE_NAMES if name in runs.varied_axes()), None)
  if name is None or runs.axes[name].is_choice:
    return None
  if 'loss' not in runs.objective_name or runs.maximize:
    return None
  complete = runs.complete_runs()

  # Best run of each batch size: a better run replaces a worse one.
  best: dict[float, int] = {}
  for row in np.argsort(-complete.losses, kind='stable').tolist():
    batch_size = float(complete.values[name][row])
    if int(complete.number[row]) in complete.curves and math.isfinite(batch_size):
      best[batch_size] = row
  curves = {}
  for batch_size, row in sorted(best.items()):
    curve = complete.curves[int(complete.number[row])]
    losses = _loss_curve(curve, runs.objective_name)
    if losses is not None:
      curves[batch_size] = losses
  if len(curves) < MIN_BATCH_SIZES:
    return None

  # The lowest loss that all batch sizes reach.
  target = max(float(np.min(losses)) for _, losses in curves.values())
  batch_sizes = np.array(list(curves))
  steps = np.array(
    [
      steps_to_target(curve_steps, losses, target, window=0)
      for curve_steps, losses in curves.values()
    ]
  )
  return CriticalBatchOfRuns(
    fit=critical_batch_size(batch_sizes, steps),
    target=target,
    batch_sizes=batch_sizes,
    steps=steps,
    numbers=np.array([complete.number[best[batch_size]] for batch_size in curves]),
  )


def _loss_curve(curve: Curve, objective: str) -> tuple[np.ndarray, np.ndarray] | None:
  """Returns steps and losses: of five evaluations or more, or else of smoothed training."""
  step, evaluated = finite_rows(curve, objective)
  if len(step) >= MIN_EVALUATIONS:
    return step, evaluated
  step, train = finite_rows(curve, 'loss_nats')
  if len(step) < MIN_TRAIN_ROWS:
    return None
  return step, exponential_moving_average(train, max(2.0, len(step) / 50))


# --- findings ---------------------------------------------------------------------------


def noise_scale(batch_size: BatchSizeAnalysis) -> list[Finding]:
  """Reports the gradient noise scale at the end of the run, beside its batch size."""
  measured = batch_size.noise_scale
  if measured is None or not measured.scales:
    return []
  last = measured.scales[-1]
  if not math.isfinite(last.batch_size):
    return []
  comparison = 'above it, so a smaller batch would save tokens'
  if measured.batch_tokens < last.batch_size:
    comparison = 'below it, so a larger batch would save steps'
  return [
    Finding(
      kind='noise_scale',
      level='note',
      title=(
        f'The gradient noise scale at the end is {amount(last.batch_size)} tokens. The batch '
        f'of {amount(measured.batch_tokens)} tokens is {comparison}.'
      ),
      evidence=(
        f'{interval_text(last.low, last.high, last.confidence)}, over '
        f'{counted(last.n_steps, "logged step")} of run {measured.number}.'
      ),
      numbers={
        'tokens': last.batch_size,
        'low': last.low,
        'high': last.high,
        'batch': measured.batch_tokens,
      },
      runs=(measured.number,),
    )
  ]


def critical_batch(batch_size: BatchSizeAnalysis) -> list[Finding]:
  """Reports the critical batch size."""
  critical = batch_size.critical
  if critical is None or not math.isfinite(critical.fit.batch_size):
    return []
  fit = critical.fit
  return [
    Finding(
      kind='critical_batch_size',
      level='note',
      title=(
        f'The critical batch size is {amount(fit.batch_size)} sequences, for a loss of '
        f'{amount(critical.target)}.'
      ),
      evidence=(
        f'{interval_text(fit.batch_size_low, fit.batch_size_high, fit.confidence)}, from the '
        f'best run of each of {len(critical.batch_sizes)} batch sizes. A batch above it saves few '
        'steps for its additional examples.'
      ),
      numbers={
        'sequences': fit.batch_size,
        'low': fit.batch_size_low,
        'high': fit.batch_size_high,
      },
      runs=tuple(int(number) for number in critical.numbers),
    )
  ]
