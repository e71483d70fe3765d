"""Domains: what they hold, and their way to the unit interval and back."""

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from lmhp.sweeping.space import Choice, Float, Int, from_unit, unit

DOMAINS = [
  Float(-3, 5),
  Float(1e-4, 1e-1, log=True),
  Int(2, 8),
  Int(-1, 1),
  Int(1, 1000, log=True),
  Choice('a', None, 3),
]


@pytest.mark.parametrize('domain', DOMAINS, ids=repr)
@given(u=st.floats(0, 1))
def test_unit_undoes_from_unit(domain, u):
  value = from_unit(domain, u)
  assert value in domain
  where = unit(domain, value)
  assert 0 <= where <= 1
  if isinstance(domain, Float):
    assert where == pytest.approx(u, abs=1e-11)
  else:
    assert from_unit(domain, where) == value


@pytest.mark.parametrize('domain', DOMAINS[2:], ids=repr)
def test_bins_are_as_wide_as_stated(domain):
  u = (np.arange(20_000) + 0.5) / 20_000
  values = [from_unit(domain, x) for x in u]
  share = {v: values.count(v) / len(values) for v in dict.fromkeys(values)}
  every = (
    domain.values if isinstance(domain, Choice) else range(domain.low, domain.high + 1)
  )
  total = math.log(1001) if getattr(domain, 'log', False) else len(every)
  for value in every:
    due = (
      math.log((value + 1) / value) / total
      if getattr(domain, 'log', False)
      else 1 / total
    )
    assert share.get(value, 0) == pytest.approx(due, abs=2e-4)


def test_a_logarithmic_float_is_uniform_in_its_logarithm():
  values = [from_unit(Float(1e-4, 1e-1, log=True), u) for u in (0, 1 / 3, 2 / 3, 1)]
  assert values == [1e-4, 1e-3, 1e-2, 1e-1]
  with pytest.raises(ValueError, match='0.5 is not in'):
    unit(Float(1, 2), 0.5)


def test_numpy_and_lists_become_plain_values():
  space = Choice(*np.logspace(-3, -1, 3), ['a', 'b'], np.True_)
  assert space.values[3:] == (('a', 'b'), True) and all(
    type(v) is float for v in space.values[:3]
  )
  assert type(Float(1, 2).low) is float and type(Int(np.int32(1), 4.0).high) is int
  assert repr(Float(np.float32(0.5), 2)) == 'Float(0.5, 2.0)'
