"""Designs: each parameter's stream is its own, uniform, and as even as its sequence promises."""

import itertools
import os
import pathlib
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

from lmhp.errors import ConfigError
from lmhp.sweeping.search import quasi_random as streams
from lmhp.sweeping.search.designs import KINDS, Design, most_points
from lmhp.sweeping.space import (
  Chain,
  Choice,
  Fixed,
  Float,
  Int,
  Product,
  Subsample,
  When,
  Zip,
)

LR, WD, N = 'optimizer.learning_rate', 'optimizer.weight_decay', 'model.n_layers'
SPACE = {
  LR: Float(1e-4, 1e-1, log=True),
  WD: Float(0, 1),
  N: Int(2, 8),
  'schedule.name': Choice('cosine', 'linear'),
}
MORE = {
  'optimizer.b2': Float(0.9, 0.99),
  'schedule.final_lr_ratio': When('schedule.name', 'linear', Float(0, 0.5)),
  'train.z_loss': Fixed(1e-4),
}


def units(kind, n, dimension=0, name='x', seed=0, start=0):
  design = Design({name: Float(0, 1)}, kind, seed, {name: dimension})
  return np.array([point.parameters[name] for point in design.points(start, start + n)])


def table(kind, n, d, seed=0):
  space = {f'p.{i}': Float(0, 1) for i in range(d)}
  return np.array(
    [list(p.parameters.values()) for p in Design(space, kind, seed).points(0, n)]
  )


# --- a pure function of (seed, name, i) -----------------------------------------------------------------------------


@pytest.mark.parametrize('kind', KINDS)
@settings(deadline=None, max_examples=25)
@given(
  order=st.permutations([*SPACE, *MORE]),
  n=st.integers(1, 7),
  seed=st.integers(0, 2**40),
  i=st.integers(0, 10**6),
)
def test_adding_removing_and_reordering_leave_the_other_parameters_as_they_were(
  kind, order, n, seed, i
):
  first = Design(SPACE, kind, seed)
  every = SPACE | MORE
  kept = [
    path
    for path in order[:n]
    if path != 'schedule.final_lr_ratio' or 'schedule.name' in order[:n]
  ]
  second = Design({path: every[path] for path in kept}, kind, seed, first.dimensions)
  before, after = first.point(i).parameters, second.point(i).parameters
  for name in set(before) & set(kept):
    assert after[name] == before[name]
  again = Design(every, kind, seed, second.dimensions)
  for name, value in (before | after).items():
    assert again.point(i).parameters[name] == value


@pytest.mark.parametrize('kind', KINDS)
def test_point_i_needs_no_history(kind):
  design = Design(SPACE | MORE, kind, 3)
  points = design.points(0, 70)
  assert [design.point(i) for i in (69, 0, 13)] == [points[i] for i in (69, 0, 13)]
  assert design.points(5, 42) == points[5:42] and design.points(5, 5) == []
  assert Design(SPACE | MORE, kind, 3).point(13) == points[13]
  far = design.point(10**6)
  assert design.points(10**6 - 3, 10**6 + 2)[3] == far != design.point(10**6 + 1)


def test_points_are_the_same_in_any_process_and_for_good():
  """Studies on disk rely on these values."""
  code = (
    'from lmhp.sweeping.search.designs import Design; from lmhp.sweeping.space import Float, Int\n'
    'for kind in ("random", "halton", "sobol"):\n'
    '  d = Design({"a": Float(1e-4, 1, log=True), "b": Int(1, 99)}, kind, 7, {"b": 3})\n'
    '  print(kind, *[x for i in (0, 5, 1000) for x in d.point(i).parameters.values()])'
  )
  root = pathlib.Path(streams.__file__).parents[3]
  environment = {**os.environ, 'PYTHONPATH': str(root), 'PYTHONHASHSEED': '123'}
  done = subprocess.run(
    [sys.executable, '-c', code],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.splitlines() == GOLDEN


GOLDEN = [
  'random 0.000526802558736 9 0.255001558649 13 0.0928411739404 79',
  'halton 0.00157023623002 31 0.00837987848158 74 0.633176405591 58',
  'sobol 0.00711387685491 38 0.024851852163 12 0.000940069509632 69',
]


@pytest.mark.parametrize('kind', KINDS)
def test_seeds_and_names_have_streams_of_their_own(kind):
  streams_of = (('x', 0), ('x', 1), ('y', 0), ('x', 2**63), ('xx', 0))
  draws = [units(kind, 512, name=name, seed=seed) for name, seed in streams_of]
  for a, b in itertools.combinations(draws, 2):
    assert (a != b).all()
    if kind == 'random':
      assert abs(np.corrcoef(a, b)[0, 1]) < 0.2


# --- uniform --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('dimension', [0, 1, 4, 30])
def test_units_are_uniform(kind, dimension):
  u = units(kind, 4000, dimension)
  assert ((0 <= u) & (u < 1)).all() and len(set(u)) == 4000
  assert stats.kstest(u, 'uniform').pvalue > 1e-3


@pytest.mark.parametrize('kind', KINDS)
def test_the_first_point_is_uniform_over_seeds(kind):
  """A scramble that left the first point at 0, as the plain sequences have it, would not be."""
  for i in (0, 1, 6):
    first = [
      Design({'x': Float(0, 1)}, kind, seed).point(i).parameters['x']
      for seed in range(1000)
    ]
    assert stats.kstest(first, 'uniform').pvalue > 1e-3


def test_random_streams_are_independent():
  u = table('random', 3000, 6)
  assert np.abs(np.corrcoef(u.T) - np.eye(6)).max() < 0.08
  assert np.abs(np.corrcoef(u[:-1].T, u[1:].T)[:6, 6:]).max() < 0.08


# --- as even as promised --------------------------------------------------------------------------------------------


@pytest.mark.parametrize('dimension', [0, 1, 2, 7, 100, 21_200])
@pytest.mark.parametrize('k', [1, 3, 6, 10])
def test_each_sobol_dimension_alone_is_a_01_sequence(dimension, k):
  """Every aligned block of 2^k points has one in each of 2^k bins."""
  for block in (0, 1, 5):
    u = units('sobol', 2**k, dimension, start=block * 2**k)
    assert sorted((u * 2**k).astype(int)) == list(range(2**k))


@pytest.mark.parametrize(
  'dimension, base', [(0, 2), (1, 3), (2, 5), (4, 11), (46, 211)]
)
def test_each_halton_dimension_alone_is_a_01_sequence_in_its_prime(dimension, base):
  for power in (1, 2):
    n = base**power
    for block in (0, 1, 4):
      if n < 3000:
        assert sorted(
          (units('halton', n, dimension, start=block * n) * n).astype(int)
        ) == list(range(n))


@pytest.mark.parametrize('seed', range(4))
def test_the_first_two_sobol_dimensions_have_a_point_in_every_elementary_box(seed):
  """Their net has t = 0, and each dimension's own scramble keeps it."""
  u = table('sobol', 256, 2, seed)
  for a in range(9):
    boxes = {(int(x * 2**a), int(y * 2 ** (8 - a))) for x, y in u}
    assert len(boxes) == 256


@pytest.mark.parametrize('kind', ['sobol', 'halton'])
def test_pairs_and_more_are_spread_better_than_at_random(kind):
  for d in (2, 5, 8):
    due = np.mean(
      [qmc.discrepancy(np.random.default_rng(i).random((256, d))) for i in range(5)]
    )
    scipy_s = np.mean(
      [
        qmc.discrepancy(
          (qmc.Sobol if kind == 'sobol' else qmc.Halton)(d, rng=i).random(256)
        )
        for i in range(5)
      ]
    )
    ours = np.mean([qmc.discrepancy(table(kind, 256, d, seed)) for seed in range(5)])
    assert ours < 0.4 * due and ours < 1.5 * scipy_s
  u = table(kind, 256, 12)
  worst = max(
    qmc.discrepancy(u[:, pair]) for pair in itertools.combinations(range(12), 2)
  )
  at_random = np.mean(
    [qmc.discrepancy(np.random.default_rng(i).random((256, 2))) for i in range(20)]
  )
  assert worst < at_random


def test_direction_numbers_are_scipy_s():
  directions = streams._directions(16, 11)
  plain = qmc.Sobol(16, scramble=False).random(2**11)
  for i in (0, 1, 2, 3, 100, 1023, 1024, 2047):
    gray = i ^ (i >> 1)
    x = np.bitwise_xor.reduce(
      [directions[k] for k in range(11) if gray >> k & 1] or [np.zeros(16, np.uint64)]
    )
    assert (x * 2.0**-streams.BITS == plain[i]).all()


@pytest.mark.parametrize('dimension', [0, 1, 5, 20])
def test_digits_are_mirrored_as_scipy_does(dimension):
  base = streams.primes(dimension + 1)[-1]
  identity = np.tile(np.arange(base), (streams.places(base), 1))
  plain = qmc.Halton(dimension + 1, scramble=False).random(500)[:, dimension]
  np.testing.assert_allclose(
    streams._mirrored(identity, 0, 500), plain, rtol=0, atol=1e-14
  )
  np.testing.assert_allclose(
    streams._mirrored(identity, 321, 500), plain[321:], rtol=0, atol=1e-14
  )


def test_primes():
  by_trial = [n for n in range(2, 600) if all(n % m for m in range(2, n))]
  for n in (1, 5, 6, 7, 100):
    assert list(streams.primes(n)) == by_trial[:n]
  assert list(streams.primes(21_201)) == qmc.Halton(21_201, scramble=False).base


def test_no_digits_overflow():
  for base in (2, 3, 5, 7, 97, 239_737):
    assert base ** streams.places(base) <= 2**53 < base ** (streams.places(base) + 1)
    worst = np.full((streams.places(base), base), base - 1)
    assert streams._mirrored(worst, 0, 1)[0] < 1


# --- dimensions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['halton', 'sobol'])
def test_dimensions_go_to_parameters_in_order_and_are_never_given_twice(kind):
  design = Design(SPACE, kind, 0)
  assert design.dimensions == {LR: 0, WD: 1, N: 2, 'schedule.name': 3}
  later = Design(
    {'optimizer.b2': Float(0.9, 0.99), LR: SPACE[LR]}, kind, 0, design.dimensions
  )
  assert later.dimensions == design.dimensions | {'optimizer.b2': 4}
  assert Design({'a': Float(0, 1), 'b': Float(0, 1)}, kind, 0, {'b': 7}).dimensions == {
    'b': 7,
    'a': 8,
  }
  assert Design(SPACE, 'random', 0, design.dimensions).dimensions == {}


@pytest.mark.parametrize('kind', KINDS)
def test_a_conditional_parameter_is_read_only_where_it_exists(kind):
  design = Design(SPACE | MORE, kind, 0)
  alone = Design({'schedule.final_lr_ratio': Float(0, 0.5)}, kind, 0, design.dimensions)
  seen = 0
  for point, other in zip(design.points(0, 64), alone.points(0, 64)):
    exists = point.parameters['schedule.name'] == 'linear'
    assert ('schedule.final_lr_ratio' in point.overrides) == exists
    assert point.overrides['train.z_loss'] == 1e-4
    if exists:
      seen += 1
      assert (
        point.parameters['schedule.final_lr_ratio']
        == other.parameters['schedule.final_lr_ratio']
      )
  assert 20 < seen < 44


@pytest.mark.parametrize('kind', KINDS)
def test_zips_and_chains_are_drawn_too(kind):
  space = Product(
    Chain({'a': Int(0, 3)}, {'a': Int(4, 7)}), Zip({'b': (1, 2), 'c': (3, 4)})
  )
  points = Design(space, kind, 0).points(0, 256)
  assert {p.overrides['a'] for p in points} == set(range(8))
  assert {(p.overrides['b'], p.overrides['c']) for p in points} == {(1, 3), (2, 4)}


@pytest.mark.parametrize(
  'make, message',
  [
    (
      lambda: Design(SPACE, 'sobel', 0),
      "kind: got 'sobel', expected random, halton, sobol; did you mean 'sobol'?",
    ),
    (
      lambda: Design(SPACE, 'sobol', 0, {LR: 1, WD: 1}),
      f'{WD}: got dimension 1, expected a whole number of its own',
    ),
    (
      lambda: Design(SPACE, 'halton', 0, {LR: -1}),
      f'{LR}: got dimension -1, expected a whole number of its own',
    ),
    (
      lambda: Design(SPACE, 'sobol', 0, {LR: 21_200}),
      f'{WD}: got dimension 21201, expected one of the 21201',
    ),
    (
      lambda: Design(SPACE, 'halton', 0, {LR: 21_201}),
      f'{LR}: got dimension 21201, expected one of the 21201',
    ),
    (
      lambda: Design(Product(Subsample(SPACE, 4), MORE), 'random', 0),
      f'{LR}: got a Subsample of a part of the space',
    ),
    (
      lambda: Design(Subsample(SPACE, 4), 'random', 0).points(0, 5),
      'points: got 5, expected at most 4, the points of',
    ),
    (
      lambda: Design(SPACE, 'halton', 0).point(2**32),
      'points: got 4294967297, expected at most 4294967296, the ',
    ),
  ],
)
def test_mistakes(make, message):
  with pytest.raises(ConfigError) as error:
    make()
  assert str(error.value).startswith(message) and '\n' not in str(error.value)


def test_numbers_start_at_0():
  with pytest.raises(ValueError, match='numbered from 0'):
    Design(SPACE, 'random', 0).point(-1)


def test_a_subsample_around_the_whole_is_a_cap():
  assert (
    most_points(SPACE) is None and most_points(Subsample(Subsample(SPACE, 9), 12)) == 9
  )
  capped = Design(Subsample(SPACE, 9), 'sobol', 0)
  assert capped.points(0, 9) == Design(SPACE, 'sobol', 0).points(0, 9)


def test_far_random_points_and_the_last_dimension():
  assert (
    Design(SPACE, 'random', 0).point(10**15)
    == Design(SPACE, 'random', 0).points(10**15 - 1, 10**15 + 1)[1]
  )
  assert len(set(units('halton', 500, 21_200))) == 500
