"""Overfitting: evaluations that rise from their minimum while the training loss falls.

Dimension key: T runs, V evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.curves.noise import noise_sd
from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import amount, counted, p_text, quantity
from lmhp.analysis.runs.columns import finite_rows, is_numeric
from lmhp.analysis.runs.table import Curve, Runs
from lmhp.statistics.smoothing import lowess

EVAL_LOSS = 'eval_loss_nats'
MIN_EVALUATIONS = 6
MIN_SDS = 4.0
"""Standard deviations of an evaluation by which a smoothed curve must rise."""
MIN_SDS_SINGLE = 5.5
"""Standard deviations by which a single evaluation must rise."""
MIN_NATS = 0.01
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
"""Axes and measurements that the gap between training and validation is correlated with."""
RELATED_LEVEL = 0.01


@dataclasses.dataclass(frozen=True)
class Evaluations:
  """Evaluations of one run.

  Attributes:
    number: Run number.
    steps: (V,) steps.
    losses: (V,) losses in nats, all on the same sequences.
    noise: Standard deviation of an evaluation around the curve. That of the study if the
      run's own is smaller.
    rise: Rise in nats of the smoothed curve from its minimum to its end, or to the median of
      the last three evaluations if that is smaller.
    best_step: Step of the minimum of the smoothed curve.
    train_fall: Fall in nats of the smoothed training loss from there to the end. NaN if
      unknown.
    train_fall_error: Standard error of `train_fall`.
    gap: Evaluation minus training loss at the end, both smoothed. NaN if the training loss is
      unknown.
  """

  number: int
  steps: np.ndarray
  losses: np.ndarray
  noise: float
  rise: float
  best_step: float
  train_fall: float
  train_fall_error: float
  gap: float

  @property
  def overfits(self) -> bool:
    """True if evaluations rose while the training loss fell."""
    has_risen = self.rise > max(MIN_SDS * self.noise, MIN_NATS)
    return has_risen and self.train_fall > 2 * self.train_fall_error

  @property
  def loss_above_best(self) -> float:
    """Last evaluation minus the best one, in nats. 0 if that is within the noise."""
    above = float(self.losses[-1] - self.losses.min())
    return above if above > max(MIN_SDS_SINGLE * self.noise, MIN_NATS) else 0.0


def evaluations_of_runs(runs: Runs) -> list[Evaluations]:
  """Returns the evaluations of all runs that have at least six."""
  evaluated = []
  for number, curve in runs.curves.items():
    steps, losses = evaluations_of(curve)
    if len(losses) >= MIN_EVALUATIONS and np.isfinite(losses).all():
      evaluated.append(_evaluations(number, curve, steps, losses))
  if not evaluated:
    return []

  # Noise of each run, at least the median over all runs.
  common = float(np.nanmedian([one.noise for one in evaluated]))
  return [dataclasses.replace(one, noise=max(one.noise, common)) for one in evaluated]


def evaluations_of(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
  """Returns steps and losses of a curve's evaluations on one set of sequences.

  The last evaluation often uses more sequences, and is then left out.
  """
  if EVAL_LOSS not in curve:
    return np.zeros(0), np.zeros(0)
  rows = ~np.isnan(curve[EVAL_LOSS])
  if 'eval_sequences' in curve and rows.any():
    # Evaluations on another number of sequences are not comparable with the first. NaN
    # differs from every number, so such rows are dropped too.
    count = curve['eval_sequences']
    rows &= count == count[rows][0]
  return curve['step'][rows], curve[EVAL_LOSS][rows]


def _evaluations(
  number: int, curve: Curve, steps: np.ndarray, losses: np.ndarray
) -> Evaluations:
  # The minimum of the smoothed curve, so that one lucky evaluation is not the minimum.
  smoothed = lowess(losses, max(5, len(losses) // 4), steps)
  best = int(np.argmin(smoothed))
  fall = fall_error = gap = math.nan
  train_steps, train = finite_rows(curve, 'loss_nats')
  late = train_steps >= steps[best]
  if late.sum() >= 8:
    # Compare the mean of the first third after the minimum with that of the last third.
    train = train[late]
    window = max(4, len(train) // 3)
    fall = float(np.mean(train[:window]) - np.mean(train[-window:]))
    # Standard error of the difference of two means over `window` rows each.
    fall_error = noise_sd(train) * math.sqrt(2 / window)
    # Gap between validation and training loss over the same last steps.
    near_end = steps >= min(train_steps[late][-window], steps[-1])
    gap = float(np.mean(losses[near_end]) - np.mean(train[-window:]))

  # A single high evaluation at the end is no rise.
  end = min(smoothed[-1], float(np.median(losses[-3:])))
  return Evaluations(
    number=number,
    steps=steps,
    losses=losses,
    noise=noise_sd(losses[len(losses) // 3 :]),
    rise=float(end - smoothed[best]),
    best_step=float(steps[best]),
    train_fall=fall,
    train_fall_error=fall_error,
    gap=gap,
  )


# --- findings ---------------------------------------------------------------------------


def overfitting_runs(
  curve_runs: Runs, evaluations: Sequence[Evaluations]
) -> list[Finding]:
  """Reports runs whose validation loss rose while their training loss fell."""
  over = sorted((e for e in evaluations if e.overfits), key=lambda e: -e.rise)
  if not over:
    return []
  worst = over[0]
  related = _related(curve_runs, evaluations)
  correlations = '; '.join(
    f'the gap correlates with {name} (rank correlation {correlation:.2f}, {p_text(p_value)})'
    for name, (correlation, p_value) in related.items()
  )
  over_all = f' Over all runs, {correlations}.' if correlations else ''
  evidence = (
    f'Run {worst.number} has its lowest validation loss at step {amount(worst.best_step)} of '
    f'{amount(worst.steps[-1])}. Its training loss fell by {quantity(worst.train_fall)} after '
    f'that, and its validation loss ends {quantity(worst.gap)} above the training loss. A rise '
    f'counts if it is larger than {MIN_SDS:g} standard deviations of an evaluation '
    f'({quantity(worst.noise)} each).{over_all}'
  )
  return [
    Finding(
      kind='overfitting',
      level='warning',
      title=(
        f'{len(over)} of {counted(len(evaluations), "run")} '
        f'{"overfits" if len(over) == 1 else "overfit"}: the validation loss rose by up to '
        f'{quantity(worst.rise)} from its minimum while the training loss fell.'
      ),
      evidence=evidence,
      numbers={
        'rise_nats': worst.rise,
        'gap_nats': worst.gap,
        'train_fall_nats': worst.train_fall,
        'runs': len(over),
        'runs_evaluated': len(evaluations),
        'best_step': worst.best_step,
        'noise_nats': worst.noise,
        'gap_rank_correlation': {name: one[0] for name, one in related.items()},
      },
      axes=[name for name in related if name in curve_runs.axes],
      runs=[e.number for e in over],
      effect_nats=worst.rise,
    )
  ]


def best_before_last(evaluations: Sequence[Evaluations]) -> list[Finding]:
  """Reports runs whose best checkpoint is better than the last one, beyond the noise."""
  late = sorted(
    (e for e in evaluations if e.loss_above_best), key=lambda e: -e.loss_above_best
  )
  if not late:
    return []
  worst = late[0]
  # Step of the lowest evaluation, not of the lowest smoothed value.
  best_step = float(worst.steps[int(np.argmin(worst.losses))])
  last_step = float(worst.steps[-1])
  return [
    Finding(
      kind='best_before_last',
      level='advice',
      title=(
        f'{len(late)} of {counted(len(evaluations), "run")} had a better checkpoint than the '
        f'last one: by up to {quantity(worst.loss_above_best)}.'
      ),
      evidence=(
        f'Run {worst.number} was best at step {amount(best_step)} of {amount(last_step)}. A '
        f'difference counts if it is larger than {MIN_SDS_SINGLE:g} standard deviations of '
        f'an evaluation ({quantity(worst.noise)} each). Keep the best checkpoint, and train '
        'for fewer steps or decay the learning rate to the end.'
      ),
      numbers={
        'loss_above_best_nats': worst.loss_above_best,
        'best_step': best_step,
        'last_step': last_step,
        'noise_nats': worst.noise,
        'runs': len(late),
        'runs_evaluated': len(evaluations),
      },
      runs=[e.number for e in late],
      effect_nats=worst.loss_above_best,
    )
  ]


def _related(
  runs: Runs, evaluations: Sequence[Evaluations]
) -> dict[str, tuple[float, float]]:
  """Returns the axes and measurements that the gap correlates with significantly.

  Returns:
    {name: (rank correlation, p-value with Bonferroni's correction)}.
  """
  from scipy.stats import spearmanr

  # Final gap of each run, and its row.
  known = [one for one in evaluations if math.isfinite(one.gap)]
  rows = [runs.row(one.number) for one in known]
  gaps = np.array([one.gap for one in known])

  # Rank correlation of the gap with each related quantity.
  tested: dict[str, np.ndarray] = {}
  unknown = np.full(len(runs), math.nan)
  for name in RELATED:
    settings = runs.values.get(name, runs.measured.get(name, unknown))[rows].tolist()
    values = np.array([v if is_numeric(v) else math.nan for v in settings], np.float64)
    finite = np.isfinite(values)
    if finite.sum() >= 5 and len(np.unique(values[finite])) > 1:
      tested[name] = np.asarray(spearmanr(values[finite], gaps[finite]), np.float64)
  # Bonferroni: the p-value times the number of tests.
  n = len(tested)
  return {
    name: (float(correlation), min(1.0, float(p_value) * n))
    for name, (correlation, p_value) in tested.items()
    if p_value * n < RELATED_LEVEL
  }
