"""Exchanges of population-based training: copies, changed values, and keyed draws."""

import math

from hypothesis import given, strategies as st
import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.search.method import check_search
from lmhp.sweeping.search.population_exchange import exploit, explore
from lmhp.sweeping.space import (
  Choice,
  Float,
  Int,
  When,
  Zip,
  as_space,
  parameters,
)

LR = 'optimizer.learning_rate'
SPACE = {
  LR: Float(1e-4, 1e-1, log=True),
  'model.residual_dropout': Float(0.0, 0.5),
  'model.n_layers': Int(1, 40),
  'train.batch_size': Choice(32, 8, 16),
  'schedule.name': Choice('cosine', 'wsd_linear'),
  'schedule.cooldown_fraction': Float(0.05, 0.5),
}
VALUES = {
  LR: 1e-2,
  'model.residual_dropout': 0.2,
  'model.n_layers': 10,
  'train.batch_size': 16,
  'schedule.name': 'wsd_linear',
  'schedule.cooldown_fraction': 0.1,
}
NONFINITE = [math.nan, math.inf, -math.inf]


# --- exploit --------------------------------------------------------------------------


@given(
  st.lists(st.floats(-9, 9) | st.sampled_from(NONFINITE), min_size=1, max_size=40),
  st.floats(0.01, 0.5),
  st.integers(0, 99),
  st.integers(0, 9),
)
def test_the_worst_slots_copy_the_best(scores, fraction, seed, exchange):
  n = len(scores)
  parents = exploit(scores, fraction, seed, exchange)
  finite = [slot for slot in range(n) if math.isfinite(scores[slot])]
  if not finite:
    assert parents == tuple(range(n))
    return
  replaced = {slot for slot in range(n) if parents[slot] != slot}
  diverged = set(range(n)) - set(finite)
  n_worst = min(max(1, int(fraction * n + 0.5)), n // 2)
  assert diverged <= replaced
  assert len(replaced) == max(n_worst, len(diverged))
  for slot in replaced:
    parent = parents[slot]
    n_better = sum(scores[other] < scores[parent] for other in finite)
    assert parent in finite
    assert n_better < max(n_worst, 1)
    assert parents[parent] == parent
    kept_scores = [scores[other] for other in finite if parents[other] == other]
    assert slot in diverged or scores[slot] >= max(kept_scores)


@pytest.mark.parametrize('fraction', [0.5, 0.01])
def test_at_least_one_and_at_most_half_of_the_slots_are_replaced(fraction):
  for seed in range(20):
    assert exploit([3.0, 1.0, 2.0], fraction, seed, 0) == (1, 1, 2)


def test_a_population_of_one_copies_nothing():
  assert exploit([3.0], 0.5, 0, 0) == (0,)


def test_a_diverged_slot_is_replaced_in_the_smallest_population():
  assert exploit([3.0, math.nan], 0.1, 0, 0) == (0, 0)


def test_each_of_the_best_slots_is_equally_likely():
  scores = list(range(10))
  parents = [exploit(scores, 0.3, seed, 0)[9] for seed in range(3000)]
  counts = np.bincount(parents, minlength=10)
  assert counts[3:].sum() == 0
  assert abs(counts[:3] - 1000).max() < 5 * math.sqrt(3000 * 2 / 9)


def test_parents_depend_on_seed_and_exchange():
  scores = [float(slot) for slot in range(40)]
  parents = exploit(scores, 0.5, 7, 3)
  assert exploit(scores, 0.5, 7, 3) == parents
  assert exploit(scores, 0.5, 8, 3) != parents
  assert exploit(scores, 0.5, 7, 4) != parents
  assert len(set(parents[20:])) > 5


# --- explore --------------------------------------------------------------------------


def test_values_depend_on_seed_exchange_and_slot():
  def rate(seed, exchange, slot):
    space = parameters(SPACE)
    return explore(VALUES, space, seed, exchange, slot, resample_probability=1.0)[LR]

  assert rate(1, 0, 0) == rate(1, 0, 0)
  assert len({rate(1, 0, 0), rate(2, 0, 0), rate(1, 1, 0), rate(1, 0, 1)}) == 4


def test_one_more_parameter_leaves_the_others_unchanged():
  fewer = {name: SPACE[name] for name in list(SPACE)[:3]}
  fewer_values = {name: VALUES[name] for name in fewer}
  for slot in range(20):
    of_all = explore(VALUES, parameters(SPACE), 0, 2, slot)
    of_fewer = explore(fewer_values, parameters(fewer), 0, 2, slot)
    assert of_fewer == {name: of_all[name] for name in fewer}


def perturbed_values():
  """{parameter name: its perturbed value in each of 400 slots}."""
  values = {name: [] for name in VALUES}
  space = parameters(SPACE)
  for slot in range(400):
    new = explore(VALUES, space, 0, 0, slot, resample_probability=0.0)
    for name, value in new.items():
      values[name].append(value)
  return values


def test_values_are_multiplied_by_one_of_two_factors():
  assert {name: set(values) for name, values in perturbed_values().items()} == {
    LR: {8e-3, 1.25e-2},
    'model.residual_dropout': {0.16, 0.25},
    'model.n_layers': {8, 13},
    'train.batch_size': {8, 32},
    'schedule.name': {'wsd_linear'},
    'schedule.cooldown_fraction': {0.08, 0.125},
  }


@pytest.mark.parametrize(
  'name', [LR, 'model.residual_dropout', 'model.n_layers', 'train.batch_size']
)
def test_both_factors_are_equally_likely(name):
  values = perturbed_values()[name]
  assert 150 < sum(value > VALUES[name] for value in values) < 250


def test_factors_of_different_parameters_are_independent():
  values = perturbed_values()
  pairs = zip(values[LR], values['model.residual_dropout'], strict=True)
  n_equal = sum((rate > 1e-2) == (dropout > 0.2) for rate, dropout in pairs)
  assert 150 < n_equal < 250


def test_a_quarter_of_the_values_is_drawn_from_the_domain():
  space = parameters({LR: Float(1e-4, 1e-1, log=True)})
  rates = [explore({LR: 1e-2}, space, 0, 0, slot)[LR] for slot in range(2000)]
  drawn = np.array([rate for rate in rates if rate not in (8e-3, 1.25e-2)])
  assert abs(len(drawn) - 500) < 5 * math.sqrt(2000 * 3 / 16)
  assert 1e-4 <= drawn.min()
  assert drawn.max() <= 1e-1
  assert abs(np.median(np.log10(drawn)) + 2.5) < 0.2


# --- spaces ---------------------------------------------------------------------------


@pytest.mark.parametrize(
  'space',
  [
    {'model.n_layers': Int(1, 2)},
    {
      'schedule.name': Choice('cosine', 'linear'),
      LR: When('schedule.name', 'cosine', Float(0, 1)),
    },
    Zip({LR: (0.1, 0.2), 'optimizer.b2': (0.9, 0.95)}),
  ],
  ids=['structure', 'condition', 'zip'],
)
def test_spaces_that_members_cannot_change_during_training_are_refused(space):
  with pytest.raises(ConfigError):
    check_search('pbt', as_space(space), lambda path: path != 'model.n_layers')
