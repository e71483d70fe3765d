"""Unstable runs: loss spikes, and spikes that suggest a warmup or gradient clipping.

Rules take `curve_runs`: the table of all runs, with the usable curves (`Analysis.curve_runs`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math

import numpy as np

from lmhp.analysis.curves.noise import (
  MIN_SDS,
  Spikes,
  find_spikes,
  noise_sd,
)
from lmhp.analysis.findings import Finding, ProposedRange
from lmhp.analysis.phrases import amount, counted, p_text, quantity
from lmhp.analysis.runs.columns import finite_rows, to_float
from lmhp.analysis.runs.table import Curve, Runs

MIN_SPIKES = 2
"""Spikes of one run that make a finding."""
EARLY_FRACTION = 0.15
"""Fraction of the planned steps that is a run's start, where a warmup matters."""
MIN_EARLY_RISE = 0.2
"""Smallest rise of the loss in the start that counts, in nats."""
MAX_WARMUP = 0.01
"""Fraction of the steps up to which a warmup counts as none."""
OTHER_UNITS = ('steps', 'tokens', 'epochs', 'tokens_per_parameter')
"""Units of a warmup other than a fraction."""
MIN_NORM_RATIO = 3.0
"""Ratio to the smoothed gradient norm above which a norm is a spike."""
MIN_NORM_SPIKES = 3
RATE_LEVEL = 0.05
NEIGHBOURS = 2
"""Rows between a spike of the gradient norm and the loss spike that it belongs to."""


# --- spikes -----------------------------------------------------------------------------


def spiking_runs(curve_runs: Runs) -> list[Finding]:
  """Reports runs whose training loss spikes after their start."""
  runs = curve_runs
  spikes = {
    number: find_spikes(_losses_before_divergence(runs, number))
    for number, curve in runs.curves.items()
    if 'loss_nats' in curve
  }
  # Spikes at a step where most runs spike are due to the batch, not to the settings.
  common = _common_steps(runs, spikes)
  unstable = {}
  for number, each in spikes.items():
    kept = ~np.isin(runs.curves[number]['step'][each.rows], common)
    if kept.sum() >= MIN_SPIKES:
      unstable[number] = Spikes(each.rows[kept], each.sizes[kept], each.noise)
  if not unstable:
    return []
  worst = max(unstable, key=lambda number: unstable[number].sizes.max())
  largest = unstable[worst]
  size = float(largest.sizes.max())
  worst_step = float(runs.curves[worst]['step'][largest.rows[largest.sizes.argmax()]])
  count = sum(map(len, unstable.values()))
  # A spike of the gradient norm comes with the loss spike, or up to two rows before it.
  with_norms = sum(
    int(_belongs(_norm_spikes(runs.curves[number]), each.rows).any(axis=0).sum())
    for number, each in unstable.items()
  )
  batches = (
    f' Most runs spike together at {counted(len(common), "more step")}; these are hard '
    'batches, and do not count.'
  )
  return [
    Finding(
      kind='spiking',
      level='warning',
      title=(
        f'{len(unstable)} of {counted(len(runs.curves), "run")} '
        f'{"spikes" if len(unstable) == 1 else "spike"} in the training loss: '
        f'{counted(count, "spike")} of up to {quantity(size)}.'
      ),
      evidence=(
        f'The largest spike is at step {amount(worst_step)} of run {worst}. A spike is '
        f'{MIN_SDS:g} standard deviations above the smoothed curve. {with_norms} of {count} '
        'coincide with a spike of the gradient norm. Spikes between logged steps are not '
        f'seen.{batches if len(common) else ""}'
      ),
      numbers={
        'spikes': count,
        'largest_nats': size,
        'with_gradient_spikes': with_norms,
        'runs': len(unstable),
        'largest_standard_deviations': size / largest.noise
        if largest.noise > 0
        else math.inf,
      },
      runs=list(unstable),
      effect_nats=size,
    )
  ]


def _common_steps(runs: Runs, spikes: Mapping[int, Spikes]) -> np.ndarray:
  """Returns the steps at which more than half of the runs, and at least three, spike.

  The cause is a hard batch, and not an unstable run.
  """
  steps = [runs.curves[number]['step'][each.rows] for number, each in spikes.items()]
  different, counts = np.unique(np.concatenate([[], *steps]), return_counts=True)
  return different[counts > max(2, len(spikes) / 2)]


def _belongs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Returns True (F, S) for rows that belong together.

  Args:
    first: (F,) rows of spikes of the gradient norm.
    second: (S,) rows of spikes of the loss. They are at most two rows later.
  """
  distance = second - first[:, None]
  return (distance >= 0) & (distance <= NEIGHBOURS)


def _losses_before_divergence(runs: Runs, number: int) -> np.ndarray:
  """Returns the training losses up to the step at which the run diverged."""
  losses = runs.curves[number]['loss_nats']
  # Cut at the recorded divergence, or at the first infinite value if that is earlier.
  # For a run that did not diverge the step is NaN, which stands after all steps.
  end = np.searchsorted(runs.curves[number]['step'], _diverged_at(runs, number))
  return losses[: min([end, *np.flatnonzero(np.isinf(losses))])]


def _diverged_at(runs: Runs, number: int) -> float:
  """Returns the step at which a run diverged. NaN if it did not, or if it is unknown."""
  unknown = np.full(len(runs), math.nan)
  return float(runs.measured.get('diverged_at', unknown)[runs.row(number)])


def _norm_spikes(curve: Curve) -> np.ndarray:
  """Returns the rows whose gradient norm is far above the smoothed curve."""
  norms = curve.get('grad_norm', np.zeros(0))
  with np.errstate(divide='ignore', invalid='ignore'):
    logs = np.where(norms > 0, np.log(norms), math.nan)
  return find_spikes(logs, min_rise=math.log(MIN_NORM_RATIO)).rows


# --- start of training ------------------------------------------------------------------


def warmup_indicated(curve_runs: Runs) -> list[Finding]:
  """Reports runs without a warmup whose loss rose, or that diverged, in their start."""
  runs = curve_runs
  # Runs without a warmup that rose or diverged in their start. One is enough only if it
  # is the only run without a warmup.
  rises = _early_rises(runs)
  without = [number for number in rises if not _has_warmup(runs, number)]
  hurt = [number for number in without if rises[number] > 0]
  if len(hurt) < min(2, len(without)) or not hurt:
    return []
  # An infinite rise marks a run that diverged.
  finite = [rises[number] for number in hurt if math.isfinite(rises[number])]
  n_diverged = len(hurt) - len(finite)
  rise = max(finite, default=math.nan)
  effects = [f'the loss rose by up to {quantity(rise)}'] if finite else []
  if n_diverged:
    effects.append(f'{n_diverged} diverged')
  axes = ['schedule.warmup_fraction']
  numbers: dict[str, object] = {
    'rise_nats': rise,
    'runs': len(hurt),
    'runs_without_warmup': len(without),
    'diverged_early': n_diverged,
  }
  rates = ''
  axis = next((name for name, axis in runs.axes.items() if axis.is_learning_rate), '')
  lowest, p_value = _higher_values(runs, axis, hurt, list(rises))
  if p_value <= RATE_LEVEL:
    axes.append(axis)
    numbers |= {'least_learning_rate': lowest, 'p_value': p_value}
    rates = (
      f' These runs have higher learning rates than the others ({p_text(p_value)}), from '
      f'{amount(lowest)} up.'
    )
  return [
    Finding(
      kind='warmup_indicated',
      level='advice',
      title=(
        f'A warmup is likely to help: in {len(hurt)} of {counted(len(without), "run")} '
        f'without one, {" or ".join(effects)} at the start.'
      ),
      evidence=(
        f'Within the first {EARLY_FRACTION:.0%} of the steps, and by more than {MIN_SDS:g} '
        f'standard deviations of the loss and {MIN_EARLY_RISE} nats.{rates} A warmup of at '
        'most a tenth of the steps is usual (tuning playbook).'
      ),
      numbers=numbers,
      axes=axes,
      runs=hurt,
      proposal={'schedule.warmup_fraction': ProposedRange(0.01, 0.1, log=True)},
      effect_nats=0.0 if n_diverged else rise,
    )
  ]


def _early_rises(runs: Runs) -> dict[int, float]:
  """Returns the rise of each run's loss in its start, in nats.

  It is infinite if the run diverged there, and 0 if the rise is within the noise. The start is
  a fraction of the planned steps. For a run that is not complete, these are the steps of the
  longest run. For a run that is too short to estimate its noise, the median noise is used.
  """
  ends = {
    number: float(np.nanmax(curve['step']))
    for number, curve in runs.curves.items()
    if 'loss_nats' in curve
  }
  longest = max(ends.values(), default=0.0)
  rises: dict[int, float] = {}
  noises = []
  for number, end in ends.items():
    is_complete = runs.status[runs.row(number)] == 'complete'
    until = EARLY_FRACTION * (end if is_complete else longest)
    has_diverged = _diverged_at(runs, number) <= until
    steps, losses = finite_rows(runs.curves[number], 'loss_nats')
    rises[number] = math.inf if has_diverged else _largest_rise(losses[steps <= until])
    noises.append(noise_sd(losses[steps > until]))
  sds = np.array(noises)
  known = sds[np.isfinite(sds)]
  usual = np.median(known) if known.size else math.inf
  least = np.maximum(MIN_SDS * np.where(np.isfinite(sds), sds, usual), MIN_EARLY_RISE)
  return {
    number: rise if rise >= limit else 0.0
    for (number, rise), limit in zip(rises.items(), least)
  }


def _largest_rise(losses: np.ndarray) -> float:
  """Returns the largest rise of losses above their minimum so far. 0 for fewer than 5."""
  if len(losses) < 5:
    return 0.0
  # A single hard batch is no rise.
  triples = np.lib.stride_tricks.sliding_window_view(losses, 3)
  medians = np.median(triples, axis=1)
  return float(np.max(medians - np.minimum.accumulate(medians)))


def _has_warmup(runs: Runs, number: int) -> bool:
  """Returns True if a run had a warmup, by its config or else by its learning rates."""
  fraction = to_float(runs.setting(number, 'schedule.warmup_fraction'))
  if math.isfinite(fraction):
    others = [runs.setting(number, f'schedule.warmup_{unit}') for unit in OTHER_UNITS]
    return fraction > MAX_WARMUP or any(
      o for o in others if isinstance(o, (int, float))
    )
  # Without a setting, a warmup shows in rates that rise to their peak.
  _, rates = finite_rows(runs.curves[number], 'learning_rate')
  return bool(len(rates) > 1 and rates[1] < 0.9 * rates.max() and rates.argmax() > 1)


def _higher_values(
  runs: Runs, axis: str, numbers: Sequence[int], all_numbers: Sequence[int]
) -> tuple[float, float]:
  """Tests if some runs have higher values of an axis than the others.

  Returns:
    The lowest value of these runs, and the p-value. Both are NaN if a side has fewer than two
    values.
  """
  from scipy.stats import mannwhitneyu

  values = {number: to_float(runs.setting(number, axis)) for number in all_numbers}
  values = {number: value for number, value in values.items() if math.isfinite(value)}
  high = [value for number, value in values.items() if number in numbers]
  rest = [value for number, value in values.items() if number not in numbers]
  if min(len(high), len(rest)) < 2:
    return math.nan, math.nan
  return min(high), float(mannwhitneyu(high, rest, alternative='greater').pvalue)


# --- gradient norms ---------------------------------------------------------------------


def clipping_indicated(curve_runs: Runs) -> list[Finding]:
  """Reports runs without gradient clipping whose gradient norms have large spikes."""
  runs = curve_runs
  # Keep runs without effective clipping: the clip norm is unknown, or no norm exceeds it.
  norms = {
    number: curve['grad_norm']
    for number, curve in runs.curves.items()
    if 'grad_norm' in curve
    and not to_float(runs.setting(number, 'optimizer.clip_norm'))
    < np.nanmax(curve['grad_norm'])
  }
  spikes = {number: _norm_spikes(runs.curves[number]) for number in norms}
  spikes = {n: rows for n, rows in spikes.items() if len(rows) >= MIN_NORM_SPIKES}
  if not spikes:
    return []
  count = sum(map(len, spikes.values()))
  ratio = max(
    float(np.max(norms[n][rows]) / np.nanmedian(norms[n])) for n, rows in spikes.items()
  )
  before_loss = 0
  for number, rows in spikes.items():
    loss_spikes = find_spikes(runs.curves[number].get('loss_nats', np.zeros(0)))
    before_loss += int(_belongs(rows, loss_spikes.rows).any(axis=1).sum())
  # The proposed threshold is near the 90th percentile of a run's norms, in the median run.
  usual = float(np.median([np.nanquantile(column, 0.9) for column in norms.values()]))
  return [
    Finding(
      kind='clipping_indicated',
      level='advice',
      title=(
        f'Gradient clipping is likely to help: {len(spikes)} of '
        f'{counted(len(norms), "run")} without it '
        f'{"has" if len(spikes) == 1 else "have"} gradient norms of up to '
        f'{amount(ratio)} times their median.'
      ),
      evidence=(
        f'{counted(count, "norm is", "norms are")} {MIN_NORM_RATIO:g} times and '
        f'{MIN_SDS:g} standard deviations above the smoothed curve; the loss spiked after '
        f'{before_loss} of them. 90% of the norms are below {amount(usual)}, which is a usual '
        'threshold (tuning playbook).'
      ),
      numbers={
        'largest_over_median': ratio,
        'large_norms': count,
        'followed_by_loss_spikes': before_loss,
        'runs': len(spikes),
        'norm_90th_percentile': usual,
      },
      axes=['optimizer.clip_norm'],
      runs=list(spikes),
      proposal={
        'optimizer.clip_norm': ProposedRange(
          float(f'{usual / 2:.2g}'), float(f'{usual * 2:.2g}'), log=True
        )
      },
    )
  ]
