"""Bayesian search: better than random search, spread within a batch, and a pure function."""

import dataclasses
import importlib.util
import math
import random

import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.search.bayesian import next_cohort
from lmhp.sweeping.search.designs import Design
from lmhp.sweeping.search.method import (
  SEARCH_METHODS,
  CohortPlan,
  SearchState,
  check_search,
)
from lmhp.sweeping.space import Choice, Float, Int, When, as_space
from lmhp.sweeping.store.trial import Trial

LR = 'optimizer.learning_rate'
WD = 'optimizer.weight_decay'
FLAT = {
  LR: Float(1e-4, 1e-1, log=True),
  WD: Float(1e-4, 1.0, log=True),
  'model.n_layers': Int(2, 8),
  'optimizer.b2': 0.95,
}
CONDITIONAL = {
  **FLAT,
  'schedule.name': Choice('cosine', (1, 2), None),
  'schedule.cooldown_fraction': When('schedule.name', 'cosine', Float(0.05, 0.5)),
}
SWEEP = SweepConfig(trials=32)


def loss(parameters):
  """A quadratic in the logarithms. Its minimum is 0."""
  quadratic = (math.log10(parameters[LR]) + 2) ** 2
  quadratic += (math.log10(parameters[WD]) + 1) ** 2
  quadratic += 0.05 * (parameters['model.n_layers'] - 5) ** 2
  is_cosine = parameters.get('schedule.name', 'cosine') == 'cosine'
  return quadratic + 0.3 * (not is_cosine)


def trial(number, parameters, values, point=None, **fields):
  return Trial(
    **{
      'number': number,
      'point': number if point is None else point,
      'seed': 0,
      'parameters': parameters,
      'overrides': {},
      'status': 'complete',
      'values': values,
      **fields,
    }
  )


def trials_of(points, first_number=0):
  """Complete trials of points, with their losses."""
  return [
    trial(first_number + i, point.parameters, (loss(point.parameters),))
    for i, point in enumerate(points)
  ]


def halton_trials(space, n, seed=0):
  return trials_of(Design(space, 'halton', seed).points(0, n))


def propose(method, trials, space, n, **fields):
  """Proposes n points after some trials."""
  state = SearchState(
    **{
      'sweep': SWEEP,
      'space': as_space(space),
      'seed': 0,
      'first_point': len(trials),
      'trials': tuple(trials),
      **fields,
    }
  )
  return SEARCH_METHODS[method].propose(state, n)


@pytest.fixture(params=['tpe', 'tpe conditional', 'cmaes'])
def search(request):
  """(name of a method, a space that it can search)."""
  method, *conditional = request.param.split()
  if method == 'cmaes':
    pytest.importorskip('cmaes')
  return method, CONDITIONAL if conditional else FLAT


# --- points ---------------------------------------------------------------------------


def test_points_are_a_pure_function_of_the_trials(search):
  method, space = search
  trials = halton_trials(space, 20)
  points = propose(method, trials, space, 6, seed=7)
  assert propose(method, trials[::-1], space, 6, seed=7) == points
  assert propose(method, trials, space, 6, seed=8)[0] != points[0]
  assert propose(method, trials, space, 6, seed=7, first_point=21)[0] != points[0]


def test_a_smaller_batch_is_the_beginning_of_a_larger_one(search):
  method, space = search
  trials = halton_trials(space, 20)
  points = propose(method, trials, space, 6)
  for n in range(1, 6):
    assert propose(method, trials, space, n) == points[:n]


def test_points_set_the_fixed_values(search):
  method, space = search
  for point in propose(method, halton_trials(space, 20), space, 6):
    assert point.overrides['optimizer.b2'] == 0.95


def test_the_minimum_is_found_sooner_than_by_random_search(search):
  """The median of five searches. Both methods start from the same ten points."""
  method, space = search
  best = []
  best_at_random = []
  for seed in range(5):
    first_trials = halton_trials(space, 10, seed)
    trials = list(first_trials)
    for _ in range(5):
      trials += trials_of(propose(method, trials, space, 6, seed=seed), len(trials))
    best.append(min(one.values[0] for one in trials))
    random_trials = trials_of(Design(space, 'random', seed).points(0, 30))
    best_at_random.append(min(t.values[0] for t in first_trials + random_trials))
  assert np.median(best) < 0.6 * np.median(best_at_random)


def test_a_batch_is_spread(search):
  method, space = search
  points = propose(method, halton_trials(space, 30), space, 8)
  assert len({str(point) for point in points}) == 8
  rates = np.log10([point.parameters[LR] for point in points])
  assert np.diff(np.sort(rates)).max() > 0.05
  assert np.ptp(rates) > 0.2


def test_to_maximize_is_to_minimize_the_negative(search):
  method, space = search
  trials = halton_trials(space, 30)
  negative = [dataclasses.replace(one, values=(-one.values[0],)) for one in trials]
  minimizing = propose(method, trials, space, 3)
  maximizing = propose(method, negative, space, 3, directions=('maximize',))
  assert maximizing == minimizing


def test_two_objectives_are_minimized_together():
  trials = []
  for one in halton_trials(CONDITIONAL, 30):
    values = (one.values[0], float(one.parameters['model.n_layers']))
    trials.append(dataclasses.replace(one, values=values))
  points = propose('tpe', trials, CONDITIONAL, 16, directions=('minimize',) * 2)
  losses = [loss(point.parameters) for point in points]
  assert np.median(losses) < np.median([one.values[0] for one in trials])


def test_gp_proposes_points_near_the_minimum():
  pytest.importorskip('torch')
  trials = []
  for i, rate in enumerate(np.geomspace(1e-4, 1e-1, 10).tolist()):
    trials.append(trial(i, {LR: rate}, ((math.log10(rate) + 2) ** 2,)))
  first, second = propose('gp', trials, {LR: FLAT[LR]}, 2)
  assert first != second
  assert 0.003 < first.parameters[LR] < 0.03


# --- results of trials ----------------------------------------------------------------


def test_trials_of_one_point_count_as_their_mean(search):
  method, space = search
  rng = random.Random(0)
  means = []
  seeds = []
  for one in halton_trials(space, 20):
    # Exact in binary, so that the mean of both seeds is exact.
    noise = rng.choice((0.5, 8.0))
    values = [round(one.values[0], 3) + sign * noise for sign in (1, -1)]
    for i, value in enumerate(values):
      number = 2 * one.number + i
      seeds.append(trial(number, one.parameters, (value,), point=one.point))
    means.append(dataclasses.replace(one, values=(math.fsum(values) / 2,)))
  of_seeds = propose(method, seeds, space, 4, first_point=99)
  assert of_seeds == propose(method, means, space, 4, first_point=99)
  assert of_seeds != propose(method, seeds[::2], space, 4, first_point=99)


def test_diverged_points_are_avoided():
  rng = np.random.default_rng(0)
  trials = []
  for one in halton_trials(FLAT, 40):
    diverges = one.parameters[LR] > 3e-3
    trials.append(
      dataclasses.replace(
        one,
        status='diverged' if diverges else 'complete',
        values=(50.0,) if diverges else (rng.uniform(),),
      )
    )
  points = propose('tpe', trials, FLAT, 20)
  assert sum(point.parameters[LR] > 3e-3 for point in points) <= 4


def test_failed_and_running_trials_are_ignored():
  trials = halton_trials(FLAT, 40)
  ignored = [
    trial(40, trials[0].parameters, None, status='failed'),
    trial(41, trials[1].parameters, None, status='running'),
  ]
  with_ignored = propose('tpe', trials + ignored, FLAT, 3, first_point=50)
  assert with_ignored == propose('tpe', trials, FLAT, 3, first_point=50)


def test_pruned_points_are_learned_from():
  """A pruned point is worse than the others, and better the lower its last score."""
  trials = halton_trials(FLAT, 40)
  best = sorted(trials, key=lambda one: one.values[0])[:4]
  pruned = []
  for one in trials:
    if one not in best:
      one = dataclasses.replace(one, status='pruned', scores={10: one.values[0]})
    pruned.append(one)
  losses = [loss(point.parameters) for point in propose('tpe', pruned, FLAT, 20)]
  assert np.median(losses) < 0.6 * np.median([one.values[0] for one in trials])


def test_points_of_another_space_are_left_out(search):
  method, space = search
  trials = halton_trials(space, 20)
  outside = {LR: 0.5, WD: 0.1, 'model.n_layers': 3, 'schedule.name': None}
  others = [trial(20, outside, (0.0,)), trial(21, {}, (0.0,), point=-1)]
  with_others = propose(method, trials + others, space, 3, first_point=30)
  assert with_others == propose(method, trials, space, 3, first_point=30)


# --- cohorts --------------------------------------------------------------------------


def cohorts(n_planned, **keys):
  """All cohorts of a search."""
  sweep = SweepConfig(trials=n_planned, **keys)
  plans = []
  first_point = 0
  while True:
    state = SearchState(
      sweep=sweep,
      space=as_space(FLAT),
      seed=0,
      n_planned=n_planned,
      first_point=first_point,
    )
    plan = next_cohort('tpe', state)
    if not plan.n_points:
      return plans
    plans.append(plan)
    first_point += plan.n_points


def test_quasi_random_points_come_first():
  assert cohorts(7, quasi_random_fraction=0.5, ask_batch_size=2) == [
    CohortPlan('halton', 4),
    CohortPlan('tpe', 2),
    CohortPlan('tpe', 1),
  ]


def test_a_search_may_have_no_quasi_random_points():
  assert cohorts(5, quasi_random_fraction=0.0) == [CohortPlan('tpe', 5)]


# --- what a method cannot search ------------------------------------------------------


def is_traced(path):
  return True


@pytest.mark.parametrize('package', ['torch', 'cmaes'])
def test_a_missing_package_is_named(monkeypatch, package):
  find_spec = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    'find_spec',
    lambda name: None if name == package else find_spec(name),
  )
  method = {'torch': 'gp', 'cmaes': 'cmaes'}[package]
  with pytest.raises(ConfigError, match=rf"^sweep.search: got '{method}'.*{package}"):
    check_search(method, as_space(FLAT), is_traced)


@pytest.mark.parametrize(
  'space', [CONDITIONAL, {'schedule.name': Choice('cosine', 'linear')}]
)
def test_cmaes_refuses_choices_and_conditions(space):
  pytest.importorskip('cmaes')
  with pytest.raises(ConfigError, match="^sweep.search: got 'cmaes' for schedule.name"):
    check_search('cmaes', as_space(space), is_traced)


def test_cmaes_refuses_two_objectives():
  with pytest.raises(ConfigError, match="^sweep.search: got 'cmaes'"):
    SweepConfig(search='cmaes', trials=4, objective=('eval_loss_nats', 'flops'))
