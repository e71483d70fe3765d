"""Studies of training curves with a known truth: healthy ones, or ones with a situation.

A healthy curve is a power law with an offset, bent by the decay of the schedule, with
first-order autoregressive noise. The expected losses of all configs are equal, and runs
differ by their seeds. `study(situation, seed)` plants a situation in a third of the runs, or
in the whole study. `PLANTED` lists the situations with their sizes.

Dimension key: T runs, S rows of a curve.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import math

import numpy as np

from lmhp.analysis.analysis import Analysis
from lmhp.analysis.findings import Finding
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import CONFIRM, SEARCH, Runs

PLANTED = {
  'overfitting': (
    'the validation loss rises by 0.15 nats in the second half of training; noise of an '
    'evaluation up to 0.01'
  ),
  'spiking': 'three spikes of 0.5 to 1 nats; noise of a row up to 0.05',
  'best_before_last': (
    'the last evaluation is 0.15 nats above the best; noise of an evaluation up to 0.01'
  ),
  'unfair_early_stopping': (
    'final losses differ by 0.1 nats (standard deviation), seeds by 0.01; 48 runs, 8 seeds '
    'of the best, and a random order at the rungs'
  ),
  'warmup_indicated': (
    'no warmup, and a bump of 2.5 nats at 6% of training for the upper third of learning '
    'rates'
  ),
  'clipping_indicated': 'no clipping, and five gradient norms of 10 times their median',
}
EARLY_STOPPING = 'unfair_early_stopping'
STEPS_PER_ROW = 10
SEED_NOISE = 0.01
RATE = 'optimizer.learning_rate'

Columns = dict[str, np.ndarray]
Rng = np.random.Generator


def curve_findings(runs: Runs) -> list[Finding]:
  """Returns the findings about training curves."""
  return Analysis(runs).findings_of_single_run


# --- curves -------------------------------------------------------------------------


def ar1(
  rng: Rng, shape: int | tuple[int, int], correlation: float, tails: bool = False
) -> np.ndarray:
  """Returns autoregressive noise of unit variance along the last axis.

  Args:
    rng: Generator.
    shape: Shape of the noise.
    correlation: Correlation of neighbours.
    tails: True for innovations of Student's t with 5 degrees of freedom.
  """
  if tails:
    innovations = rng.standard_t(5, shape) / math.sqrt(5 / 3)
  else:
    innovations = rng.standard_normal(shape)
  innovations = np.moveaxis(innovations, -1, 0)
  noise = np.empty_like(innovations)
  noise[0] = innovations[0]
  for i in range(1, len(innovations)):
    noise[i] = (
      correlation * noise[i - 1] + math.sqrt(1 - correlation**2) * innovations[i]
    )
  return np.moveaxis(noise, 0, -1)


def power_law(
  steps: np.ndarray | float,
  offset: float,
  amplitude: float,
  exponent: float,
  shift: float,
) -> np.ndarray | float:
  """Returns the loss of a power law of the steps."""
  return offset + amplitude * (steps + shift) ** -exponent


def rates(schedule: str, progress: np.ndarray, warmup: float) -> np.ndarray:
  """Returns the fraction of the peak learning rate, over the progress of training."""
  ramp = np.minimum(1.0, progress / max(warmup, 1e-9))
  if schedule == 'cosine':
    return ramp * (0.1 + 0.45 * (1 + np.cos(np.pi * progress)))
  if schedule == 'wsd_linear':
    return ramp * np.where(progress > 0.8, 1 - 0.9 * (progress - 0.8) / 0.2, 1.0)
  return ramp


@dataclasses.dataclass(frozen=True)
class Shape:
  """Size and settings of the curves of a study.

  Attributes:
    n_runs: Number of runs.
    n_rows: Number of rows of a curve.
    schedule: Name of the schedule.
    warmup: Fraction of training that is warmup.
    max_noise: Largest standard deviation of a row, in nats.
    tails: True for noise with heavy tails.
  """

  n_runs: int
  n_rows: int
  schedule: str
  warmup: float
  max_noise: float
  tails: bool


def healthy_curves(rng: Rng, shape: Shape) -> Columns:
  """Returns healthy curves, (T, S) for each name. NaN if a row was not evaluated."""
  n = shape.n_runs
  n_rows = shape.n_rows
  steps = np.concatenate([[1], STEPS_PER_ROW * np.arange(1, n_rows)]).astype(float)
  progress = steps / steps[-1]
  rate = rates(shape.schedule, progress, shape.warmup)

  # Expected loss: a power law, which the decay of the learning rate lowers.
  exponent = rng.uniform(0.2, 1.5)
  shift = STEPS_PER_ROW * rng.uniform(1, 5)
  offset = rng.uniform(1.5, 2.5)
  amplitude = rng.uniform(2.5, 3.5) * shift**exponent
  law = power_law(steps, offset, amplitude, exponent, shift)
  decayed = np.where(progress > shape.warmup, 1 - rate, 0.0)
  law = law - rng.uniform(0.02, 0.12) * decayed

  # Noise between seeds, of training rows, and of evaluations.
  seeds = SEED_NOISE * rng.standard_normal((n, 1)) * progress
  train_noise = np.exp(rng.uniform(np.log(0.005), np.log(shape.max_noise)))
  eval_noise = np.exp(rng.uniform(np.log(0.001), np.log(0.01)))
  train = (
    law + seeds + train_noise * ar1(rng, (n, n_rows), rng.uniform(0, 0.7), shape.tails)
  )
  n_evals = int(rng.integers(10, 51))
  eval_rows = np.unique(np.linspace(0, n_rows - 1, n_evals).astype(int))
  noise = eval_noise * ar1(rng, (n, len(eval_rows)), rng.uniform(0, 0.7), shape.tails)
  evals = np.full((n, n_rows), math.nan)
  evals[:, eval_rows] = (law + seeds)[:, eval_rows] + 0.03 + noise

  mean_norm = 0.3 + 1.5 * np.exp(-progress / 0.02)
  norm = mean_norm * np.exp(
    rng.uniform(0.05, 0.25) * ar1(rng, (n, n_rows), rng.uniform(0, 0.7), shape.tails)
  )
  return {
    'step': np.tile(steps, (n, 1)),
    'tokens': np.tile(512 * steps, (n, 1)),
    'learning_rate': np.tile(rate, (n, 1)),
    'loss_nats': train,
    'eval_loss_nats': evals,
    'grad_norm': norm,
  }


# --- situations ---------------------------------------------------------------------
# Each changes the columns of the chosen runs.


def _overfitting(rng: Rng, columns: Columns, chosen: np.ndarray) -> None:
  progress = columns['step'][0] / columns['step'][0, -1]
  evals = columns['eval_loss_nats'][chosen]
  evaluated = np.isfinite(evals[0])
  mean = np.mean(evals, axis=0)
  middle = np.interp(0.5, progress[evaluated], mean[evaluated])
  late = np.clip((progress - 0.5) / 0.5, 0, 1)

  # The mean evaluation stays at its value of half of training, and rises from there.
  with np.errstate(invalid='ignore'):
    rise = np.where(progress > 0.5, middle - mean + 0.15 * late, 0.0)
  columns['eval_loss_nats'][chosen] += rise


def _spiking(rng: Rng, columns: Columns, chosen: np.ndarray) -> None:
  n_rows = columns['step'].shape[1]
  for run in chosen:
    for position in 0.2 + 0.25 * np.arange(3) + 0.1 * rng.random(3):
      columns['loss_nats'][run, int(position * n_rows)] += rng.uniform(0.5, 1.0)


def _best_before_last(rng: Rng, columns: Columns, chosen: np.ndarray) -> None:
  rows = np.flatnonzero(np.isfinite(columns['eval_loss_nats'][0]))
  for run in chosen:
    evals = columns['eval_loss_nats'][run]
    evals[rows[-1]] = np.min(evals[rows[:-1]]) + 0.15


def _warmup_indicated(rng: Rng, columns: Columns, chosen: np.ndarray) -> None:
  progress = columns['step'][0] / columns['step'][0, -1]
  columns['loss_nats'][chosen] += 2.5 * np.exp(-(((progress - 0.06) / 0.03) ** 2))


def _clipping_indicated(rng: Rng, columns: Columns, chosen: np.ndarray) -> None:
  n_rows = columns['step'].shape[1]
  for run in chosen:
    positions = 0.2 + 0.15 * np.arange(5) + 0.1 * rng.random(5)
    rows = (positions * n_rows).astype(int)
    columns['grad_norm'][run, rows] = 10 * np.median(columns['grad_norm'][run])
    next_rows = np.minimum(rows + 1, n_rows - 1)
    columns['loss_nats'][run, next_rows] += 0.3


SITUATIONS: dict[str, Callable[[Rng, Columns, np.ndarray], None]] = {
  'overfitting': _overfitting,
  'spiking': _spiking,
  'best_before_last': _best_before_last,
  'warmup_indicated': _warmup_indicated,
  'clipping_indicated': _clipping_indicated,
}


# --- studies ------------------------------------------------------------------------


def study(situation: str = 'nothing', seed: int = 0, tails: bool = False) -> Runs:
  """Returns a study with curves.

  Args:
    situation: One of `PLANTED`, or 'nothing'.
    seed: Seed of the study.
    tails: True for noise with heavy tails.
  """
  # The stream of a situation comes from its name. Early stopping keeps that of an old name.
  stream = 'unfair_early_stop' if situation == EARLY_STOPPING else situation
  rng = np.random.default_rng([seed, sum(map(ord, stream))])
  n = 48 if situation == EARLY_STOPPING else int(rng.integers(8, 33))
  n_rows = int(np.exp(rng.uniform(np.log(50), np.log(500))))
  n_schedules = 3 if situation != 'nothing' else 2
  schedule = ('cosine', 'wsd_linear', 'constant')[int(rng.integers(n_schedules))]
  warmup = 0.0 if situation == 'warmup_indicated' or rng.random() < 0.5 else 0.05
  clip_norm = (
    math.inf if situation == 'clipping_indicated' or rng.random() < 0.5 else 1.0
  )
  max_noise = 0.2 if situation == 'nothing' else 0.05
  columns = healthy_curves(rng, Shape(n, n_rows, schedule, warmup, max_noise, tails))

  rate = 10.0 ** rng.uniform(-4, -2, n)
  chosen = rng.permutation(n)[: max(2, n // 3)]
  if situation == 'warmup_indicated':
    chosen = np.argsort(-rate)[: max(3, n // 3)]
  if situation in SITUATIONS:
    SITUATIONS[situation](rng, columns, chosen)
  config = {
    'schedule.name': schedule,
    'schedule.warmup_fraction': warmup,
    'optimizer.clip_norm': clip_norm,
    'train.batch_size': 8,
  }
  return _runs(rng, situation, columns, rate, config)


def _runs(
  rng: Rng,
  situation: str,
  columns: Columns,
  rate: np.ndarray,
  config: dict[str, object],
) -> Runs:
  """Returns the table of runs, some of them pruned, and some with fresh seeds."""
  n = len(rate)
  steps = columns['step'][0]
  rows = np.flatnonzero(np.isfinite(columns['eval_loss_nats'][0]))
  rungs = rows[[len(rows) // 4, len(rows) // 2]]
  scores = columns['eval_loss_nats'][:, rungs].copy()
  objective = columns['eval_loss_nats'][:, rows[-1]].copy()
  status = np.full(n, 'complete')
  n_rows = np.full(n, len(steps))

  if situation == EARLY_STOPPING:
    objective = objective + 0.1 * rng.standard_normal(n)
    n_seeds = 8
  else:
    n_seeds = int(rng.integers(4, 9)) if rng.random() < 0.5 else 0
    if rng.random() < 1 / 3:
      pruned = scores[:, 0] > np.median(scores[:, 0])
      status[pruned] = 'pruned'
      n_rows[pruned] = rungs[0] + 1
      objective[pruned] = math.nan
      scores[pruned, 1] = math.nan

  winner = int(np.nanargmin(objective))
  fresh_noise = SEED_NOISE * math.sqrt(2) * rng.standard_normal(n_seeds)
  fresh = objective[winner] + fresh_noise
  point = np.concatenate([np.arange(n), np.full(n_seeds, winner)])
  total = n + n_seeds
  return Runs(
    'curves',
    {RATE: Axis(RATE, low=1e-4, high=1e-2, log=True)},
    {RATE: rate[point]},
    np.concatenate([objective, fresh]),
    'eval_loss_nats',
    status=np.concatenate([status, np.full(n_seeds, 'complete')]),
    number=np.arange(total),
    point=point,
    seed=np.concatenate([np.zeros(n, int), 1000 + np.arange(n_seeds)]),
    cohort=np.concatenate([np.full(n, SEARCH), np.full(n_seeds, CONFIRM)]).astype(
      '<U8'
    ),
    scores=(
      *(_finite_scores(steps[rungs], run_scores) for run_scores in scores),
      *({} for _ in range(n_seeds)),
    ),
    measured={
      'steps': np.concatenate([steps[n_rows - 1], np.full(n_seeds, steps[-1])])
    },
    curves={
      i: {name: column[i, : n_rows[i]] for name, column in columns.items()}
      for i in range(n)
    },
    configs={i: {**config, RATE: float(rate[point[i]])} for i in range(total)},
  )


def _finite_scores(steps: np.ndarray, scores: np.ndarray) -> dict[int, float]:
  return {int(s): float(score) for s, score in zip(steps, scores) if np.isfinite(score)}


def curve_with_a_later_loss(seed: int) -> tuple[np.ndarray, np.ndarray, float, float]:
  """Returns a curve at a constant learning rate, with correlated noise.

  Args:
    seed: Seed of the curve.

  Returns:
    Steps, losses, a later step, and the expected loss at that step.
  """
  rng = np.random.default_rng([seed, 7])
  n_rows = int(np.exp(rng.uniform(np.log(60), np.log(500))))
  steps = STEPS_PER_ROW * np.arange(1, n_rows + 1.0)
  exponent = rng.uniform(0.15, 1.0)
  shift = STEPS_PER_ROW * rng.uniform(0, 5)
  offset = rng.uniform(1.5, 2.5)
  amplitude = rng.uniform(2.5, 3.5) * (STEPS_PER_ROW + shift) ** exponent
  law = (offset, amplitude, exponent, shift)
  noise = np.exp(rng.uniform(np.log(0.005), np.log(0.1)))
  losses = power_law(steps, *law) + noise * ar1(rng, n_rows, rng.uniform(0, 0.7))
  later = steps[-1] * rng.uniform(1.25, 4)
  return steps, losses, later, float(power_law(later, *law))


# --- single runs --------------------------------------------------------------------

STEPS = np.arange(10.0, 3001, 10)


def noisy_law(noise: float = 0.01, seed: int = 0) -> np.ndarray:
  """Returns the losses of a healthy run at `STEPS`."""
  rng = np.random.default_rng(seed)
  return 2 + 4 * (STEPS / 10) ** -0.5 + noise * rng.standard_normal(len(STEPS))


def single_run(
  losses: np.ndarray,
  evaluations: np.ndarray | None = None,
  config: dict[str, object] | None = None,
  **columns: np.ndarray,
) -> Runs:
  """Returns a table of one run.

  Args:
    losses: Training losses at `STEPS`.
    evaluations: Validation losses at `STEPS`, of which every 15th is used.
    config: Config of the run.
    **columns: Further columns of the curve.
  """
  curve = {'step': STEPS, 'loss_nats': losses, **columns}
  if evaluations is not None:
    is_evaluated = np.arange(len(STEPS)) % 15 == 14
    curve['eval_loss_nats'] = np.where(is_evaluated, evaluations, np.nan)
  return Runs(
    's',
    {},
    {},
    np.array([float(losses[-1])]),
    objective_name='eval_loss_nats',
    curves={0: curve},
    configs={0: config or {}},
  )
