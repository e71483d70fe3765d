"""Grids: all combinations in order, children that exist, and Subsamples that are even."""

import collections
import itertools

from hypothesis import given, settings, strategies as st
import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.search.grid import grid
from lmhp.sweeping.search.method import SEARCH_METHODS, SearchState, next_cohort
from lmhp.sweeping.space import (
  Chain,
  Choice,
  Float,
  Int,
  Product,
  Subsample,
  When,
  Zip,
  as_space,
)
from lmhp.sweeping.store.trial import Trial

# --- combinations ---------------------------------------------------------------------


def full_grid(space):
  return grid(space, n_levels=5)


def overrides(space):
  return [point.overrides for point in full_grid(space)]


def as_sets(points):
  return [frozenset(point.overrides.items()) for point in points]


@settings(deadline=None, max_examples=50)
@given(
  st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), max_size=4)
)
def test_a_grid_of_choices_is_their_product(lists):
  space = {f'p.{i}': Choice(*values) for i, values in enumerate(lists)}
  points = [tuple(values.values()) for values in overrides(space)]
  assert points == list(itertools.product(*lists))


def test_children_exist_if_their_conditions_hold():
  space = {
    'rate': When('name', 'b', Choice(1, 2)),
    'name': Choice('a', 'b', 'c'),
    'x': Choice(7, 8),
  }
  assert overrides(space) == [
    {'name': 'a', 'x': 7},
    {'name': 'a', 'x': 8},
    {'name': 'b', 'rate': 1, 'x': 7},
    {'name': 'b', 'rate': 1, 'x': 8},
    {'name': 'b', 'rate': 2, 'x': 7},
    {'name': 'b', 'rate': 2, 'x': 8},
    {'name': 'c', 'x': 7},
    {'name': 'c', 'x': 8},
  ]


FIRST = {'a': Choice(1, 2), 'b': Choice(3, 4)}
SECOND = Zip({'a': (5, 6), 'c': (7, 8)})


def test_spaces_of_a_chain_follow_each_other():
  rows = [{'a': 5, 'c': 7}, {'a': 6, 'c': 8}]
  assert overrides(Chain(FIRST, SECOND)) == overrides(FIRST) + rows


def test_a_chain_is_repeated_for_each_value_before_it():
  of_chain = overrides(Chain(FIRST, SECOND))
  of_both = overrides(Product({'z': Choice(0, 1)}, Chain(FIRST, SECOND)))
  assert of_both == [{'z': z, **values} for z in (0, 1) for values in of_chain]


# --- levels ---------------------------------------------------------------------------


@pytest.mark.parametrize('n_levels', [2, 3])
def test_levels_are_for_each_interval_with_more_values(n_levels):
  space = {'a': Float(0, 1), 'b': Float(0, 1), 'c': Int(1, 2)}
  assert len(grid(space, n_levels)) == n_levels * n_levels * 2


def test_a_grid_of_too_many_points_is_refused_before_it_is_made():
  with pytest.raises(ConfigError, match='^levels: got a grid of 1000000 .* 500000'):
    grid({f'p.{i}': Float(0, 1) for i in range(12)}, 10)


# --- subsamples -----------------------------------------------------------------------

FULL = {'a': Choice(1, 2, 3, 4), 'b': Choice('x', 'y', 'z'), 'c': Int(1, 4)}


@pytest.mark.parametrize('n', [1, 5, 12, 24, 36, 47])
@pytest.mark.parametrize('seed', range(5))
def test_a_subsample_has_n_points_of_the_grid(n, seed):
  points = as_sets(full_grid(Subsample(FULL, n, seed=seed)))
  assert len(set(points)) == n
  assert set(points) <= set(as_sets(full_grid(FULL)))


@pytest.mark.parametrize('n', [1, 5, 12, 24, 36, 47])
@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('name, n_levels', [('a', 4), ('b', 3), ('c', 4)])
def test_all_values_of_a_subsample_occur_about_equally_often(n, seed, name, n_levels):
  points = full_grid(Subsample(FULL, n, seed=seed))
  counts = collections.Counter(point.overrides[name] for point in points)
  fewest = min(counts.values()) if len(counts) == n_levels else 0
  assert len(counts) == min(n, n_levels)
  assert max(counts.values()) - fewest <= 2


def test_values_of_two_parameters_meet_in_most_pairs():
  """In every fourth point of the grid, one value of c would occur with all values of a."""
  points = full_grid(Subsample(FULL, 24))
  pairs = {(point.overrides['a'], point.overrides['c']) for point in points}
  assert len(pairs) >= 11


def test_a_smaller_subsample_is_the_beginning_of_a_larger_one():
  assert full_grid(Subsample(FULL, 11)) == full_grid(Subsample(FULL, 30))[:11]


def test_another_seed_keeps_other_points():
  one = set(as_sets(full_grid(Subsample(FULL, 11))))
  assert one != set(as_sets(full_grid(Subsample(FULL, 11, seed=1))))


def test_a_subsample_that_is_too_large_keeps_all_points():
  points = as_sets(full_grid(Subsample(FULL, 1000)))
  assert len(points) == len(full_grid(FULL))
  assert set(points) == set(as_sets(full_grid(FULL)))


def test_a_subsample_of_a_part_leaves_the_rest_complete():
  space = Product({'p': Choice(0, 1)}, Subsample(FULL, 5), {'q': Choice(0, 1)})
  points = overrides(space)
  counts = collections.Counter((v['a'], v['b'], v['c']) for v in points)
  assert list(counts.values()) == [4] * 5


def test_a_subsample_of_a_part_keeps_the_order_of_the_grid():
  space = Product({'p': Choice(0, 1)}, Subsample(FULL, 5), {'q': Choice(0, 1)})
  first = [values['p'] for values in overrides(space)]
  assert first == [0] * 10 + [1] * 10


def test_subsamples_in_a_chain_thin_their_own_spaces():
  nested = Subsample(Subsample(FULL, 9, seed=5), 4)
  space = Chain({'p': Choice(1, 2)}, Subsample({'q': Int(1, 5)}, 2), nested)
  points = overrides(space)
  assert points[:2] == [{'p': 1}, {'p': 2}]
  assert len(points) == 2 + 2 + 4
  kept = {frozenset(values.items()) for values in points[4:]}
  assert kept == set(as_sets(full_grid(nested)))
  assert kept < set(as_sets(full_grid(Subsample(FULL, 9, seed=5))))


@pytest.mark.parametrize('seed', range(5))
def test_a_conditional_value_occurs_as_often_as_its_share(seed):
  space = {
    'name': Choice('a', 'b'),
    'rate': When('name', 'b', Choice(*range(7))),
    'x': Choice(*range(4)),
  }
  # 16 of 32 points. The name a has 4 of them, and each rate 4.
  points = overrides(Subsample(space, 16, seed=seed))
  names = collections.Counter(values['name'] for values in points)
  rates = collections.Counter(v['rate'] for v in points if 'rate' in v)
  assert names['a'] in (1, 2, 3)
  assert set(rates.values()) <= {1, 2, 3}


def test_points_of_a_subsample_are_those_of_earlier_versions():
  """Studies on disk rely on these values."""
  points = [tuple(values.values()) for values in overrides(Subsample(FULL, 3))]
  assert points == [(4, 'z', 1), (2, 'y', 4), (3, 'x', 3)]


# --- search method --------------------------------------------------------------------


def test_an_extended_grid_adds_the_points_that_no_trial_has():
  space = as_space({'a': Float(0, 1)})
  trials = []
  for i, value in enumerate((0.0, 0.5, 1.0)):
    trials.append(Trial(i, i, 0, {'a': value}, {'a': value}, cohort='search-0'))
  state = SearchState(
    sweep=SweepConfig(search='grid', grid_levels=5),
    space=space,
    seed=0,
    first_point=3,
    trials=tuple(trials),
  )
  plan = next_cohort('grid', state)
  points = SEARCH_METHODS['grid'].propose(state, plan.n_points)
  assert plan.n_points == 2
  assert [point.overrides['a'] for point in points] == [0.25, 0.75]
