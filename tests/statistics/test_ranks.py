"""Spearman's correlation and its p-value, against scipy and counts by hand."""

from hypothesis import given, strategies as st
import numpy as np
import pytest
from scipy import stats

from lmhp.statistics.ranks import spearman, spearman_p_value


@given(
  st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5) | st.just(np.inf)),
    min_size=2,
    max_size=20,
  )
)
def test_spearman_equals_that_of_scipy(pairs):
  a, b = np.array(pairs, float).T
  if len(set(a)) == 1 or len(set(b)) == 1:
    assert np.isnan(spearman(a, b))  # scipy warns
  else:
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b)[0], abs=1e-12)
    assert spearman(a, -b) == -spearman(a, b)
    assert abs(spearman(a, b)) <= 1


def test_spearman_depends_on_ranks_alone():
  a = np.random.default_rng(0).standard_normal(50)
  assert spearman(a, np.exp(3 * a)) == 1.0
  assert spearman(a, -(a**3)) == -1.0


def test_infinities_have_the_first_and_last_ranks():
  assert spearman([-np.inf, 0.0, np.inf], [1.0, 2.0, 3.0]) == 1.0


def test_a_correlation_of_one_half_is_exact():
  assert spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0]) == 0.5


@pytest.mark.parametrize(
  'a,b', [([1.0, 2.0, np.nan], [1.0, 2.0, 3.0]), ([], []), ([1.0], [2.0])]
)
def test_no_correlation_of_nan_or_of_too_few(a, b):
  assert np.isnan(spearman(a, b))


def test_lists_of_different_lengths_are_an_error():
  with pytest.raises(ValueError, match=r'\(2,\).*\(1,\)'):
    spearman([1.0, 2.0], [1.0])


# --- the test against chance ----------------------------------------------------------


def test_the_p_value_of_six_counts_the_orders():
  """Of 720 orders, one is perfect and five swap two neighbours."""
  a = np.arange(6.0)
  assert spearman_p_value(a, a) == pytest.approx(1 / 720)
  swapped = [1.0, 0.0, 2.0, 3.0, 4.0, 5.0]
  assert spearman_p_value(a, swapped) == pytest.approx(6 / 720)
  assert spearman_p_value(a, -a) == 1.0


def test_the_p_value_of_ties_counts_the_orders():
  """Two of six are better at both ends: one of 15 choices of two is as good."""
  a = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
  assert spearman_p_value(a, a) == pytest.approx(1 / 15)


def test_the_p_value_of_many_is_close_to_that_of_student():
  rng = np.random.default_rng(2)
  a = rng.standard_normal(40)
  b = a + 3 * rng.standard_normal(40)
  expected = stats.spearmanr(a, b, alternative='greater').pvalue
  assert spearman_p_value(a, b) == pytest.approx(expected, abs=0.005)


def test_there_is_no_p_value_without_a_correlation():
  assert np.isnan(spearman_p_value([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))
