"""Holm's adjustment by its step-down rule, and the noncentrality of an F ratio."""

import numpy as np
import pytest
from scipy import stats

from lmhp.statistics.hypothesis_tests import adjust_p_values, noncentrality


def test_adjustment_is_the_step_down_rule():
  rng = np.random.default_rng(0)
  for _ in range(20):
    p_values = rng.random(6) ** 3
    expected = np.empty(6)
    largest = 0.0
    for i, place in enumerate(np.argsort(p_values)):
      largest = max(largest, min(1.0, (6 - i) * p_values[place]))
      expected[place] = largest
    assert adjust_p_values(p_values) == pytest.approx(expected.tolist())


def test_nan_is_a_test_that_was_not_made():
  adjusted = adjust_p_values([0.02, np.nan, 0.5])
  assert adjusted[0] == 0.04
  assert np.isnan(adjusted[1])
  assert adjusted[2] == 0.5


def test_nothing_to_adjust():
  assert adjust_p_values([]) == []


@pytest.mark.parametrize('ratio', [4.0, 300.0, 5e4])
@pytest.mark.parametrize('p', [0.05, 0.5, 0.95])
def test_the_ratio_is_the_quantile_at_the_noncentrality(ratio, p):
  solution = noncentrality(ratio, columns=2, freedom=30, p=p)
  assert stats.ncf.cdf(ratio, 2, 30, solution) == pytest.approx(p, abs=1e-6)


def test_a_ratio_below_the_quantile_has_no_noncentrality():
  assert noncentrality(0.1, 2, 30, 0.95) == 0.0


def test_noncentrality_falls_with_the_probability():
  assert noncentrality(4.0, 2, 30, 0.05) > noncentrality(4.0, 2, 30, 0.5)


def test_a_huge_ratio_has_the_noncentrality_of_small_noise():
  assert noncentrality(2e6, 3, 30, 0.5) == 6e6
