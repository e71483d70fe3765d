"""Designs: independent streams of parameters, uniform, and spread as their sequence is."""

import itertools
import os
import pathlib
import subprocess
import sys

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

from lmhp.errors import ConfigError
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.search import quasi_random
from lmhp.sweeping.search.designs import Design, max_points
from lmhp.sweeping.search.method import SEARCH_METHODS, SearchState
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
  as_space,
)

METHODS = ('random', 'halton', 'sobol')
SEQUENCES = ('halton', 'sobol')
LR = 'optimizer.learning_rate'
WD = 'optimizer.weight_decay'
LAYERS = 'model.n_layers'
CHILD = 'schedule.final_lr_ratio'
SPACE = {
  LR: Float(1e-4, 1e-1, log=True),
  WD: Float(0, 1),
  LAYERS: Int(2, 8),
  'schedule.name': Choice('cosine', 'linear'),
}
MORE = {
  'optimizer.b2': Float(0.9, 0.99),
  CHILD: When('schedule.name', 'linear', Float(0, 0.5)),
  'train.z_loss': Fixed(1e-4),
}


def point_of(design, i):
  return design.points(i, i + 1)[0]


def stream(method, n, dimension=0, name='x', seed=0, start=0):
  """n values of the stream of one parameter, uniform in [0, 1)."""
  design = Design({name: Float(0, 1)}, method, seed, {name: dimension})
  points = design.points(start, start + n)
  return np.array([point.parameters[name] for point in points])


def table(method, n, n_parameters, seed=0):
  """(n, n_parameters) points in the unit cube."""
  space = {f'p.{i}': Float(0, 1) for i in range(n_parameters)}
  points = Design(space, method, seed).points(0, n)
  return np.array([list(point.parameters.values()) for point in points])


# --- a pure function of (seed, name, i) -----------------------------------------------


@pytest.mark.parametrize('method', METHODS)
@settings(deadline=None, max_examples=25)
@given(
  order=st.permutations([*SPACE, *MORE]),
  n=st.integers(1, 7),
  seed=st.integers(0, 2**40),
  i=st.integers(0, 10**6),
)
def test_a_parameter_keeps_its_values_in_any_other_space(method, order, n, seed, i):
  all_parameters = SPACE | MORE
  kept = [path for path in order[:n] if path != CHILD or 'schedule.name' in order[:n]]
  first = Design(SPACE, method, seed)
  second = Design(
    {path: all_parameters[path] for path in kept}, method, seed, first.dimensions
  )
  third = Design(all_parameters, method, seed, second.dimensions)
  values = point_of(first, i).parameters
  values_of_second = point_of(second, i).parameters
  for name in set(values) & set(values_of_second):
    assert values_of_second[name] == values[name]
  for name, value in (values | values_of_second).items():
    assert point_of(third, i).parameters[name] == value


@pytest.mark.parametrize('method', METHODS)
def test_point_i_does_not_depend_on_the_points_before(method):
  design = Design(SPACE | MORE, method, 3)
  points = design.points(0, 70)
  for i in (69, 0, 13):
    assert point_of(design, i) == points[i]
  assert design.points(5, 42) == points[5:42]
  assert design.points(5, 5) == []
  assert point_of(Design(SPACE | MORE, method, 3), 13) == points[13]


@pytest.mark.parametrize('method', METHODS)
def test_points_far_out_are_found_directly(method):
  design = Design(SPACE, method, 3)
  far = point_of(design, 10**6)
  assert design.points(10**6 - 3, 10**6 + 2)[3] == far
  assert point_of(design, 10**6 + 1) != far


def test_random_points_have_no_end():
  design = Design(SPACE, 'random', 0)
  assert point_of(design, 10**15) == design.points(10**15 - 1, 10**15 + 1)[1]


def test_points_are_those_of_earlier_versions_in_any_process():
  """Studies on disk rely on these values."""
  code = (
    'from lmhp.sweeping.search.designs import Design\n'
    'from lmhp.sweeping.space import Float, Int\n'
    'space = {"a": Float(1e-4, 1, log=True), "b": Int(1, 99)}\n'
    'for method in ("random", "halton", "sobol"):\n'
    '  design = Design(space, method, 7, {"b": 3})\n'
    '  points = [design.points(i, i + 1)[0] for i in (0, 5, 1000)]\n'
    '  print(method, *[x for point in points for x in point.parameters.values()])'
  )
  root = pathlib.Path(quasi_random.__file__).parents[3]
  environment = {**os.environ, 'PYTHONPATH': str(root), 'PYTHONHASHSEED': '123'}
  process = subprocess.run(
    [sys.executable, '-c', code],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  assert process.stdout.splitlines() == [
    'random 0.000526802558736 9 0.255001558649 13 0.0928411739404 79',
    'halton 0.00157023623002 31 0.00837987848158 74 0.633176405591 58',
    'sobol 0.00711387685491 38 0.024851852163 12 0.000940069509632 69',
  ]


@pytest.mark.parametrize('method', METHODS)
def test_streams_of_other_seeds_and_names_differ(method):
  names_and_seeds = (('x', 0), ('x', 1), ('y', 0), ('x', 2**63), ('xx', 0))
  streams = [
    stream(method, 512, name=name, seed=seed) for name, seed in names_and_seeds
  ]
  for a, b in itertools.combinations(streams, 2):
    assert (a != b).all()


def test_random_streams_of_other_seeds_and_names_are_uncorrelated():
  names_and_seeds = (('x', 0), ('x', 1), ('y', 0), ('x', 2**63), ('xx', 0))
  streams = [stream('random', 512, name=n, seed=seed) for n, seed in names_and_seeds]
  assert np.abs(np.corrcoef(streams) - np.eye(5)).max() < 0.2


# --- uniform --------------------------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('dimension', [0, 1, 4, 30])
def test_streams_are_uniform(method, dimension):
  values = stream(method, 4000, dimension)
  assert ((values >= 0) & (values < 1)).all()
  assert len(set(values)) == 4000
  assert stats.kstest(values, 'uniform').pvalue > 1e-3


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('i', [0, 1, 6])
def test_a_point_is_uniform_over_seeds(method, i):
  """The first point of an unscrambled sequence would always be 0."""
  values = []
  for seed in range(1000):
    design = Design({'x': Float(0, 1)}, method, seed)
    values.append(point_of(design, i).parameters['x'])
  assert stats.kstest(values, 'uniform').pvalue > 1e-3


def test_random_parameters_are_independent():
  values = table('random', 3000, 6)
  assert np.abs(np.corrcoef(values.T) - np.eye(6)).max() < 0.08


def test_random_points_that_follow_each_other_are_independent():
  values = table('random', 3000, 6)
  correlations = np.corrcoef(values[:-1].T, values[1:].T)
  assert np.abs(correlations[:6, 6:]).max() < 0.08


# --- spread ---------------------------------------------------------------------------


@pytest.mark.parametrize('dimension', [0, 1, 2, 7, 100, 21_200])
@pytest.mark.parametrize('k', [1, 3, 6, 10])
@pytest.mark.parametrize('block', [0, 1, 5])
def test_each_sobol_dimension_is_a_01_sequence(dimension, k, block):
  """Each aligned block of 2^k points has one point in each of 2^k bins."""
  values = stream('sobol', 2**k, dimension, start=block * 2**k)
  assert sorted((values * 2**k).astype(int)) == list(range(2**k))


@pytest.mark.parametrize(
  'dimension, n', [(0, 2), (0, 4), (1, 9), (2, 25), (4, 121), (46, 211)]
)
@pytest.mark.parametrize('block', [0, 1, 4])
def test_each_halton_dimension_is_a_01_sequence_in_its_prime(dimension, n, block):
  """Each aligned block of n points, a power of the prime, has one in each of n bins."""
  values = stream('halton', n, dimension, start=block * n)
  assert sorted((values * n).astype(int)) == list(range(n))


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('a', range(9))
def test_two_sobol_dimensions_have_a_point_in_each_elementary_interval(seed, a):
  """Their net has t = 0, and the scrambling keeps it."""
  values = table('sobol', 256, 2, seed)
  intervals = {(int(x * 2**a), int(y * 2 ** (8 - a))) for x, y in values}
  assert len(intervals) == 256


def mean_discrepancy(make_points):
  """Mean discrepancy of five point sets, `make_points(seed)`."""
  return np.mean([qmc.discrepancy(make_points(seed)) for seed in range(5)])


@pytest.mark.parametrize('method', SEQUENCES)
@pytest.mark.parametrize('d', [2, 5, 8])
def test_sequences_have_a_low_discrepancy(method, d):
  scipy_sequence = {'sobol': qmc.Sobol, 'halton': qmc.Halton}[method]
  ours = mean_discrepancy(lambda seed: table(method, 256, d, seed))
  at_random = mean_discrepancy(
    lambda seed: np.random.default_rng(seed).random((256, d))
  )
  of_scipy = mean_discrepancy(lambda seed: scipy_sequence(d, rng=seed).random(256))
  assert ours < 0.4 * at_random
  assert ours < 1.5 * of_scipy


@pytest.mark.parametrize('method', SEQUENCES)
def test_each_pair_of_dimensions_has_a_lower_discrepancy_than_random_points(method):
  values = table(method, 256, 12)
  pairs = itertools.combinations(range(12), 2)
  worst = max(qmc.discrepancy(values[:, pair]) for pair in pairs)
  at_random = [
    qmc.discrepancy(np.random.default_rng(seed).random((256, 2))) for seed in range(20)
  ]
  assert worst < np.mean(at_random)


# --- sequences against SciPy ----------------------------------------------------------


@pytest.mark.parametrize('i', [0, 1, 2, 3, 100, 1023, 1024, 2047])
def test_direction_numbers_are_those_of_scipy(i):
  directions = quasi_random._directions(16, 11)
  expected = qmc.Sobol(16, scramble=False).random(2**11)[i]
  gray_code = i ^ (i >> 1)
  word = np.zeros(16, np.uint64)
  for k in range(11):
    if gray_code >> k & 1:
      word ^= directions[k]
  assert (word * 2.0**-quasi_random.BITS == expected).all()


@pytest.mark.parametrize('dimension', [0, 1, 5, 20])
@pytest.mark.parametrize('start', [0, 321])
def test_radical_inverses_are_those_of_scipy(dimension, start):
  base = int(quasi_random.primes()[dimension])
  identity = np.tile(np.arange(base), (quasi_random.n_places(base), 1))
  inverses = quasi_random._radical_inverse(identity, start, 500)
  expected = qmc.Halton(dimension + 1, scramble=False).random(500)[start:, dimension]
  np.testing.assert_allclose(inverses, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize('n', [1, 5, 6, 7, 100])
def test_primes(n):
  by_trial = [k for k in range(2, 600) if all(k % m for m in range(2, k))]
  assert quasi_random.primes()[:n].tolist() == by_trial[:n]


def test_there_is_a_prime_for_each_dimension():
  expected = qmc.Halton(21_201, scramble=False).base
  assert quasi_random.primes().tolist() == expected


@pytest.mark.parametrize('base', [2, 3, 5, 7, 97, 239_737])
def test_digits_do_not_overflow_a_float(base):
  n = quasi_random.n_places(base)
  assert base**n <= 2**53 < base ** (n + 1)
  largest_digits = np.full((n, base), base - 1)
  assert quasi_random._radical_inverse(largest_digits, 0, 1)[0] < 1


# --- dimensions -----------------------------------------------------------------------


@pytest.mark.parametrize('method', SEQUENCES)
def test_dimensions_follow_the_order_of_the_parameters(method):
  expected = {LR: 0, WD: 1, LAYERS: 2, 'schedule.name': 3}
  assert Design(SPACE, method, 0).dimensions == expected


@pytest.mark.parametrize('method', SEQUENCES)
def test_a_new_parameter_gets_a_dimension_that_none_has_had(method):
  before = Design(SPACE, method, 0).dimensions
  space = {'optimizer.b2': Float(0.9, 0.99), LR: SPACE[LR]}
  after = Design(space, method, 0, before).dimensions
  assert after == before | {'optimizer.b2': 4}


def test_a_random_design_has_no_dimensions():
  assert Design(SPACE, 'random', 0, {LR: 3}).dimensions == {}


@pytest.mark.parametrize('method', SEQUENCES)
def test_a_cohort_has_the_dimensions_of_the_cohorts_before(method):
  earlier = as_space({LR: SPACE[LR], WD: SPACE[WD]})
  later = as_space({'optimizer.b2': Float(0.9, 0.99), LR: SPACE[LR]})
  state = SearchState(
    sweep=SweepConfig(trials=9),
    space=later,
    seed=5,
    first_point=6,
    n_drawn=6,
    earlier_spaces=(earlier,),
  )
  dimensions = {LR: 0, WD: 1, 'optimizer.b2': 2}
  expected = Design(later, method, 5, dimensions).points(6, 9)
  assert SEARCH_METHODS[method].propose(state, 3) == expected


def test_the_last_dimension_works():
  assert len(set(stream('halton', 500, 21_200))) == 500


# --- parts of a space -----------------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
def test_a_conditional_parameter_is_read_only_if_it_exists(method):
  design = Design(SPACE | MORE, method, 0)
  alone = Design({CHILD: Float(0, 0.5)}, method, 0, design.dimensions)
  n_found = 0
  pairs = zip(design.points(0, 64), alone.points(0, 64), strict=True)
  for point, alone_point in pairs:
    exists = point.parameters['schedule.name'] == 'linear'
    assert (CHILD in point.overrides) == exists
    if exists:
      n_found += 1
      assert point.parameters[CHILD] == alone_point.parameters[CHILD]
  assert 20 < n_found < 44


@pytest.mark.parametrize('method', METHODS)
def test_zips_and_chains_are_drawn(method):
  space = Product(
    Chain({'a': Int(0, 3)}, {'a': Int(4, 7)}), Zip({'b': (1, 2), 'c': (3, 4)})
  )
  points = Design(space, method, 0).points(0, 256)
  assert {point.overrides['a'] for point in points} == set(range(8))
  rows = {(point.overrides['b'], point.overrides['c']) for point in points}
  assert rows == {(1, 3), (2, 4)}


def test_a_subsample_of_the_whole_space_limits_the_points():
  assert max_points(SPACE) is None
  assert max_points(Subsample(Subsample(SPACE, 9), 12)) == 9
  limited = Design(Subsample(SPACE, 9), 'sobol', 0)
  assert limited.points(0, 9) == Design(SPACE, 'sobol', 0).points(0, 9)


@pytest.mark.parametrize(
  'make, message',
  [
    (lambda: Design(SPACE, 'sobol', 0, {LR: 21_200}), f'{WD}: got dimension 21201'),
    (
      lambda: Design(Product(Subsample(SPACE, 4), MORE), 'random', 0),
      f'{LR}: got a Subsample of a part',
    ),
    (lambda: Design(Subsample(SPACE, 4), 'random', 0).points(0, 5), 'points: got 5'),
    (
      lambda: Design(SPACE, 'halton', 0).points(2**32, 2**32 + 1),
      'points: got 4294967297, expected at most 4294967296',
    ),
  ],
)
def test_mistakes_are_refused(make, message):
  with pytest.raises(ConfigError) as error:
    make()
  assert str(error.value).startswith(message)
  assert '\n' not in str(error.value)
