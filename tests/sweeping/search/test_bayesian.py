"""Bayesian search: better than chance, diverse in a batch, and a pure function of what is known."""

import math
import random

import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.search import bayesian as bayes
from lmhp.sweeping.search.designs import Design
from lmhp.sweeping.space import Choice, Float, Int, When
from lmhp.sweeping.store.trial import Trial

FLAT = {
  'optimizer.learning_rate': Float(1e-4, 1e-1, log=True),
  'optimizer.weight_decay': Float(1e-4, 1.0, log=True),
  'model.n_layers': Int(2, 8),
  'optimizer.b2': 0.95,
}
CONDITIONAL = {
  **FLAT,
  'schedule.name': Choice('cosine', (1, 2), None),
  'schedule.cooldown_fraction': When('schedule.name', 'cosine', Float(0.05, 0.5)),
}
DOWN = ('minimize',)


def loss(p):
  """A bowl; its bottom is 0."""
  bowl = (math.log10(p['optimizer.learning_rate']) + 2) ** 2 + (
    math.log10(p['optimizer.weight_decay']) + 1
  ) ** 2
  return (
    bowl
    + 0.05 * (p['model.n_layers'] - 5) ** 2
    + 0.3 * (p.get('schedule.name', 'cosine') != 'cosine')
  )


def trials_of(points, first=0, status='complete'):
  return [
    Trial(
      number=first + i,
      point=first + i,
      seed=0,
      parameters=p.parameters,
      overrides=p.overrides,
      status=status,
      values=None if status == 'running' else (loss(p.parameters),),
    )
    for i, p in enumerate(points)
  ]


def designed(space, n, seed=0):
  return trials_of(Design(space, 'halton', seed).points(0, n))


@pytest.fixture(params=['tpe', 'tpe conditional', 'cmaes'])
def search(request):
  kind, *conditional = request.param.split()
  if kind == 'cmaes':
    pytest.importorskip('cmaes')
  return kind, CONDITIONAL if conditional else FLAT


def test_a_batch_is_a_pure_function_however_it_is_cut(search):
  """What a killed study asks for again is the same, whatever of the batch it had written down."""
  kind, space = search
  known = designed(space, 20)
  whole = bayes.ask(known, space, kind, 7, 6, DOWN)
  assert bayes.ask(known[::-1], space, kind, 7, 6, DOWN) == whole
  for n in range(1, 6):
    running = known + trials_of(whole[:n], 20, 'running')
    assert bayes.ask(running, space, kind, 7, 6 - n, DOWN) == whole[n:]
  assert bayes.ask(known, space, kind, 8, 6, DOWN)[0] != whole[0]
  assert bayes.ask(known, space, kind, 7, 1, DOWN, first_number=21)[0] != whole[0]
  assert len({str(point) for point in whole}) == 6
  assert all(point.overrides['optimizer.b2'] == 0.95 for point in whole)


def test_it_finds_the_bottom_sooner_than_random_search(search):
  """At equal evaluations, the median of five searches; both from the same ten points."""
  kind, space = search
  found, by_chance = [], []
  for seed in range(5):
    trials = designed(space, 10, seed)
    for _ in range(5):
      trials += trials_of(bayes.ask(trials, space, kind, seed, 6, DOWN), len(trials))
    found.append(min(t.values[0] for t in trials))
    by_chance.append(
      min(
        t.values[0]
        for t in designed(space, 10, seed)
        + trials_of(Design(space, 'random', seed).points(0, 30))
      )
    )
  assert np.median(found) < 0.6 * np.median(by_chance)


def test_a_batch_is_spread(search):
  """One batch of eight is not eight times nearly the same point."""
  kind, space = search
  points = bayes.ask(designed(space, 30), space, kind, 0, 8, DOWN)
  rates = np.log10([p.parameters['optimizer.learning_rate'] for p in points])
  assert np.diff(np.sort(rates)).max() > 0.05 and np.ptp(rates) > 0.2


def test_maximize_is_minimize_of_the_negative(search):
  kind, space = search
  known = designed(space, 30)
  negative = [
    Trial(
      t.number, t.point, 0, t.parameters, {}, status='complete', values=(-t.values[0],)
    )
    for t in known
  ]
  assert bayes.ask(known, space, kind, 0, 3, DOWN) == bayes.ask(
    negative, space, kind, 0, 3, ('maximize',)
  )


def test_seeds_of_a_point_enter_as_their_mean(search):
  kind, space = search
  rng = random.Random(0)
  one, two = designed(space, 20), []
  for t in one:
    noise = rng.choice((0.5, 8.0))  # exact in binary, so that the mean is
    value = round(t.values[0], 3)
    two += [
      Trial(
        2 * t.number + i,
        t.point,
        i,
        t.parameters,
        {},
        status='complete',
        values=(value + sign * noise,),
      )
      for i, sign in enumerate((1, -1))
    ]
  one = [
    Trial(
      t.number,
      t.point,
      0,
      t.parameters,
      {},
      status='complete',
      values=(math.fsum(u.values[0] for u in two if u.point == t.point) / 2,),
    )
    for t in one
  ]
  ask = lambda trials: bayes.ask(trials, space, kind, 0, 4, DOWN, first_number=99)
  assert ask(two) == ask(one) != ask(two[::2])


def test_diverged_points_are_avoided_and_failed_ones_ignored():
  rng = np.random.default_rng(0)
  trials = designed(FLAT, 40)
  bad = [
    Trial(t.number, t.point, 0, t.parameters, {}, status='diverged', values=(50.0,))
    if t.parameters['optimizer.learning_rate'] > 3e-3
    else Trial(
      t.number, t.point, 0, t.parameters, {}, status='complete', values=(rng.uniform(),)
    )
    for t in trials
  ]
  points = bayes.ask(bad, FLAT, 'tpe', 0, 20, DOWN)
  assert sum(p.parameters['optimizer.learning_rate'] > 3e-3 for p in points) <= 4
  failed = [Trial(40, 40, 0, trials[0].parameters, {}, status='failed')]
  assert bayes.ask(bad + failed, FLAT, 'tpe', 0, 3, DOWN, 50) == bayes.ask(
    bad, FLAT, 'tpe', 0, 3, DOWN, 50
  )


def test_pruned_points_teach():
  """A point that was stopped is worse than those that went on, and better the lower its last score."""
  trials = designed(FLAT, 40)
  best = sorted(trials, key=lambda t: t.values[0])[:4]
  pruned = [
    t
    if t in best
    else Trial(
      t.number,
      t.point,
      0,
      t.parameters,
      {},
      status='pruned',
      values=t.values,
      scores={10: t.values[0]},
    )
    for t in trials
  ]
  points = bayes.ask(pruned, FLAT, 'tpe', 0, 20, DOWN)
  assert np.median([loss(p.parameters) for p in points]) < 0.6 * np.median(
    [t.values[0] for t in trials]
  )


def test_points_of_another_space_are_left_out(search):
  kind, space = search
  known = designed(space, 20)
  others = [
    Trial(
      20,
      20,
      0,
      {
        'optimizer.learning_rate': 0.5,
        'optimizer.weight_decay': 0.1,
        'model.n_layers': 3,
        'schedule.name': None,
      },
      {},
      status='complete',
      values=(0.0,),
    ),
    Trial(21, -1, 0, {}, {}, status='complete', values=(0.0,)),
  ]
  assert bayes.ask(known + others, space, kind, 0, 3, DOWN, 30) == bayes.ask(
    known, space, kind, 0, 3, DOWN, 30
  )


def test_two_objectives():
  trials = [
    Trial(
      t.number,
      t.point,
      0,
      t.parameters,
      {},
      status='complete',
      values=(t.values[0], float(t.parameters['model.n_layers'])),
    )
    for t in designed(CONDITIONAL, 30)
  ]
  points = bayes.ask(trials, CONDITIONAL, 'tpe', 0, 16, ('minimize', 'minimize'))
  assert np.median([loss(p.parameters) for p in points]) < np.median(
    [t.values[0] for t in trials]
  )


def test_gp():
  pytest.importorskip('torch')
  space = {'optimizer.learning_rate': FLAT['optimizer.learning_rate']}
  trials = [
    Trial(
      i,
      i,
      0,
      {'optimizer.learning_rate': rate},
      {},
      status='complete',
      values=((math.log10(rate) + 2) ** 2,),
    )
    for i, rate in enumerate(np.geomspace(1e-4, 1e-1, 10).tolist())
  ]
  points = bayes.ask(trials, space, 'gp', 0, 2, DOWN)
  assert points[0] != points[1] and all(
    0.003 < p.parameters['optimizer.learning_rate'] < 0.03 for p in points[:1]
  )
  assert (
    bayes.ask(trials + trials_running(points[:1]), space, 'gp', 0, 1, DOWN)
    == points[1:]
  )


def trials_running(points):
  return [
    Trial(10 + i, 10 + i, 0, p.parameters, {}, status='running')
    for i, p in enumerate(points)
  ]


def test_what_is_missing_is_said_in_one_line(monkeypatch):
  found = bayes.importlib.util.find_spec
  missing = ('torch', 'cmaes')
  monkeypatch.setattr(
    bayes.importlib.util,
    'find_spec',
    lambda name: None if name in missing else found(name),
  )
  for kind, package in (('gp', 'torch'), ('cmaes', 'cmaes')):
    with pytest.raises(
      ConfigError,
      match=rf"sweep.search: got '{kind}', which needs {package}; pip install",
    ):
      bayes.ask([], FLAT, kind, 0, 1, DOWN)


def test_cmaes_has_no_choices():
  pytest.importorskip('cmaes')
  choice = {'schedule.name': Choice('cosine', 'linear')}
  for space, directions in ((CONDITIONAL, DOWN), (choice, DOWN), (FLAT, DOWN * 2)):
    with pytest.raises(ConfigError, match="got 'cmaes', expected 'tpe'"):
      bayes.ask([], space, 'cmaes', 0, 1, directions)
