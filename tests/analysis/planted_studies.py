"""Studies with a known truth: one situation is planted in each, or none.

A study has 48 points, drawn independently: a learning rate, a weight decay and a depth
(numbers), and a schedule (a choice). The noise between seeds has a standard deviation of
`NOISE` nats. The winner and the base config also ran on 8 fresh seeds.

Each law takes {axis: (P,) unit values} and a random generator, and returns the (P,) expected
losses in nats. NaN stands for a run that diverges.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import math

import numpy as np

from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import BASE_POINT, CONFIRM, SEARCH, Runs, StudyFacts

NOISE = 0.01
POINTS = 48
INITIAL_LOSS = 6.0
FRESH_SEEDS = 8
LEARNING_RATE = 'optimizer.learning_rate'

AXES = {
  'optimizer.learning_rate': Axis(
    'optimizer.learning_rate', low=1e-4, high=1e-2, log=True
  ),
  'optimizer.weight_decay': Axis(
    'optimizer.weight_decay', low=1e-3, high=1.0, log=True, role='nuisance'
  ),
  'model.n_layers': Axis('model.n_layers', low=2, high=8, is_integer=True),
  'schedule.name': Axis(
    'schedule.name', is_choice=True, choices=('cosine', 'wsd_linear', 'constant')
  ),
}

Units = dict[str, np.ndarray]
Law = Callable[[Units, np.random.Generator], np.ndarray]


# --- laws ---------------------------------------------------------------------------


def no_effect(units: Units, rng: np.random.Generator) -> np.ndarray:
  """No hyperparameter has an effect."""
  return np.full(len(units[LEARNING_RATE]), 3.0)


def at_bound(units: Units, rng: np.random.Generator) -> np.ndarray:
  """The best learning rate is a factor of 3 above the upper bound.

  The bound is 0.3 nats better than the middle.
  """
  u = units[LEARNING_RATE]
  return 3.0 + 0.2 * (u - 1.24) ** 2 / 0.7**2


def one_effect(units: Units, rng: np.random.Generator) -> np.ndarray:
  """The learning rate has a valley 0.2 nats deep. The other axes have no effect."""
  return 3.0 + 0.8 * (units[LEARNING_RATE] - 0.5) ** 2


def interacting(units: Units, rng: np.random.Generator) -> np.ndarray:
  """The best learning rate falls by a factor of 10 from the smallest to the largest depth."""
  best = 0.75 - 0.5 * units['model.n_layers']
  return 3.0 + 0.8 * (units[LEARNING_RATE] - best) ** 2


def diverging(units: Units, rng: np.random.Generator) -> np.ndarray:
  """The upper 30% of learning rates diverge. There is a valley below."""
  u = units[LEARNING_RATE]
  return np.where(u > 0.7, math.nan, 3.0 + 0.8 * (u - 0.4) ** 2)


def unfair_stop(units: Units, rng: np.random.Generator) -> np.ndarray:
  """There is a valley at the end, and the order at the first rung is unrelated to it."""
  return 3.0 + 0.8 * (units[LEARNING_RATE] - 0.5) ** 2


# --- studies ------------------------------------------------------------------------


def study(
  law: Law,
  seed: int,
  points: int = POINTS,
  noise: str = 'normal',
  search: str = 'random',
) -> Runs:
  """Returns the runs of a study.

  Args:
    law: Expected losses of the points.
    seed: Seed of the points and of the noise.
    points: Number of points.
    noise: 'normal' or 'tails' (Student's t with 4 degrees of freedom).
    search: Name of the search.
  """
  rng = np.random.default_rng(seed)
  units = {name: rng.random(points) for name in AXES}
  values = {
    name: axis.from_unit(units[name]) for name, axis in AXES.items() if axis.is_number
  }
  values['model.n_layers'] = np.round(values['model.n_layers'])
  units['model.n_layers'] = AXES['model.n_layers'].to_unit(values['model.n_layers'])
  choices = np.empty(points, object)
  choices[:] = [
    AXES['schedule.name'].choices[int(3 * u)] for u in units['schedule.name']
  ]
  values['schedule.name'] = choices

  expected = law(units, rng)
  losses = np.where(
    np.isnan(expected), INITIAL_LOSS, expected + NOISE * draw(rng, noise, points)
  )
  status = np.where(np.isnan(expected), 'diverged', 'complete')
  scores = _rung_scores(law, expected, losses, rng)
  winner = int(np.argmin(np.where(status == 'complete', losses, np.inf)))

  # A seed has one part of its noise in common for the winner and the base config.
  common = NOISE / 2 * draw(rng, noise, FRESH_SEEDS)
  means = (float(expected[winner]), float(np.nanmedian(expected)))
  fresh = [mean + common + NOISE * draw(rng, noise, FRESH_SEEDS) for mean in means]

  n = points + 2 * FRESH_SEEDS
  return Runs(
    'planted',
    AXES,
    {name: _with_fresh_rows(column, winner) for name, column in values.items()},
    np.concatenate([losses, *fresh]),
    objective_name='eval_loss_nats',
    status=np.concatenate([status, np.full(2 * FRESH_SEEDS, 'complete')]),
    number=np.arange(n),
    point=np.concatenate(
      [
        np.arange(points),
        np.full(FRESH_SEEDS, winner),
        np.full(FRESH_SEEDS, BASE_POINT),
      ]
    ),
    seed=np.concatenate(
      [np.zeros(points, int), np.tile(1000 + np.arange(FRESH_SEEDS), 2)]
    ),
    cohort=np.concatenate([np.full(points, SEARCH), np.full(2 * FRESH_SEEDS, CONFIRM)]),
    scores=(*scores, *({1000: float(v)} for v in np.concatenate(fresh))),
    measured={'steps': np.full(n, 1000.0), 'tokens': np.full(n, 1e6)},
    facts=StudyFacts(search=search, base_config={LEARNING_RATE: 1e-3}),
  )


def with_base_config(runs: Runs, base_config: dict[str, object]) -> Runs:
  """Returns a study with another base config."""
  facts = dataclasses.replace(runs.facts, base_config=base_config)
  return dataclasses.replace(runs, facts=facts)


def without_axis(runs: Runs, *names: str) -> Runs:
  """Returns a study in which some axes were not varied."""
  axes = {name: axis for name, axis in runs.axes.items() if name not in names}
  values = {name: runs.values[name] for name in axes}
  return dataclasses.replace(runs, axes=axes, values=values)


def _rung_scores(
  law: Law, expected: np.ndarray, losses: np.ndarray, rng: np.random.Generator
) -> list[dict[int, float]]:
  """Returns the scores at two rungs, in the order of the losses or in a random order."""
  finite = np.nan_to_num(expected, nan=INITIAL_LOSS)
  early = rng.permutation(finite) if law is unfair_stop else finite
  early = early + 1.0 + 2 * NOISE * rng.standard_normal(len(finite))
  return [{100: float(a), 1000: float(b)} for a, b in zip(early, losses)]


def _with_fresh_rows(column: np.ndarray, winner: int) -> np.ndarray:
  """Appends the rows of the confirmation: the winner's value, and no value for the base."""
  if column.dtype == object:
    missing = np.full(FRESH_SEEDS, None, object)
  else:
    missing = np.full(FRESH_SEEDS, np.nan)
  repeated = np.repeat(column[winner : winner + 1], FRESH_SEEDS)
  return np.concatenate([column, repeated, missing])


def draw(rng: np.random.Generator, noise: str, n: int) -> np.ndarray:
  """Returns noise of unit variance."""
  if noise == 'normal':
    return rng.standard_normal(n)
  return rng.standard_t(4, n) / math.sqrt(2)
