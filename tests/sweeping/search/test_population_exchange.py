"""Exchanges of population-based training: who copies whom, what changes, and that a draw depends on its key alone."""

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from lmhp.sweeping.search.population_exchange import exploit, explore, lineage
from lmhp.sweeping.space import Choice, Float, Int, Parameter, When, parameters

SPACE = {
  'optimizer.learning_rate': Float(1e-4, 1e-1, log=True),
  'model.dropout': Float(0.0, 0.5),
  'model.n_layers': Int(1, 40),
  'train.batch_size': Choice(32, 8, 16),
  'schedule.name': Choice('cosine', 'wsd_linear'),
  'schedule.cooldown_fraction': When('schedule.name', 'wsd_linear', Float(0.05, 0.5)),
}
VALUES = {
  'optimizer.learning_rate': 1e-2,
  'model.dropout': 0.2,
  'model.n_layers': 10,
  'train.batch_size': 16,
  'schedule.name': 'wsd_linear',
  'schedule.cooldown_fraction': 0.1,
}
LOST = [math.nan, math.inf, -math.inf]


@given(
  st.lists(st.floats(-9, 9) | st.sampled_from(LOST), min_size=1, max_size=40),
  st.floats(0.01, 0.5),
  st.integers(0, 99),
  st.integers(0, 9),
)
def test_the_worst_copy_the_best(scores, fraction, seed, round):
  parents, n = exploit(scores, fraction, seed, round), len(scores)
  finite = [i for i in range(n) if math.isfinite(scores[i])]
  if not finite:
    assert parents == tuple(range(n))
    return
  replaced = {i for i in range(n) if parents[i] != i}
  quota = min(max(1, round_half_up(fraction * n)), n // 2)
  lost = set(range(n)) - set(finite)
  assert lost <= replaced and len(replaced) == max(quota, len(lost))
  for i in replaced:
    better = sum(scores[j] < scores[parents[i]] for j in finite)
    assert (
      parents[i] in finite
      and better < max(quota, 1)
      and parents[parents[i]] == parents[i]
    )
    assert i in lost or scores[i] >= max(scores[j] for j in finite if parents[j] == j)


def round_half_up(x):
  return int(x + 0.5)


def test_at_least_one_and_at_most_half_are_replaced():
  for seed in range(20):
    assert (
      exploit([3.0, 1.0, 2.0], 0.5, seed, 0)
      == (1, 1, 2)
      == exploit([3.0, 1.0, 2.0], 0.01, seed, 0)
    )
  assert exploit([3.0], 0.5, 0, 0) == (0,) and exploit([3.0, math.nan], 0.1, 0, 0) == (
    0,
    0,
  )


def test_each_of_the_best_is_as_likely():
  scores = list(range(10))
  drawn = [exploit(scores, 0.3, seed, 0)[9] for seed in range(3000)]
  counts = np.bincount(drawn, minlength=10)
  assert counts[3:].sum() == 0 and abs(counts[:3] - 1000).max() < 5 * math.sqrt(
    3000 * 2 / 9
  )


def test_draws_differ_by_seed_round_and_slot_and_nothing_else():
  scores = [float(i) for i in range(40)]
  first = exploit(scores, 0.5, 7, 3)
  assert exploit(scores, 0.5, 7, 3) == first
  assert (
    first not in (exploit(scores, 0.5, 8, 3), exploit(scores, 0.5, 7, 4))
    and len(set(first[20:])) > 5
  )
  rate = lambda *key: explore(
    VALUES, parameters(SPACE), *key, resample_probability=1.0
  )['optimizer.learning_rate']
  assert rate(1, 0, 0) == rate(1, 0, 0)
  assert len({rate(1, 0, 0), rate(2, 0, 0), rate(1, 1, 0), rate(1, 0, 1)}) == 4


def test_a_parameter_more_leaves_the_others():
  fewer = {name: SPACE[name] for name in list(SPACE)[:3]}
  for slot in range(20):
    all_values = explore(VALUES, parameters(SPACE), 0, 2, slot)
    some = explore(
      {name: VALUES[name] for name in fewer}, parameters(fewer), 0, 2, slot
    )
    assert some == {name: all_values[name] for name in fewer}


def test_perturbed_by_a_factor_up_and_down_alike():
  space, seen = parameters(SPACE), {name: [] for name in VALUES}
  for slot in range(400):
    for name, value in explore(
      VALUES, space, 0, 0, slot, resample_probability=0.0
    ).items():
      seen[name].append(value)
  expected = {
    'optimizer.learning_rate': {8e-3, 1.25e-2},
    'model.dropout': {0.16, 0.25},
    'model.n_layers': {8, 13},
    'train.batch_size': {8, 32},
    'schedule.name': {'wsd_linear'},
    'schedule.cooldown_fraction': {0.08, 0.125},
  }
  assert {name: set(values) for name, values in seen.items()} == expected
  for name in (
    'optimizer.learning_rate',
    'model.dropout',
    'model.n_layers',
    'train.batch_size',
  ):
    assert 150 < sum(value > VALUES[name] for value in seen[name]) < 250
  both = zip(seen['optimizer.learning_rate'], seen['model.dropout'])
  assert (
    150 < sum((rate > 1e-2) == (dropout > 0.2) for rate, dropout in both) < 250
  )  # independent


def test_drawn_anew_from_the_whole_domain_as_often_as_asked():
  space = parameters({'optimizer.learning_rate': Float(1e-4, 1e-1, log=True)})
  one = {'optimizer.learning_rate': 1e-2}
  values = np.array(
    [explore(one, space, 0, 0, slot)['optimizer.learning_rate'] for slot in range(2000)]
  )
  anew = values[~np.isin(values, [8e-3, 1.25e-2])]
  assert abs(len(anew) - 500) < 5 * math.sqrt(2000 * 3 / 16)
  assert (
    (anew >= 1e-4).all()
    and (anew <= 1e-1).all()
    and abs(np.median(np.log10(anew)) + 2.5) < 0.2
  )


@pytest.mark.parametrize(
  'domain, value, moved',
  [
    (Float(1e-3, 1.0), 1.0, {0.8, 1.0}),
    (Float(1e-3, 1.0, log=True), 1e-3, {1e-3, 1.25e-3}),
    (Float(-1.0, 1.0), -0.5, {-0.4, -0.625}),
    (Float(0.0, 1.0), 0.0, {0.0}),
    (Int(0, 9), 0, {0, 1}),
    (Int(1, 9), 1, {1, 2}),
    (Int(1, 9), 2, {1, 3}),
    (Int(1, 10**6, log=True), 1000, {800, 1250}),
    (Choice(1.0, 3.0, 2.0), 3.0, {2.0, 3.0}),
    (Choice(5), 5, {5}),
    (Choice(True, False), True, {True}),
    (Choice(1, None), None, {None}),
  ],
)
def test_it_stays_in_the_domain(domain, value, moved):
  space = (Parameter('x', ('x',), domain, 'scientific'),)
  found = {
    explore({'x': value}, space, 0, 0, slot, resample_probability=0.0)['x']
    for slot in range(40)
  }
  assert found == moved and all(x in domain for x in found)
  assert all(
    explore({'x': value}, space, 0, 0, slot, resample_probability=1.0)['x'] in domain
    for slot in range(40)
  )


def test_conditions_hold_after_a_choice_changed():
  space, names = parameters(SPACE), set()
  bare = {
    name: value
    for name, value in VALUES.items()
    if name != 'schedule.cooldown_fraction'
  } | {'schedule.name': 'cosine'}
  for values in (VALUES, bare):
    for slot in range(60):
      new = explore(values, space, 0, 0, slot, resample_probability=0.6)
      names.add((values['schedule.name'], new['schedule.name']))
      assert ('schedule.cooldown_fraction' in new) == (
        new['schedule.name'] == 'wsd_linear'
      )
      assert new.get('schedule.cooldown_fraction', 0.1) in Float(0.05, 0.5)
  assert len(names) == 4


def test_values_that_are_no_parameters_stay():
  assert (
    explore(
      {'a': 3, 'x': 1.0},
      (Parameter('x', ('x',), Float(0.5, 2.0), 'scientific'),),
      0,
      0,
      0,
    )['a']
    == 3
  )


@given(
  st.integers(1, 6).flatmap(
    lambda n: st.lists(
      st.lists(st.integers(0, n - 1), min_size=n, max_size=n), min_size=1, max_size=6
    )
  )
)
def test_lineage_is_what_a_diary_says(rounds):
  diaries = [[slot] for slot in range(len(rounds[0]))]
  for parents in rounds:
    diaries = [[*diaries[parent], slot] for slot, parent in enumerate(parents)]
  assert lineage(rounds) == [tuple(diary) for diary in diaries]


def test_no_exchange_no_lineage():
  assert lineage([]) == []
