"""Unstable runs: loss spikes, and spikes that suggest a warmup or gradient clipping."""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping, Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.curves.noise import (
  MIN_SDS,
  Spikes,
  find_spikes,
  largest_rise,
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
    number: find_spikes(_before_divergence(runs, number, 'loss_nats'))
    for number, curve in runs.curves.items()
    if 'loss_nats' in curve
  }
  # Spikes at a step where most runs spike are due to the batch, not to the settings.
  common = _common_steps(runs, spikes)
  remaining = {n: _without_steps(runs, n, each, common) for n, each in spikes.items()}
  unstable = {n: each for n, each in remaining.items() if len(each) >= MIN_SPIKES}
  if not unstable:
    return []
  worst = max(unstable, key=lambda number: unstable[number].sizes.max())
  size = float(unstable[worst].sizes.max())
  worst_row = unstable[worst].rows[np.argmax(unstable[worst].sizes)]
  worst_step = float(runs.curves[worst]['step'][worst_row])
  count = sum(map(len, unstable.values()))
  # A spike of the gradient norm comes with the loss spike, or up to two rows before it.
  with_norms = sum(
    _n_followed(_norm_spikes(runs.curves[number]), each.rows)[1]
    for number, each in unstable.items()
  )
  noise = unstable[worst].noise
  verb = 'spikes' if len(unstable) == 1 else 'spike'
  evidence = (
    f'The largest spike is at step {amount(worst_step)} of run '
    f'{worst}. A spike is {MIN_SDS:g} standard deviations above the smoothed curve. '
    f'{with_norms} of {count} coincide with a spike of the gradient norm. Spikes between '
    'logged steps are not seen.'
  )
  if common:
    evidence += (
      f' Most runs spike together at {counted(len(common), "more step")}; these are hard '
      'batches, and do not count.'
    )
  return [
    Finding(
      kind='spiking',
      level='warning',
      title=(
        f'{len(unstable)} of {counted(len(runs.curves), "run")} {verb} in the training loss: '
        f'{counted(count, "spike")} of up to {quantity(size)}.'
      ),
      evidence=evidence,
      numbers={
        'spikes': count,
        'largest_nats': size,
        'with_gradient_spikes': with_norms,
        'runs': len(unstable),
        'largest_standard_deviations': size / noise if noise > 0 else math.inf,
      },
      runs=list(unstable),
      effect_nats=size,
    )
  ]


def _common_steps(runs: Runs, spikes: Mapping[int, Spikes]) -> set[float]:
  """Returns the steps at which more than half of the runs, and at least three, spike.

  The cause is a hard batch, and not an unstable run.
  """
  if len(spikes) < 3:
    return set()
  counts: collections.Counter[float] = collections.Counter()
  for number, run_spikes in spikes.items():
    counts.update(runs.curves[number]['step'][run_spikes.rows].tolist())
  return {step for step, n in counts.items() if n > max(2, len(spikes) / 2)}


def _without_steps(
  runs: Runs, number: int, spikes: Spikes, steps: Collection[float]
) -> Spikes:
  kept = ~np.isin(runs.curves[number]['step'][spikes.rows], list(steps))
  return Spikes(spikes.rows[kept], spikes.sizes[kept], spikes.noise)


def _n_followed(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
  """Counts rows that belong together: one of `second` at most two rows after one of `first`.

  Args:
    first: Rows of spikes of the gradient norm.
    second: Rows of spikes of the loss.

  Returns:
    The number of such rows of `first`, and of `second`.
  """
  distance = second - first[:, None]
  belongs = (distance >= 0) & (distance <= NEIGHBOURS)
  return int(belongs.any(axis=1).sum()), int(belongs.any(axis=0).sum())


def _before_divergence(runs: Runs, number: int, name: str) -> np.ndarray:
  """Returns a column up to the step at which the run diverged."""
  values = runs.curves[number][name]
  # Cut at the recorded divergence, or at the first infinite value if that is earlier.
  # NaN is sorted after all steps.
  end = np.searchsorted(runs.curves[number]['step'], _diverged_at(runs, number))
  return values[: min([end, *np.flatnonzero(np.isinf(values))])]


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
  effects = []
  if finite:
    effects.append(f'the loss rose by up to {quantity(rise)}')
  if n_diverged:
    effects.append(f'{n_diverged} diverged')
  rates = _higher_rates(runs, hurt, list(rises))
  axes = ['schedule.warmup_fraction']
  numbers: dict[str, object] = {
    'rise_nats': rise,
    'runs': len(hurt),
    'runs_without_warmup': len(without),
    'diverged_early': n_diverged,
  }
  evidence = (
    f'Within the first {EARLY_FRACTION:.0%} of the steps, and by more than {MIN_SDS:g} '
    f'standard deviations of the loss and {MIN_EARLY_RISE} nats.'
  )
  if rates is not None:
    axes.append(rates.axis)
    numbers['least_learning_rate'] = rates.lowest
    numbers['p_value'] = rates.p_value
    evidence += (
      f' These runs have higher learning rates than the others ({p_text(rates.p_value)}), '
      f'from {amount(rates.lowest)} up.'
    )
  evidence += ' A warmup of at most a tenth of the steps is usual (tuning playbook).'
  return [
    Finding(
      kind='warmup_indicated',
      level='advice',
      title=(
        f'A warmup is likely to help: in {len(hurt)} of {counted(len(without), "run")} '
        f'without one, {" or ".join(effects)} at the start.'
      ),
      evidence=evidence,
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
  until: dict[int, float] = {}
  noises: dict[int, float] = {}
  for number, end in ends.items():
    is_complete = runs.status[runs.row(number)] == 'complete'
    until[number] = EARLY_FRACTION * (end if is_complete else longest)
    curve = runs.curves[number]
    noises[number] = noise_sd(curve['loss_nats'][curve['step'] > until[number]])
  finite = [sd for sd in noises.values() if math.isfinite(sd)]
  usual = float(np.median(finite)) if finite else math.inf
  noises = {n: sd if math.isfinite(sd) else usual for n, sd in noises.items()}
  return {n: _early_rise(runs, n, until[n], noises[n]) for n in ends}


def _early_rise(runs: Runs, number: int, until: float, noise: float) -> float:
  """Returns the rise of one run's loss up to a step."""
  if _diverged_at(runs, number) <= until:
    return math.inf
  steps, losses = finite_rows(runs.curves[number], 'loss_nats')
  start = losses[steps <= until]
  if len(start) < 5:
    return 0.0
  # A single hard batch is no rise.
  triples = np.lib.stride_tricks.sliding_window_view(start, 3)
  rise = largest_rise(np.median(triples, axis=1))[0]
  return rise if rise > max(MIN_SDS * noise, MIN_EARLY_RISE) else 0.0


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


@dataclasses.dataclass(frozen=True)
class _HigherRates:
  """Learning rates of some runs, which are significantly higher than those of the others."""

  axis: str
  lowest: float
  p_value: float


def _higher_rates(
  runs: Runs, numbers: Sequence[int], all_numbers: Sequence[int]
) -> _HigherRates | None:
  """Tests if some runs have higher learning rates than the others."""
  from scipy.stats import mannwhitneyu

  names = [name for name, axis in runs.axes.items() if axis.is_learning_rate]
  if not names:
    return None
  others = [number for number in all_numbers if number not in numbers]
  high = _finite_settings(runs, numbers, names[0])
  rest = _finite_settings(runs, others, names[0])
  if len(high) < 2 or len(rest) < 2:
    return None
  p_value = float(mannwhitneyu(high, rest, alternative='greater').pvalue)
  rates = _HigherRates(names[0], min(high), p_value)
  return rates if p_value <= RATE_LEVEL else None


# --- gradient norms ---------------------------------------------------------------------


def clipping_indicated(curve_runs: Runs) -> list[Finding]:
  """Reports runs without gradient clipping whose gradient norms have large spikes."""
  runs = curve_runs
  # A clip norm below the largest norm clips. It may be unknown.
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
    before_loss += _n_followed(rows, loss_spikes.rows)[0]
  # The proposed threshold is near the 90th percentile of the norms, by the median run.
  usual = float(np.median([np.nanquantile(column, 0.9) for column in norms.values()]))
  verb = 'has' if len(spikes) == 1 else 'have'
  return [
    Finding(
      kind='clipping_indicated',
      level='advice',
      title=(
        f'Gradient clipping is likely to help: {len(spikes)} of '
        f'{counted(len(norms), "run")} without it {verb} gradient norms of up to '
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


def _finite_settings(runs: Runs, numbers: Sequence[int], name: str) -> list[float]:
  values = [to_float(runs.setting(number, name)) for number in numbers]
  return [value for value in values if math.isfinite(value)]
