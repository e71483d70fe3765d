"""Domains: their members, unit values, grid values and perturbed values."""

import math

from hypothesis import given, strategies as st
import numpy as np
import pytest

from lmhp.sweeping.space import Choice, Float, Int

DOMAINS = [
  Float(-3, 5),
  Float(1e-4, 1e-1, log=True),
  Int(2, 8),
  Int(-1, 1),
  Int(1, 1000, log=True),
  Choice('a', None, 3),
]
BINNED_DOMAINS = DOMAINS[2:]


def values_of(domain):
  """All values of a domain that can be listed."""
  if isinstance(domain, Choice):
    return domain.values
  return tuple(range(domain.low, domain.high + 1))


# --- unit values ----------------------------------------------------------------------


@pytest.mark.parametrize('domain', DOMAINS, ids=repr)
@given(unit_value=st.floats(0, 1))
def test_unit_value_inverts_value_at(domain, unit_value):
  value = domain.value_at(unit_value)
  assert value in domain
  place = domain.unit_value(value)
  assert 0 <= place <= 1
  if isinstance(domain, Float):
    assert place == pytest.approx(unit_value, abs=1e-11)
  else:
    assert domain.value_at(place) == value


@pytest.mark.parametrize('domain', BINNED_DOMAINS, ids=repr)
def test_each_value_has_a_bin_of_its_stated_width(domain):
  n_places = 20_000
  values = [domain.value_at(place) for place in (np.arange(n_places) + 0.5) / n_places]
  all_values = values_of(domain)
  for value in all_values:
    width = 1 / len(all_values)
    if isinstance(domain, Int) and domain.log:
      width = math.log((value + 1) / value) / math.log(1001)
    assert values.count(value) / n_places == pytest.approx(width, abs=2e-4)


def test_a_logarithmic_float_is_uniform_in_its_logarithm():
  domain = Float(1e-4, 1e-1, log=True)
  values = [domain.value_at(place) for place in (0, 1 / 3, 2 / 3, 1)]
  assert values == [1e-4, 1e-3, 1e-2, 1e-1]


@pytest.mark.parametrize('domain', DOMAINS, ids=repr)
def test_a_value_outside_the_domain_has_no_unit_value(domain):
  with pytest.raises(ValueError, match='is not in'):
    domain.unit_value(1e9)


# --- grid values ----------------------------------------------------------------------


@pytest.mark.parametrize(
  'domain, n_levels, values',
  [
    (Float(1e-4, 1e-2, log=True), 3, (1e-4, 1e-3, 1e-2)),
    (Float(0, 1), 5, (0.0, 0.25, 0.5, 0.75, 1.0)),
    (Float(0.1, 0.4), 4, (0.1, 0.2, 0.3, 0.4)),
    (Float(0, 10), 1, (5.0,)),
    (Float(1, 100, log=True), 1, (10.0,)),
    (Float(1e15, 1e15 + 2), 3, (1e15, 1e15 + 1, 1e15 + 2)),
    (Int(1, 3), 5, (1, 2, 3)),
    (Int(0, 10), 3, (0, 5, 10)),
    (Int(1, 1000, log=True), 4, (1, 10, 100, 1000)),
    (Int(1, 9, log=True), 8, (1, 2, 3, 4, 5, 7, 9)),
    (Choice('a', 'b', 'c'), 2, ('a', 'b', 'c')),
  ],
)
def test_grid_values(domain, n_levels, values):
  assert domain.grid_values(n_levels) == values


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 9))
def test_grid_values_of_a_float_are_those_of_numpy(low, width, n_levels):
  linear = Float(low, low + width).grid_values(n_levels)
  assert linear[0] == low
  assert linear[-1] == low + width
  expected = np.linspace(low, low + width, n_levels)
  np.testing.assert_allclose(linear, expected, rtol=0, atol=1e-9 * width)

  logarithmic = Float(width, 50 * width, log=True).grid_values(n_levels)
  expected = np.geomspace(width, 50 * width, n_levels)
  np.testing.assert_allclose(logarithmic, expected, rtol=1e-11)


# --- perturbed values -----------------------------------------------------------------


@pytest.mark.parametrize(
  'domain, value, smaller, greater',
  [
    (Float(1e-3, 1.0), 1.0, 0.8, 1.0),
    (Float(1e-3, 1.0, log=True), 1e-3, 1e-3, 1.25e-3),
    (Float(-1.0, 1.0), -0.5, -0.4, -0.625),
    (Float(0.0, 1.0), 0.0, 0.0, 0.0),
    (Int(0, 9), 0, 0, 1),
    (Int(1, 9), 1, 1, 2),
    (Int(1, 9), 2, 1, 3),
    (Int(1, 10**6, log=True), 1000, 800, 1250),
    (Choice(1.0, 3.0, 2.0), 3.0, 2.0, 3.0),
    (Choice(5), 5, 5, 5),
    (Choice(True, False), True, True, True),
    (Choice(1, None), None, None, None),
    (Choice('a', 'b'), 'a', 'a', 'a'),
  ],
)
def test_a_perturbed_value_stays_in_the_domain(domain, value, smaller, greater):
  assert domain.perturbed(value, 0.8) == smaller
  assert domain.perturbed(value, 1.25) == greater
  assert smaller in domain
  assert greater in domain


# --- arguments ------------------------------------------------------------------------


def test_arguments_become_python_values():
  choice = Choice(*np.logspace(-3, -1, 3), ['a', 'b'], np.True_)
  assert [type(value) for value in choice.values[:3]] == [float] * 3
  assert choice.values[3:] == (('a', 'b'), True)
  assert type(Float(1, 2).low) is float
  assert type(Int(np.int32(1), 4.0).high) is int
  assert repr(Float(np.float32(0.5), 2)) == 'Float(0.5, 2.0)'
