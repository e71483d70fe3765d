"""Studies of which the truth is known: one situation planted in each, and one in which there is nothing to find.

A study has 48 points of a learning rate, a weight decay and a depth (numbers) and a schedule (a choice), drawn
independently; noise from seed to seed has a standard deviation of `NOISE` nats. The winner and the base config were run
again on 8 fresh seeds.
"""

import math

import numpy as np

from lmhp.analysis.runs.table import CONFIRM, SEARCH, Axis, Runs

NOISE = 0.01
POINTS = 48
INITIAL = 6.0

AXES = {
  'optimizer.learning_rate': Axis(
    'optimizer.learning_rate', low=1e-4, high=1e-2, log=True
  ),
  'optimizer.weight_decay': Axis(
    'optimizer.weight_decay', low=1e-3, high=1.0, log=True, role='nuisance'
  ),
  'model.n_layers': Axis('model.n_layers', low=2, high=8, whole=True),
  'schedule.name': Axis(
    'schedule.name', kind='choice', choices=('cosine', 'wsd_linear', 'constant')
  ),
}


def nothing(places, rng):
  """No hyperparameter does anything."""
  return np.full(len(places['optimizer.learning_rate']), 3.0)


def at_bound(places, rng):
  """The best learning rate is a factor of 3 above the upper bound; the bound is 0.3 nats better than the middle."""
  u = places['optimizer.learning_rate']
  return 3.0 + 0.2 * (u - 1.24) ** 2 / 0.7**2


def useless(places, rng):
  """The learning rate has a valley, 0.2 nats deep; nothing else does anything."""
  return 3.0 + 0.8 * (places['optimizer.learning_rate'] - 0.5) ** 2


def interacting(places, rng):
  """The best learning rate falls by a factor of 10 from the least to the greatest depth."""
  best = 0.75 - 0.5 * places['model.n_layers']
  return 3.0 + 0.8 * (places['optimizer.learning_rate'] - best) ** 2


def diverging(places, rng):
  """Learning rates in the upper 30% of the range diverge; below there is a valley."""
  u = places['optimizer.learning_rate']
  return np.where(u > 0.7, math.nan, 3.0 + 0.8 * (u - 0.4) ** 2)


def unfair_stop(places, rng):
  """A valley at the end; at the first rung the order has nothing to do with it."""
  return 3.0 + 0.8 * (places['optimizer.learning_rate'] - 0.5) ** 2


def study(law, seed, points=POINTS, noise='normal', search='random'):
  """A study of `points` points whose expected losses are `law(places, rng)`; NaN of what diverges."""
  rng = np.random.default_rng(seed)
  places = {name: rng.random(points) for name in AXES}
  values = {
    name: axis.from_unit(places[name])
    for name, axis in AXES.items()
    if axis.kind == 'number'
  }
  values['model.n_layers'] = np.round(values['model.n_layers'])
  places['model.n_layers'] = AXES['model.n_layers'].unit(values['model.n_layers'])
  choices = np.empty(points, object)
  choices[:] = [
    AXES['schedule.name'].choices[int(3 * u)] for u in places['schedule.name']
  ]
  values['schedule.name'] = choices
  expected = law(places, rng)
  losses = np.where(
    np.isnan(expected), INITIAL, expected + NOISE * draw(rng, noise, points)
  )
  status = np.where(np.isnan(expected), 'diverged', 'complete')
  scores = _scores(law, expected, losses, rng)
  won = int(np.argmin(np.where(status == 'complete', losses, np.inf)))
  base = float(np.nanmedian(expected))
  return _with_confirmation(
    values,
    losses,
    status,
    scores,
    won,
    (float(expected[won]), base),
    rng,
    noise,
    search,
  )


def _scores(law, expected, losses, rng):
  """What the runs were scored at their rungs: in the order of their ends, or in none."""
  known = np.nan_to_num(expected, nan=INITIAL)
  early = rng.permutation(known) if law is unfair_stop else known
  early = early + 1.0 + 2 * NOISE * rng.standard_normal(len(known))
  return [{100: float(a), 1000: float(b)} for a, b in zip(early, losses)]


def _with_confirmation(
  values, losses, status, scores, won, means, rng, noise, search, seeds=8
):
  n = len(losses)
  shared = NOISE / 2 * draw(rng, noise, seeds)  # what a seed does to both
  fresh = [mean + shared + NOISE * draw(rng, noise, seeds) for mean in means]
  pad = {
    name: np.concatenate(
      [column, np.repeat(column[won : won + 1], seeds), _missing(column, seeds)]
    )
    for name, column in values.items()
  }
  m = n + 2 * seeds
  return Runs(
    'planted',
    AXES,
    pad,
    np.concatenate([losses, *fresh]),
    objective_name='eval_loss_nats',
    status=np.concatenate([status, np.full(2 * seeds, 'complete')]),
    number=np.arange(m),
    point=np.concatenate([np.arange(n), np.full(seeds, won), np.full(seeds, -1)]),
    seed=np.concatenate([np.zeros(n, int), np.tile(1000 + np.arange(seeds), 2)]),
    cohort=np.concatenate([np.full(n, SEARCH), np.full(2 * seeds, CONFIRM)]),
    scores=(*scores, *({1000: float(v)} for v in np.concatenate(fresh))),
    measured={
      name: np.full(m, amount) for name, amount in (('steps', 1000.0), ('tokens', 1e6))
    },
    about={
      'sweep': {'search': search},
      'base': {'optimizer.learning_rate': 1e-3},
      'rungs': [100, 1000],
    },
  )


def _missing(column, n):
  if column.dtype == object:
    return np.full(n, None, object)
  return np.full(n, np.nan)


def draw(rng, noise, n):
  """Noise of unit variance: normal, or heavy-tailed."""
  return (
    rng.standard_normal(n) if noise == 'normal' else rng.standard_t(4, n) / math.sqrt(2)
  )
