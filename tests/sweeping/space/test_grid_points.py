"""Grids: every combination in the stated order, children where they exist, and thinning that is even."""

import collections
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.space import (
  Chain,
  Choice,
  Float,
  Int,
  Product,
  Subsample,
  When,
  Zip,
  grid,
)
from lmhp.sweeping.space.grid_points import levels_of


def overrides(space, levels=5):
  return [point.overrides for point in grid(space, levels)]


@settings(deadline=None, max_examples=50)
@given(
  st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), max_size=4)
)
def test_a_product_of_choices_is_itertools_product(lists):
  space = {f'p.{i}': Choice(*values) for i, values in enumerate(lists)}
  assert [tuple(o.values()) for o in overrides(space)] == list(
    itertools.product(*lists)
  )


def test_children_stand_where_their_parents_allow_it():
  space = {
    'rate': When('name', 'b', Choice(1, 2)),
    'name': Choice('a', 'b', 'c'),
    'x': Choice(7, 8),
  }
  assert [
    tuple(o[k] for k in ('name', 'rate', 'x') if k in o) for o in overrides(space)
  ] == [
    ('a', 7),
    ('a', 8),
    ('b', 1, 7),
    ('b', 1, 8),
    ('b', 2, 7),
    ('b', 2, 8),
    ('c', 7),
    ('c', 8),
  ]


def test_a_chain_concatenates_and_a_zip_walks_its_rows():
  first, second = (
    {'a': Choice(1, 2), 'b': Choice(3, 4)},
    Zip({'a': (5, 6), 'c': (7, 8)}),
  )
  assert overrides(Chain(first, second)) == overrides(first) + [
    {'a': 5, 'c': 7},
    {'a': 6, 'c': 8},
  ]
  both = overrides(Product({'z': Choice(0, 1)}, Chain(first, second)))
  assert both == [
    {'z': z, **o} for z in (0, 1) for o in overrides(Chain(first, second))
  ]


@pytest.mark.parametrize(
  'domain, n, levels',
  [
    (Float(1e-4, 1e-1, log=True), 4, (1e-4, 1e-3, 1e-2, 1e-1)),
    (Float(0.05, 0.5), 4, (0.05, 0.2, 0.35, 0.5)),
    (Float(-1, 1), 1, (0.0,)),
    (Float(1, 100, log=True), 1, (10.0,)),
    (Int(2, 8), 7, (2, 3, 4, 5, 6, 7, 8)),
    (Int(2, 8), 3, (2, 5, 8)),
    (Int(1, 1000, log=True), 4, (1, 10, 100, 1000)),
    (Int(1, 9, log=True), 8, (1, 2, 3, 4, 5, 7, 9)),
    (Choice('a', 'b', 'c'), 2, ('a', 'b', 'c')),
    (Float(1e15, 1e15 + 2), 3, (1e15, 1e15 + 1, 1e15 + 2)),
  ],
)
def test_levels(domain, n, levels):
  assert levels_of(domain, n) == levels


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 9))
def test_levels_of_an_interval_are_numpy_s(low, width, n):
  levels = levels_of(Float(low, low + width), n)
  assert levels[0] == low and levels[-1] == low + width
  np.testing.assert_allclose(
    levels, np.linspace(low, low + width, n), rtol=0, atol=1e-9 * width
  )
  scaled = levels_of(Float(width, 50 * width, log=True), n)
  np.testing.assert_allclose(scaled, np.geomspace(width, 50 * width, n), rtol=1e-11)


def test_levels_by_name():
  space = {'a': Float(0, 1), 'b': Float(0, 1), 'c': Int(1, 2)}
  assert len(grid(space, {'a': 2})) == 2 * 5 * 2
  assert len(grid(space, 3)) == 3 * 3 * 2
  assert len(grid({}, 3)) == 1


@pytest.mark.parametrize(
  'levels, message',
  [
    (
      {'optimizer.b': 3},
      "levels: got 'optimizer.b', expected the name of a parameter; did you mean 'optimizer.b2'",
    ),
    (0, 'levels: got 0 for optimizer.b2, expected a whole number, at least 1'),
    (2.0, 'levels: got 2.0 for optimizer.b2'),
  ],
)
def test_bad_levels(levels, message):
  with pytest.raises(ConfigError, match=message):
    grid({'optimizer.b2': Float(0.9, 0.99)}, levels)


def test_a_grid_beyond_reason_is_refused_before_it_is_made():
  with pytest.raises(
    ConfigError,
    match='levels: got a grid of 1000000 points, and more, expected at most 500000',
  ):
    grid({f'p.{i}': Float(0, 1) for i in range(12)}, 10)


# --- thinning -------------------------------------------------------------------------------------------------------

FULL = {'a': Choice(1, 2, 3, 4), 'b': Choice('x', 'y', 'z'), 'c': Int(1, 4)}


def frozen(points):
  return [frozenset(point.overrides.items()) for point in points]


@pytest.mark.parametrize('n', [1, 5, 12, 24, 36, 47])
def test_a_subsample_is_n_points_of_the_grid_with_each_value_about_as_often(n):
  for seed in range(5):
    points = grid(Subsample(FULL, n, seed=seed))
    assert len(set(frozen(points))) == n and set(frozen(points)) <= set(
      frozen(grid(FULL))
    )
    for name, n_levels in (('a', 4), ('b', 3), ('c', 4)):
      counts = collections.Counter(point.overrides[name] for point in points)
      assert (
        max(counts.values()) - min(counts.values() if len(counts) == n_levels else [0])
        <= 2
      )
      assert len(counts) == min(n, n_levels)


def test_pairs_of_values_are_not_in_step():
  """Every fourth point of the grid would have one value of c alone; here values of a and c meet in most pairs."""
  points = grid(Subsample(FULL, 24))
  assert len({(point.overrides['a'], point.overrides['c']) for point in points}) >= 11


def test_fewer_are_the_beginning_of_more_and_another_seed_keeps_others():
  more = frozen(grid(Subsample(FULL, 30)))
  assert frozen(grid(Subsample(FULL, 11))) == more[:11]
  assert set(frozen(grid(Subsample(FULL, 11, seed=1)))) != set(more[:11])


def test_more_than_there_are_is_all():
  assert set(frozen(grid(Subsample(FULL, 1000)))) == set(frozen(grid(FULL)))
  assert len(grid(Subsample(FULL, 1000))) == len(grid(FULL))


def test_a_part_of_a_space_is_thinned_alone():
  space = Product({'p': Choice(0, 1)}, Subsample(FULL, 5), {'q': Choice(0, 1)})
  points = overrides(space)
  assert len(points) == 2 * 5 * 2
  by_rest = collections.Counter((o['a'], o['b'], o['c']) for o in points)
  assert len(by_rest) == 5 and set(by_rest.values()) == {4}
  order = [o['p'] for o in points]
  assert order == sorted(order)


def test_links_that_are_not_thinned_keep_their_points():
  thin = Subsample(Subsample(FULL, 9, seed=5), 4)
  points = overrides(Chain({'p': Choice(1, 2)}, Subsample({'q': Int(1, 5)}, 2), thin))
  assert points[:2] == [{'p': 1}, {'p': 2}] and len(points) == 2 + 2 + 4
  kept = {frozenset(o.items()) for o in points[4:]}
  assert kept == set(frozen(grid(thin))) and kept < set(
    frozen(grid(Subsample(FULL, 9, seed=5)))
  )


def test_a_conditional_value_comes_as_often_as_its_share():
  space = {
    'name': Choice('a', 'b'),
    'rate': When('name', 'b', Choice(*range(7))),
    'x': Choice(*range(4)),
  }
  for seed in range(5):
    points = grid(Subsample(space, 16, seed=seed))  # of 32, where a has 4
    counts = collections.Counter(point.overrides['name'] for point in points)
    assert counts['a'] in (1, 2, 3)
    assert set(
      collections.Counter(
        p.overrides['rate'] for p in points if 'rate' in p.overrides
      ).values()
    ) <= {1, 2, 3}


def test_the_points_of_a_subsample_are_the_same_for_good():
  """Studies on disk rely on these values."""
  assert [
    tuple(point.overrides.values()) for point in grid(Subsample(FULL, 3))
  ] == GOLDEN


GOLDEN = [(4, 'z', 1), (2, 'y', 4), (3, 'x', 3)]
