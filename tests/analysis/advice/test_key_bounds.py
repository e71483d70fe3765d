"""Bounds of hyperparameters come from the declarations of config keys."""

import pytest

from lmhp.analysis.advice.key_bounds import KeyBounds, bounds_of_axis, rounded_range
from lmhp.analysis.runs.axis import Axis
from lmhp.config_keys import keys

NUMBERS = [
  name for name, key in keys().items() if key.low is not None or key.high is not None
]


@pytest.mark.parametrize('name', NUMBERS)
def test_bounds_are_those_of_the_declaration(name):
  bounds = bounds_of_axis(Axis(name, low=0.1, high=0.9))
  key = keys()[name]
  assert bounds.open_low == key.open_low
  assert bounds.open_high == key.open_high
  assert key.low is None or bounds.low == key.low
  assert key.high is None or bounds.high == key.high


def test_a_column_of_a_table_keeps_its_sign():
  assert bounds_of_axis(Axis('temperature', low=0.5, high=2)) == KeyBounds(low=0.0)
  assert bounds_of_axis(Axis('offset', low=-1, high=2)) == KeyBounds()


@pytest.mark.parametrize(
  'low, high, expected',
  [
    (-0.05, 0.5, (0.0, 0.5)),
    (0.5, 1.2, (0.5, 0.95)),
  ],
)
def test_range_is_cut_to_closed_and_open_bounds(low, high, expected):
  # 0 <= b1 < 1, so an end above 1 goes halfway between 0.9 and 1.
  axis = Axis('optimizer.b1', low=0.1, high=0.9)
  assert rounded_range(axis, low, high) == pytest.approx(expected)
