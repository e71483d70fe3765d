"""Evaluations along a run: whether they rose from their least, and whether training fell meanwhile.

Dimension key: T runs, V evaluations.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Sequence

import numpy as np

from lmhp.analysis.curves.comparison import Curve, noise
from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import amount, nats, p_words
from lmhp.analysis.runs.table import Runs
from lmhp.statistics.smoothing import lowess

EVAL = 'eval_loss_nats'
FEWEST_EVALS = 6
FAR = 4.0
"""Standard deviations of an evaluation by which a smoothed curve must have risen; of single ones, `FAR_OF_ONE`."""
FAR_OF_ONE = 5.5
LEAST_NATS = 0.01
RELATED = (
  'train.batch_size',
  'batch_size',
  'train.epochs',
  'epochs',
  'data.fraction',
  'model.d_model',
  'model.n_layers',
  'model.d_ff',
  'd_model',
  'n_layers',
  'parameters',
  'optimizer.weight_decay',
)
"""Axes and measures that a gap between training and validation is compared with, where they vary."""
RELATED_LEVEL = 0.01


@dataclasses.dataclass(frozen=True)
class Evaluations:
  """Of one run.

  Attributes:
    number: of the run.
    steps: (V,).
    losses: (V,) nats, all on the same sequences.
    noise: standard deviation of one around the curve; the study's where the run's own is less.
    rise: of the smoothed curve, from its least to its end, or to the median of its last three; the less, nats.
    least_step: where the smoothed curve was least.
    fall: of the smoothed training loss from there to the end, nats; NaN where it is not known.
    fall_noise: standard error of `fall`.
    gap: at the end, evaluation less training, both smoothed; NaN where training's is not known.
  """

  number: int
  steps: np.ndarray
  losses: np.ndarray
  noise: float
  rise: float
  least_step: float
  fall: float
  fall_noise: float
  gap: float

  @property
  def overfits(self) -> bool:
    """Whether evaluations rose while training went on falling."""
    return (
      self.rise > max(FAR * self.noise, LEAST_NATS) and self.fall > 2 * self.fall_noise
    )

  @property
  def best_before_last(self) -> float:
    """How far the last evaluation is above the best, nats; 0 where that is within the noise."""
    above = float(self.losses[-1] - self.losses.min())
    return above if above > max(FAR_OF_ONE * self.noise, LEAST_NATS) else 0.0


def evaluations(runs: Runs) -> list[Evaluations]:
  """The evaluations of all runs whose curves have six or more; none where their noise cannot be told."""
  known = {}
  for number, curve in runs.curves.items():
    steps, losses = evaluations_of(curve)
    if len(losses) >= FEWEST_EVALS and np.isfinite(losses).all():
      known[number] = (curve, steps, losses)
  own = {
    number: noise(losses[len(losses) // 3 :])
    for number, (_, _, losses) in known.items()
  }
  if not own:
    return []
  common = float(np.nanmedian(list(own.values())))
  return [
    _looked_at(number, *known[number], max(own[number], common)) for number in known
  ]


def evaluations_of(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
  """Steps and losses of a curve's evaluations on one set of sequences: the last one is often on more, and left out."""
  if EVAL not in curve:
    return np.zeros(0), np.zeros(0)
  losses, steps = (
    np.asarray(curve[EVAL], np.float64),
    np.asarray(curve['step'], np.float64),
  )
  there = ~np.isnan(losses)
  if 'eval_sequences' in curve and there.any():
    count = np.asarray(curve['eval_sequences'], np.float64)
    there &= ~(count != count[there][0])
  return steps[there], losses[there]


def _looked_at(
  number: int, curve: Curve, steps: np.ndarray, losses: np.ndarray, sd: float
) -> Evaluations:
  smoothed = lowess(losses, max(5, len(losses) // 4), steps)
  least = int(np.argmin(smoothed))
  fall, fall_noise, gap = math.nan, math.nan, math.nan
  if 'loss_nats' in curve:
    at, train = (
      np.asarray(curve['step'], np.float64),
      np.asarray(curve['loss_nats'], np.float64),
    )
    late = np.isfinite(train) & (at >= steps[least])
    if late.sum() >= 8:
      at, train = at[late], train[late]
      window = max(4, len(train) // 3)
      fall = float(np.mean(train[:window]) - np.mean(train[-window:]))
      fall_noise = noise(train) * math.sqrt(2 / window)
      near = steps >= min(at[-window], steps[-1])
      gap = float(np.mean(losses[near]) - np.mean(train[-window:]))
  risen = (
    min(smoothed[-1], float(np.median(losses[-3:]))) - smoothed[least]
  )  # the last alone is no rise
  return Evaluations(
    number, steps, losses, sd, float(risen), float(steps[least]), fall, fall_noise, gap
  )


# --- as findings ----------------------------------------------------------------------------------------------------


def overfitting(runs: Runs, found: Sequence[Evaluations]) -> list[Finding]:
  """Runs whose validation loss rose while their training loss fell; and what the gap goes with."""
  over = sorted((e for e in found if e.overfits), key=lambda e: -e.rise)
  if not over:
    return []
  worst = over[0]
  related = _related(runs, found)
  words = '; '.join(
    f'the gap goes with {name} (rank correlation {rho:.2f}, {p_words(p)})'
    for name, (rho, p) in related.items()
  )
  return [
    Finding(
      'overfitting',
      'warning',
      f'{_of(over, found)}: validation loss rose by up to {nats(worst.rise)} from its least while training loss fell.',
      f'Run {worst.number}: least at step {amount(worst.least_step)} of {amount(worst.steps[-1])}, training loss fell by '
      f'{nats(worst.fall)} after it; at the end validation is {nats(worst.gap)} above training. A rise counts from '
      f'{FAR:g} standard deviations of an evaluation ({nats(worst.noise)}) on.'
      + (f' Of all runs {words}.' if words else ''),
      {
        'rise_nats': worst.rise,
        'gap_nats': worst.gap,
        'train_fall_nats': worst.fall,
        'runs': len(over),
        'runs_evaluated': len(found),
        'least_step': worst.least_step,
        'noise_nats': worst.noise,
        'gap_rank_correlation': {name: rho for name, (rho, _) in related.items()},
      },
      axes=[name for name in related if name in runs.axes],
      runs=[e.number for e in over],
      worth=worst.rise,
    )
  ]


def best_before_last(found: Sequence[Evaluations]) -> list[Finding]:
  """Runs whose best checkpoint was better than the last, by more than an evaluation's noise."""
  late = sorted(
    (e for e in found if e.best_before_last), key=lambda e: -e.best_before_last
  )
  if not late:
    return []
  worst = late[0]
  step = worst.steps[int(np.argmin(worst.losses))]
  return [
    Finding(
      'best_before_last',
      'advice',
      f'{_of(late, found, "had a checkpoint better than the last", "had checkpoints better than the last")}: by up to '
      f'{nats(worst.best_before_last)}.',
      f'Run {worst.number} was best at step {amount(step)} of {amount(worst.steps[-1])}; an evaluation has a noise of '
      f'{nats(worst.noise)}, and {FAR_OF_ONE:g} times as much counts. Keep the best checkpoint, and train shorter or with '
      'a decay to the end.',
      {
        'above_best_nats': worst.best_before_last,
        'best_step': float(step),
        'last_step': float(worst.steps[-1]),
        'noise_nats': worst.noise,
        'runs': len(late),
        'runs_evaluated': len(found),
      },
      runs=[e.number for e in late],
      worth=worst.best_before_last,
    )
  ]


def _of(
  some: Sequence, every: Sequence, one: str = 'overfits', more: str = 'overfit'
) -> str:
  n = len(some)
  return f'{n} of {len(every)} runs {one if n == 1 else more}'


def _related(
  runs: Runs, found: Sequence[Evaluations]
) -> dict[str, tuple[float, float]]:
  """Axes and measures that the gap goes with: rank correlation and its p-value, Bonferroni over those looked at."""
  from scipy.stats import spearmanr  # slow to import, and only here

  row_of = {number: row for row, number in enumerate(runs.number.tolist())}
  gaps = {
    row_of[e.number]: e.gap
    for e in found
    if math.isfinite(e.gap) and e.number in row_of
  }
  rows, looked = np.array(list(gaps), int), {}
  for name in RELATED:
    column = runs.values.get(name, runs.measured.get(name))
    if column is None or len(rows) < 5:
      continue
    values = _numbers(column[rows])
    there = np.isfinite(values)
    if there.sum() >= 5 and len(np.unique(values[there])) > 1:
      rho, p = spearmanr(values[there], np.array(list(gaps.values()))[there])
      looked[name] = (float(rho), float(p))
  return {
    name: (rho, min(1.0, p * len(looked)))
    for name, (rho, p) in looked.items()
    if p * len(looked) < RELATED_LEVEL
  }


def _numbers(column: np.ndarray) -> np.ndarray:
  """A column as numbers; NaN of what is none."""
  return np.array(
    [
      float(v)
      if isinstance(v, (int, float, np.number)) and not isinstance(v, bool)
      else math.nan
      for v in column.tolist()
    ],
    np.float64,
  )
