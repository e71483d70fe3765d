"""Studies of training curves of which the truth is known: healthy ones, and ones with a situation planted in them.

A healthy curve is a power law with an offset, bent by the schedule's decay, with first-order autoregressive noise; all
configs are equal in truth, and runs differ by their seeds. `study(situation, seed)` plants a situation in a third of the
runs (all of them, where it is of the study); sizes stand in `PLANTED`.
"""

import math

import numpy as np

from lmhp.analysis.runs.table import CONFIRM, SEARCH, Axis, Runs

PLANTED = {
  'overfitting': 'validation loss rises by 0.15 nats from half of training on; noise of an evaluation up to 0.01',
  'spiking': 'three spikes of 0.5 nats and up to 1; noise of a row up to 0.05',
  'best_before_last': 'the last evaluation 0.15 nats above the best; noise of an evaluation up to 0.01',
  'unfair_early_stop': 'ends differ by 0.1 nats (standard deviation), seeds by 0.01; 48 runs, 8 seeds of the best, no order at the rung',
  'warmup_indicated': 'no warmup: in the upper third of learning rates a bump of 2.5 nats at 6% of training',
  'clipping_indicated': 'no clip: five gradient norms of 10 times their median',
}
ROWS_EVERY = 10
SEED_NOISE = 0.01


def ar1(rng, shape, correlation, tails=False):
  """Autoregressive noise of unit variance along the last axis."""
  fresh = (
    rng.standard_t(5, shape) / math.sqrt(5 / 3) if tails else rng.standard_normal(shape)
  )
  fresh = np.moveaxis(fresh, -1, 0)
  out, last = np.empty_like(fresh), fresh[0]
  for i, value in enumerate(fresh):
    last = (
      value if i == 0 else correlation * last + math.sqrt(1 - correlation**2) * value
    )
    out[i] = last
  return np.moveaxis(out, 0, -1)


def power_law(steps, offset, amplitude, exponent, shift):
  return offset + amplitude * (steps + shift) ** -exponent


def rates(schedule, progress, warmup):
  """Share of the peak learning rate."""
  ramp = np.minimum(1.0, progress / max(warmup, 1e-9))
  if schedule == 'cosine':
    return ramp * (0.1 + 0.45 * (1 + np.cos(np.pi * progress)))
  if schedule == 'wsd_linear':
    return ramp * np.where(progress > 0.8, 1 - 0.9 * (progress - 0.8) / 0.2, 1.0)
  return ramp


def curves_of(rng, runs, rows, schedule, warmup, noisiest, tails=False):
  """Healthy curves of a study, {name: (runs, rows)}, NaN where a row was not evaluated."""
  steps = np.concatenate([[1], ROWS_EVERY * np.arange(1, rows)]).astype(float)
  progress = steps / steps[-1]
  rate = rates(schedule, progress, warmup)
  exponent, shift = rng.uniform(0.2, 1.5), ROWS_EVERY * rng.uniform(1, 5)
  law = power_law(
    steps,
    rng.uniform(1.5, 2.5),
    rng.uniform(2.5, 3.5) * shift**exponent,
    exponent,
    shift,
  )
  decayed = np.where(progress > warmup, 1 - rate, 0.0)
  law = law - rng.uniform(0.02, 0.12) * decayed
  seeds = SEED_NOISE * rng.standard_normal((runs, 1)) * progress
  noise = np.exp(rng.uniform(np.log(0.005), np.log(noisiest)))
  of_eval = np.exp(rng.uniform(np.log(0.001), np.log(0.01)))
  train = law + seeds + noise * ar1(rng, (runs, rows), rng.uniform(0, 0.7), tails)
  places = np.unique(np.linspace(0, rows - 1, int(rng.integers(10, 51))).astype(int))
  evals = np.full((runs, rows), math.nan)
  drawn = of_eval * ar1(rng, (runs, len(places)), rng.uniform(0, 0.7), tails)
  evals[:, places] = (law + seeds)[:, places] + 0.03 + drawn
  norm = (0.3 + 1.5 * np.exp(-progress / 0.02)) * np.exp(
    rng.uniform(0.05, 0.25) * ar1(rng, (runs, rows), rng.uniform(0, 0.7), tails)
  )
  return {
    'step': np.tile(steps, (runs, 1)),
    'tokens': np.tile(512 * steps, (runs, 1)),
    'learning_rate': np.tile(rate, (runs, 1)),
    'loss_nats': train,
    'eval_loss_nats': evals,
    'grad_norm': norm,
  }


# --- situations -----------------------------------------------------------------------------------------------------


def _overfitting(rng, columns, chosen):
  progress = columns['step'][0] / columns['step'][0, -1]
  columns['eval_loss_nats'][chosen] += _to_rise(
    columns['eval_loss_nats'][chosen], progress, 0.15
  )


def _to_rise(evals, progress, nats):
  """What to add so that the expected evaluation stays at half of training's, and rises from there by an amount."""
  there = np.isfinite(evals[0])
  middle = np.interp(0.5, progress[there], np.mean(evals, axis=0)[there])
  late = np.clip((progress - 0.5) / 0.5, 0, 1)
  with np.errstate(invalid='ignore'):
    return np.where(progress > 0.5, middle - np.mean(evals, axis=0) + nats * late, 0.0)


def _spiking(rng, columns, chosen):
  rows = columns['step'].shape[1]
  for run in chosen:
    for place in 0.2 + 0.25 * np.arange(3) + 0.1 * rng.random(3):
      columns['loss_nats'][run, int(place * rows)] += rng.uniform(0.5, 1.0)


def _best_before_last(rng, columns, chosen):
  there = np.flatnonzero(np.isfinite(columns['eval_loss_nats'][0]))
  for run in chosen:
    evals = columns['eval_loss_nats'][run]
    evals[there[-1]] = np.min(evals[there[:-1]]) + 0.15


def _warmup(rng, columns, chosen):
  progress = columns['step'][0] / columns['step'][0, -1]
  columns['loss_nats'][chosen] += 2.5 * np.exp(-(((progress - 0.06) / 0.03) ** 2))


def _clipping(rng, columns, chosen):
  rows = columns['step'].shape[1]
  for run in chosen:
    places = ((0.2 + 0.15 * np.arange(5) + 0.1 * rng.random(5)) * rows).astype(int)
    columns['grad_norm'][run, places] = 10 * np.median(columns['grad_norm'][run])
    after = np.minimum(places + 1, rows - 1)
    columns['loss_nats'][run, after] += 0.3


def study(situation='nothing', seed=0, tails=False):
  """A study with curves."""
  rng = np.random.default_rng([seed, sum(map(ord, situation))])
  n = 48 if situation == 'unfair_early_stop' else int(rng.integers(8, 33))
  rows = int(np.exp(rng.uniform(np.log(50), np.log(500))))
  schedule = ('cosine', 'wsd_linear', 'constant')[
    int(rng.integers(3 if situation != 'nothing' else 2))
  ]
  warmup = 0.0 if situation == 'warmup_indicated' or rng.random() < 0.5 else 0.05
  clip = math.inf if situation == 'clipping_indicated' or rng.random() < 0.5 else 1.0
  columns = curves_of(
    rng, n, rows, schedule, warmup, 0.2 if situation == 'nothing' else 0.05, tails
  )
  rate = 10.0 ** rng.uniform(-4, -2, n)
  third = rng.permutation(n)[: max(2, n // 3)]
  if situation == 'warmup_indicated':
    third = np.argsort(-rate)[: max(3, n // 3)]
  plant = {
    'overfitting': _overfitting,
    'spiking': _spiking,
    'best_before_last': _best_before_last,
    'warmup_indicated': _warmup,
    'clipping_indicated': _clipping,
  }.get(situation)
  if plant is not None:
    plant(rng, columns, third)
  return _runs(rng, situation, columns, rate, schedule, warmup, clip)


def _runs(rng, situation, columns, rate, schedule, warmup, clip):
  n, steps = len(rate), columns['step'][0]
  there = np.flatnonzero(np.isfinite(columns['eval_loss_nats'][0]))
  rungs = there[[len(there) // 4, len(there) // 2]]
  scores = columns['eval_loss_nats'][:, rungs].copy()
  objective = columns['eval_loss_nats'][:, there[-1]].copy()
  status, ends = np.full(n, 'complete'), np.full(n, len(steps))
  if situation == 'unfair_early_stop':
    objective = objective + 0.1 * rng.standard_normal(n)
  seeds = (
    8
    if situation == 'unfair_early_stop'
    else int(rng.integers(4, 9))
    if rng.random() < 0.5
    else 0
  )
  if situation != 'unfair_early_stop' and rng.random() < 1 / 3:
    stopped = scores[:, 0] > np.median(scores[:, 0])
    status[stopped], ends[stopped], objective[stopped] = (
      'pruned',
      rungs[0] + 1,
      math.nan,
    )
    scores[stopped, 1] = math.nan
  fresh = objective[np.nanargmin(objective)] + SEED_NOISE * math.sqrt(
    2
  ) * rng.standard_normal(seeds)
  point = np.concatenate([np.arange(n), np.full(seeds, int(np.nanargmin(objective)))])
  curves = {
    i: {name: column[i, : ends[i]] for name, column in columns.items()}
    for i in range(n)
  }
  config = {
    'schedule.name': schedule,
    'schedule.warmup_fraction': warmup,
    'optimizer.clip_norm': clip,
    'train.batch_size': 8,
  }
  m = n + seeds
  return Runs(
    'curves',
    {
      'optimizer.learning_rate': Axis(
        'optimizer.learning_rate', low=1e-4, high=1e-2, log=True
      )
    },
    {'optimizer.learning_rate': rate[point]},
    np.concatenate([objective, fresh]),
    'eval_loss_nats',
    status=np.concatenate([status, np.full(seeds, 'complete')]),
    number=np.arange(m),
    point=point,
    seed=np.concatenate([np.zeros(n, int), 1000 + np.arange(seeds)]),
    cohort=np.concatenate([np.full(n, SEARCH), np.full(seeds, CONFIRM)]).astype('<U8'),
    scores=(
      *(
        {int(steps[r]): float(s) for r, s in zip(rungs, own) if np.isfinite(s)}
        for own in scores
      ),
      *({} for _ in range(seeds)),
    ),
    measured={'steps': np.concatenate([steps[ends - 1], np.full(seeds, steps[-1])])},
    curves=curves,
    configs={
      i: {**config, 'optimizer.learning_rate': float(rate[point[i]])} for i in range(m)
    },
    about={'rungs': [int(steps[r]) for r in rungs]},
  )


def curve_with_a_later_loss(seed):
  """Steps and losses of one curve at constant rate with correlated noise, a later step, and the true loss there."""
  rng = np.random.default_rng([seed, 7])
  rows = int(np.exp(rng.uniform(np.log(60), np.log(500))))
  steps = ROWS_EVERY * np.arange(1, rows + 1.0)
  exponent, shift = rng.uniform(0.15, 1.0), ROWS_EVERY * rng.uniform(0, 5)
  law = (
    rng.uniform(1.5, 2.5),
    rng.uniform(2.5, 3.5) * (ROWS_EVERY + shift) ** exponent,
    exponent,
    shift,
  )
  noise = np.exp(rng.uniform(np.log(0.005), np.log(0.1)))
  losses = power_law(steps, *law) + noise * ar1(rng, rows, rng.uniform(0, 0.7))
  later = steps[-1] * rng.uniform(1.25, 4)
  return steps, losses, later, power_law(later, *law)
