"""Runs that are unstable, as findings: their loss spikes, they want a warmup, they want their gradients clipped."""

from __future__ import annotations

import collections
import math
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.curves.comparison import noise
from lmhp.analysis.curves.spikes import FAR, Spikes, rise, spikes
from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import amount, nats, p_words
from lmhp.analysis.runs.table import Runs

FEWEST_SPIKES = 2
"""Spikes of one run that make a finding."""
EARLY = 0.15
"""Share of the planned steps that is a run's start, where a warmup tells."""
EARLY_RISE_NATS = 0.2
NO_WARMUP = 0.01
"""Share of the steps up to which a run counts as not warmed up."""
HEAVY = 3.0
"""Times its smoothed value from which a gradient norm is a spike, if that is far from its own noise too."""
FEWEST_HEAVY = 3


# --- spikes ---------------------------------------------------------------------------------------------------------


def spiking(runs: Runs) -> list[Finding]:
  """Runs whose training loss spikes, after their start."""
  every = {
    number: spikes(_before_divergence(runs, number, 'loss_nats'))
    for number, curve in runs.curves.items()
    if 'loss_nats' in curve
  }
  hard = _common_steps(runs, every)
  found = {
    number: own
    for number, one in every.items()
    if len(own := _without(runs, number, one, hard)) >= FEWEST_SPIKES
  }
  if not found:
    return []
  worst = max(found, key=lambda number: found[number].sizes.max())
  size, count = float(found[worst].sizes.max()), sum(map(len, found.values()))
  with_norms = sum(
    _norm_spikes_near(runs.curves[number], one.rows) for number, one in found.items()
  )
  return [
    Finding(
      'spiking',
      'warning',
      f'The training loss of {_many(len(found), len(runs.curves))} spikes: {count} times, by up to '
      f'{nats(size)}.',
      f'Run {worst} at step {amount(runs.curves[worst]["step"][found[worst].rows[np.argmax(found[worst].sizes)]])}. A spike '
      f"stands {FAR:g} standard deviations of the curve's noise above its smoothed self; {with_norms} of {count} came "
      'with a spike of the gradient norm. Spikes between logged steps are not seen.'
      + (
        f' At {len(hard)} more steps most runs spike together: hard batches, which are not counted.'
        if hard
        else ''
      ),
      {
        'spikes': count,
        'largest_nats': size,
        'with_gradient_spikes': with_norms,
        'runs': len(found),
        'largest_standard_deviations': size / found[worst].noise
        if found[worst].noise > 0
        else math.inf,
      },
      runs=list(found),
      worth=size,
    )
  ]


def _common_steps(runs: Runs, every: Mapping[int, Spikes]) -> set[float]:
  """Steps at which more than half of the runs spike, three or more: a batch that is hard, and no run unstable."""
  if len(every) < 3:
    return set()
  steps = [
    float(runs.curves[number]['step'][row])
    for number, one in every.items()
    for row in one.rows
  ]
  return {
    step for step, n in collections.Counter(steps).items() if n > max(2, len(every) / 2)
  }


def _without(runs: Runs, number: int, one: Spikes, hard: set[float]) -> Spikes:
  kept = np.array(
    [float(runs.curves[number]['step'][row]) not in hard for row in one.rows], bool
  )
  return Spikes(one.rows[kept], one.sizes[kept], one.noise)


def _norm_spikes_near(curve: Any, rows: np.ndarray, reach: int = 2) -> int:
  """How many of the rows have a spike of the gradient norm on them, or at most two rows before."""
  large = _heavy(curve.get('grad_norm', np.zeros(0)))
  return sum(bool(np.any((large <= row) & (large >= row - reach))) for row in rows)


def _before_divergence(runs: Runs, number: int, name: str) -> np.ndarray:
  """A column up to the step at which the run diverged; what comes after is another matter."""
  values, steps = (
    np.asarray(runs.curves[number][name], np.float64),
    np.asarray(runs.curves[number]['step'], np.float64),
  )
  at = _measured(runs, number, 'diverged_at')
  bad = np.flatnonzero(np.isinf(values))
  end = min(
    int(np.searchsorted(steps, at)) if math.isfinite(at) else len(values),
    int(bad[0]) if len(bad) else len(values),
  )
  return values[:end]


def _heavy(norms: np.ndarray) -> np.ndarray:
  """Rows whose gradient norm is far above its smoothed self."""
  norms = np.asarray(norms, np.float64)
  with np.errstate(divide='ignore', invalid='ignore'):
    logs = np.where(norms > 0, np.log(norms), math.nan)
  return spikes(logs, least=math.log(HEAVY)).rows


# --- the start ------------------------------------------------------------------------------------------------------


def warmup_indicated(runs: Runs) -> list[Finding]:
  """Runs that were not warmed up, and whose loss rose or that diverged early."""
  starts = _starts(runs)
  bare = [number for number in starts if not _warmed_up(runs, number)]
  hurt = [number for number in bare if starts[number] > 0]
  if len(hurt) < min(2, len(bare)) or not hurt:
    return []
  largest = max(starts[number] for number in hurt)
  early = sum(math.isinf(starts[number]) for number in hurt)
  rise_nats = max(
    (s for number in hurt if math.isfinite(s := starts[number])), default=math.nan
  )
  words, numbers = _of_rates(runs, hurt, list(starts))
  what = (
    f'the loss rose by up to {nats(rise_nats)} at their start'
    if math.isfinite(rise_nats)
    else ''
  )
  what += (' or ' if what and early else '') + (
    f'{early} diverged there' if early else ''
  )
  return [
    Finding(
      'warmup_indicated',
      'advice',
      f'Warmup is indicated: without one, in {_many(len(hurt), len(bare))} {what}.',
      f'Within the first {EARLY:.0%} of the steps, beyond {FAR:g} standard deviations of the loss and {EARLY_RISE_NATS} '
      f'nats.{words} A warmup of at most a tenth of the steps is usual (tuning playbook).',
      {
        'rise_nats': rise_nats,
        'runs': len(hurt),
        'runs_without_warmup': len(bare),
        'diverged_early': early,
        **numbers,
      },
      axes=['schedule.warmup_fraction', *numbers.get('axes', ())],
      runs=hurt,
      proposal={'schedule.warmup_fraction': {'low': 0.01, 'high': 0.1, 'log': True}},
      worth=rise_nats if math.isfinite(largest) else 0.0,
    )
  ]


def _starts(runs: Runs) -> dict[int, float]:
  """How far the loss of each run rose in its start, nats; infinite where it diverged there, 0 within the noise.

  The start is a share of the steps that were planned: of a run that did not come to its end, those of the longest. A
  run that is too short to tell its noise has that of the median run.
  """
  ends = {
    number: float(np.nanmax(curve['step']))
    for number, curve in runs.curves.items()
    if 'loss_nats' in curve
  }
  longest = max(ends.values(), default=0.0)
  until = {
    n: EARLY * (end if _status(runs, n) == 'complete' else longest)
    for n, end in ends.items()
  }
  own = {
    n: noise(_losses(runs, n)[np.asarray(runs.curves[n]['step']) > step])
    for n, step in until.items()
  }
  known = [sd for sd in own.values() if math.isfinite(sd)]
  usual = float(np.median(known)) if known else math.inf
  return {
    n: _start_rise(runs, n, until[n], own[n] if math.isfinite(own[n]) else usual)
    for n in ends
  }


def _start_rise(runs: Runs, number: int, until: float, sd: float) -> float:
  steps, losses = (
    np.asarray(runs.curves[number]['step'], np.float64),
    _losses(runs, number),
  )
  if _measured(runs, number, 'diverged_at') <= until:
    return math.inf
  start = losses[np.isfinite(losses) & (steps <= until)]
  if len(start) < 5:
    return 0.0
  risen = rise(_median_of_3(start))[0]  # one hard batch is no rise
  return risen if risen > max(FAR * sd, EARLY_RISE_NATS) else 0.0


def _losses(runs: Runs, number: int) -> np.ndarray:
  return np.asarray(runs.curves[number]['loss_nats'], np.float64)


def _median_of_3(values: np.ndarray) -> np.ndarray:
  return np.median(np.lib.stride_tricks.sliding_window_view(values, 3), axis=1)


def _warmed_up(runs: Runs, number: int) -> bool:
  """By the run's setting or config; where neither says, by its learning rates; else it counts as not warmed up."""
  value = _setting(runs, number, 'schedule.warmup_fraction')
  others = [
    _setting(runs, number, f'schedule.warmup_{unit}')
    for unit in ('steps', 'tokens', 'epochs', 'tokens_per_parameter')
  ]
  if isinstance(value, (int, float)) and math.isfinite(value):
    return value > NO_WARMUP or any(o for o in others if isinstance(o, (int, float)))
  rates = np.asarray(runs.curves[number].get('learning_rate', np.zeros(0)), np.float64)
  rates = rates[np.isfinite(rates)]
  return bool(
    len(rates) > 1
    and rates[min(1, len(rates) - 1)] < 0.9 * rates.max()
    and np.argmax(rates) > 1
  )


def _of_rates(
  runs: Runs, hurt: Sequence[int], every: Sequence[int]
) -> tuple[str, dict[str, Any]]:
  """Whether those hurt have the higher learning rates."""
  from scipy.stats import mannwhitneyu  # slow to import, and only here

  name = next(
    (
      n
      for n, axis in runs.axes.items()
      if n.rsplit('.', 1)[-1] in ('learning_rate', 'lr') and axis.kind == 'number'
    ),
    None,
  )
  if name is None:
    return '', {}
  high = [_setting(runs, number, name) for number in hurt]
  rest = [_setting(runs, number, name) for number in every if number not in hurt]
  high, rest = (
    [float(v) for v in values if v is not None and math.isfinite(v)]
    for values in (high, rest)
  )
  if len(high) < 2 or len(rest) < 2:
    return '', {}
  p = float(mannwhitneyu(high, rest, alternative='greater').pvalue)
  if p > 0.05:
    return '', {}
  return (
    f' They have the higher learning rates ({p_words(p)}): from {amount(min(high))} on.',
    {'least_learning_rate': min(high), 'p_value': p, 'axes': [name]},
  )


# --- gradient norms -------------------------------------------------------------------------------------------------


def clipping_indicated(runs: Runs) -> list[Finding]:
  """Runs without a clip whose gradient norms have a heavy tail, and what the loss did after."""
  norms = {
    number: np.asarray(curve['grad_norm'], np.float64)
    for number, curve in runs.curves.items()
    if 'grad_norm' in curve and not _clipped(runs, number, curve['grad_norm'])
  }
  heavy = {
    number: rows
    for number, column in norms.items()
    if len(rows := _heavy(column)) >= FEWEST_HEAVY
  }
  if not heavy:
    return []
  count = sum(map(len, heavy.values()))
  ratio = max(
    float(np.max(norms[n][rows]) / np.nanmedian(norms[n])) for n, rows in heavy.items()
  )
  after = sum(_loss_spikes_after(runs, number, rows) for number, rows in heavy.items())
  usual = float(np.median([np.nanquantile(column, 0.9) for column in norms.values()]))
  return [
    Finding(
      'clipping_indicated',
      'advice',
      f'Clipping is indicated: {_many(len(heavy), len(norms))} without a clip have '
      f'gradient norms up to {amount(ratio)} times their median.',
      f'{count} norms stand {HEAVY:g} times and {FAR:g} standard deviations above their smoothed curve; after {after} of '
      f'them the loss spiked. Nine of ten norms are below {amount(usual)}, which is a usual threshold (tuning playbook).',
      {
        'largest_over_median': ratio,
        'large_norms': count,
        'followed_by_loss_spikes': after,
        'runs': len(heavy),
        'norm_90th_percentile': usual,
      },
      axes=['optimizer.clip_norm'],
      runs=list(heavy),
      proposal={
        'optimizer.clip_norm': {
          'low': float(f'{usual / 2:.2g}'),
          'high': float(f'{usual * 2:.2g}'),
          'log': True,
        }
      },
    )
  ]


def _clipped(runs: Runs, number: int, norms: np.ndarray) -> bool:
  """Whether a clip is known that lets not all through."""
  clip = _setting(runs, number, 'optimizer.clip_norm')
  return isinstance(clip, (int, float)) and clip < np.nanmax(norms)


def _loss_spikes_after(
  runs: Runs, number: int, rows: np.ndarray, reach: int = 2
) -> int:
  tops = spikes(runs.curves[number].get('loss_nats', np.zeros(0))).rows
  return sum(bool(np.any((tops >= row) & (tops <= row + reach))) for row in rows)


# --- of a run -------------------------------------------------------------------------------------------------------


def _row(runs: Runs, number: int) -> int | None:
  rows = np.flatnonzero(runs.number == number)
  return int(rows[0]) if len(rows) else None


def _status(runs: Runs, number: int) -> str:
  return str(runs.status[_row(runs, number)])


def _measured(runs: Runs, number: int, name: str) -> float:
  return (
    float(runs.measured[name][_row(runs, number)])
    if name in runs.measured
    else math.nan
  )


def _setting(runs: Runs, number: int, name: str) -> Any:
  """A run's value of an axis, or what its config has; None where neither says."""
  if name in runs.values:
    return runs.values[name][_row(runs, number)]
  return runs.configs.get(number, {}).get(name)


def _many(some: int, every: int) -> str:
  return f'{some} of {every} runs'
